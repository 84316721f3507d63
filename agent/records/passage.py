"""Records as one run of bytes: some of them chosen, joined for a search, put together again.

Python runs per run of neighbours that are chosen alike, not per record.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from agent.select.expression import SEPARATORS
from agent.select.hints import offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.select.expression import Expression
    from agent.select.hints import Letters, Offsets


class Passage(msgspec.Struct, frozen=True, eq=False):
    """n records: ``body``, their bytes one after another; ``lengths``, int64[n]."""

    body: bytes | memoryview
    lengths: npt.NDArray[np.int64]

    def records(self) -> Iterator[bytes]:
        """Each by itself; for what cannot be done to all at once."""
        edges = np.concatenate(([0], np.cumsum(self.lengths))).tolist()
        return (bytes(self.body[begin:end]) for begin, end in itertools.pairwise(edges))

    def only(self, chosen: npt.NDArray[np.bool_]) -> Passage:
        """The records where ``chosen``, bool[n], is True."""
        if chosen.all():
            return self
        edges = np.concatenate(([0], np.cumsum(self.lengths)))
        bounds = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
        at = edges[bounds].tolist()
        pieces = [self.body[begin:end] for begin, end in zip(at[::2], at[1::2], strict=True)]
        return Passage(b"".join(pieces), self.lengths[chosen])

    def candidates(self, hints: Sequence[Callable[[Letters], Offsets] | None]) -> npt.NDArray[np.bool_]:
        """bool[n]: the records that one of ``hints`` points into; all, if one is None."""
        known = [hint for hint in hints if hint is not None]
        if len(known) < len(hints):
            return np.ones(self.lengths.size, np.bool_)
        found = np.zeros(self.lengths.size, np.bool_)
        ends = np.cumsum(self.lengths)
        for at in offsets(self.body, known, ends - self.lengths):
            found[np.searchsorted(ends, at, side="right")] = True
        return found

    def separator(self, expressions: Sequence[Expression]) -> int | None:
        """A byte that no record has, and all ``expressions`` can do with; None if there is none."""
        data = bytes(self.body)
        allowed = set(SEPARATORS).intersection(*(expression.separators for expression in expressions))
        return next((byte for byte in SEPARATORS if byte in allowed and byte not in data), None)

    def joined(self, separator: int) -> bytes:
        """The records, each followed by ``separator``."""
        size = len(self.body) + self.lengths.size
        text = np.full(size, separator, np.uint8)
        inside = np.ones(size, np.bool_)
        inside[np.cumsum(self.lengths + 1) - 1] = False
        text[inside] = np.frombuffer(self.body, np.uint8)
        return text.tobytes()


def separated(text: bytes, separator: int) -> Passage:
    """The records in ``text``, which are each followed by ``separator``."""
    return Passage(text.replace(bytes([separator]), b""), np.diff(_ends(text, separator), prepend=-1) - 1)


def rows_of(starts: Sequence[int], text: bytes, separator: int) -> npt.NDArray[np.int64]:
    """The records in ``text`` that ``starts``, rising offsets, lie in: each once."""
    return np.unique(np.searchsorted(_ends(text, separator), np.array(starts, np.int64)))


def _ends(text: bytes, separator: int) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.frombuffer(text, np.uint8) == separator)


def interleaved(passages: Sequence[Passage], which: npt.NDArray[np.int64]) -> Passage:
    """Records taken from ``passages``: the next one of passage ``which[i]`` is the i-th."""
    lengths = np.empty(which.size, np.int64)
    edges = []
    for number, passage in enumerate(passages):
        lengths[which == number] = passage.lengths
        edges.append(np.concatenate(([0], np.cumsum(passage.lengths))))
    bounds = np.concatenate(([0], np.flatnonzero(np.diff(which)) + 1, [which.size])).tolist()
    taken = [0] * len(passages)
    pieces = []
    for begin, end in itertools.pairwise(bounds):
        if begin < end:
            number = int(which[begin])
            first, last = taken[number], taken[number] + end - begin
            pieces.append(passages[number].body[int(edges[number][first]) : int(edges[number][last])])
            taken[number] = last
    return Passage(b"".join(pieces), lengths)
