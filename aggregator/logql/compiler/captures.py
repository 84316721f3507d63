"""``| regexp`` and ``| pattern`` as SQL: exact, but for lines that are not UTF-8, of which RE2 sees the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.fields import DUPLICATE, Expression, Field, InexpressibleError, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.logql.compiler.statement import Parameters

# Python decodes what is not UTF-8 before it looks for captures.
_NOT_TEXT: Final = "NOT isValidUTF8(body)"


class Groups:
    """The named groups of a regular expression as labels."""

    error = Expression("''")

    def __init__(self, expression: str, groups: Mapping[str, int], parameters: Parameters) -> None:
        """``groups``: the number of each named group, from 1."""
        self.names: tuple[str, ...] | None = tuple(groups)
        self._groups = groups
        self._found = f"extractGroups(body, {parameters.text('(?-s)' + expression)})"

    def field(self, name: str) -> Field:
        """The label ``name``; a group that took no part, or nothing, is none."""
        if name.removesuffix(DUPLICATE) != name:
            raise InexpressibleError
        if name not in self._groups:
            return Field(Expression("''"), Expression("NULL"))
        text = Expression(f"{self._found}[{self._groups[name]}]", _NOT_TEXT)
        return Field(text, number_of(text))
