"""Durations and points in time as people write them, into nanoseconds; whatever is neither is a ValueError."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Final

from aggregator.logql.tree import TIME_MAX_NS

_UNIT_NS: Final = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART: Final = r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d|w)"
# An epoch's unit shows in its number of digits: 10 for seconds, 13 for ms, 16 for µs, 19 for ns, each for centuries.
_EPOCH_UNIT_NS: Final = ((11, 1_000_000_000), (14, 1_000_000), (17, 1_000), (19, 1))
_EPOCH: Final = re.compile(r"(\d{1,19})(\.\d{1,9})?", re.ASCII)
# The offset's plus sign may arrive as a space: that is what an unescaped plus in a URL means.
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?([Zz]|[+ -]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH_START: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

DURATION_HINT: Final = "a duration is a number with ms, s, m, h, d or w, for example 90s, 15m, 1h30m or 3d"
TIME_HINT: Final = (
    "a time is RFC 3339 (2026-01-31T12:00:00Z, 2026-01-31T12:00:00.5%2B01:00, 2026-01-31) or an epoch in s, ms or ns"
)


def duration_ns(text: str) -> int:
    """``1h30m`` and the like; more than nothing."""
    if re.fullmatch(f"(?:{_PART})+", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is not a duration")
    total = sum(Decimal(number) * _UNIT_NS[unit] for number, unit in re.findall(_PART, text, re.ASCII))
    if total <= 0:
        raise ValueError(f"{text!r} is no time at all")
    return int(total)


def time_ns(text: str) -> int:
    """RFC 3339, UTC where it names no offset, or an epoch; ns since 1970-01-01 UTC, which is the first there is."""
    epoch = _EPOCH.fullmatch(text)
    found = _epoch_ns(epoch[1], epoch[2] or "") if epoch else _calendar_ns(text)
    if not 0 <= found <= TIME_MAX_NS:
        raise ValueError(f"{text!r} is before 1970 or after 2262-04-11")
    return found


def _epoch_ns(digits: str, fraction: str) -> int:
    unit = next(unit for most, unit in _EPOCH_UNIT_NS if len(digits) <= most)
    return int(Decimal(digits + fraction) * unit)


def _calendar_ns(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    date, clock, fraction, offset = match.groups()
    zone = (offset or "Z").upper().replace(" ", "+")
    try:
        whole = dt.datetime.fromisoformat(f"{date}T{clock or '00:00'}{zone}")
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from error
    seconds = (whole - _EPOCH_START) // dt.timedelta(seconds=1)
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def rfc3339(time_ns: int) -> str:
    """A point in time as answers have it: UTC, nine digits after the second."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{_EPOCH_START + dt.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"
