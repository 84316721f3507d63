"""A statement and its bound values: whatever a user wrote reaches the engine as a parameter, never as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | tuple[str, ...] | tuple[int, ...]


class Statement(msgspec.Struct, frozen=True):
    """A SELECT, with the values of the ``{name:Type}`` parameters in it."""

    sql: str
    parameters: dict[str, Value]


class Parameters:
    """Collects the values of one statement and names them; those of a statement inside it come first."""

    def __init__(self, inner: Mapping[str, Value] | None = None) -> None:
        self.values: dict[str, Value] = dict(inner or {})
        self._texts: dict[str, str] = {}
        self._definitions: dict[str, str] = {}

    def bind(self, value: Value, kind: str) -> str:
        """Remember ``value``; gives what stands for it in the statement."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def text(self, value: str) -> str:
        """Remember a string; the same one is bound once."""
        if value not in self._texts:
            self._texts[value] = self.bind(value, "String")
        return self._texts[value]

    def define(self, sql: str, name: str = "") -> str:
        """Give an expression a name, the same one each time, for a SELECT that begins with `given`."""
        return self._definitions.setdefault(sql, name or f"d{len(self._definitions)}")

    @property
    def given(self) -> str:
        """What a SELECT begins with whose expressions use the names that `define` gave."""
        if not self._definitions:
            return ""
        return f"WITH {', '.join(f'{sql} AS {name}' for sql, name in self._definitions.items())} "
