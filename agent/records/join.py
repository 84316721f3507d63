r"""Records to records: those that continue each other joined, with newlines between, and the last ones held back.

`agent.records.multiline` says which record continues the one before it in its stream. That of the last record of a
stream is not known before the next one is read, or so much time has passed that none will continue it. Until then
nothing from its beginning on is delivered: reading goes back there, and takes those lines again together with what
comes next. So there is no state, and the position reached is the end of the last record delivered.

Where lines of the other stream stand between those of a record, `agent.records.interleave` says what the positions are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.assemble import Assembled, Records, edges_of
from agent.parse.lines import before_run, steps
from agent.records import multiline
from agent.records.interleave import LINES_MAX, Chains, chained, interleaved
from agent.records.multiline import SOON_NS, Verdict
from agent.records.shapes import Sequence
from agent.records.splice import merged, without, without_held
from agent.select.beginnings import Beginning
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

# The lines of a joined record begin within so many bytes of its file, with those of the other stream between; what is
# longer goes on in a record of its own. About twice this is held of a file, at most.
BYTES_MAX: Final = 128 << 10
# After a record's time no line is expected any more that continues it: the time allowed, and some for the runtime to
# write what it has stamped.
CLOSED_AFTER_NS: Final = SOON_NS + 50_000_000
# Time that never comes: everything is held that may go on.
NEVER: Final = -(1 << 63)
# Time that has always come: nothing is held.
ALWAYS: Final = (1 << 63) - 1
# The streams of so many files have numbers of 16 bits, which are sorted several times faster.
_FEW_SEGMENTS: Final = 1 << 15
_UNJOINABLE: Final = int(Flag.MALFORMED | Flag.GAP)
_PIECED: Final = int(Flag.JOINED)


class Segment(msgspec.Struct, frozen=True):
    """What is known of the file of a segment of records.

    ``floor``: the position reached before them. ``end``: the offset up to which the file has been read. ``closed_ns``:
    a record of that time or before is not continued any more, for there is no more. ``open_start``: where the first of
    the lines that are open at the end begins; they are held as well, where anything is. ``start``: what every record's
    first line begins with; None: what `agent.records.multiline` says. ``joins``: whether records
    are joined at all.
    """

    floor: int
    end: int
    closed_ns: int
    open_start: int | None = None
    joins: bool = True
    start: Beginning | None = None


class Joined(msgspec.Struct, frozen=True, eq=False):
    """The ``records`` to deliver, and what is held back.

    ``held``: int64[s], the offset in each file from which on records are; -1 if none. ``held_ns``: int64[s], the time
    of the last one of those.
    """

    records: Records
    held: _Ints
    held_ns: _Ints


class _Ends(msgspec.Struct, frozen=True, eq=False):
    """Of m streams: the ``last`` row, and the rows of two records' beginnings that what follows it may change.

    ``segment``, ``last``, ``first`` (of the record it may become a part of) and ``own`` (of its own): int64[m].
    """

    segment: _Ints
    last: _Ints
    first: _Ints
    own: _Ints


class _Hold(msgspec.Struct, frozen=True, eq=False):
    """What of each segment waits for what follows.

    ``certain`` and ``cut``: the row before which nothing depends on it, and before which nothing is held. ``held`` and
    ``held_ns``: as in `Joined`. All int64[s].
    """

    certain: _Ints
    cut: _Ints
    held: _Ints
    held_ns: _Ints


_NO_CHAINS: Final = chained(np.zeros(0, np.int64), np.zeros(0, np.int64))


class _Links(msgspec.Struct, frozen=True, eq=False):
    """Which rows continue which.

    ``chains``: those that do. ``tangles``: the first and the last row of those that overlapped, or have rows of others
    between, as `Chains.tangles` has it. ``limited``: the rows that begin a record because the one before is at its
    limit. ``ends``: those of the streams that may go on.
    """

    chains: Chains
    tangles: tuple[_Ints, _Ints]
    limited: _Ints
    ends: _Ends


def join(records: Assembled, segments: Several[Segment], bytes_max: int = BYTES_MAX) -> Joined:
    """Join ``records``, of one segment a file, within ``bytes_max``; hold back those whose end is not known."""
    count = len(segments)
    if not records.times.size or not any(segment.joins for segment in segments):
        return Joined(records.records(), np.full(count, -1, np.int64), np.zeros(count, np.int64))
    bounds = edges_of(records.rows)
    links = _links(records, segments, bytes_max)
    hold = _hold(records, segments, bounds, links, bytes_max)
    if links.chains.rows.size:
        found = _joined(records, bounds, links, hold)
    else:
        found = without_held(records, bounds, hold.cut) if (hold.cut < bounds[1:]).any() else records.records()
    return Joined(_reached(found, segments, hold.held), hold.held, hold.held_ns)


def _links(records: Assembled, segments: Several[Segment], bytes_max: int) -> _Links:
    """Which row continues which, and what is in doubt at the end of each stream."""
    number = np.dtype(np.uint16 if len(segments) <= _FEW_SEGMENTS else np.int64)
    key: npt.NDArray[np.integer] = np.arange(0, 2 * len(segments), 2).astype(number).repeat(records.rows)
    key += records.flags & np.uint8(Flag.STDERR) != 0
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.empty(key.size, np.bool_)
    first[0] = True
    first[1:] = key[1:] != key[:-1]
    segment = key >> 1
    sequence = _sequence(records, order, first)
    sequence.apart[:] |= sequence.lengths > bytes_max
    if not all(each.joins for each in segments):
        sequence.apart[:] |= ~np.array([each.joins for each in segments], np.bool_)[segment]
    verdict = _verdict(sequence, segments, segment)
    joined, limited = _within_limits(verdict.continues.nonzero()[0], order, records.starts, bytes_max)
    chains = chained(order[joined], order[joined - 1]) if joined.size else _NO_CHAINS
    tangles = chains.tangles()
    lasts = np.append(first.nonzero()[0][1:], key.size) - 1
    lasts = lasts[~sequence.apart[lasts]]
    doubtful = lasts.copy()
    for place in (verdict.soon[lasts] & (verdict.empty[lasts] | verdict.near[lasts])).nonzero()[0].tolist():
        doubtful[place] = _doubtful(verdict, int(lasts[place]))
    firsts = order[_firsts(joined, np.concatenate([doubtful, lasts]))]
    ends = _Ends(segment[lasts], order[lasts], firsts[: lasts.size], firsts[lasts.size :])
    return _Links(interleaved(records, chains), tangles, order[limited], ends)


def _doubtful(verdict: Verdict, last: int) -> int:
    """The first of the last records of a stream whose joining depends on what follows ``last``."""
    row = last
    while verdict.soon[row] and (verdict.empty[row] or (row == last and verdict.near[row])):
        row -= 1
    return row


def _sequence(records: Assembled, order: _Ints, first: _Bools) -> Sequence:
    """All records, in ``order``."""
    told = int(np.bitwise_or.reduce(records.flags))
    apart = np.zeros(order.size, np.bool_)
    if told & _UNJOINABLE:
        apart = ((records.flags & np.uint8(_UNJOINABLE)) != 0)[order]
    if told & _PIECED:
        # A record of several pieces never continues another one: while its pieces are read nothing is held.
        first = first | ((records.flags & np.uint8(_PIECED)) != 0)[order]
    return Sequence(
        records.text,
        records.begins[order],
        records.lengths[order].astype(np.int64),
        records.times[order],
        first,
        apart,
    )


def _verdict(sequence: Sequence, segments: Several[Segment], segment: _Ints) -> Verdict:
    """What `agent.records.multiline` says, or the files' own expressions."""
    starts = list(dict.fromkeys(each.start for each in segments))
    if starts == [None]:
        return multiline.judge(sequence)
    number = np.array([starts.index(each.start) for each in segments], np.int64)[segment]
    verdict = multiline.Verdict(*np.zeros((4, segment.size), np.bool_))
    for each, start in enumerate(starts):
        rows = (number == each).nonzero()[0]
        part = _part(sequence, rows)
        found = multiline.judge(part) if start is None else multiline.judge_by(start, part)
        verdict.continues[rows], verdict.soon[rows] = found.continues, found.soon
        verdict.near[rows], verdict.empty[rows] = found.near, found.empty
    return verdict


