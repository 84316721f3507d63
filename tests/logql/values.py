"""Texts as numbers and numbers as texts, the way Go does it: slow, one value at a time."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_HEX_FLOAT: Final = re.compile(r"[+-]?0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?[0-9]+", re.ASCII)
_INFINITE: Final = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_DURATION: Final = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]+)", re.ASCII)
_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SIZES: Final = {"": 1, "b": 1} | {
    name + suffix: base**power
    for power, name in enumerate("kmgtpe", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}


def number(text: str) -> float:
    """Go's strconv.ParseFloat; raises ValueError."""
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"out of range: {text}")
        return value
    if _INFINITE.fullmatch(text) or text.lower() == "nan":
        return float(text)
    if _HEX_FLOAT.fullmatch(text):
        return float.fromhex(text.replace("_", ""))
    raise ValueError(f"no number: {text}")


def duration_ns(text: str) -> int:
    """Go's time.ParseDuration; raises ValueError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        found = _DURATION.match(rest, at)
        if not found or found[3] not in _UNITS_NS or not (found[1] or len(found[2] or "") > 1):
            raise ValueError(f"no duration: {text}")
        fraction = Fraction(int(found[2][1:]), 10 ** len(found[2][1:])) if len(found[2] or "") > 1 else Fraction()
        total += int((int(found[1] or 0) + fraction) * _UNITS_NS[found[3]])
        at = found.end()
    if not rest or total >= 1 << 63:
        raise ValueError(f"no duration: {text}")
    return sign * total


def seconds(text: str) -> float:
    """A Go duration in seconds."""
    ns = duration_ns(text)
    whole = int(Fraction(ns, 10**9))
    return whole + (ns - whole * 10**9) / 1e9


def size(text: str) -> int:
    """go-humanize's ParseBytes; raises ValueError."""
    digits = 0
    while digits < len(text) and (text[digits] in ".," or text[digits].isdecimal()):
        digits += 1
    unit = text[digits:].strip().lower()
    value = number(text[:digits].replace(",", ""))
    if unit not in _SIZES or value * _SIZES[unit] >= 1 << 64:
        raise ValueError(f"no size: {text}")
    return int(value * _SIZES[unit])


def shown(value: float) -> str:  # noqa: PLR0911 - one case a form
    """A float as Go's %v shows it: shortest, with an exponent below 1e-4 and from 1e6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign + "0"
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    if point - 1 < -4 or point - 1 >= 6:
        rest = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{'-' if point - 1 < 0 else '+'}{abs(point - 1):02d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"
