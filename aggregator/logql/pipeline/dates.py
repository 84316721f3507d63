"""Times of templates, and Go's layouts, which write what a certain time (Mon Jan 2 15:04:05 2006 -0700) looks like.

Source: https://pkg.go.dev/time#pkg-constants. Years are 0 to 9999. The local time zone is UTC.
"""

from __future__ import annotations

import datetime as dt
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
_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()
# Go's calendar has a year 0 and Python's has not; all days are the same every 400 years.
_YEAR_ZERO_DAYS: Final = 366
_YEAR_ZERO_LIKE: Final = 400
_CYCLE_DAYS: Final = 146_097
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - counted in whatever zone
_SECOND: Final = dt.timedelta(seconds=1)
_NOON: Final = 12
# Years of two digits are of 1969 to 2068.
_CENTURY_TURN: Final = 69
_YEAR_MAX: Final = 9999
# Zones kept open: their names come from queries.
_ZONES_MAX: Final = 64

_LAYOUT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|2006|2|15|1|__2|_2(?!006)|3|4|5|PM|pm"
    r"|-07:00:00|-070000|-07:00|-0700|-07|Z07:00:00|Z070000|Z07:00|Z0700|Z07|[.,](?:0+|9+)(?![0-9])"
)
_FRACTION: Final = re.compile(r"[.,][0-9]+")
_ZONE_NAME: Final = re.compile(r"[A-Z]{3,5}|[+-][0-9]{2}")


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
def zone(name: str) -> dt.tzinfo:
    """The time zone of an IANA name; UTC if there is none."""
    if name in {"", "UTC", "Local"}:
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return dt.UTC


def formatted(layout: str, time: Time) -> str:
    """A time as the layout writes it."""
    seconds, fraction_ns = divmod(time.ns, SECOND_NS)
    days, second_of_day = divmod(seconds + time.offset_s, DAY_S)
    ordinal = min(max(1 - _YEAR_ZERO_DAYS, days + _EPOCH_ORDINAL), dt.date.max.toordinal())
    # A year that Python has not is written with one of the same days.
    date = dt.date.fromordinal(ordinal if ordinal > 0 else ordinal + _CYCLE_DAYS)
    year = date.year if ordinal > 0 else 0
    hour, minute, second = second_of_day // 3600, second_of_day // 60 % 60, second_of_day % 60
    month, day, yearday = _MONTHS[date.month - 1], date.day, date.timetuple().tm_yday
    weekday = _DAYS[date.weekday()]
    half = "PM" if hour >= _NOON else "AM"
    parts = {
        "January": month, "Jan": month[:_SHORT], "1": str(date.month), "01": f"{date.month:02d}",
        "Monday": weekday, "Mon": weekday[:_SHORT], "2": str(day), "02": f"{day:02d}", "_2": f"{day:2d}",
        "002": f"{yearday:03d}", "__2": f"{yearday:3d}", "15": f"{hour:02d}", "3": str(hour % 12 or 12),
        "03": f"{hour % 12 or 12:02d}", "4": str(minute), "04": f"{minute:02d}", "5": str(second),
        "05": f"{second:02d}", "2006": f"{year:04d}", "06": f"{year % 100:02d}", "PM": half, "pm": half.lower(),
        "MST": time.zone or _offset_text("-0700", time.offset_s),
    }  # fmt: skip

    def written(found: re.Match[str]) -> str:
        part = found[0]
        if part[0] in ".,":
            digits = f"{fraction_ns:09d}"[: len(part) - 1]
            if part[1] == "0":
                return part[0] + digits.ljust(len(part) - 1, "0")
            digits = digits.rstrip("0")
            return part[0] + digits if digits else ""
        return parts[part] if part in parts else _offset_text(part, time.offset_s)

    return _LAYOUT.sub(written, layout)


def parsed(layout: str, text: str, default: dt.tzinfo) -> Time:
    """The time that the layout reads in ``text``, in zone ``default`` if it names none; `ZERO` if it reads none."""
    try:
        return _Reading(layout, text).time(default)
    except (ValueError, IndexError, OverflowError):
        return ZERO


