"""A group's new rows as Arrow columns, and the order of the inserts that store them.

No Python runs per row: what is the same for a whole chunk is repeated by numpy, bodies are sliced and joined per chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aggregator.store import columns
from wire.batch import SOURCE_BYTES, Batch, Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.ingest.trim import Piece

DAY_NS: Final = 86_400_000_000_000
# Days of every time a batch may have (`wire.codec.TIME_NS_MAX`) fit into so many bits.
_DAY_BITS: Final = 17

EXPIRED: Final = -1


class Rows(msgspec.Struct, frozen=True):
    """Rows ready for the engine, n of them, each source's in file order.

    ``columns``: Arrow columns of ``logs``. ``days``: int64[n], days since 1970-01-01 UTC. ``piece``: int64[n], which
    of the pieces a row came from. ``stderr``: int64[n], 1 for stderr. ``positions``: uint64[n]. ``lengths``: uint32[n].
    """

    columns: pa.RecordBatch
    days: npt.NDArray[np.int64]
    piece: npt.NDArray[np.int64]
    stderr: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]


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
    counts = np.array([piece.last - piece.first for piece in pieces], np.int64)
    number = np.repeat(np.arange(len(pieces)), counts)
    times = np.concatenate([batches[piece.request].times[piece.first : piece.last] for piece in pieces])
    positions = np.concatenate([batches[piece.request].positions[piece.first : piece.last] for piece in pieces])
    flags = np.concatenate([batches[piece.request].flags[piece.first : piece.last] for piece in pieces])
    lengths = np.concatenate([batches[piece.request].lengths[piece.first : piece.last] for piece in pieces])
    stderr = (flags & Flag.STDERR).astype(np.int64)
    names = {name: code for code, name in enumerate(dict.fromkeys(piece.chunk.namespace for piece in pieces))}
    codes = np.array([names[piece.chunk.namespace] for piece in pieces], np.int32)
    sources = np.frombuffer(b"".join(piece.chunk.source for piece in pieces), f"V{SOURCE_BYTES}")
    arrays = {
        "namespace": pa.DictionaryArray.from_arrays(
            columns.fixed(codes[number], pa.int32()), columns.strings(list(names))
        ),
        "stream_id": columns.fixed(streams[number, stderr], pa.uint64()),
        "ts": columns.fixed(times, pa.timestamp("ns", "UTC")),
        "source": columns.fixed(sources[number], pa.binary(SOURCE_BYTES)),
        "position": columns.fixed(positions, pa.uint64()),
        "flags": columns.fixed(flags, pa.uint8()),
        "body": columns.variable(lengths, _bodies(batches, pieces), pa.binary()),
    }
    table = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    return Rows(table, times // DAY_NS, number, stderr, positions, lengths)


def _bodies(batches: Sequence[Batch], pieces: Sequence[Piece]) -> bytes:
    edges = [np.concatenate(([0], np.cumsum(batch.lengths, dtype=np.int64))) for batch in batches]
    slices = []
    for piece in pieces:
        edge = edges[piece.request]
        slices.append(memoryview(batches[piece.request].body)[edge[piece.first] : edge[piece.last]])
    return b"".join(slices)


def order(rows: Rows, sources: Sequence[bytes], oldest_day: int) -> Order:
    """The inserts that store ``rows`` of ``oldest_day`` and later, to be made in this order; each has one day.

    ``sources``: the source of each piece. A source's rows enter in file order, whatever their days: the n-th run of
    equal days of every source comes before all (n+1)-th runs. So any number of first inserts holds a prefix of every
    source.
    """
    insert = np.full(len(rows.days), EXPIRED)
    kept = np.flatnonzero(rows.days >= oldest_day)
    if not kept.size:
        return Order(insert, ())
    days = rows.days[kept]
    if (days == days[0]).all():
        insert[kept] = 0
        return Order(insert, (int(days[0]),))
    code = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    source = np.array([code[one] for one in sources], np.int64)[rows.piece[kept]]
    keys, insert[kept] = np.unique((_runs(source, days) << _DAY_BITS) | days, return_inverse=True)
    return Order(insert, tuple((keys & ((1 << _DAY_BITS) - 1)).tolist()))


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
