"""Which rows of a group of requests are new, and which requests would leave a hole, or store lines twice.

A record may take in several lines, and an agent that reads them again may join them another way. So a chunk that begins
below the committed position must have a record that ends there: then what stands below is stored, and what stands above
is not. One that has not would bring lines again that are stored; its agent goes back, and reads on from the position.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from wire.batch import Batch, Chunk, Flag

if TYPE_CHECKING:
    from collections.abc import Sequence


class Piece(msgspec.Struct, frozen=True):
    """New rows of one chunk: rows ``first`` to ``last`` (exclusive) of the columns of request ``request``."""

    request: int
    chunk: Chunk
    first: int
    last: int


class Trimmed(msgspec.Struct, frozen=True):
    """What is to be done with a group.

    ``pieces``: the new rows, each source's in file order. ``reached``: the position of every accepted source once the
    pieces are stored. ``refused``: the requests that start beyond what is committed. ``rows_trimmed``: rows left out
    because they are stored already.
    """

    pieces: tuple[Piece, ...]
    reached: Mapping[bytes, int]
    refused: frozenset[int]
    rows_trimmed: int


def trim(batches: Sequence[Batch], committed: Mapping[bytes, int]) -> Trimmed:
    """Compare the ``batches`` of a group, in order, with the ``committed`` position of every source in them.

    A request counts as committed for the ones behind it. One with a hole is left out whole: its agent goes back.
    """
    pieces: list[Piece] = []
    reached: dict[bytes, int] = {}
    refused: set[int] = set()
    trimmed = 0
    for request, batch in enumerate(batches):
        verdict = _trim_one(request, batch, ChainMap(reached, committed))  # type: ignore[arg-type]  # only read
        if verdict is None:
            refused.add(request)
            continue
        pieces += verdict.pieces
        reached |= verdict.reached
        trimmed += verdict.rows_trimmed
    return Trimmed(tuple(pieces), reached, frozenset(refused), trimmed)


def _trim_one(request: int, batch: Batch, committed: Mapping[bytes, int]) -> Trimmed | None:
    """The new rows of one batch, or None if it has a hole, or a record across what is committed."""
    pieces: list[Piece] = []
    reached: dict[bytes, int] = {}
    trimmed = 0
    first = 0
    for chunk in batch.chunks:
        last = first + chunk.rows
        position = reached[chunk.source] if chunk.source in reached else committed[chunk.source]
        if chunk.start > position and not (chunk.rows and batch.flags[first] & Flag.GAP):
            return None
        new = first
        if chunk.start < position:
            new += int(np.searchsorted(batch.positions[first:last], np.uint64(position), "right"))
            if new < last and (new == first or int(batch.positions[new - 1]) != position):
                return None
            trimmed += new - first
        if new < last:
            pieces.append(Piece(request, chunk, new, last))
        reached[chunk.source] = max(position, chunk.end)
        first = last
    return Trimmed(tuple(pieces), reached, frozenset(), trimmed)
