"""Where bytes may hold what a redaction looks for: found with a few passes over arrays, before any expression runs.

A hint may point where nothing is, and must point at everything there is. A word is looked for by a rare pair of its
bytes: the bytes are seen as numbers of two, those that begin at even offsets and those at odd ones. That takes 0.1 ns a
byte; `bytes.find` of a short word takes 0.7 ns, an expression that begins with one of several words 10 ns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Offsets = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]
_Marks = npt.NDArray[np.bool_]

# Looked at in one go: what is compared stays in the processor's cache.
_STRETCH_BYTES: Final = 256 << 10
# A hint looks this far ahead at most.
_AHEAD_BYTES: Final = 16
_FOLD: Final = np.uint8(0x20)  # makes ASCII letters small, and other bytes something else
_WILD: Final = ord("?")
# Fewer digits no card has.
_CARD_DIGITS_LEAST: Final = 13
_NOWHERE: Final = np.empty(0, np.int64)


class Letters:
    """Bytes, and the pairs of them as numbers.

    ``begins``: bool[n], where records begin that nothing is between; None if something is. ``marks``: bool[n], room for
    whoever compares.
    """

    def __init__(self, data: _Bytes, begins: _Marks | None = None) -> None:
        self.data = data
        self.begins = begins
        # Rows of an even number of bytes, so that pairs in them are aligned.
        self._padded = np.zeros((2, data.size // 2 * 2 + 2 * _AHEAD_BYTES), np.uint8)
        self._padded[0, : data.size] = data
        np.bitwise_or(data, _FOLD, out=self._padded[1, : data.size])
        self.marks = np.empty(data.size + 1, np.bool_)  # made once: for every page of it the kernel has to be asked
        self._numbers: dict[bool, list[npt.NDArray[np.uint16]]] = {}

    def where(self, pair: bytes, *, fold: bool) -> Offsets:
        """Where ``pair`` stands, in no order; with ``fold`` one of small letters, in capitals too."""
        numbers = self._numbers.get(fold)
        if numbers is None:
            size = self.data.size // 2 * 2 + 2
            padded = self._padded[int(fold)]
            # The odd ones in a copy, which is aligned: numpy compares what is not many times slower.
            numbers = [padded[:size].view("<u2"), padded[1 : size + 1].copy().view("<u2")]
            self._numbers[fold] = numbers
        value = int.from_bytes(pair, "little")
        found = []
        for first, each in enumerate(numbers):
            marks = np.equal(each, value, out=self.marks[: each.size])
            if marks.any():
                found.append(np.flatnonzero(marks) * 2 + first)
        return np.concatenate(found) if found else _NOWHERE

    def holds(self, at: Offsets, byte: int, *, fold: bool) -> _Marks:
        """Whether ``byte`` stands at each of ``at``; nothing stands behind the end."""
        marks: _Marks = self._padded[int(fold)][at] == byte
        return marks


def words(shapes: Mapping[bytes, bytes], *, fold: bool = False) -> Callable[[Letters], Offsets]:
    """A hint at each of ``shapes``: bytes in which ``?`` stands for any; with ``fold`` small letters, or capitals.

    Each with two of its bytes in a row that it is looked for by, the rarer the better.
    """
    probes = [(shape, pair, shape.index(pair)) for shape, pair in shapes.items()]

    def hint(letters: Letters) -> Offsets:
        found = []
        for shape, pair, offset in probes:
            at = letters.where(pair, fold=fold) - offset
            if at.size:
                at = at[at >= 0]
                for place, byte in enumerate(shape):
                    if byte != _WILD and not offset <= place <= offset + 1:
                        at = at[letters.holds(at + place, byte, fold=fold)]
                found.append(at)
        return np.sort(np.concatenate(found)) if found else _NOWHERE

    return hint


def at_signs(letters: Letters) -> Offsets:
    """A hint at every ``@``."""
    return np.flatnonzero(letters.data == np.uint8(ord("@")))


def cards(letters: Letters) -> Offsets:
    """A hint at what may be the number of a card: many digits in a row, or four, a byte that is none, and four more."""
    data = letters.data
    if data.size < _CARD_DIGITS_LEAST:
        return _NOWHERE
    # In place where that goes: to get memory takes longer than to compare.
    digit = data >= np.uint8(ord("0"))
    digit &= np.less_equal(data, np.uint8(ord("9")), out=letters.marks[: data.size])
    four = digit[:-3] & digit[1:-2]
    four &= digit[2:-1]
    four &= digit[3:]
    many = np.logical_and(four[:-9], four[4:-5], out=letters.marks[: four.size - 9])
    many &= four[8:-1]
    many &= four[9:]
    found = four[:-5] & four[5:]
    np.greater(found, digit[4 : 4 + found.size], out=found)
    found[: many.size] |= many
    at = np.flatnonzero(found)
    # One begins with 2 to 6, and not inside a number.
    at = at[(data[at] >= ord("2")) & (data[at] <= ord("6"))]
    begins = (at == 0) | ~digit[at - 1]
    if letters.begins is not None:
        begins |= letters.begins[at]
    candidates: Offsets = at[begins]
    return candidates


def offsets(
    data: bytes | memoryview, hints: Sequence[Callable[[Letters], Offsets]], starts: Offsets | None = None
) -> list[Offsets]:
    """Where each of ``hints`` points in ``data``: rising offsets for each.

    ``starts``: where records begin, if ``data`` are records with nothing between them.
    """
    array = np.frombuffer(data, np.uint8)
    begins = None
    if starts is not None:
        begins = np.zeros(array.size + 1, np.bool_)  # empty records may begin behind the last byte
        begins[starts] = True
    found: list[list[Offsets]] = [[] for _ in hints]
    for begin in range(0, array.size, _STRETCH_BYTES):
        end = begin + _STRETCH_BYTES + _AHEAD_BYTES
        letters = Letters(array[begin:end], None if begins is None else begins[begin:end])
        for each, hint in zip(found, hints, strict=True):
            at = hint(letters)
            each.append(at[at < _STRETCH_BYTES] + begin)
    return [np.concatenate(each) if each else _NOWHERE for each in found]
