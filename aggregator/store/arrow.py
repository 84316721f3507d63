"""An answer in ArrowStream, as bytes come over the network, cut where its blocks end.

A stream is messages one after another: four bytes 0xFF, the size of the message's head as a little-endian 32-bit
integer, the head, the body, whose size stands in the head; the first is the schema, the last has a head of no size
(https://arrow.apache.org/docs/format/Columnar.html, encapsulated messages). Where the server fails in the middle, the
stream stops and what it has to say stands there instead: ``__exception__``, a tag, the error's text, and so on.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from aggregator.errors import StoreUnreachableError
from aggregator.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CONTINUES: Final = b"\xff\xff\xff\xff"
_PREFIX: Final = struct.Struct("<4sI")
_END: Final = _PREFIX.pack(_CONTINUES, 0)
# In a head (`format/Message.fbs`): where its table begins, how far back its fields are listed, an entry of that list, a
# size; the list's first entry, and the number of the body's size in it.
_OFFSET: Final = struct.Struct("<I")
_BACK: Final = struct.Struct("<i")
_ENTRY: Final = struct.Struct("<H")
_SIZE: Final = struct.Struct("<q")
_ENTRIES_AT: Final = 4
_BODY_LENGTH: Final = 3
# No head of ours is a hundredth of it; what claims more is no stream.
_HEAD_BYTES_MAX: Final = 16 << 20


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each block of the stream that ``chunks`` make up, as a stream of its own; a stream without blocks as it is.

    Raises the `StoreError` that stands where the stream stops, `StoreUnreachableError` where nothing does.
    """
    held = bytearray()
    schema = b""
    gave = False
    async for chunk in chunks:
        held += chunk
        while (size := _message_bytes(held)) is not None:
            message = bytes(held[:size])
            del held[:size]
            if not schema:
                schema = message
            elif message != _END:
                gave = True
                yield schema + message + _END
            elif not gave:
                yield schema + _END
    if held or not schema:
        text = bytes(held).decode(errors="replace")
        if "Code: " in text:
            raise failure(RuntimeError(text), of_servers=True)
        raise StoreUnreachableError("the server's answer ended too early")


def _message_bytes(held: bytearray) -> int | None:
    """The size of the message that ``held`` begins with; None if it is not all there, or no message."""
    if len(held) < _PREFIX.size:
        return None
    marker, head = _PREFIX.unpack_from(held)
    if marker != _CONTINUES or head > _HEAD_BYTES_MAX:
        return None
    if head == 0:
        return _PREFIX.size
    if len(held) < _PREFIX.size + head:
        return None
    size = _PREFIX.size + head + _body_bytes(bytes(held[: _PREFIX.size + head]))
    return size if len(held) >= size else None


def _body_bytes(head: bytes) -> int:
    """The size of a message's body, from its head: a flatbuffer, whose fields that have their default are left out."""
    table = _PREFIX.size + _OFFSET.unpack_from(head, _PREFIX.size)[0]
    fields = table - _BACK.unpack_from(head, table)[0]
    entry = _ENTRIES_AT + _ENTRY.size * _BODY_LENGTH
    if entry >= _ENTRY.unpack_from(head, fields)[0]:
        return 0
    place = _ENTRY.unpack_from(head, fields + entry)[0]
    return int(_SIZE.unpack_from(head, table + place)[0]) if place else 0


def stream_of(rows: pa.RecordBatch) -> bytes:
    """``rows`` as a stream of one block."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())
