"""Values into the text form from which the engine binds ``{name:Type}`` parameters.

The engine reads a parameter's text with the escapes of its TSV format; inside arrays strings are quoted as in SQL.
ClickHouse's HTTP interface reads ``param_<name>`` the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TSV: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_QUOTED: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\0": "\\0"})


def bind(values: Mapping[str, str | int | Sequence[str] | Sequence[int]]) -> dict[str, str]:
    """Each value's text, to be passed beside a statement."""
    return {name: _text(value).translate(_TSV) for name, value in values.items()}


def _text(value: str | int | Sequence[str] | Sequence[int]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return (
        "[" + ",".join(f"'{item.translate(_QUOTED)}'" if isinstance(item, str) else str(item) for item in value) + "]"
    )
