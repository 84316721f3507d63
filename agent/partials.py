"""Which partial lines make one line, when it is delivered, and at which position. For blocks with partial lines only.

A runtime cuts long messages into pieces; stdout and stderr interleave in one file, so lines of the other stream, and
malformed ones, may stand between them. A line is due when its last piece is read:

    position    the end of that piece; or, while another line of the file is open, a *virtual* one inside the first
                piece of the oldest open line:

                    start of the open line + 1 + lines completed since

Reading on from a virtual position is reading on from the start of that open line, without what lies at or below the
position. It gives the same later records, always: lines open then began there or after, so they are read whole, and
what was completed since is counted alike, whatever it was. Pieces of a line that began before that place ended before
the position; read again they make a shorter line, at or below it.

Virtual positions must lie inside the piece. So no piece may stay open for more completed lines than it has bytes: when
one is about to, all that is open in the file is delivered as it stands, at the end of the line just completed (the
younger of two at one more virtual position in the older). That it is every piece, not only the first ones, makes it
happen alike wherever reading began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.lines import Lines

# Bytes of a piece that give no position to a completed line: at its end begins what comes after it, and one is kept
# for a younger line delivered along with it.
_POSITIONS_KEPT: Final = 2
_STREAMS: Final = (0, 1)  # stdout, stderr: as the flag
# A malformed line belongs to neither, and is complete by itself.
_MALFORMED: Final = 2
# What is held of open lines has addresses far above those of a block's body: item c begins at (c + 1) << HELD_SHIFT.
HELD_SHIFT: Final = 40

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class OpenLine:
    """What is held of a line whose end has not been read.

    ``start``: offset of its first piece in the file; ``completed``: lines completed since; ``room``: how many more may
    be before it is delivered as it stands. ``flags``: those it would have if it were complete.
    """

    __slots__ = ("body", "completed", "flags", "room", "start", "time")

    def __init__(self, start: int, time: int) -> None:
        self.start = start
        self.time = time
        self.flags = 0
        self.completed = 0
        self.room = 0
        self.body = bytearray()


class Pieces(msgspec.Struct, frozen=True, eq=False):
    """The n lines of a block, and before each segment's first one row for every line held open from before, by age.

    ``segment``: int64[n], index of the segment. ``stream``: int64[n], 0 stdout, 1 stderr, 2 malformed. ``partial``:
    bool[n]. ``starts``, ``ends``: int64[n], offsets in the file. ``times``: int64[n] ns. ``flags``: uint8[n].
    ``lengths``, ``addresses``: int64[n], of the message, in the body or in what is held. ``completed``, ``room``:
    int64[n], as of `OpenLine`. ``count``: int64[n], how many of the rows up to and with this one are not partial.
    """

    segment: _Ints
    stream: _Ints
    partial: _Bools
    starts: _Ints
    ends: _Ints
    times: _Ints
    flags: npt.NDArray[np.uint8]
    lengths: _Ints
    addresses: _Ints
    completed: _Ints
    room: _Ints
    count: _Ints


def pieces_of(lines: Lines, held: Sequence[tuple[int, OpenLine]]) -> Pieces:
    """``lines`` and what is ``held`` for their segments (index, open line), by segment and age."""
    rows = lines.rows
    at = (rows.cumsum() - rows)[[segment for segment, _ in held]]
    lengths = lines.lengths.astype(np.int64)
    streams = np.where(lines.flags & Flag.MALFORMED, _MALFORMED, lines.flags & Flag.STDERR).astype(np.int64)
    opened = [line for _, line in held]
    partial = np.insert(lines.partial, at, values=True)
    return Pieces(
        segment=np.insert(np.repeat(np.arange(rows.size), rows), at, [segment for segment, _ in held]),
        stream=np.insert(streams, at, [line.flags & Flag.STDERR for line in opened]),
        partial=partial,
        starts=np.insert(lines.starts, at, [line.start for line in opened]),
        ends=np.insert(lines.ends, at, 0),
        times=np.insert(lines.times, at, [line.time for line in opened]),
        flags=np.insert(lines.flags, at, [line.flags for line in opened]),
        lengths=np.insert(lengths, at, [len(line.body) for line in opened]),
        addresses=np.insert(lengths.cumsum() - lengths, at, np.arange(1, len(held) + 1) << HELD_SHIFT),
        completed=np.insert(np.zeros_like(lengths), at, [line.completed for line in opened]),
        room=np.insert(lines.ends - lines.starts - _POSITIONS_KEPT, at, [line.room for line in opened]),
        count=np.cumsum(~partial),
    )


class Groups(msgspec.Struct, frozen=True, eq=False):
    """Pieces that make one line each: g groups, first those to be delivered, by position, then the open ones, by age.

    ``of``: int64[n], each piece's group. ``first``: int64[g], row of the first piece. ``complete``: bool[g], whether
    the last piece is there. ``due``: int64[g], the row that completes it, or after which it is delivered as it stands;
    of an open one the last of its segment. ``positions``: int64[delivered].
    """

    of: _Ints
    first: _Ints
    complete: _Bools
    due: _Ints
    positions: _Ints


def group(pieces: Pieces) -> Groups:
    """The lines that ``pieces``, at least one, make."""
    rows = pieces.partial.size
    cuts = _cuts(pieces)
    # Nothing stays open over the end of a span: of a segment, or where what is open is delivered as it stands.
    begins = np.ones(rows, np.bool_)
    begins[1:] = pieces.segment[1:] != pieces.segment[:-1]
    begins[cuts[cuts + 1 < rows] + 1] = True
    span = np.cumsum(begins) - 1
    span_ends = np.append(np.flatnonzero(begins)[1:], rows) - 1
    order = np.argsort(pieces.stream, kind="stable")
    new = np.ones(rows, np.bool_)
    new[1:] = (np.diff(pieces.stream[order]) != 0) | (np.diff(span[order]) != 0) | ~pieces.partial[order[:-1]]
    heads = np.flatnonzero(new)
    of = np.empty(rows, np.int64)
    of[order] = np.cumsum(new) - 1
    first = order[heads]
    last = order[np.append(heads[1:], rows) - 1]
    complete = ~pieces.partial[last]
    due = np.where(complete, last, span_ends[span[first]])
    delivered = complete | np.isin(due, cuts)
    oldest = _oldest(pieces, first[of], span, due)
    # Delivered last at its row, with nothing left open: the end of the line.
    clear = (oldest == rows) | (oldest == first)
    host = np.minimum(oldest, rows - 1)
    virtual = pieces.starts[host] + 1 + pieces.completed[host] + pieces.count[due] - pieces.count[host] - complete
    positions = np.where(clear, pieces.ends[due], virtual)
    # At one row: the line it completes, the younger open one, the older open one.
    turn = np.where(delivered, 3 * due + np.where(complete, 0, 1 + clear), 3 * rows + first)
    turns = np.argsort(turn)
    rank = np.empty_like(turns)
    rank[turns] = np.arange(turns.size)
    return Groups(rank[of], first[turns], complete[turns], due[turns], positions[turns[: np.count_nonzero(delivered)]])


def _oldest(pieces: Pieces, firsts: _Ints, span: _Ints, at: _Ints) -> _Ints:
    """The first row of the oldest line that is open at each of the rows ``at``, before any is cut off there.

    The number of rows where none is. ``firsts``: int64[n], the first row of each row's line.
    """
    rows = np.arange(span.size)
    oldest: _Ints = np.full(at.size, span.size)
    for stream in _STREAMS:
        latest = np.maximum.accumulate(np.where(pieces.stream == stream, rows, -1))[at]
        is_open = (latest >= 0) & pieces.partial[latest] & (span[latest] == span[at])
        oldest = np.minimum(oldest, np.where(is_open, firsts[latest], span.size))
    return oldest


def _cuts(pieces: Pieces) -> _Ints:
    """The complete rows after which what is open is delivered as it stands, because some piece has no room left."""
    complete = np.flatnonzero(~pieces.partial)
    rows: _Ints = np.flatnonzero(pieces.partial)
    # The row that takes each piece's last room, if its segment has that many; most pieces are long, and have room.
    nth = pieces.count[rows] + pieces.room[rows] - 1
    rows, nth = rows[nth < complete.size], nth[nth < complete.size]
    full = complete[nth]
    inside = pieces.segment[full] == pieces.segment[rows]
    rows, full = rows[inside], full[inside]
    if not rows.size:
        return rows
    until = np.full(rows.size, pieces.partial.size)
    for stream in _STREAMS:
        ends = np.append(np.flatnonzero(~pieces.partial & (pieces.stream == stream)), pieces.partial.size)
        of_stream = pieces.stream[rows] == stream
        until[of_stream] = ends[np.searchsorted(ends, rows[of_stream])]
    rows, full = rows[full < until], full[full < until]
    # A cut also frees the pieces before it. The next one is the nearest of those that begin behind it; there is a whole
    # piece's worth of lines between two, so this loop is short.
    nearest = np.minimum.accumulate(full[::-1])[::-1]
    cuts = []
    at = 0
    while at < rows.size:
        cuts.append(int(nearest[at]))
        at = int(np.searchsorted(rows, cuts[-1]))
    return np.array(cuts, np.int64)
