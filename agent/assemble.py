"""Lines to records: partial lines joined, long ones cut, each with its position.

Where a block has neither, its lines are the records, column by column. `agent.partials` says how the others are joined
and what their positions are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from agent.partials import HELD_SHIFT, OpenLine, Pieces, group, pieces_of
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.lines import Lines, Segment
    from agent.partials import Groups


class Records(msgspec.Struct, frozen=True, eq=False):
    """The n records of s segments, as columns of a batch.

    ``times``: int64[n] ns, each that of the first piece. ``positions``: uint64[n], rising strictly in a file.
    ``flags``: uint8[n] of `wire.batch.Flag`. ``lengths``: uint32[n], bytes of each record in ``body``. ``rows``:
    int64[s], records of each segment. ``ends``: int64[s], the position reached in each file: a place to read on from,
    not below any record's position, never lower than before.
    """

    times: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.uint32]
    body: memoryview
    rows: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Assembly:
    """The open partial lines of one file, at most one of stdout and one of stderr; the file's reader owns it.

    ``floor``: the position that is read on from, then the one reached: every record to come lies above it; those at or
    below are known already, and dropped. Reading anywhere else takes a new assembly, which makes the same of it: so to
    lose this is no loss. Holds at most the longest record's bytes a stream.
    """

    __slots__ = ("floor", "open_lines")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self.open_lines: tuple[OpenLine, ...] = ()  # the older first

    @property
    def open_bytes(self) -> int:
        """Bytes held of open lines."""
        return sum(len(line.body) for line in self.open_lines)

    @property
    def open_start(self) -> int | None:
        """Offset in the file of the oldest open line; None if none is open."""
        return self.open_lines[0].start if self.open_lines else None

    @property
    def open_since(self) -> int | None:
        """The time, ns, of the first piece of the oldest open line; None if none is open."""
        return self.open_lines[0].time if self.open_lines else None

    def reach(self, position: int, end: int) -> int:
        """The position reached after records up to ``position`` and lines up to ``end``: the new floor."""
        self.floor = max(self.floor, position, self.open_lines[0].start if self.open_lines else end)
        return self.floor


def assemble(
    lines: Lines, assemblies: Sequence[Assembly], segments: Sequence[Segment], record_bytes_max: int
) -> Records:
    """The records that ``lines`` complete; ``assemblies``, one a segment and each of another file, hold the rest.

    A record keeps its first ``record_bytes_max`` bytes, and is flagged TRUNCATED if it had more.
    """
    pending = [bool(a.open_lines) or a.floor > s.position for a, s in zip(assemblies, segments, strict=True)]
    plain = not any(pending) and not lines.partial.any() and lines.lengths.max(initial=0) <= record_bytes_max
    if not plain and lines.starts.size:
        return _joined(lines, assemblies, segments, record_bytes_max)
    ends = [a.reach(0, s.position + s.size) for a, s in zip(assemblies, segments, strict=True)]
    return Records(
        lines.times,
        lines.ends.view(np.uint64),
        lines.flags,
        lines.lengths,
        lines.body,
        lines.rows,
        np.array(ends, np.int64),
    )


def flush(assembly: Assembly, position: int) -> Records | None:
    """What is open, as it stands, flagged UNFINISHED; None if there is nothing. ``position``: the end of what was read.

    For a file that is over. Should it grow after all, reading on from ``position`` is right; from between two records
    of a flush it is not, what the younger line gained would be lost.
    """
    if not assembly.open_lines:
        return None
    oldest, *younger = assembly.open_lines
    found = [(line, oldest.start + 1 + oldest.completed) for line in younger] + [(oldest, position)]
    found = [(line, at) for line, at in found if at > assembly.floor]
    assembly.open_lines = ()
    end = assembly.reach(position, position)
    if not found:
        return None
    return Records(
        np.array([line.time for line, _ in found], np.int64),
        np.array([at for _, at in found], np.uint64),
        np.array([line.flags | Flag.UNFINISHED for line, _ in found], np.uint8),
        np.array([len(line.body) for line, _ in found], np.uint32),
        memoryview(b"".join([line.body for line, _ in found])),
        np.array([len(found)], np.int64),
        np.array([end], np.int64),
    )


def _joined(
    lines: Lines, assemblies: Sequence[Assembly], segments: Sequence[Segment], record_bytes_max: int
) -> Records:
    held = [(index, line) for index, assembly in enumerate(assemblies) for line in assembly.open_lines]
    held_lines = [line for _, line in held]
    pieces = pieces_of(lines, held)
    groups = group(pieces)
    above = _above_floor(pieces, groups, assemblies)
    # Pieces in the order of the records they make; those of lines that stay open come last.
    rows = np.argsort(groups.of, kind="stable")
    rows = rows[above[groups.of[rows]]]
    of = groups.of[rows]
    heads = np.flatnonzero(np.diff(of, prepend=-1))
    counts = np.diff(heads, append=rows.size)
    made = of[heads]
    n = int(np.searchsorted(made, groups.positions.size))
    sizes = pieces.lengths[rows]
    before = sizes.cumsum() - sizes
    totals = np.add.reduceat(sizes, heads)
    kept = np.clip(record_bytes_max - before + np.repeat(before[heads], counts), 0, sizes)
    first = groups.first[made]
    flags = pieces.flags[first] | np.uint8(Flag.JOINED) * (counts > 1)
    flags |= np.uint8(Flag.TRUNCATED) * (totals > record_bytes_max)
    # What is held of a line that stays open is where it should be.
    addresses = pieces.addresses[rows]
    staying = (of >= groups.positions.size) & (addresses >= 1 << HELD_SHIFT)
    copied = np.where(staying, 0, kept)
    text = _gathered(addresses, copied, lines.body, held_lines)
    ends = np.add.reduceat(copied, heads).cumsum()
    room = np.minimum.reduceat(pieces.room[rows] + pieces.count[rows], heads)
    for index, _ in held:
        assemblies[index].open_lines = ()
    for line in range(n, made.size):
        opened = _opened(pieces, int(first[line]), int(groups.due[made[line]]), held_lines)
        opened.flags = int(flags[line])
        opened.room = int(room[line] - pieces.count[groups.due[made[line]]])
        opened.body += text[int(ends[line - 1]) if line else 0 : int(ends[line])]
        assemblies[int(pieces.segment[first[line]])].open_lines += (opened,)
    positions = groups.positions[made[:n]]
    segment = pieces.segment[first[:n]]
    last = np.zeros(len(segments), np.int64)
    last[segment] = positions  # of a segment's, the last one stays
    triples = zip(assemblies, last.tolist(), segments, strict=True)
    reached = [assembly.reach(position, s.position + s.size) for assembly, position, s in triples]
    return Records(
        pieces.times[first[:n]],
        positions.view(np.uint64),
        flags[:n] | np.uint8(Flag.UNFINISHED) * ~groups.complete[made[:n]],
        np.minimum(totals[:n], record_bytes_max).astype(np.uint32),
        text[: int(ends[n - 1]) if n else 0],
        np.bincount(segment, minlength=len(segments)),
        np.array(reached, np.int64),
    )


def _above_floor(pieces: Pieces, groups: Groups, assemblies: Sequence[Assembly]) -> npt.NDArray[np.bool_]:
    """Which groups are not known already: bool[g]. Open ones never are."""
    floors = np.array([assembly.floor for assembly in assemblies], np.int64)
    above = np.ones(groups.first.size, np.bool_)
    delivered = groups.positions.size
    above[:delivered] = groups.positions > floors[pieces.segment[groups.first[:delivered]]]
    return above


def _opened(pieces: Pieces, row: int, last: int, held: Sequence[OpenLine]) -> OpenLine:
    """The open line whose first piece is ``row``, as it is after the row ``last`` but for what is held of it."""
    number = int(pieces.addresses[row]) >> HELD_SHIFT
    line = held[number - 1] if number else OpenLine(int(pieces.starts[row]), int(pieces.times[row]))
    line.completed = int(pieces.completed[row] + pieces.count[last] - pieces.count[row])
    return line


def _gathered(
    addresses: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    body: memoryview,
    held: Sequence[OpenLine],
) -> memoryview:
    """The bytes of pieces, one after another. Those that follow each other in ``body`` are copied as one run."""
    filled = sizes > 0
    starts = addresses[filled]
    ends = starts + sizes[filled]
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    runs = zip(
        starts[np.append(0, breaks)].tolist() if starts.size else (),
        ends[np.append(breaks - 1, -1)].tolist() if starts.size else (),
        strict=True,
    )
    inside = (1 << HELD_SHIFT) - 1
    return memoryview(
        b"".join(
            [
                body[start:end] if end <= inside else held[(start >> HELD_SHIFT) - 1].body[: end & inside]
                for start, end in runs
            ]
        )
    )
