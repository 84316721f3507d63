r"""Joined records with records of the other stream between their lines.

stdout and stderr interleave in one file. Most records are lines that stand next to each other, and their position is
that of their last line. Where lines of the other stream stand between, a record that ended among them would be a place
to read on from inside the joined one. Those get *virtual* positions inside its first line,

    start of the joined record + 1 + records delivered since

by the same rule, and for the same reason, as around partial lines (`agent.parse.partials`): reading on from there is
reading on from the start of that line, without what lies at or below the position. That must give the same records
again, so it is done only where all depends on lines that have been read: every record between is a whole line,
complete, not joined itself, and they are fewer than the first line has bytes. Else only lines that stand next to each
other are joined.

Chains of both streams that overlap are a *tangle*, and all parted for it. What is left of them is known only if the
first of them is: so all of a tangle is held, or delivered, at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from agent.parse.assemble import Assembled

# A joined record has at most this many lines, the deepest stacks of frames that runtimes print.
LINES_MAX: Final = 1024

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


class Chains(msgspec.Struct, frozen=True, eq=False):
    """Which rows continue which, of n records; those that are joined make a chain.

    Of m rows, chain after chain and rising in each: ``rows``, ``before``, the row that each continues, and ``chain``,
    the number of its chain: int64[m]. Of k chains: ``begins``, where each begins in these; ``first`` and ``last``, the
    rows at its ends; ``others``, how many rows that are not its own stand between: int64[k].
    """

    rows: _Ints
    before: _Ints
    chain: _Ints
    begins: _Ints
    first: _Ints
    last: _Ints
    others: _Ints

    def spans(self) -> tuple[_Ints, _Ints]:
        """The first and the last row of chains that rows of others stand in, rising."""
        apart = self.others.nonzero()[0]
        apart = apart[np.argsort(self.first[apart])]
        return self.first[apart], self.last[apart]

    def tangles(self) -> tuple[_Ints, _Ints]:
        """The first and the last row of chains that rows of others stand in, those that overlap in one; rising."""
        first, last = self.spans()
        last = np.maximum.accumulate(last)
        begin = np.ones(first.size, np.bool_)
        begin[1:] = first[1:] > last[:-1]
        end = np.ones(first.size, np.bool_)
        end[:-1] = begin[1:]
        return first[begin], last[end]

    def parted(self, which: _Bools) -> Chains:
        """Of chains ``which``, bool[k], only rows that stand next to each other are left together."""
        if not np.count_nonzero(which):
            return self
        left = ~which[self.chain] | (self.before == self.rows - 1)
        return chained(self.rows[left], self.before[left])

    def up_to(self, is_known: _Bools) -> Chains:
        """Those rows, bool[m], of which all of a chain are or none is."""
        return self if is_known.all() else chained(self.rows[is_known], self.before[is_known])


def chained(rows: _Ints, before: _Ints) -> Chains:
    """The chains of ``rows`` that continue those ``before``, one stream after another, rising in each."""
    begin = np.empty(rows.size, np.bool_)
    begin[:1] = True
    begin[1:] = before[1:] != rows[:-1]
    begins = begin.nonzero()[0]
    ends = np.empty_like(begins)
    ends[:-1] = begins[1:]
    ends[-1:] = rows.size
    first, last = before[begins], rows[ends - 1]
    return Chains(rows, before, begin.cumsum() - 1, begins, first, last, last - first - (ends - begins))


def interleaved(found: Assembled, chains: Chains) -> Chains:
    """The ``chains``, those parted that rows of others stand in and that cannot be whole. None overlap then."""
    apart = chains.others.nonzero()[0]
    if not apart.size:
        return chains
    first, last, others = chains.first[apart], chains.last[apart], chains.others[apart]
    # Rows between are records by themselves if all that are not are the record's own.
    joined = np.sort(np.concatenate([chains.rows, chains.first]))
    is_whole = _count(joined, first, last) + others == last - first + 1
    pieced = (found.positions.view(np.int64) != found.heads).nonzero()[0]
    if pieced.size:
        is_whole &= _count(pieced, first, last) == 0
    is_whole &= found.starts[first] + 1 + others < found.heads[first]
    parted = np.zeros(chains.first.size, np.bool_)
    parted[apart[~is_whole]] = True
    return chains.parted(parted)


def _count(rows: _Ints, first: _Ints, last: _Ints) -> _Ints:
    """How many of ``rows``, rising, lie from each ``first`` to its ``last``."""
    count: _Ints = rows.searchsorted(last, "right") - rows.searchsorted(first)
    return count


def in_turn(found: Assembled, chains: Chains, positions: npt.NDArray[np.uint64]) -> _Ints | None:
    """All rows in the order in which they are delivered, None if as they stand; puts virtual ``positions`` there.

    The rows of others in a record come before its own, inside its first line.
    """
    first, last = chains.spans()
    if not first.size:
        return None
    turn = np.arange(found.times.size)
    span = last - first + 1
    number = np.arange(first.size).repeat(span)
    inside = np.arange(number.size) + (first - span.cumsum() + span)[number]
    is_own = np.zeros(turn.size, np.bool_)
    is_own[chains.rows] = is_own[chains.first] = True
    own = is_own[inside]
    turn[inside] = inside[np.argsort(2 * number + own, kind="stable")]
    others, number = inside[~own], number[~own]
    # Counted from the first of the others in the same record.
    rank = np.arange(others.size) - number.searchsorted(number)
    positions[others] = found.starts[first[number]] + 1 + rank
    return turn
