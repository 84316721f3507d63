"""A group's new rows as Arrow columns, and the order of the inserts that store them.

No Python runs per row: what is the same for a whole chunk is repeated by numpy, bodies are sliced and joined per chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aggregator.store import columns
from aggregator.store.schema import MARKER_NAMESPACE, MARKER_STREAM
from wire.batch import DAY_NS, SOURCE_BYTES, Batch, Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggregator.ingest.trim import Piece

# Days of every time a batch may have (`wire.codec.TIME_NS_MAX`) fit into so many bits.
_DAY_BITS: Final = 17

EXPIRED: Final = -1

_T = TypeVar("_T", bound=np.generic)


class Rows(msgspec.Struct, frozen=True):
    """Rows ready for the engine, n of them, each source's in file order; a piece's marker is its last row.

    ``columns``: Arrow columns of ``logs``. ``times``: int64[n], ns. ``days``: int64[n], since 1970-01-01 UTC.
    ``piece``: int64[n], which of the pieces a row came from. ``stderr``: int64[n], 1 for stderr. ``positions``:
    uint64[n]. ``lengths``: uint32[n]. ``markers``: bool[n], true for what is no record.
    """

    columns: pa.RecordBatch
    times: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]
    piece: npt.NDArray[np.int64]
    stderr: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    markers: npt.NDArray[np.bool_]


class Order(msgspec.Struct, frozen=True):
    """Which row goes into which insert.

    ``insert``: int64[n], the number of the row's insert, or `EXPIRED`. ``days``: the day of each insert.
    """

    insert: npt.NDArray[np.int64]
    days: tuple[int, ...]


def gather(batches: Sequence[Batch], pieces: Sequence[Piece], streams: npt.NDArray[np.uint64]) -> Rows:
    """The rows of ``pieces`` (at least one) of ``batches``.

    ``streams``: uint64[pieces, 2], stream ids for stdout and for stderr.
    """
    counts = np.array([piece.last - piece.first + (piece.marker > 0) for piece in pieces], np.int64)
    number = np.repeat(np.arange(len(pieces)), counts)
    times = _column(pieces, [batch.times for batch in batches], [piece.marker_ns for piece in pieces])
    positions = _column(pieces, [batch.positions for batch in batches], [piece.marker for piece in pieces])
    flags = _column(pieces, [batch.flags for batch in batches], [0] * len(pieces))
    lengths = _column(pieces, [batch.lengths for batch in batches], [0] * len(pieces))
    markers = np.zeros(len(number), np.bool_)
    markers[counts.cumsum()[[piece.marker > 0 for piece in pieces]] - 1] = True
    stderr = (flags & Flag.STDERR).astype(np.int64)
    spaces = dict.fromkeys(piece.chunk.namespace for piece in pieces)
    if markers.any():
        spaces[MARKER_NAMESPACE] = None
    names = {name: code for code, name in enumerate(spaces)}
    codes = np.array([names[piece.chunk.namespace] for piece in pieces], np.int32)[number]
    codes[markers] = names.get(MARKER_NAMESPACE, 0)
    ids = streams[number, stderr]
    ids[markers] = MARKER_STREAM
    sources = np.frombuffer(b"".join(piece.chunk.source for piece in pieces), f"V{SOURCE_BYTES}")
    arrays = {
        "namespace": pa.DictionaryArray.from_arrays(columns.fixed(codes, pa.int32()), columns.strings(list(names))),
        "stream_id": columns.fixed(ids, pa.uint64()),
        "ts": columns.fixed(times, pa.timestamp("ns", "UTC")),
        "source": columns.fixed(sources[number], pa.binary(SOURCE_BYTES)),
        "position": columns.fixed(positions, pa.uint64()),
        "flags": columns.fixed(flags, pa.uint8()),
        "body": columns.variable(lengths, _bodies(batches, pieces), pa.binary()),
    }
    table = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    return Rows(table, times, times // DAY_NS, number, stderr, positions, lengths, markers)


def _column(pieces: Sequence[Piece], columns_of: Sequence[npt.NDArray[_T]], markers: Sequence[int]) -> npt.NDArray[_T]:
    """The values of all pieces, each with its marker's behind it, where it has one."""
    values = []
    for piece, marker in zip(pieces, markers, strict=True):
        column = columns_of[piece.request]
        values.append(column[piece.first : piece.last])
        if piece.marker:
            values.append(np.array([marker], column.dtype))
    return np.concatenate(values)


