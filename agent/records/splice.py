"""Records made of rows of others: some left out, some joined with newlines between."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.parse.assemble import Assembled, Records, edges_of
from agent.parse.excerpts import gathered
from agent.parse.lines import NEWLINE
from agent.records.interleave import Chains, in_turn
from wire.batch import Flag

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


def without_held(found: Assembled, bounds: _Ints, cut: _Ints) -> Records:
    """The records of each segment before its ``cut``."""
    kept = before_cut(bounds, cut)
    lengths = found.lengths[kept]
    return Records(
        found.times[kept],
        found.positions[kept],
        found.flags[kept],
        lengths,
        gathered(found.text, found.begins[kept], lengths).data,
        found.starts[kept],
        found.heads[kept],
        cut - bounds[:-1],
        found.ends,
    )


def before_cut(bounds: _Ints, cut: _Ints) -> _Bools:
    """True for the rows of each segment before its ``cut``."""
    runs = np.empty(2 * cut.size, np.int64)
    runs[::2] = cut - bounds[:-1]
    runs[1::2] = bounds[1:] - cut
    kept: _Bools = (np.arange(runs.size) & 1 == 0).repeat(runs)
    return kept


def merged(found: Assembled, chains: Chains, bounds: _Ints, cut: _Ints) -> Records:
    """The records of each segment before its ``cut``, those of ``chains`` joined; none goes on behind a cut."""
    positions = found.positions.copy()
    turn = in_turn(found, chains, positions)
    if (cut < bounds[1:]).any():
        kept = before_cut(bounds, cut)
        turn = kept.nonzero()[0] if turn is None else turn[kept[turn]]
        chains = chains.up_to(kept[chains.rows])
    first, begins = chains.first, chains.begins
    positions[first] = positions[chains.last]
    flags, lengths = found.flags.copy(), found.lengths.copy()
    if first.size:
        flags[first] |= np.bitwise_or.reduceat(flags[chains.rows], begins) | np.uint8(Flag.JOINED)
        lengths[first] += np.add.reduceat(lengths[chains.rows] + np.uint32(1), begins)
    continues = np.zeros(found.times.size, np.bool_)
    continues[chains.rows] = True
    heads = (~continues).nonzero()[0] if turn is None else turn[~continues[turn]]
    joined = np.bincount(bounds.searchsorted(chains.rows, "right") - 1, minlength=cut.size)
    return Records(
        found.times[heads],
        positions[heads],
        flags[heads],
        lengths[heads],
        _text(found, chains.rows, turn).data,
        found.starts[heads],
        found.heads[heads],
        cut - bounds[:-1] - joined,
        found.ends,
    )


def _text(found: Assembled, continuing: _Ints, turn: _Ints | None) -> npt.NDArray[np.uint8]:
    """The bytes of the rows in ``turn`` (None: all, as they stand), a newline before each of the ``continuing``."""
    begins, lengths = found.begins.copy(), found.lengths.astype(np.int64)
    # The byte before a message is none's.
    begins[continuing] -= 1
    lengths[continuing] += 1
    found.text[begins[continuing]] = NEWLINE
    return gathered(found.text, begins, lengths) if turn is None else gathered(found.text, begins[turn], lengths[turn])


def without(records: Records, known: _Bools) -> Records:
    """``records`` without those that are ``known``."""
    edges = edges_of(records.lengths)
    kept = (~known).nonzero()[0]
    lengths = records.lengths[kept]
    segment = np.arange(records.rows.size).repeat(records.rows)[kept]
    return Records(
        records.times[kept],
        records.positions[kept],
        records.flags[kept],
        lengths,
        gathered(np.frombuffer(records.body, np.uint8), edges[kept], lengths).data,
        records.starts[kept],
        records.heads[kept],
        np.bincount(segment, minlength=records.rows.size).astype(np.int64),
        records.ends,
    )
