"""Times in templates, by Go's layouts: 2006-01-02T15:04:05.999Z07:00."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Any, Final


class Time:
    """An instant: ns since the epoch, and the zone it is shown in."""

    def __init__(self, ns: int, zone: dt.tzinfo = dt.UTC) -> None:
        self.ns = ns
        self.zone = zone

    def local(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.ns // 10**9, self.zone)


_LAYOUT: Final = {
    "2006": "%Y",
    "06": "%y",
    "January": "%B",
    "Jan": "%b",
    "01": "%m",
    "Monday": "%A",
    "Mon": "%a",
    "02": "%d",
    "15": "%H",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "PM": "%p",
    "-0700": "%z",
    "MST": "%Z",
}
_LAYOUT_WORD: Final = re.compile(r"[.,](0+|9+)(?!\d)|Z07:00|-07:00|-0700|MST|2006|January|Jan|Monday|Mon|0[1-6]|15|PM")


def dated(layout: str, time: Any) -> str:
    if not isinstance(time, Time):
        raise TypeError("no time")
    local = time.local()

    def one(found: re.Match[str]) -> str:
        word = found[0]
        if found[1]:
            digits = f"{time.ns % 10**9:09d}"[: len(found[1])]
            digits = digits.rstrip("0") if found[1][0] == "9" else digits
            return word[0] + digits if digits else ""
        if word in {"Z07:00", "-07:00"}:
            offset = local.strftime("%z")
            return "Z" if word[0] == "Z" and offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
        return local.strftime(_LAYOUT[word])

    return _LAYOUT_WORD.sub(one, layout)


def read(layout: str, text: str, zone: dt.tzinfo = dt.UTC) -> Time:
    """Only layouts of digits; what cannot be read is Go's zero time."""
    pattern, names = "", []
    at = 0
    for found in _LAYOUT_WORD.finditer(layout):
        pattern += re.escape(layout[at : found.start()])
        names.append("fraction" if found[1] else found[0])
        pattern += r"(?:[.,](\d+))?" if found[1] else r"(Z|[+-]\d\d:\d\d)" if "07:00" in found[0] else r"(\d+)"
        at = found.end()
    match = re.fullmatch(pattern + re.escape(layout[at:]), text)
    if not match:
        return Time(-62135596800 * 10**9)
    parts = dict(zip(names, match.groups(), strict=True))
    offset = parts.get("Z07:00") or parts.get("-07:00")
    if offset:
        zone = dt.UTC if offset == "Z" else dt.datetime.strptime(offset, "%z").tzinfo or zone
    year, month, day = (int(parts.get(name) or 1) for name in ("2006", "01", "02"))
    hour, minute, second = (int(parts.get(name) or 0) for name in ("15", "04", "05"))
    moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return Time(int(moment.timestamp()) * 10**9 + int((parts.get("fraction") or "").ljust(9, "0")[:9]), zone)


def read_in(layout: str, zone: str, text: str) -> Time:
    return read(layout, text, dt.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone))


def from_epoch(text: str) -> Time:
    factor = {5: 86_400 * 10**9, 10: 10**9, 13: 10**6, 16: 10**3, 19: 1}[len(text)]
    return Time(int(text) * factor)
