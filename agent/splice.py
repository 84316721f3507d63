"""Records made of rows of others: some left out, some joined with newlines between."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from agent.assemble import Records, edges_of
from agent.lines import NEWLINE, mask
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


def merged(records: Records, positions: npt.NDArray[np.uint64], order: _Ints, begins: _Bools, bounds: _Ints) -> Records:
    """The rows of ``order``, each that does not begin a record added to the one before it."""
    edges = edges_of(records.lengths)
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], order.size)[: firsts.size] - 1
    lengths = records.lengths[order].astype(np.int64)
    several = lasts > firsts
    flags = np.bitwise_or.reduceat(records.flags[order], firsts) if firsts.size else records.flags[:0]
    flags |= several.astype(np.uint8) * np.uint8(Flag.JOINED)
    total = np.add.reduceat(lengths, firsts) if firsts.size else lengths[:0]
    rows_of = np.searchsorted(bounds, order[firsts], "right") - 1
    first_rows = order[firsts]
    return Records(
        records.times[first_rows],
        positions[order[lasts]],
        flags,
        (total + lasts - firsts).astype(np.uint32),
        _text(memoryview(records.body), edges, order, begins),
        records.starts[first_rows],
        records.heads[first_rows],
        np.bincount(rows_of, minlength=records.rows.size).astype(np.int64),
        records.ends,
    )


def _text(body: memoryview, edges: _Ints, order: _Ints, begins: _Bools) -> memoryview:
    """The bodies of the rows of ``order``, with a newline before each that does not begin a record."""
    if not order.size:
        return body[:0]
    # Runs of rows that stand next to each other in the body and need no newline between are copied at once.
    steps = np.diff(order, prepend=order[0] - 2)
    cuts = np.flatnonzero(~begins | (steps != 1))
    starts = edges[order[cuts]]
    ends = edges[order[np.append(cuts[1:], order.size) - 1] + 1]
    newlines = ~begins[cuts]
    if cuts.size * RUN_BYTES > len(body) and (steps > 0).all():
        return _text_at_once(body, starts, ends, newlines)
    pieces: list[bytes | memoryview] = []
    for start, end, newline in zip(starts.tolist(), ends.tolist(), newlines.tolist(), strict=True):
        if newline:
            pieces.append(b"\n")
        pieces.append(body[start:end])
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
        _text(memoryview(records.body), edges, kept, np.ones(kept.size, np.bool_)),
        records.starts[kept],
        records.heads[kept],
        np.bincount(segment, minlength=records.rows.size).astype(np.int64),
        records.ends,
    )