def _part(sequence: Sequence, rows: _Ints) -> Sequence:
    return Sequence(
        sequence.text,
        sequence.begins[rows],
        sequence.lengths[rows],
        sequence.times[rows],
        sequence.first[rows],
        sequence.apart[rows],
    )


def _within_limits(rows: _Ints, order: _Ints, starts: _Ints, bytes_max: int) -> tuple[_Ints, _Ints]:
    """Those of ``rows``, which continue the one before, within `LINES_MAX` and ``bytes_max`` of their first; the rest.

    All these are places in ``order``; ``starts``: int64[n], by row.
    """
    first = before_run(rows)
    start = starts[order[first]]
    taken, taken_before = (starts[order[rows]] - start) // bytes_max, (starts[order[rows - 1]] - start) // bytes_max
    inside = ((rows - first) % LINES_MAX != 0) & (taken == taken_before)
    return rows[inside], rows[~inside]


def _firsts(continuing: _Ints, rows: _Ints) -> _Ints:
    """The first row of the record of each of ``rows``, where those ``continuing``, rising, continue the one before."""
    if not continuing.size:
        return rows
    begins = continuing[steps(continuing, -1) != 1] - 1
    within = continuing.take(continuing.searchsorted(rows), mode="clip") == rows
    return np.where(within, begins[begins.searchsorted(rows) - 1], rows)


