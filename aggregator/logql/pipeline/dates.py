"""Times of templates, and Go's layouts, which write what a certain time (Mon Jan 2 15:04:05 2006 -0700) looks like.

Source: https://pkg.go.dev/time#pkg-constants. Years are 0 to 9999. The local time zone is UTC.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from typing import Final

import msgspec

SECOND_NS: Final = 1_000_000_000
DAY_S: Final = 86_400

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT: Final = 3
_EPOCH_ORDINAL: Final = datetime.date(1970, 1, 1).toordinal()
# Year 0 of the proleptic calendar, which Go begins with and Python does not, is a leap year.
_YEAR_ZERO_DAYS: Final = 366
_YEAR_MAX: Final = 9999
# Zones kept open: their names come from queries.
_ZONES_MAX: Final = 64

_LAYOUT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|2006|2|15|1|__2|_2(?!006)|3|4|5|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07|[.,](?:0+|9+)(?![0-9])"
)
_FRACTION: Final = re.compile(r"[.,][0-9]+")
_ZONE_NAME: Final = re.compile(r"[A-Z]{3,5}|[+-][0-9]{2}")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?")
_SPACES: Final = re.compile(r" +")


class Time(msgspec.Struct, frozen=True):
    """An instant, ns since the epoch, as seen in a zone: its offset from UTC in seconds and what it is called."""

    ns: int
    offset_s: int = 0
    zone: str = "UTC"

    def __str__(self) -> str:
        return formatted("2006-01-02 15:04:05.999999999 -0700 MST", self)


# What Go gives where nothing could be parsed.
ZERO: Final = Time((1 - _EPOCH_ORDINAL) * DAY_S * SECOND_NS)


@functools.lru_cache(maxsize=_ZONES_MAX)
def zone(name: str) -> datetime.tzinfo:
    """The time zone of an IANA name; UTC if there is none."""
    if name in {"", "UTC", "Local"}:
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.UTC


def formatted(layout: str, time: Time) -> str:
    """A time as the layout writes it."""
    seconds, fraction_ns = divmod(time.ns, SECOND_NS)
    days, second_of_day = divmod(seconds + time.offset_s, DAY_S)
    ordinal = days + _EPOCH_ORDINAL
    if ordinal < 1:
        year = 0
        date = datetime.date.fromordinal(max(1, ordinal + _YEAR_ZERO_DAYS)).replace(year=4)
    else:
        date = datetime.date.fromordinal(min(ordinal, datetime.date.max.toordinal()))
        year = date.year
    hour, rest = divmod(second_of_day, 3600)
    minute, second = divmod(rest, 60)
    month, day, yearday = date.month, date.day, date.timetuple().tm_yday
    weekday = (ordinal + 6) % 7

    def written(found: re.Match[str]) -> str:
        part = found[0]
        if part[0] in ".,":
            digits = f"{fraction_ns:09d}"[: len(part) - 1]
            if part[1] == "0":
                return part[0] + digits.ljust(len(part) - 1, "0")
            digits = digits.rstrip("0")
            return part[0] + digits if digits else ""
        if part[0] in "-Z":
            return _offset_text(part, time.offset_s)
        return _PARTS[part](year, month, day, weekday, yearday, hour, minute, second, time)

    return _LAYOUT.sub(written, layout)


_PARTS: Final = {
    "January": lambda y, m, d, w, n, H, M, S, t: _MONTHS[m - 1],
    "Jan": lambda y, m, d, w, n, H, M, S, t: _MONTHS[m - 1][:_SHORT],
    "Monday": lambda y, m, d, w, n, H, M, S, t: _DAYS[w],
    "Mon": lambda y, m, d, w, n, H, M, S, t: _DAYS[w][:_SHORT],
}
