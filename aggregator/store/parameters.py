"""Values into the text form from which the engine binds ``{name:Type}`` parameters.

The engine reads a parameter's text with the escapes of its TSV format. An array is read as SQL writes it, brackets and
quoted strings, without another layer of escapes around it. ClickHouse's HTTP interface reads ``param_<name>`` alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TSV: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_QUOTED: Final = _TSV | str.maketrans({"'": "\\'"})


def bind(values: Mapping[str, str | int | Sequence[str] | Sequence[int]]) -> dict[str, str]:
    """Each value's text, to be passed beside a statement."""
    return {name: _text(value) for name, value in values.items()}


def _text(value: str | int | Sequence[str] | Sequence[int]) -> str:
    if isinstance(value, str):
        return value.translate(_TSV)
    if isinstance(value, int):
        return str(value)
    items = (f"'{item.translate(_QUOTED)}'" if isinstance(item, str) else str(item) for item in value)
    return f"[{','.join(items)}]"
