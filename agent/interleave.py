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


def interleaved(before: _Ints) -> list[tuple[int, int]]:
    """First and last row of the records that have rows of others between theirs, in order of the first."""
    row = np.arange(before.size)
    apart = (before >= 0) & (before != row - 1)
    if not apart.any():
        return []
    root = roots(np.where(before < 0, row, before))
    last = np.zeros(before.size, np.int64)
    np.maximum.at(last, root, row)
    found = np.unique(root[apart])
    return list(zip(found.tolist(), last[found].tolist(), strict=True))


class Interleaved(msgspec.Struct, frozen=True, eq=False):
    """Rows ``first`` to ``last``, of a record and ``others`` between: their ``order``, the others' ``positions``."""

    first: int
    last: int
    order: _Ints
    others: _Ints
    positions: _Ints


def delivered(records: Records, before: _Ints, single: _Bools, span: tuple[int, int]) -> Interleaved | None:
    """The others first, inside the first line of the record that rows ``span`` begin and end; None if that cannot be.

    ``single``: the rows that are records by themselves.
    """
    first, last = span
    rows = np.arange(first, last + 1)
    mine = np.zeros(rows.size, np.bool_)
    row = last
    while row >= first:
        mine[row - first] = True
        row = int(before[row])
    others = rows[~mine]
    base = int(records.starts[first]) + 1
    is_plain = bool((records.positions[rows] == records.heads[rows].astype(np.uint64)).all())
    if not (is_plain and single[others].all()) or base + others.size >= int(records.heads[first]):
        return None
    return Interleaved(first, last, np.concatenate([others, rows[mine]]), others, base + np.arange(others.size))


def part_where_others_stand(before: _Ints, first: int, last: int) -> None:
    """Leave of the record from row ``first`` to ``last`` only what stands next to each other."""
    row = last
    while row > first:
        earlier = int(before[row])
        if earlier != row - 1:
            before[row] = -1
        row = earlier


def roots(earlier: _Ints) -> _Ints:
    """The first row of each row's record, by doubling steps back. ``earlier``: the row before in it, or itself."""
    for _ in range(LINES_MAX.bit_length()):
        earlier = earlier[earlier]
    return earlier
