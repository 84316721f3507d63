"""Which rows of a group of requests are new, and which requests would leave a hole, or store lines twice.

A record may take in several lines, and an agent that reads them again may join them another way. So a chunk that begins
below the committed position must have a record that ends there: then what stands below is stored, and what stands above
is not. One that has not would bring lines again that are stored; its agent goes back, and reads on from the position.

Where a part of the store was damaged, a source may have a hole: its position is where the hole begins, and what it has
behind the hole, its `Stretch`, is not stored again. Once the hole is filled, the position is the stretch's end.

Joint chunks are new, stored, or refused, as one: they are new only where the store stands at both starts. Of anything
between their starts and ends, nobody knows how the record in the middle was made.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from wire.batch import Batch, Chunk, Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from aggregator.store.coverage import Stretch


_NONE: Final[Mapping[bytes, Sequence[Stretch]]] = MappingProxyType({})


class Piece(msgspec.Struct, frozen=True):
    """New rows of one chunk: rows ``first`` to ``last`` (exclusive) of the columns of request ``request``.

    ``marker``: the position at which the store is to stand behind them, where it is none of theirs; else 0.
    ``marker_ns``: the time of the marker's row. ``tied``: stored in one insert with the piece before it. ``start``:
    where its first row begins, if that is not where the last row ends that was made a piece of; else 0.
    """

    request: int
    chunk: Chunk
    first: int
    last: int
    marker: int = 0
    marker_ns: int = 0
    tied: bool = False
    start: int = 0


class Trimmed(msgspec.Struct, frozen=True):
    """What is to be done with a group.

    ``pieces``: the new rows, and markers, each source's in file order. ``reached``: the position of every accepted
    source once the pieces are stored. ``refused``: the requests that do not fit what is committed, each with the first
    chunk that does not. ``rows_trimmed``: rows left out because they are stored already.
    """

    pieces: tuple[Piece, ...]
    reached: Mapping[bytes, int]
    refused: Mapping[int, Chunk]
    rows_trimmed: int


def trim(
    batches: Sequence[Batch],
    committed: Mapping[bytes, int],
    now_ns: int,
    held: Mapping[bytes, Sequence[Stretch]] = _NONE,
) -> Trimmed:
    """Compare the ``batches`` of a group, in order, with the ``committed`` position of every source in them.

    ``now_ns``: the time of markers that no record stands beside. ``held``: what sources with holes have behind each.

    A request counts as committed for the ones behind it. One with a hole is left out whole: its agent goes back.
    """
    pieces: list[Piece] = []
    reached: dict[bytes, int] = {}
    refused: dict[int, Chunk] = {}
    trimmed = 0
    for request, batch in enumerate(batches):
        before = ChainMap(reached, committed)  # type: ignore[arg-type]  # only read
        verdict = _trim_one(request, batch, before, now_ns, held)
        if isinstance(verdict, Chunk):
            refused[request] = verdict
            continue
        pieces += verdict.pieces
        reached |= verdict.reached
        trimmed += verdict.rows_trimmed
    return Trimmed(tuple(pieces), reached, refused, trimmed)


def _trim_one(
    request: int, batch: Batch, committed: Mapping[bytes, int], now_ns: int, held: Mapping[bytes, Sequence[Stretch]]
) -> Trimmed | Chunk:
    """The new rows of one batch, or the chunk that has a hole before it, or a record across what is committed."""
    pieces: list[Piece] = []
    reached: dict[bytes, int] = {}
    before = ChainMap(reached, committed)  # type: ignore[arg-type]  # only read
    trimmed = 0
    first = 0
    chunks = iter(batch.chunks)
    for chunk in chunks:
        last = first + chunk.rows
        position = before[chunk.source]
        if chunk.joint:
            follower = next(chunks)
            if position == chunk.start and before[follower.source] == 0:
                pieces += _pair(request, batch, chunk, follower, first, now_ns=now_ns)
            elif position >= chunk.end and before[follower.source] >= follower.end:
                trimmed += chunk.rows + follower.rows
            else:
                return chunk
            reached[chunk.source] = max(position, chunk.end)
            reached[follower.source] = max(before[follower.source], follower.end)
            first = last + follower.rows
            continue
        if chunk.start > position and not (chunk.rows and batch.flags[first] & Flag.GAP):
            return chunk
        new = first
        if chunk.start < position:
            new += int(np.searchsorted(batch.positions[first:last], np.uint64(position), "right"))
            if new < last and (new == first or int(batch.positions[new - 1]) != position):
                return chunk
            trimmed += new - first
        stretches = held.get(chunk.source, ())
        stretch = next((each for each in stretches if each.end > position), None)
        filled, reached[chunk.source] = last, max(position, chunk.end)
        if stretch is not None and position <= stretch.start <= chunk.end:
            filled, reached[chunk.source] = _filled(batch.positions[first:last], position, stretch)
            filled = max(new, first + filled)
            trimmed += last - filled
        if new < filled:
            start = position if any(each.end == position for each in stretches) else 0
            pieces.append(Piece(request, chunk, new, filled, start=start))
        first = last
    return Trimmed(tuple(pieces), reached, {}, trimmed)


def _filled(positions: npt.NDArray[np.uint64], position: int, stretch: Stretch) -> tuple[int, int]:
    """How many rows of a chunk that reaches over a hole fill it, and where its source stands then.

    Of what lies behind the hole only the end counts; the agent reads on from there. A record across the edge, joined
    another way than before, is stored: its beginning is nowhere else. Rather the rest of it twice than that lost.
    """
    count = int(np.searchsorted(positions, np.uint64(stretch.start), "right"))
    ends = max(position, int(positions[count - 1])) if count else position
    if ends < stretch.start and count < len(positions):
        return count + 1, max(stretch.end, int(positions[count]))
    return count, stretch.end


def _pair(request: int, batch: Batch, chunk: Chunk, follower: Chunk, first: int, *, now_ns: int) -> tuple[Piece, Piece]:
    """The rows of a joint chunk, which begin at row ``first``, and of the one behind it.

    Without rows, because the agent's rules dropped them, there are markers all the same: once more of the second file
    is stored the agent would not join the two again, and its rules judge, and may keep, the end of the first alone.
    """
    middle, last = first + chunk.rows, first + chunk.rows + follower.rows
    time_ns = int(batch.times[first]) if first < last else now_ns
    pieces = []
    for each, begin, end in ((chunk, first, middle), (follower, middle, last)):
        is_reached = begin < end and int(batch.positions[end - 1]) == each.end
        marker = 0 if is_reached else each.end
        pieces.append(Piece(request, each, begin, end, marker, time_ns, tied=each is follower))
    return pieces[0], pieces[1]
