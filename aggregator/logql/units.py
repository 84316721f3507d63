"""Numbers, durations and sizes as Go reads and writes them, for Loki's users write and see Go's.

Durations are ns, sizes bytes. What cannot be read raises ValueError with the text that Go's own libraries give.
Sources: https://pkg.go.dev/strconv#ParseFloat, https://pkg.go.dev/time#ParseDuration,
https://pkg.go.dev/github.com/prometheus/common/model#ParseDuration,
https://pkg.go.dev/github.com/dustin/go-humanize#ParseBytes.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Final

MICROSECOND_NS: Final = 1_000
MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
WEEK_NS: Final = 7 * DAY_NS
YEAR_NS: Final = 365 * DAY_NS

# Go's durations are int64 ns: about 292 years.
DURATION_MAX_NS: Final = (1 << 63) - 1
# Sizes are uint64.
SIZE_MAX_BYTES: Final = (1 << 64) - 1

_DECIMAL: Final = re.compile(
    r"[+-]?(\d+(_\d+)*\.?|\d+(_\d+)*\.\d+(_\d+)*|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?", re.ASCII | re.IGNORECASE
)
_HEXADECIMAL: Final = re.compile(
    r"[+-]?0x_?([\da-f]+(_[\da-f]+)*\.?([\da-f]+(_[\da-f]+)*)?|\.[\da-f]+(_[\da-f]+)*)p[+-]?\d+(_\d+)*",
    re.ASCII | re.IGNORECASE,
)
_NOT_FINITE: Final = re.compile(r"[+-]?(inf|infinity)|nan", re.ASCII | re.IGNORECASE)

_GO_UNITS_NS: Final = {
    "ns": 1,
    "us": MICROSECOND_NS,
    "\u00b5s": MICROSECOND_NS,  # micro sign
    "\u03bcs": MICROSECOND_NS,  # Greek mu
    "ms": MILLISECOND_NS,
    "s": SECOND_NS,
    "m": MINUTE_NS,
    "h": HOUR_NS,
}
_GO_PART: Final = re.compile(r"(?P<whole>\d*)(?P<fraction>\.\d*)?(?P<unit>[^.\d]*)", re.ASCII)

# The largest first, as they must be written; the flag: written only where the duration is a whole number of them.
_PROMETHEUS_UNITS_NS: Final = (
    ("y", YEAR_NS, True),
    ("w", WEEK_NS, True),
    ("d", DAY_NS, True),
    ("h", HOUR_NS, False),
    ("m", MINUTE_NS, False),
    ("s", SECOND_NS, False),
    ("ms", MILLISECOND_NS, False),
)
_PROMETHEUS_DURATION: Final = re.compile(
    "".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit, _, _ in _PROMETHEUS_UNITS_NS), re.ASCII
)

_SIZE_UNITS_BYTES: Final = {
    "": 1,
    "b": 1,
    **{
        prefix + infix + suffix: base**power
        for power, prefix in enumerate("kmgtpe", 1)
        for infix, base in (("", 1000), ("i", 1024))
        for suffix in ("", "b")
    },
}
# Sizes that the query language has words for; the largest first.
_SIZE_NAMES_BYTES: Final = tuple(
    (prefix + infix + "B", base**power)
    for power, prefix in reversed(tuple(enumerate("KMGTP", 1)))
    for infix, base in (("i", 1024), ("", 1000))
)


def parse_float(text: str) -> float:
    """The number as Go's ``ParseFloat`` reads it; one too large for a float is an error."""
    if _DECIMAL.fullmatch(text):
        value = float(text)
    elif _HEXADECIMAL.fullmatch(text):
        try:
            value = float.fromhex(text.replace("_", ""))
        except OverflowError:
            value = math.inf
    elif _NOT_FINITE.fullmatch(text):
        return float(text)
    else:
        raise ValueError(f"strconv.ParseFloat: parsing {_quoted(text)}: invalid syntax")
    if math.isinf(value):
        raise ValueError(f"strconv.ParseFloat: parsing {_quoted(text)}: value out of range")
    return value


