"""A group's new rows as Arrow columns, split so that every insert goes to one partition.

No Python runs per row: what is the same for a whole chunk is repeated by numpy, bodies are sliced and joined per chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wire.batch import SOURCE_BYTES, Batch, Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.ingest.trim import Piece

DAY_NS: Final = 86_400_000_000_000


class Group(msgspec.Struct, frozen=True):
    """Rows ready for the engine, n of them, each source's in file order.

    ``columns``: Arrow columns of ``logs``. ``days``: int64[n], days since 1970-01-01 UTC. ``piece``: int64[n], which
    of the pieces a row came from. ``positions``: uint64[n].
    """

    columns: pa.RecordBatch
    days: npt.NDArray[np.int64]
    piece: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]


def group(batches: Sequence[Batch], pieces: Sequence[Piece], streams: npt.NDArray[np.uint64]) -> Group:
    """The rows of ``pieces`` of ``batches``. ``streams``: uint64[pieces, 2], stream ids for stdout and for stderr."""
    counts = np.array([piece.last - piece.first for piece in pieces], np.int64)
    number = np.repeat(np.arange(len(pieces)), counts)
    times = np.concatenate([batches[piece.request].times[piece.first : piece.last] for piece in pieces])
    positions = np.concatenate([batches[piece.request].positions[piece.first : piece.last] for piece in pieces])
    flags = np.concatenate([batches[piece.request].flags[piece.first : piece.last] for piece in pieces])
    names = {name: code for code, name in enumerate(dict.fromkeys(piece.chunk.namespace for piece in pieces))}
    codes = np.array([names[piece.chunk.namespace] for piece in pieces], np.int32)
    sources = np.frombuffer(b"".join(piece.chunk.source for piece in pieces), f"V{SOURCE_BYTES}")
    columns = {
        "namespace": pa.DictionaryArray.from_arrays(pa.array(codes[number]), pa.array(list(names))),
        "stream_id": pa.array(streams[number, (flags & Flag.STDERR).astype(np.int64)]),
        "ts": pa.array(times).cast(pa.timestamp("ns", "UTC")),
        "source": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(SOURCE_BYTES), len(number), [None, pa.py_buffer(sources[number])]
        ),
        "position": pa.array(positions),
        "flags": pa.array(flags),
        "body": _bodies(batches, pieces),
    }
    return Group(pa.record_batch(columns), times // DAY_NS, number, positions)


def _bodies(batches: Sequence[Batch], pieces: Sequence[Piece]) -> pa.Array:
    """The bodies of all pieces as one binary column: lengths to offsets, slices of bodies joined."""
    ends = [np.concatenate(([0], np.cumsum(batch.lengths, dtype=np.int64))) for batch in batches]
    lengths = np.concatenate([batches[piece.request].lengths[piece.first : piece.last] for piece in pieces])
    slices = []
    for piece in pieces:
        edge = ends[piece.request]
        slices.append(memoryview(batches[piece.request].body)[edge[piece.first] : edge[piece.last]])
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:], dtype=np.int32)
    body = b"".join(slices)
    return pa.BinaryArray.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(body)])


def inserts(rows: Group, sources: Sequence[bytes]) -> list[tuple[int, npt.NDArray[np.bool_] | None]]:
    """The inserts that store ``rows``: (day, which rows), to be made in this order; None stands for all rows.

    ``sources``: the source of each piece. A source's rows enter in file order, whatever their days: the n-th run of
    equal days of every source comes before all (n+1)-th runs.
    """
    if (rows.days == rows.days[0]).all():
        return [(int(rows.days[0]), None)]
    code = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    source = np.array([code[one] for one in sources], np.int64)[rows.piece]
    order = np.argsort(source, kind="stable")
    same_source = source[order][1:] == source[order][:-1]
    turns = np.concatenate(([0], (same_source & (rows.days[order][1:] != rows.days[order][:-1])).cumsum()))
    first_of_source = np.concatenate(([True], ~same_source))
    base = turns[first_of_source][np.cumsum(first_of_source) - 1]
    run = np.empty_like(turns)
    run[order] = turns - base
    pairs = np.unique(np.stack([run, rows.days]), axis=1)
    return [(int(day), (run == turn) & (rows.days == day)) for turn, day in pairs.T]
