"""Where bytes may hold what a redaction looks for: found with comparisons of whole arrays, before any expression runs.

A hint may point where nothing is, and must point at everything there is. Measured on ordinary logs: comparing all bytes
with one takes 0.04 ns a byte, `bytes.find` of a short word 0.7 ns, an expression that begins with one of several words
10 ns and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Offsets = npt.NDArray[np.int64]
_Marks = npt.NDArray[np.bool_]

# Looked at in one go, so that what is compared stays few megabytes.
_STRETCH_BYTES: Final = 256 << 10
# A hint looks this far ahead at most.
_AHEAD_BYTES: Final = 16
_FOLD: Final = 0x20  # makes ASCII letters small, and other bytes something else
_WILD: Final = ord("?")
# Fewer digits no card has; how many of them without anything between make a candidate.
_CARD_DIGITS_LEAST: Final = 13


class Letters:
    """Bytes, and where each byte value stands in them; remembers what it was asked."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data = data
        self._marks: dict[tuple[int, bool], _Marks] = {}
        self._folded: npt.NDArray[np.uint8] | None = None

    def at(self, byte: int, *, fold: bool) -> _Marks:
        """bool[n]: where ``byte`` stands; with ``fold`` a small letter, where that or the capital does."""
        found = self._marks.get((byte, fold))
        if found is None:
            if fold and self._folded is None:
                self._folded = self.data | np.uint8(_FOLD)
            source = self._folded if fold and self._folded is not None else self.data
            found = self._marks[byte, fold] = source == np.uint8(byte)
        return found


def words(*shapes: bytes, fold: bool = False) -> Callable[[Letters], Offsets]:
    """A hint at each of ``shapes``: bytes in which ``?`` stands for any; with ``fold`` small letters, or capitals."""
    tests = [[(offset, byte) for offset, byte in enumerate(shape) if byte != _WILD] for shape in shapes]

    def hint(letters: Letters) -> Offsets:
        found = []
        for test in tests:
            size = letters.data.size - test[-1][0]
            if size <= 0:
                continue
            (first, byte), *others = test
            marks = letters.at(byte, fold=fold)[first : first + size]
            for offset, other in others:
                marks = marks & letters.at(other, fold=fold)[offset : offset + size]
            if marks.any():
                found.append(np.flatnonzero(marks))
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    return hint


def cards(letters: Letters) -> Offsets:
    """A hint at what may be the number of a card: many digits in a row, or four, a byte that is none, and four more."""
    data = letters.data
    if data.size < _CARD_DIGITS_LEAST:
        return np.empty(0, np.int64)
    digit = (data >= np.uint8(ord("0"))) & (data <= np.uint8(ord("9")))
    two = digit[:-1] & digit[1:]
    four = two[:-2] & two[2:]
    apart = four[:-5] & four[5:]
    apart &= ~digit[4 : 4 + apart.size]
    eight = four[:-4] & four[4:]
    many = eight[:-5] & eight[5:]
    found = []
    if apart.any():
        found.append(np.flatnonzero(apart))
    if many.any():
        # Not only where a row of digits begins: the bytes may be those of records without anything between them.
        found.append(np.flatnonzero(many))
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def offsets(data: bytes | memoryview, hints: Sequence[Callable[[Letters], Offsets]]) -> list[Offsets]:
    """Where each of ``hints`` points in ``data``: rising offsets for each."""
    array = np.frombuffer(data, np.uint8)
    found: list[list[Offsets]] = [[] for _ in hints]
    for begin in range(0, array.size, _STRETCH_BYTES):
        letters = Letters(array[begin : begin + _STRETCH_BYTES + _AHEAD_BYTES])
        for each, hint in zip(found, hints, strict=True):
            at = hint(letters)
            each.append(at[at < _STRETCH_BYTES] + begin)
    return [np.concatenate(each) if each else np.empty(0, np.int64) for each in found]
