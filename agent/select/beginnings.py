r"""Whether records begin with what an expression matches: many of them at once, by tables of bytes.

What a record begins with is most often said byte by byte: ``\d{4}-\d\d-\d\d``, ``\[``, ``(INFO|WARN|ERROR)``, ``\S``.
Such an expression is a few *shapes*, each a row of sets of bytes, and to look a byte up in a set is one operation on
all records. Of any other expression the shapes are what it begins with: only records of one of these can match. They
are cut out in one go, with a byte between that none of them has, and handed to the expression without any Python
between two of them. To search all as one text, as `agent.select.expression` does, takes up to twice as long here.
"""

from __future__ import annotations

import itertools
import operator
import re
from re import _constants as constants
from re import _parser as parser
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from agent.parse.excerpts import gathered
from agent.select.expression import SEPARATORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.select.expression import Expression

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
# bool[256], the bytes that may stand in a place.
_Set = npt.NDArray[np.bool_]
_Shape = tuple[_Set, ...]

# Every byte of every shape is one operation on all records; more is left to the expression.
_BYTES_MAX: Final = 48
_SHAPES_MAX: Final = 8
_FOLD: Final = 0x20
_BEGINNINGS: Final = (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING)
_CATEGORIES: Final = {
    constants.CATEGORY_DIGIT: rb"\d",
    constants.CATEGORY_NOT_DIGIT: rb"\D",
    constants.CATEGORY_SPACE: rb"\s",
    constants.CATEGORY_NOT_SPACE: rb"\S",
    constants.CATEGORY_WORD: rb"\w",
    constants.CATEGORY_NOT_WORD: rb"\W",
}


class Beginning:
    """An ``expression``, asked whether it matches at the beginning of records."""

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        tree = parser.parse(expression.alone.pattern)
        self._shapes, self._is_all = _shapes(tree, tree.state.flags, is_first=True, is_last=True)

    def of(self, text: npt.NDArray[np.uint8], begins: _Ints, lengths: _Ints) -> _Bools:
        """Whether each of n records has it: bool[n].

        ``text``: uint8; ``begins`` and ``lengths``: int64[n], where in it they stand. There is a byte before each.
        """
        found = self._shaped(text, begins, lengths)
        if not self._is_all:
            rows = found.nonzero()[0]
            if rows.size:
                found[rows] = self._matching(text, begins[rows], lengths[rows])
        return found

    def _shaped(self, text: npt.NDArray[np.uint8], begins: _Ints, lengths: _Ints) -> _Bools:
        """Which records have one of the shapes."""
        columns: list[npt.NDArray[np.uint8]] = []
        found = np.zeros(begins.size, np.bool_)
        for shape in self._shapes:
            has_it = lengths >= len(shape)
            for place, allowed in enumerate(shape):
                if place == len(columns):
                    columns.append(text.take(begins + place, mode="clip"))
                has_it &= allowed.take(columns[place])
            found |= has_it
        return found

    def _matching(self, text: npt.NDArray[np.uint8], begins: _Ints, lengths: _Ints) -> _Bools:
        """Which records the expression matches."""
        joined = gathered(text, begins - 1, lengths + 1)
        after = (lengths + 1).cumsum()
        data = joined.tobytes()
        separator = next((byte for byte in SEPARATORS if byte not in data), None)
        if separator is None:  # not all of them are text
            spans = zip((after - lengths).tolist(), after.tolist(), strict=True)
            records = [data[begin:end] for begin, end in spans]
        else:
            joined[after[:-1]] = separator
            records = joined[1:].tobytes().split(bytes([separator]))
        matches = map(self.expression.alone.match, records)
        return np.fromiter(map(operator.is_not, matches, itertools.repeat(None)), np.bool_, len(records))


def _shapes(tree: Iterable[Any], flags: int, *, is_first: bool, is_last: bool) -> tuple[list[_Shape], bool]:
    """What matches of ``tree`` begin with, and whether whatever does is one.

    ``is_first``, ``is_last``: nothing stands before it, or after it. As nothing that matches one way or the other
    depends on which way is tried first (atomic groups and lookarounds are not looked into), every way is a shape.
    """
    shapes: list[_Shape] = [()]
    items = list(tree)
    for number, (kind, argument) in enumerate(items):
        first, last = is_first and not any(shapes), is_last and number == len(items) - 1
        if first and kind is constants.AT and argument in _BEGINNINGS:
            continue
        more, is_all = _shapes_of(kind, argument, flags, is_first=first, is_last=last)
        longer = [shape + after for shape in shapes for after in more]
        if len(longer) > _SHAPES_MAX or sum(map(len, longer)) > _BYTES_MAX:
            return shapes, False
        shapes = longer
        if not is_all:
            return shapes, False
    return shapes, True


def _shapes_of(kind: Any, argument: Any, flags: int, *, is_first: bool, is_last: bool) -> tuple[list[_Shape], bool]:
    """As `_shapes`, for one item."""
    if kind in {constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN}:
        return [(_set(kind, argument, flags),)], True
    if kind is constants.SUBPATTERN:
        _, added, removed, tree = argument
        return _shapes(tree, (flags | added) & ~removed, is_first=is_first, is_last=is_last)
    if kind is constants.BRANCH:
        ways = [_shapes(tree, flags, is_first=is_first, is_last=is_last) for tree in argument[1]]
        return [shape for shapes, _ in ways for shape in shapes], all(is_all for _, is_all in ways)
    if kind in {constants.MAX_REPEAT, constants.MIN_REPEAT}:
        return _repeated(argument, flags, is_last=is_last)
    return [()], False


def _repeated(argument: tuple[int, int, Sequence[Any]], flags: int, *, is_last: bool) -> tuple[list[_Shape], bool]:
    least, most, tree = argument
    once, is_all = _shapes(tree, flags, is_first=False, is_last=False)
    if not is_all:
        return once if least else [()], False
    # Whether there is more of it does not matter at the end; else there may be so much that it is not to be told.
    is_known = is_last or most <= least + _SHAPES_MAX
    shapes: list[_Shape] = []
    for count in range(least, most + 1 if is_known and not is_last else least + 1):
        if len(once) ** count > _SHAPES_MAX or count > _BYTES_MAX:
            return [()], False
        shapes += [tuple(itertools.chain.from_iterable(each)) for each in itertools.product(once, repeat=count)]
    return shapes, is_known


def _set(kind: Any, argument: Any, flags: int) -> _Set:
    """The bytes that one place of an expression matches."""
    found = np.zeros(256, np.bool_)
    items = argument if kind is constants.IN else [(kind, argument)]
    is_negated = False
    for item, value in items:
        if item in {constants.NEGATE, constants.NOT_LITERAL}:
            is_negated = True
        if item in {constants.LITERAL, constants.NOT_LITERAL}:
            found[value] = True
        elif item is constants.RANGE:
            found[value[0] : value[1] + 1] = True
        elif item is constants.CATEGORY:
            found |= _matched(_CATEGORIES[value])
        elif item is constants.ANY:
            found |= _matched(rb"(?s)." if flags & re.DOTALL else rb".")
    if flags & re.IGNORECASE:
        letters = np.arange(ord("a"), ord("z") + 1)
        found[letters] = found[letters - _FOLD] = found[letters] | found[letters - _FOLD]
    return ~found if is_negated else found


def _matched(pattern: bytes) -> _Set:
    return np.array([re.match(pattern, bytes([byte])) is not None for byte in range(256)], np.bool_)
