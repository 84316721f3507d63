"""``| regexp`` and ``| pattern`` as SQL: exact, but for lines that are not UTF-8, of which RE2 sees the bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.fields import NO_NUMBER, Expression, Field, either, number_of
from aggregator.logql.compiler.words import one_line_dots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggregator.logql.compiler.statement import Parameters

_CAPTURE: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
# Captures of one pattern: each is looked for behind the one before it, and what the engine needs to understand such a
# chain grows with the square of its length: at 20 a few hundredths of a second, at 150 two, at 200 it refuses.
CAPTURES_MAX: Final = 20
# Captures of the patterns of one line filter: of 500 the engine needs two seconds to understand the statement.
CAPTURES_TOGETHER_MAX: Final = 100
# The name of captures that are not wanted.
UNNAMED: Final = "_"
# Python decodes what is not UTF-8 before it looks for captures.
_NOT_TEXT: Final = "NOT isValidUTF8(body)"


def parts(pattern: str) -> tuple[str, ...] | None:
    """Literal, name, literal, name, …, literal of a pattern; None if captures follow each other, or there is none."""
    found = tuple(_CAPTURE.split(pattern))
    return found if len(found) > 1 and all(found[2:-1:2]) else None


def are_long(patterns: Sequence[str]) -> bool:
    """Whether one of the patterns, or all of them together, have so many captures that they are left to Python."""
    counts = [len(_CAPTURE.findall(pattern)) for pattern in patterns]
    return max(counts) > CAPTURES_MAX or sum(counts) > CAPTURES_TOGETHER_MAX


class Groups:
    """The named groups of a regular expression as labels."""

    error = Expression("''")
    fine = ""

    def __init__(self, expression: str, groups: Mapping[str, int], parameters: Parameters) -> None:
        """``groups``: the number of each named group, from 1."""
        self.names: tuple[str, ...] | None = tuple(groups)
        self._groups = groups
        self._found = parameters.define(f"extractGroups(body, {parameters.text(one_line_dots(expression))})")

    def field(self, name: str) -> Field:
        """The label ``name``; a group that took no part, or nothing, is none, though as a number it is an error."""
        if name not in self._groups:
            return Field(Expression("''"), Expression(NO_NUMBER))
        text = Expression(f"{self._found}[{self._groups[name]}]", _NOT_TEXT)
        number = number_of(text)
        is_empty = f"(notEmpty({self._found}) AND {text.sql} = '')"
        return Field(text, Expression(number.sql, either((number.doubt, is_empty))))


class Captures:
    """The named captures of a pattern as labels: each goes up to the first place where the next literal stands."""

    error = Expression("''")
    fine = ""

    def __init__(self, parts: Sequence[str], parameters: Parameters) -> None:
        """``parts``: literal, name, literal, name, …, literal; literals at the ends may be empty."""
        self._texts: dict[str, Expression] = {}
        first = parameters.text(parts[0])
        reached = f"length({first}) + 1"
        goes_on = f"(body != '' AND startsWith(body, {first}))"
        for name, literal in zip(parts[1::2], parts[2::2], strict=True):
            bound = parameters.text(literal)
            end = parameters.define(f"position(body, {bound}, toUInt64({reached}))") if literal else "0"
            found = f"if({end} = 0, substring(body, {reached}), substring(body, {reached}, {end} - ({reached})))"
            if name != UNNAMED:
                self._texts[name] = Expression(parameters.define(f"if({goes_on}, {found}, '')"), _NOT_TEXT)
            goes_on = parameters.define(f"{goes_on} AND {end} != 0")
            reached = parameters.define(f"{end} + length({bound})")
        self._starts = f"(body != '' AND startsWith(body, {first}))"
        self.names: tuple[str, ...] | None = tuple(self._texts)

    def field(self, name: str) -> Field:
        """The label ``name``; an empty capture is none, though as a number it is an error."""
        if name not in self._texts:
            return Field(Expression("''"), Expression(NO_NUMBER))
        text = self._texts[name]
        number = number_of(text)
        return Field(text, Expression(number.sql, either((number.doubt, f"({text.sql} = '' AND {self._starts})"))))