def float_text(value: float) -> str:
    """The shortest text that means the same, without an exponent: Go's ``FormatFloat(value, 'f', -1, 64)``."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def parse_duration(text: str) -> int:
    """The duration as Go's ``time.ParseDuration`` reads it: ``-1h15.5m``; no days, no weeks."""
    rest = text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {_quoted(text)}")
    total = at = 0
    while at < len(rest):
        part = _GO_PART.match(rest, at)
        if part is None or (part["fraction"] in {None, "."} and not part["whole"]):
            raise ValueError(f"time: invalid duration {_quoted(text)}")
        if not part["unit"]:
            raise ValueError(f"time: missing unit in duration {_quoted(text)}")
        unit_ns = _GO_UNITS_NS.get(part["unit"])
        if unit_ns is None:
            raise ValueError(f"time: unknown unit {_quoted(part['unit'])} in duration {_quoted(text)}")
        total += int(part["whole"][:_DIGITS_MAX] or "0") * unit_ns
        # Go reads the fraction as float64 of its digits; so does this, digit for digit.
        if digits := (part["fraction"] or ".")[1:]:
            total += int(float(digits[:_FRACTION_DIGITS_MAX]) * (unit_ns / 10.0 ** len(digits[:_FRACTION_DIGITS_MAX])))
        if total > DURATION_MAX_NS + (text[0] == "-") or len(part["whole"].lstrip("0")) > _DIGITS_MAX:
            raise ValueError(f"time: invalid duration {_quoted(text)}")
        at = part.end()
    return -total if text[0] == "-" else total


# More digits than an int64 has are an overflow; further ones of a fraction are below its precision.
_DIGITS_MAX: Final = 19
_FRACTION_DIGITS_MAX: Final = 18


def duration_text(duration_ns: int) -> str:
    """The duration as Go's ``Duration.String`` writes it: ``1h30m0s``, ``1.5s``, ``250ms``, ``1µs``, ``0s``."""
    sign = "-" if duration_ns < 0 else ""
    rest = abs(duration_ns)
    if rest < SECOND_NS:
        for unit, unit_ns in (("ms", MILLISECOND_NS), ("\u00b5s", MICROSECOND_NS), ("ns", 1)):
            if rest >= unit_ns:
                return f"{sign}{_fixed(rest, unit_ns)}{unit}"
        return "0s"
    minutes, seconds_ns = divmod(rest, MINUTE_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_fixed(seconds_ns, SECOND_NS)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _fixed(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def parse_range(text: str) -> int:
    """The duration as Prometheus reads it: whole numbers of ``y w d h m s ms`` in that order, each once; ``0``."""
    if not text:
        raise ValueError("empty duration string")
    if text == "0":
        return 0
    found = _PROMETHEUS_DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a valid duration string: {_quoted(text)}")
    numbers = {unit: (found[unit] or "0").lstrip("0") or "0" for unit, _, _ in _PROMETHEUS_UNITS_NS}
    if any(len(number) > _DIGITS_MAX for number in numbers.values()):
        raise ValueError("duration out of range")
    total = sum(int(numbers[unit]) * unit_ns for unit, unit_ns, _ in _PROMETHEUS_UNITS_NS)
    if total > DURATION_MAX_NS:
        raise ValueError("duration out of range")
    return total


def range_text(duration_ns: int) -> str:
    """The duration, of whole ms, as Prometheus writes it: ``1h30m``, ``1d``, ``2w``, ``0s``."""
    if duration_ns == 0:
        return "0s"
    rest = abs(duration_ns)
    text = "-" if duration_ns < 0 else ""
    for unit, unit_ns, exact in _PROMETHEUS_UNITS_NS:
        if rest >= unit_ns and not (exact and rest % unit_ns):
            text += f"{rest // unit_ns}{unit}"
            rest %= unit_ns
    return text


def parse_size(text: str) -> int:
    """The size as go-humanize reads it: ``5KB`` is 5,000, ``1.5MiB`` 1,572,864, ``42`` itself; case is of no matter."""
    rest = text.lstrip("0123456789.,")
    value = parse_float(text[: len(text) - len(rest)].replace(",", ""))
    unit = rest.strip().lower()
    if unit not in _SIZE_UNITS_BYTES:
        raise ValueError(f"unhandled size name: {unit}")
    value *= float(_SIZE_UNITS_BYTES[unit])
    if value >= SIZE_MAX_BYTES:
        raise ValueError(f"too large: {text}")
    return int(value)


def size_text(size_bytes: int) -> str:
    """The size, exactly, in the largest unit that it is a whole number of: ``5KB``, ``1MiB``, ``1234B``."""
    for name, unit_bytes in _SIZE_NAMES_BYTES:
        if size_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{name}"
    return f"{size_bytes}B"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
