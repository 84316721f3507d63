"""What committing a group of batches comes to: pure, so that it may run in a thread and be tested against a model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.ingest import rows as rows_of
from aggregator.ingest.trim import trim
from aggregator.store import columns
from aggregator.store.streams import Stream
from wire.batch import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from aggregator.ingest.pods import PodStreams
    from aggregator.ingest.trim import Piece, Trimmed
    from aggregator.store.coverage import Stretch
    from aggregator.store.terms import Kept
    from wire.batch import Batch

# Inserts of one group. Logs in order of time need one or two; a log whose clock jumps from day to day at every line
# must not hold up everybody's commits, nor make more parts than merging can keep up with.
INSERTS_MAX: Final = 64


class Insert(msgspec.Struct, frozen=True):
    """One insert into ``logs``: rows of one ``day`` and ``shard``, and their streams, to be written before them."""

    day: int
    streams: tuple[Stream, ...]
    rows: pa.RecordBatch
    shard: int = 0


class Plan(msgspec.Struct, frozen=True):
    """What to do with a group of requests.

    ``inserts``: to be made one after another, markers in them. ``reached``: the position of each source of the group
    afterwards; ``behind``: that of the last row of those that stand beyond theirs. ``refused``: the requests that do
    not fit, each with the chunk that does not. ``rows_new`` and ``bytes_new`` are in ``inserts``; ``rows_trimmed`` were
    stored already; ``rows_expired`` are older than what is kept; ``rows_below`` are younger, but of a time that was
    dropped for want of room; ``rows_cut`` would need more than `INSERTS_MAX` inserts, and their sources have not
    reached them.
    """

    inserts: tuple[Insert, ...]
    reached: Mapping[bytes, int]
    behind: Mapping[bytes, int]
    refused: Mapping[int, Chunk]
    rows_new: int = 0
    bytes_new: int = 0
    rows_trimmed: int = 0
    rows_expired: int = 0
    rows_below: int = 0
    rows_cut: int = 0


def plan(
    batches: Sequence[Batch],
    committed: Mapping[bytes, int],
    pods: PodStreams,
    kept: Kept,
    now_ns: int,
    *,
    behind: Mapping[bytes, int] = MappingProxyType({}),
    held: Mapping[bytes, Sequence[Stretch]] = MappingProxyType({}),
    shard_of: Callable[[Chunk], int] = lambda _: 0,
) -> Plan:
    """The plan for ``batches``, given the ``committed`` positions of all their sources.

    Rows that are not among what is ``kept`` count as reached but are not stored. ``behind``: the position of the last
    row of sources that are committed beyond it. ``held``: what sources with holes have behind each. ``shard_of``: the
    shard that a chunk's rows go to; the same one for all chunks of a pod.
    """
    trimmed = trim(batches, committed, now_ns, held)
    reached = {**committed, **trimmed.reached}
    stood = {**committed, **behind}
    if not trimmed.pieces:
        return Plan((), reached, _behind(stood, reached, held), trimmed.refused, rows_trimmed=trimmed.rows_trimmed)
    streams = [pods.of(batches[piece.request], piece.chunk) for piece in trimmed.pieces]
    numbers = np.array([(out.number, err.number) for out, err in streams], np.uint64)
    rows = rows_of.gather(batches, trimmed.pieces, numbers)
    young, above = _keep(rows, trimmed.pieces, kept)
    order = rows_of.order(rows, trimmed.pieces, young & above)
    if len(order.days) > INSERTS_MAX:
        reached |= _cut(trimmed, rows, order, committed)
    stored = (order.insert != rows_of.EXPIRED) & (order.insert < INSERTS_MAX)
    framing, last = rows_of.framing(rows, stored, trimmed.pieces, stood)
    framed = rows.columns.append_column("framing", columns.fixed(framing, pa.int64()))
    rows = msgspec.structs.replace(rows, columns=framed)
    new = int(np.count_nonzero(stored & ~rows.markers))
    expired = int(np.count_nonzero(~young & ~rows.markers))
    below = int(np.count_nonzero(young & ~above & ~rows.markers))
    shards = np.array([shard_of(piece.chunk) for piece in trimmed.pieces], np.int64)[rows.piece]
    return Plan(
        tuple(
            _insert(day, shard, rows, (order.insert == number) & (shards == shard), streams)
            for number, day in enumerate(order.days[:INSERTS_MAX])
            for shard in np.unique(shards[order.insert == number]).tolist()
        ),
        reached,
        _behind({**stood, **last}, reached, held),
        trimmed.refused,
        rows_new=new,
        bytes_new=int(rows.lengths[stored].sum(dtype=np.int64)),
        rows_trimmed=trimmed.rows_trimmed,
        rows_expired=expired,
        rows_below=below,
        rows_cut=int(np.count_nonzero(~rows.markers)) - new - expired - below,
    )


def _behind(
    rows: Mapping[bytes, int], reached: Mapping[bytes, int], held: Mapping[bytes, Sequence[Stretch]]
) -> dict[bytes, int]:
    """The positions of last rows, new ones or such as were held, beyond which their sources have ``reached``."""
    found = {source: at for source, at in rows.items() if at < reached[source]}
    for source in found.keys() & held.keys():
        ends = [stretch.end for stretch in held[source] if stretch.end <= reached[source]]
        found[source] = max(found[source], *ends, found[source])
        if found[source] == reached[source]:
            del found[source]
    return found


def _keep(
    rows: rows_of.Rows, pieces: Sequence[Piece], kept: Kept
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """bool[n] each: which rows are young enough, and which are above the floor.

    A marker is below the floor only with its whole day: the record of a joint chunk that stands beside it may be above,
    and without the marker the beginning of that record would be taken for another one.
    """
    young = rows.days >= kept.oldest_days([piece.chunk.namespace for piece in pieces])[rows.piece]
    above = (rows.times >= kept.floor_ns) | (rows.markers & (rows.days >= kept.floor_day))
    return young, above


def _insert(
    day: int,
    shard: int,
    rows: rows_of.Rows,
    chosen: npt.NDArray[np.bool_],
    streams: Sequence[tuple[Stream, Stream]],
) -> Insert:
    whole = bool(chosen.all())
    seen = np.zeros(2 * len(streams), np.bool_)
    seen[(2 * rows.piece + rows.stderr)[chosen & ~rows.markers]] = True
    both = [streams[which // 2][which % 2] for which in np.flatnonzero(seen).tolist()]
    used = {stream.number: stream for stream in both}
    kept = rows.columns if whole else rows.columns.filter(columns.mask(chosen))
    return Insert(day, tuple(used.values()), kept, shard)


def _cut(
    trimmed: Trimmed, rows: rows_of.Rows, order: rows_of.Order, committed: Mapping[bytes, int]
) -> dict[bytes, int]:
    """The positions of those sources of which the first `INSERTS_MAX` inserts leave rows out."""
    code = {
        source: number for number, source in enumerate(dict.fromkeys(piece.chunk.source for piece in trimmed.pieces))
    }
    source = np.array([code[piece.chunk.source] for piece in trimmed.pieces], np.int64)[rows.piece]
    left_out = order.insert >= INSERTS_MAX
    reached = np.array([committed[source] for source in code], np.uint64)
    # Rows in inserts only: an expired row may stand behind a row that is left out, and would hide it.
    stored = (order.insert < INSERTS_MAX) & (order.insert != rows_of.EXPIRED)
    np.maximum.at(reached, source[stored], rows.positions[stored])
    sources = list(code)
    return {sources[number]: int(reached[number]) for number in np.unique(source[left_out])}
