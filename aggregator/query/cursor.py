"""Cursors: opaque texts that say how far a tail has got, for it to go on from there.

base64url (RFC 4648, without padding) of a msgpack array: version (2), the first 8 bytes of the store's id, ms of a
commit, and, unless all of that commit was sent, the place of the last record that was: ns, stream id, source, position.
A fifth number follows in the history that a tail begins with: ns of the time in front of which that ends. Behind the
array stands its CRC-32, big-endian: whoever has lost or changed a letter is told so, instead of missing lines.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Final

import msgspec

from aggregator.logql.tree import Place

_VERSION: Final = 2
_STORE_BYTES: Final = 8
_Numbers = tuple[int, bytes, int, int | None, int, bytes, int, int]


class Cursor(msgspec.Struct, frozen=True):
    """Where a tail stands: everything of the commits before the one at ``commit_ms`` was sent, and of that one ...

    everything, without ``place``; what stands up to ``place``; or, with ``history_end_ns``, nothing as yet as a commit,
    but of the records in front of that time that are in it and in those before it, as history, those up to ``place``.
    """

    commit_ms: int
    place: Place | None = None
    history_end_ns: int = 0


class ForeignCursorError(ValueError):
    """The cursor is of another store."""


class Cursors:
    """Writes and reads the cursors of one store."""

    def __init__(self, store: str) -> None:
        """``store``: `aggregator.store.schema.identity`."""
        self._store = bytes.fromhex(store)[:_STORE_BYTES]

    def text(self, cursor: Cursor) -> str:
        """The text to give away."""
        place = cursor.place or _NOWHERE
        numbers = (
            _VERSION,
            self._store,
            cursor.commit_ms,
            None if cursor.place is None else place.ts_ns,
            place.stream_id,
            place.source,
            place.position,
            cursor.history_end_ns,
        )
        data = msgspec.msgpack.encode(numbers)
        return base64.urlsafe_b64encode(data + _sum(data)).rstrip(b"=").decode()

    def read(self, text: str) -> Cursor:
        """What was given away. Raises `ForeignCursorError`, and ValueError for what is no cursor."""
        try:
            whole = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            data = whole[:-_SUM_BYTES]
            version, store, commit_ms, ts_ns, stream_id, source, position, end_ns = msgspec.msgpack.decode(
                data, type=_Numbers
            )
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise ValueError("it is no cursor") from error
        unsigned = (commit_ms, ts_ns or 0, stream_id, position, end_ns)
        signed = (commit_ms, ts_ns or 0, end_ns)
        is_sane = min(unsigned) >= 0 and max(signed) < 1 << 63 and len(source) in {0, _SOURCE_BYTES}
        is_whole = version == _VERSION and whole[-_SUM_BYTES:] == _sum(data)
        if not is_whole or not is_sane or (ts_ns is not None and not source) or (end_ns and ts_ns is None):
            raise ValueError("it is no cursor")
        if store != self._store:
            raise ForeignCursorError("it is a cursor of another store")
        place = None if ts_ns is None else Place(ts_ns, stream_id, source, position)
        return Cursor(commit_ms, place, end_ns)


def _sum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_SUM_BYTES, "big")


_SUM_BYTES: Final = 4
_SOURCE_BYTES: Final = 16
_NOWHERE: Final = Place(0, 0, b"", 0)