def _bodies(batches: Sequence[Batch], pieces: Sequence[Piece]) -> bytes:
    edges = [np.concatenate(([0], np.cumsum(batch.lengths, dtype=np.int64))) for batch in batches]
    slices = []
    for piece in pieces:
        edge = edges[piece.request]
        slices.append(memoryview(batches[piece.request].body)[edge[piece.first] : edge[piece.last]])
    return b"".join(slices)


def order(rows: Rows, pieces: Sequence[Piece], keep: npt.NDArray[np.bool_]) -> Order:
    """The inserts that store those ``rows`` that ``keep`` (bool[n]) says, to be made in this order; each has one day.

    A source's rows enter in file order, whatever their days: the n-th run of equal days of every source comes before
    all (n+1)-th runs. So any number of first inserts holds a prefix of every source. Where a source's rows are tied to
    those of another, its runs are counted on from there: tied rows, which are of one day, are in one insert.
    """
    insert = np.full(len(rows.days), EXPIRED)
    kept = np.flatnonzero(keep)
    if not kept.size:
        return Order(insert, ())
    days = rows.days[kept]
    if (days == days[0]).all():
        insert[kept] = 0
        return Order(insert, (int(days[0]),))
    code = {source: number for number, source in enumerate(dict.fromkeys(piece.chunk.source for piece in pieces))}
    piece = rows.piece[kept]
    source = np.array([code[each.chunk.source] for each in pieces], np.int64)[piece]
    runs = _runs(source, days)
    for number in [number for number, each in enumerate(pieces) if each.tied]:
        tied = int(np.searchsorted(piece, number))
        if 0 < tied < piece.size and piece[tied] == number and piece[tied - 1] == number - 1:  # else some are not kept
            runs[source == source[tied]] += runs[tied - 1] - runs[tied]
    keys, insert[kept] = np.unique((runs << _DAY_BITS) | days, return_inverse=True)
    return Order(insert, tuple((keys & ((1 << _DAY_BITS) - 1)).tolist()))


def framing(
    rows: Rows, stored: npt.NDArray[np.bool_], pieces: Sequence[Piece], before: Mapping[bytes, int]
) -> tuple[npt.NDArray[np.int64], dict[bytes, int]]:
    """What the stretch of the file that each stored row stands for has beside the row's body, and where sources stand.

    ``stored``: bool[n], the rows that are; of the others it is 0. ``before``: the position of each source's last row in
    the store. A row's stretch begins there, or where the row before it ends.
    """
    found = np.zeros(len(rows.positions), np.int64)
    last: dict[bytes, int] = {}
    if not stored.any():
        return found, last
    ends = rows.positions[stored].astype(np.int64)
    piece = rows.piece[stored]
    starts = np.empty_like(ends)
    starts[1:] = ends[:-1]
    firsts = np.flatnonzero(np.concatenate(([True], piece[1:] != piece[:-1])))
    begins = []
    for number, end in zip(piece[firsts].tolist(), ends[np.append(firsts[1:], len(ends)) - 1].tolist(), strict=True):
        source = pieces[number].chunk.source
        begins.append(pieces[number].start or last.get(source, before[source]))
        last[source] = end
    starts[firsts] = begins
    found[stored] = ends - starts - rows.lengths[stored]
    return found, last


def _runs(source: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each row, how many times the day changed in its source before it."""
    by_source = np.argsort(source, kind="stable")
    same_source = source[by_source][1:] == source[by_source][:-1]
    turns = np.concatenate(([0], (same_source & (days[by_source][1:] != days[by_source][:-1])).cumsum()))
    first_of_source = np.concatenate(([True], ~same_source))
    base = turns[first_of_source][np.cumsum(first_of_source) - 1]
    runs = np.empty_like(turns)
    runs[by_source] = turns - base
    return runs
