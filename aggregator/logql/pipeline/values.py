"""The values of templates: what kinds there are, and how Go prints, compares and converts them.

A string is str, an ``int`` int, an ``int64`` `Int64`, a ``float64`` float, ``nil`` None, a time `Time`, the labels a
dict, what ``fromJson`` gives str, float, bool, None, list and `Object`.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final

from aggregator.logql import units
from aggregator.logql.pipeline.dates import Time

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
_INTEGER: Final = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)", re.ASCII
)
_ZERO_DECIMALS: Final = re.compile(r"\.0+\Z")
# Longer than any int64 in any base, so that nothing long is converted.
_INTEGER_CHARACTERS_MAX: Final = 140
# Go's %g without a precision writes exponents from here on, and below 1e-4.
_EXPONENT_FROM: Final = 6
_EXPONENT_UPTO: Final = -5


class Int64(int):
    """Go's ``int64``, which is not its ``int``: no function that takes the one takes the other."""

    __slots__ = ()


class Object(dict[str, Any]):
    """Go's ``map[string]interface {}``: a member that is not there is ``nil``; of the labels it is empty."""

    __slots__ = ()


def type_name(value: object) -> str:
    """What Go calls the type of a value."""
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "<nil>"


_TYPE_NAMES: Final = (
    (str, "string"),
    (bool, "bool"),
    (Int64, "int64"),
    (int, "int"),
    (float, "float64"),
    (Object, "map[string]interface {}"),
    (dict, "map[string]string"),
    (list, "[]interface {}"),
    (Time, "time.Time"),
)


def text_of(value: object) -> str:  # noqa: PLR0911 - one of each kind
    """A value as Go's ``%v`` prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return general(value)
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{text_of(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(text_of(element) for element in value)}]"
    return "<nil>" if value is None else str(value)


def shown(value: object) -> str:
    """A value as an action of a template prints it."""
    return "<no value>" if value is None else text_of(value)


def general(value: float) -> str:
    """A float as Go's ``%v`` prints it."""
    if not math.isfinite(value):
        return units.float_text(value)
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    number = Decimal(repr(value))
    exponent = number.adjusted()
    if _EXPONENT_UPTO < exponent < _EXPONENT_FROM:
        return units.float_text(value)
    sign, digits, _ = number.normalize().as_tuple()
    head, tail = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{head}{'.' if tail else ''}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def true(value: object) -> bool:
    """Whether Go's templates take a value for true."""
    return True if isinstance(value, Time) else bool(value)


def to_int(value: object) -> int:
    """A value as an int64, as the library that Loki's functions use converts it: 0 where it cannot."""
    if isinstance(value, float):
        return _truncated(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return parse_int(_ZERO_DECIMALS.sub("", value)) or 0
    return 0


def to_float(value: object) -> float:
    """A value as a float64: 0 where it cannot be."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return units.parse_float(value)
        except ValueError:
            return 0.0
    return 0.0


def parse_int(text: str) -> int | None:
    """The int64 as Go's ``ParseInt`` reads it with base 0: ``0x1f``, ``017``, ``1_000``; None if it is none."""
    if len(text) > _INTEGER_CHARACTERS_MAX or not _INTEGER.fullmatch(text):
        return None
    digits = text.replace("_", "").lower()
    bare = digits.lstrip("+-")
    base = {"0x": 16, "0b": 2, "0o": 8}.get(bare[:2], 8 if bare[0] == "0" else 10)
    value = int(digits, base)
    return value if INT_MIN <= value <= INT_MAX else None


def wrapped(value: int) -> Int64:
    """An int64 that overflows as Go's do."""
    return Int64((value - INT_MIN) % (1 << 64) + INT_MIN)


def _truncated(value: float) -> int:
    # What Go gives for what no int64 is depends on the processor; this is what amd64 does.
    return int(value) if INT_MIN <= value < -INT_MIN else INT_MIN