def _offset_text(part: str, offset_s: int) -> str:
    if part[0] == "Z" and offset_s == 0:
        return "Z"
    sign, rest = ("-", -offset_s) if offset_s < 0 else ("+", offset_s)
    colon = ":" if ":" in part else ""
    texts = [f"{rest // 3600:02d}", f"{rest // 60 % 60:02d}", f"{rest % 60:02d}"]
    return sign + colon.join(texts[: len(part.replace(":", "")) // 2])


class _Reading:
    """What a layout reads in a text; raises ValueError."""

    def __init__(self, layout: str, text: str) -> None:
        self.rest = text
        self.year, self.month, self.day, self.yearday = 0, 1, 1, 0
        self.hour = self.minute = self.second = self.fraction_ns = 0
        self.half = ""
        self.offset_s: int | None = None
        self.zone = ""
        at = 0
        parts = list(_LAYOUT.finditer(layout))
        for index, part in enumerate(parts):
            self._literal(layout[at : part.start()])
            following = parts[index + 1][0] if index + 1 < len(parts) else ""
            self._part(part[0], following)
            at = part.end()
        self._literal(layout[at:])
        if self.rest:
            raise ValueError("extra text")

    def time(self, default: dt.tzinfo) -> Time:
        hour = self.hour % 12 + (12 if self.half == "PM" else 0) if self.half else self.hour
        year = self.year or _YEAR_ZERO_LIKE
        date = dt.date(year, self.month, self.day)
        if self.yearday:
            date = dt.date(year, 1, 1) + dt.timedelta(self.yearday - 1)
        moment = dt.datetime.combine(date, dt.time(hour, self.minute, self.second))
        local_s = (moment - _EPOCH) // _SECOND - (0 if self.year else _CYCLE_DAYS * DAY_S)
        if self.offset_s is not None:
            zone_name = self.zone or ("UTC" if self.offset_s == 0 else "")
            return Time((local_s - self.offset_s) * SECOND_NS + self.fraction_ns, self.offset_s, zone_name)
        aware = moment.replace(tzinfo=default)
        offset = aware.utcoffset()
        offset_s = int(offset.total_seconds()) if offset is not None else 0
        if self.zone and self.zone != aware.tzname():
            return Time(local_s * SECOND_NS + self.fraction_ns, 0, self.zone)
        return Time((local_s - offset_s) * SECOND_NS + self.fraction_ns, offset_s, aware.tzname() or "UTC")

    def _literal(self, literal: str) -> None:
        for token in re.findall(r" +|[^ ]+", literal):
            if token[0] == " ":
                if self.rest and self.rest[0] != " ":
                    raise ValueError(literal)
                self.rest = self.rest.lstrip(" ")
            elif self.rest.startswith(token):
                self.rest = self.rest[len(token) :]
            else:
                raise ValueError(literal)

    def _part(self, part: str, following: str) -> None:  # noqa: C901, PLR0912 - one of each kind
        name = _NUMBERS.get(part)
        if name is not None:
            field, digits_min, digits_max, low, high = name
            if part[0] == "_":
                self.rest = self.rest.lstrip(" ")
            number = self._number(digits_min, digits_max)
            if not low <= number <= high:
                raise ValueError("out of range")
            setattr(self, field, number)
            if part == "06":
                self.year = number + (1900 if number >= _CENTURY_TURN else 2000)
            if field == "second" and following[:1] not in {".", ","}:
                self._fraction(_FRACTION.match(self.rest), optional=True)
        elif part[0] in ".,":
            found = _FRACTION.match(self.rest)
            self._fraction(found, optional=part[1] == "9", digits=len(part) - 1 if part[1] == "0" else 0)
        elif part in {"January", "Jan"}:
            self.month = self._name(_MONTHS, short=part == "Jan") + 1
        elif part in {"Monday", "Mon"}:
            self._name(_DAYS, short=part == "Mon")
        elif part in {"PM", "pm"}:
            half = self.rest[:2]
            if half.upper() not in {"AM", "PM"} or half != (half.upper() if part == "PM" else half.lower()):
                raise ValueError(half)
            self.half, self.rest = half.upper(), self.rest[2:]
        elif part == "MST":
            found = _ZONE_NAME.match(self.rest)
            if found is None:
                raise ValueError(part)
            self.zone, self.rest = found[0], self.rest[found.end() :]
            if self.zone == "UTC":
                self.offset_s = 0
        else:
            self._offset(part)

    def _number(self, digits_min: int, digits_max: int) -> int:
        found = re.match(rf"[0-9]{{{digits_min},{digits_max}}}", self.rest)
        if found is None:
            raise ValueError("no number")
        self.rest = self.rest[found.end() :]
        return int(found[0])

    def _fraction(self, found: re.Match[str] | None, *, optional: bool, digits: int = 0) -> None:
        if found is None:
            if not optional:
                raise ValueError("no fraction")
            return
        text = found[0][1:]
        if digits and len(text) != digits:
            raise ValueError("another fraction")
        self.fraction_ns = int(text[:9].ljust(9, "0"))
        self.rest = self.rest[found.end() :]

    def _name(self, names: tuple[str, ...], *, short: bool) -> int:
        for index, name in enumerate(names):
            wanted = name[:_SHORT] if short else name
            if self.rest[: len(wanted)].lower() == wanted.lower():
                self.rest = self.rest[len(wanted) :]
                return index
        raise ValueError("no name")

    def _offset(self, part: str) -> None:
        if part[0] == "Z" and self.rest.startswith("Z"):
            self.offset_s, self.rest = 0, self.rest[1:]
            return
        digits = len(part.replace(":", "")) - 1
        colon = ":" if ":" in part else ""
        pattern = r"([+-])([0-9]{2})" + "".join(rf"{colon}([0-9]{{2}})" for _ in range(digits // 2 - 1))
        found = re.match(pattern, self.rest)
        if found is None:
            raise ValueError(part)
        sign, *numbers = found.groups()
        total = sum(int(number) * unit for number, unit in zip(numbers, (3600, 60, 1), strict=False))
        self.offset_s = -total if sign == "-" else total
        self.rest = self.rest[found.end() :]


# Field, digits at least and at most, lowest, highest.
_NUMBERS: Final = {
    "1": ("month", 1, 2, 1, 12), "01": ("month", 2, 2, 1, 12), "2": ("day", 1, 2, 1, 31), "02": ("day", 2, 2, 1, 31),
    "_2": ("day", 1, 2, 1, 31), "002": ("yearday", 3, 3, 1, 366), "__2": ("yearday", 1, 3, 1, 366),
    "15": ("hour", 1, 2, 0, 23), "3": ("hour", 1, 2, 0, 12), "03": ("hour", 2, 2, 0, 12), "4": ("minute", 1, 2, 0, 59),
    "04": ("minute", 2, 2, 0, 59), "5": ("second", 1, 2, 0, 59), "05": ("second", 2, 2, 0, 59),
    "2006": ("year", 4, 4, 0, _YEAR_MAX), "06": ("year", 2, 2, 0, 99),
}  # fmt: skip
