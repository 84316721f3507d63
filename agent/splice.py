"""Records made of rows of others: some left out, some joined with newlines between."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from agent.assemble import Records, edges_of
from agent.interleave import Chains, in_turn
from agent.lines import NEWLINE, mask, steps
from wire.batch import Flag

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

# Of the text, a run that is copied by itself: shorter ones are cheaper copied all together.
RUN_BYTES: Final = 512


def without_held(records: Records, bounds: _Ints, cut: _Ints) -> Records:
    """The records of each segment before its ``cut``."""
    edges = edges_of(records.lengths)
    kept = before_cut(bounds, cut)
    body = memoryview(records.body)
    spans = zip(edges[bounds[:-1]].tolist(), edges[cut].tolist(), strict=True)
    return Records(
        records.times[kept],
        records.positions[kept],
        records.flags[kept],
        records.lengths[kept],
        memoryview(b"".join([body[begin:end] for begin, end in spans])),
        records.starts[kept],
        records.heads[kept],
        cut - bounds[:-1],
        records.ends,
    )


def before_cut(bounds: _Ints, cut: _Ints) -> _Bools:
    """True for the rows of each segment before its ``cut``."""
    runs = np.empty(2 * cut.size, np.int64)
    runs[::2] = cut - bounds[:-1]
    runs[1::2] = bounds[1:] - cut
    kept: _Bools = np.repeat(np.arange(runs.size) & 1 == 0, runs)
    return kept


def merged(records: Records, edges: _Ints, chains: Chains, bounds: _Ints, cut: _Ints) -> Records:
    """The records of each segment before its ``cut``, those of ``chains`` joined; none goes on behind a cut.

    ``edges``: int64[n + 1], of their bodies.
    """
    positions = records.positions.copy()
    turn = in_turn(records, chains, positions)
    if (cut < bounds[1:]).any():
        kept = before_cut(bounds, cut)
        turn = turn[kept[turn]]
        chains = chains.up_to(kept[chains.rows])
    first, begins = chains.first, chains.begins
    positions[first] = positions[chains.last]
    flags, lengths = records.flags.copy(), records.lengths.copy()
    if first.size:
        flags[first] |= np.bitwise_or.reduceat(flags[chains.rows], begins) | np.uint8(Flag.JOINED)
        lengths[first] += np.add.reduceat(lengths[chains.rows] + np.uint32(1), begins)
    continues = np.zeros(records.times.size, np.bool_)
    continues[chains.rows] = True
    heads = turn[~continues[turn]]
    joined = np.bincount(np.searchsorted(bounds, chains.rows, "right") - 1, minlength=cut.size)
    return Records(
        records.times[heads],
        positions[heads],
        flags[heads],
        lengths[heads],
        _text(memoryview(records.body), edges, turn, continues[turn]),
        records.starts[heads],
        records.heads[heads],
        cut - bounds[:-1] - joined,
        records.ends,
    )


def _text(body: memoryview, edges: _Ints, order: _Ints, continues: _Bools) -> memoryview:
    """The bodies of the rows of ``order``, with a newline before each that ``continues`` a record."""
    if not order.size:
        return body[:0]
    # Runs of rows that stand next to each other in the body and need no newline between are copied at once.
    forward = steps(order, -2)
    cuts = np.flatnonzero(continues | (forward != 1))
    starts = edges[order[cuts]]
    ends = edges[order[np.append(cuts[1:], order.size) - 1] + 1]
    newlines = continues[cuts]
    if cuts.size * RUN_BYTES > len(body) and (forward > 0).all():
        return _text_at_once(body, starts, ends, newlines)
    pieces: list[bytes | memoryview] = [b""] * (2 * cuts.size)
    pieces[::2] = map((b"", b"\n").__getitem__, newlines.tolist())
    pieces[1::2] = map(body.__getitem__, map(slice, starts.tolist(), ends.tolist()))
    return memoryview(b"".join(pieces))


def _text_at_once(body: memoryview, starts: _Ints, ends: _Ints, newlines: _Bools) -> memoryview:
    """The runs from ``starts`` to ``ends``, rising, with a newline before each of ``newlines``."""
    lengths = ends - starts
    to = (lengths + newlines).cumsum()
    text = np.full(int(to[-1]), NEWLINE, np.uint8)
    inside, kept = mask(to - lengths, to), mask(starts, ends)
    text[inside] = np.frombuffer(body, np.uint8)[: kept.size][kept]
    return text.data


def without(records: Records, known: _Bools) -> Records:
    """``records`` without those that are ``known``."""
    edges = edges_of(records.lengths)
    kept = np.flatnonzero(~known)
    segment = np.repeat(np.arange(records.rows.size), records.rows)[kept]
    return Records(
        records.times[kept],
        records.positions[kept],
        records.flags[kept],
        records.lengths[kept],
        _text(memoryview(records.body), edges, kept, np.zeros(kept.size, np.bool_)),
        records.starts[kept],
        records.heads[kept],
        np.bincount(segment, minlength=records.rows.size).astype(np.int64),
        records.ends,
    )