def _hold(records: Assembled, segments: Several[Segment], bounds: _Ints, links: _Links, bytes_max: int) -> _Hold:
    """What of each segment waits, by the ``links`` of the streams' ends."""
    ends = links.ends
    times, segment = records.times[ends.last], ends.segment
    read = np.array([each.end for each in segments], np.int64)
    closed_ns = np.array([each.closed_ns for each in segments], np.int64)
    open_start = np.array([each.end if each.open_start is None else each.open_start for each in segments], np.int64)
    joins = np.array([each.joins for each in segments], np.bool_)
    room = read[segment] - bytes_max
    row = np.where(records.starts[ends.first] > room, ends.first, ends.own)
    doubt = joins[segment] & (records.starts[row] > room)
    doubt &= np.abs(records.times[bounds[segment + 1] - 1] - times) <= CLOSED_AFTER_NS
    # A tangle that is too long to be held is parted wherever it is cut.
    floor = read - 2 * bytes_max
    certain = _earliest(records, links, bounds, floor, (segment[doubt], row[doubt]))
    # Where it is too much to hold: nothing behind the beginning of an open line has lines of others between its own.
    held_back = doubt & (times > closed_ns[segment]) & (open_start[segment] > room)
    cut = (
        certain
        if (held_back == doubt).all()
        else _earliest(records, links, bounds, floor, (segment[held_back], row[held_back]))
    )
    held = np.full(len(segments), -1, np.int64)
    held_ns = np.zeros(len(segments), np.int64)
    np.maximum.at(held_ns, segment[held_back], times[held_back])
    holding = (cut < bounds[1:]).nonzero()[0]
    if holding.size:
        edges = np.stack([cut[holding], bounds[holding + 1]], axis=1).ravel()
        starts = np.minimum.reduceat(records.starts, edges[: -1 if edges[-1] == bounds[-1] else None])[::2]
        held[holding] = np.minimum(starts, open_start[holding])
    return _Hold(certain, cut, held, held_ns)


def _earliest(records: Assembled, links: _Links, bounds: _Ints, floor: _Ints, doubt: tuple[_Ints, _Ints]) -> _Ints:
    """The first row of each segment that is in ``doubt``, given the segments and rows of streams; its end if none is.

    Or the first of the tangle that it is in, if that begins behind ``floor``.
    """
    found = bounds[1:].copy()
    np.minimum.at(found, *doubt)
    first, last = links.tangles
    if first.size:
        at = np.maximum(first.searchsorted(found, "right") - 1, 0)
        within = (first[at] < found) & (last[at] >= found)
        found = np.where(within & (records.starts[first[at]] > floor), first[at], found)
    return found


def _joined(records: Assembled, bounds: _Ints, links: _Links, hold: _Hold) -> Records:
    """The records of each segment that are not held, joined."""
    chains = links.chains
    segment = bounds.searchsorted(chains.first, "right") - 1
    is_doubtful = chains.last >= hold.certain[segment]
    if links.limited.size:
        is_doubtful |= np.isin(chains.first, links.limited)
    chains = chains.parted(is_doubtful & (chains.others > 0))
    return merged(records, chains, bounds, hold.cut)


def _reached(records: Records, segments: Several[Segment], held: _Ints) -> Records:
    """``records`` above the floor of their file, with the ends that are reached where some are held back."""
    floors = np.array([segment.floor for segment in segments], np.int64)
    filled = records.rows.nonzero()[0]
    firsts = (records.rows.cumsum() - records.rows)[filled]
    # Positions rise, so if the first is not known none is.
    if (records.positions[firsts] <= floors[filled].view(np.uint64)).any():
        records = without(records, records.positions <= floors.repeat(records.rows).view(np.uint64))
        filled = records.rows.nonzero()[0]
    reached = floors.copy()
    reached[filled] = records.positions[records.rows.cumsum()[filled] - 1].view(np.int64)
    return msgspec.structs.replace(records, ends=np.where(held >= 0, reached, records.ends))
