"""Records of many files to one batch; and, when a batch is refused, its halves down to the record that is to blame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import zstandard

from agent.follow.discovery import DIRECTORIES_MAX
from wire.batch import Batch, Chunk, Flag
from wire.codec import CHUNKS_MAX, ROWS_MAX, Columns, decode, encode_pieces

if TYPE_CHECKING:
    from agent.follow.rounds import Round

# The fastest level that halves what travels; the higher ones cost more than everything else the agent does.
_ZSTD_LEVEL: Final = 1
# What a row weighs beside its body: time, position, flag, length.
_ROW_BYTES: Final = 21
# A round has at most a chunk for each container.
_CHUNKS_FULL: Final = CHUNKS_MAX - DIRECTORIES_MAX
# What a last round may add, of empty lines even, leaves the batch below the limit.
_ROWS_FULL: Final = ROWS_MAX // 2


class Origin(msgspec.Struct, frozen=True):
    """Who sends: what every batch of this process begins with."""

    cluster: str
    node: str
    agent: str


class Unsealed(msgspec.Struct, frozen=True):
    """A batch as it was collected: ``columns`` of round after round, with ``chunks`` over all their rows."""

    origin: Origin
    chunks: tuple[Chunk, ...]
    columns: Sequence[Columns]


class Sealed(msgspec.Struct, frozen=True):
    """A batch ready to be sent.

    ``data``: one zstd frame. ``ends``: the position each source reaches once it is committed. ``epoch``: counts the
    rewinds; a batch from before one is not sent any more.
    """

    data: bytes
    rows: int
    size_bytes: int
    ends: Mapping[bytes, int]
    epoch: int


class Builder:
    """Collects rounds until they make a batch; holds no more than one batch and one round."""

    def __init__(self, origin: Origin, batch_bytes: int) -> None:
        self._origin = origin
        self._batch_bytes = batch_bytes
        self._rounds: list[Round] = []
        self._sources: list[bytes] = []
        self._rows = 0
        self.size_bytes = 0

    def add(self, part: Round) -> None:
        """Take the records of one round."""
        self._rounds.append(part)
        # As it is now: a file that is found truncated later becomes another source.
        self._sources += [_source(each.file.source) for each in part.parts]
        self._rows += len(part.records.times)
        self.size_bytes += len(part.records.body) + _ROW_BYTES * len(part.records.times)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._sources

    @property
    def is_full(self) -> bool:
        """Whether the batch is as large as batches are to be."""
        return self.size_bytes >= self._batch_bytes or len(self._sources) >= _CHUNKS_FULL or self._rows >= _ROWS_FULL

    def take(self) -> Unsealed:
        """Everything added; the builder is empty again."""
        parts = [part for each in self._rounds for part in each.parts]
        chunks = tuple(
            Chunk(
                source,
                part.start,
                part.end,
                part.file.container.namespace,
                part.file.container.pod,
                part.file.container.uid,
                part.file.container.name,
                part.file.entry.generation.restart,
                part.rows,
                part.joint,
            )
            for source, part in zip(self._sources, parts, strict=True)
        )
        unsealed = Unsealed(self._origin, chunks, tuple(each.records for each in self._rounds))
        self.clear()
        return unsealed

    def clear(self) -> None:
        """Forget what was added."""
        self._rounds = []
        self._sources = []
        self._rows = 0
        self.size_bytes = 0


def seal(unsealed: Unsealed, epoch: int) -> Sealed:
    """Encode and compress a batch; blocks for milliseconds, without the GIL for most of them.

    Its columns go into the compressor one after another, so that the batch is never in memory a second time.
    """
    origin, chunks, columns = unsealed.origin, unsealed.chunks, unsealed.columns
    pieces = encode_pieces(origin.cluster, origin.node, origin.agent, chunks, columns)
    size = sum(map(len, pieces))
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj(size=size)
    data = b"".join([*map(compressor.compress, pieces), compressor.flush()])
    ends = {chunk.source: chunk.end for chunk in chunks}
    return Sealed(data, sum(len(part.flags) for part in columns), size, ends, epoch)


def seal_batch(batch: Batch, epoch: int) -> Sealed:
    """`seal` for a batch whose columns are in one piece."""
    return seal(Unsealed(Origin(batch.cluster, batch.node, batch.agent), batch.chunks, (batch,)), epoch)


def unseal(sealed: Sealed) -> Batch:
    """The batch again, also one that is too large to be taken: it is to be halved."""
    return decode(zstandard.ZstdDecompressor().decompress(sealed.data), limited=False)


def halves(batch: Batch) -> tuple[Batch, Batch] | None:
    """Two batches that, committed one after the other, store what ``batch`` would; None if it is not to be divided.

    That is one of a single row, or of nothing but joint chunks.
    """
    middle = len(batch.flags) // 2
    edge = 0
    for unit in _units(batch.chunks):
        after = edge + sum(chunk.rows for chunk in unit)
        if len(unit) > 1 and edge < middle < after:
            middle = edge or after
        edge = after
    if not 0 < middle < len(batch.flags):
        return None
    return _rows(batch, 0, middle), _rows(batch, middle, len(batch.flags))


def in_its_place(batch: Batch, rule: str) -> Batch:
    """Gap records instead of those of ``batch``, which is not to be divided, and refused for breaking ``rule``."""
    reasons = [
        msgspec.json.encode({"bytes": length, "reason": f"refused: {rule}"}) for length in batch.lengths.tolist()
    ]
    return msgspec.structs.replace(
        batch,
        flags=batch.flags & Flag.STDERR | Flag.GAP,
        lengths=np.array([len(reason) for reason in reasons], np.uint32),
        body=b"".join(reasons),
    )


def _units(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, ...]]:
    """The chunks, those that are joint together."""
    following = iter(chunks)
    for chunk in following:
        yield (chunk, next(following)) if chunk.joint else (chunk,)


def _rows(batch: Batch, first: int, last: int) -> Batch:
    """Rows ``first`` to ``last`` of ``batch``; a chunk that is cut ends at, or starts from, the record at the cut."""
    chunks: list[Chunk] = []
    edge = 0
    for unit in _units(batch.chunks):
        chunk, rows = unit[0], sum(each.rows for each in unit)
        begin, end = max(first, edge), min(last, edge + rows)
        # A chunk without rows says that its file is reached further: it belongs to one half as well.
        if begin < end or (rows == 0 and (first <= edge < last or edge == last == len(batch.flags))):
            if len(unit) > 1:
                chunks += unit
            else:
                start_at = chunk.start if begin == edge else int(batch.positions[begin - 1])
                end_at = chunk.end if end == edge + rows else int(batch.positions[end - 1])
                chunks.append(msgspec.structs.replace(chunk, start=start_at, end=end_at, rows=end - begin))
        edge += rows
    offsets = np.concatenate(([0], np.cumsum(batch.lengths, dtype=np.int64)))
    return msgspec.structs.replace(
        batch,
        chunks=tuple(chunks),
        times=batch.times[first:last],
        positions=batch.positions[first:last],
        flags=batch.flags[first:last],
        lengths=batch.lengths[first:last],
        body=memoryview(batch.body)[offsets[first] : offsets[last]],
    )


def _source(source: bytes | None) -> bytes:
    if source is None:
        raise ValueError("records of a file without a source")
    return source
