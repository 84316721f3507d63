"""Values as Go's fmt prints them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tests.logql import values


def shown(value: Any) -> str:
    """As Go's %v."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return values.shown(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(one)}" for key, one in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(shown(one) for one in value) + "]"
    return str(value)


_PRINTF: Final = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")


def printf(template: str, *arguments: Any) -> str:
    left = list(arguments)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        text = _formatted(verb, precision, value)
        if "+" in flags and verb in "dfge" and not text.startswith("-"):
            text = "+" + text
        if "-" in flags:
            return text.ljust(int(width or 0))
        return text.rjust(int(width or 0), "0" if "0" in flags and verb != "s" else " ")

    text = _PRINTF.sub(one, template)
    if left:
        extra = ", ".join(f"{_go_type(one)}={shown(one)}" for one in left)
        text += f"%!(EXTRA {extra})"
    return text


def _go_type(value: Any) -> str:
    names = ((bool, "bool"), (int, "int"), (float, "float64"), (str, "string"))
    return next((name for kind, name in names if isinstance(value, kind)), "?")


def _formatted(verb: str, precision: str | None, value: Any) -> str:
    bad = f"%!{verb}({_go_type(value)}={shown(value)})"
    if verb == "v":
        return shown(value)
    if verb == "s" and isinstance(value, str):
        return value if precision is None else value[: int(precision or 0)]
    if verb == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if verb in "dxX" and isinstance(value, int):
        return format(value, verb)
    if verb in "feEgG" and isinstance(value, float):
        return f"{value:.{6 if precision is None else int(precision or 0)}{verb}}"
    return bad
