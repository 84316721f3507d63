r"""Joined records with records of the other stream between their lines.

stdout and stderr interleave in one file. Most records are lines that stand next to each other, and their position is
that of their last line. Where lines of the other stream stand between, a record that ended among them would be a place
to read on from inside the joined one. Those get *virtual* positions inside its first line,

    start of the joined record + 1 + records delivered since

by the same rule, and for the same reason, as around partial lines (`agent.partials`): reading on from there is reading
on from the start of that line, without what lies at or below the position. That must give the same records again, so
it is done only where all depends on lines that have been read: every record between is a whole line, complete, not
joined itself, and they are fewer than the first line has bytes. Else only lines that stand next to each other are
joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from agent.assemble import Records

# A joined record has at most this many lines, the deepest stacks of frames that runtimes print.
LINES_MAX: Final = 1024

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class Spans(msgspec.Struct, frozen=True, eq=False):
    """Joined records that rows of others stand in: the ``first`` and the ``last`` row of each, rising: int64[k]."""

    first: _Ints
    last: _Ints

    def only(self, which: _Bools) -> Spans:
        """Those of them."""
        return Spans(self.first[which], self.last[which])


def interleaved(records: Records, before: _Ints) -> Spans:
    """The records that others stand in and that can be whole; the rest is parted: this changes ``before``.

    ``before``: int64[n], the row that a row continues, or -1. Those left do not overlap.
    """
    row = np.arange(before.size)
    apart = (before >= 0) & (before != row - 1)
    if not apart.any():
        return Spans(row[:0], row[:0])
    root = _roots(before)
    size = np.bincount(root, minlength=before.size)
    last = np.zeros(before.size, np.int64)
    np.maximum.at(last, root, row)
    first = np.unique(root[apart])
    found = Spans(first, last[first])
    own = size[first]
    others = found.last - first + 1 - own
    plain = records.positions == records.heads.astype(np.uint64)
    # Rows between are records by themselves if all that are not are the record's own.
    is_whole = (_count(size[root] > 1, found) == own) & (_count(~plain, found) == 0)
    is_whole &= records.starts[first] + 1 + others < records.heads[first]
    part(before, found.only(~is_whole))
    return found.only(is_whole)


def _count(which: _Bools, spans: Spans) -> _Ints:
    """How many of ``which`` lie in each of ``spans``."""
    total = np.concatenate([np.zeros(1, np.int64), which.cumsum()])
    count: _Ints = total[spans.last + 1] - total[spans.first]
    return count


def part(before: _Ints, spans: Spans) -> None:
    """Leave of the records of ``spans`` only what stands next to each other: this changes ``before``."""
    if spans.first.size:
        row = np.arange(before.size)
        parted = np.zeros(before.size, np.bool_)
        parted[spans.first] = True
        before[parted[_roots(before)] & (before != row - 1)] = -1


def in_turn(records: Records, before: _Ints, spans: Spans) -> tuple[_Ints, npt.NDArray[np.uint64]]:
    """All rows in the order in which they are delivered, and their positions, by row; ``spans`` do not overlap.

    The rows of others in a record come before its own, inside its first line.
    """
    row = np.arange(before.size)
    positions = records.positions.copy()
    if not spans.first.size:
        return row, positions
    number = np.searchsorted(spans.first, row, "right") - 1
    inside = (number >= 0) & (row <= spans.last[number])
    first = np.where(inside, spans.first[number], row)
    own = _roots(before) == first
    others = np.flatnonzero(inside & ~own)
    # Counted from the first of the others in the same record.
    rank = np.arange(others.size) - np.searchsorted(first[others], first[others])
    positions[others] = records.starts[first[others]] + 1 + rank
    return np.lexsort((row, own, first)), positions


def _roots(before: _Ints) -> _Ints:
    """The first row of each row's record, by doubling steps back."""
    return roots(np.where(before < 0, np.arange(before.size), before))


def roots(earlier: _Ints) -> _Ints:
    """The first row of each row's record, by doubling steps back. ``earlier``: the row before in it, or itself."""
    while not ((root := earlier[earlier]) == earlier).all():
        earlier = root
    return earlier
