r"""``| json`` as SQL: properties of the stored line, where they can be nothing else.

A label may come from several properties: Loki joins the keys of nested objects with ``_`` and writes ``_`` for what
is no letter, digit or ``_``. So ``a_b`` is looked for as the property ``a_b`` and as ``b`` of ``a``; where neither is
there and the line has something like ``"a-b"`` or ``" a_b"``, it is left in doubt. Of properties that
make the same label in one line, the one with the least nesting counts, of equal ones the first.

The engine's parser is strict: of a line that begins like an object and is none to it, Loki may take what stands in
front of the fault; such a line is in doubt. Numbers with a fraction or an exponent are in doubt as texts, for the
engine writes them its own way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.fields import DUPLICATE, NO_NUMBER, Expression, Field, InexpressibleError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.compiler.statement import Parameters

JSON_ERROR: Final = "JSONParserErr"
# Ways to cut a name into nested keys: each costs another look into lines that lack the ones before.
_CUTS_MAX: Final = 3
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*")

# The engine's parser passes over a byte order mark, Loki's does not.
_HAS_MARK: Final = r"startsWith(body, '\xef\xbb\xbf')"
# Most begin at once: an expression for each line would cost half as much as parsing it.
_IS_OBJECT: Final = r"(startsWith(body, '{') OR match(body, '^[ \\t\\r\\n]*\\{'))"


class Properties:
    """The properties of lines as labels."""

    names: tuple[str, ...] | None = None
    fine = f"({_HAS_MARK} OR {_IS_OBJECT})"

    def __init__(self, parameters: Parameters, texts: Iterable[str] = (), numbers: Iterable[str] = ()) -> None:
        """``texts``, ``numbers``: labels that are asked for anyway; a line that has one of them is a valid object."""
        self._parameters = parameters
        found = [f"JSONExtractString(body, {path}) != ''" for name in texts for path in self._paths(name)[:1]]
        found += [f"JSONExtractFloat(body, {path}) != 0" for name in numbers for path in self._paths(name)[:1]]
        self._is_valid = " OR ".join(found) or "0"

    @property
    def error(self) -> Expression:
        """What is no object is an error for sure."""
        error = f"multiIf({self._is_valid}, '', {_IS_OBJECT}, '', '{JSON_ERROR}')"
        return Expression(
            error, f"multiIf({_HAS_MARK}, 1, {self._is_valid}, 0, {_IS_OBJECT}, NOT isValidJSON(body), 0)"
        )

    def field(self, name: str) -> Field:
        """The label ``name``, of names that only properties of the same name, or nested ones, can make."""
        paths = self._paths(name)
        if not paths:
            raise InexpressibleError
        strange = self._parameters.text(strange_keys(name))
        return Field(self._text(paths, strange), self._number(paths, strange))

    def _paths(self, name: str) -> list[str]:
        """The arguments that find `cuts` of a name; none if the name could be made in too many ways."""
        if not _NAME.fullmatch(name) or name.endswith(DUPLICATE) or name.count("_") > _CUTS_MAX:
            return []
        return [", ".join(self._parameters.text(key) for key in keys) for keys in cuts(name)]

    def _text(self, paths: list[str], strange: str) -> Expression:
        """Of every property the engine gives a text: that of a container begins like one."""
        text = "''"
        doubt = f"({_IS_OBJECT} AND (NOT isValidJSON(body) OR match(body, {strange})))"
        for path in reversed(paths):
            found = self._parameters.define(f"JSONExtractString(body, {path})")
            kind = f"JSONType(body, {path})"
            is_container = f"(startsWith({found}, '{{') OR startsWith({found}, '['))"
            is_number = f"(({found} >= '0' AND {found} < ':') OR startsWith({found}, '-'))"
            other = text
            text = f"multiIf({found} = '', {other}, {is_container}, if({kind} = 'String', {found}, {other}), {found})"
            # -0 is written as 0.
            is_rewritten = f"({kind} = 'Double' OR ({found} = '0' AND position(body, '-0') > 0))"
            doubt = (
                f"multiIf({found} = '', {doubt}, {is_number}, {is_rewritten}, "
                f"{is_container}, {kind} != 'String' AND {doubt}, position({found}, '\ufffd') > 0)"
            )
        return Expression(text, f"({doubt} OR {_HAS_MARK})")

    def _number(self, paths: list[str], strange: str) -> Expression:
        """A number that is not 0 is one; else the type tells 0 from what is none."""
        number = NO_NUMBER
        doubt = f"({_IS_OBJECT} AND (NOT isValidJSON(body) OR match(body, {strange})))"
        for path in reversed(paths):
            found = self._parameters.define(f"JSONExtractFloat(body, {path})")
            kind = f"toString(JSONType(body, {path}))"
            is_zero = f"{kind} IN ('Int64', 'UInt64', 'Double')"
            number = f"if({found} != 0, {found}, if({is_zero}, 0., {number}))"
            doubt = (
                f"if({found} != 0, NOT isFinite({found}), "
                f"multiIf({is_zero}, 0, {kind} IN ('Null', 'Array', 'Object'), {doubt}, 1))"
            )
        return Expression(number, f"({doubt} OR {_HAS_MARK})")


def cuts(name: str) -> list[tuple[str, ...]]:
    """The nested keys that make the label ``name``, fewest first: ``a_b`` is ``a_b`` or ``b`` of ``a``."""
    pieces = name.split("_")
    found = []
    for chosen in range(1 << (len(pieces) - 1)):
        keys = [pieces[0]]
        for place, piece in enumerate(pieces[1:]):
            if chosen >> place & 1:
                keys.append(piece)
            else:
                keys[-1] += f"_{piece}"
        found.append(tuple(keys))
    return sorted(found, key=len)


def strange_keys(name: str) -> str:
    r"""The expression of a line that may have a property which becomes ``name`` and is in none of its `cuts`.

    Such a one has blanks around its keys, or something else in place of a ``_``, as they are or escaped; or it is in
    an object whose key is blank.
    """
    escaped = r"\\u[0-9A-Fa-f]{4}"
    blank = rf"(?:[^\x21-\x7e]|\\[tnfr]|{escaped})"
    inside = r'"\s*:\s*\{.*"'
    other = rf'(?:[^A-Za-z0-9_"]|{escaped}|{blank}+{inside}{blank}*|{inside}{blank}+)'
    joined = rf'(?:[^A-Za-z0-9"]|{escaped}|{blank}*{inside}{blank}*)'
    pieces = name.split("_")
    spelled = joined.join(pieces)
    keys = [rf"{blank}{spelled}{blank}*", rf"{spelled}{blank}", rf'"{blank}*']
    keys += [joined.join(pieces[:place]) + other + joined.join(pieces[place:]) for place in range(1, len(pieces))]
    return rf'(?s:{"|".join(keys)})(?:[^"A-Za-z0-9]|{escaped})*"\s*:'
