"""Parameters of Loki's API: its names, its ways of writing times, its defaults.

Times are ns since the epoch, seconds with a fraction, or RFC 3339; a number of fewer than eleven digits is seconds, as
in Loki. Parameters of an address and of a form are one set. Unknown ones are ignored, as Loki does: clients send some
that mean nothing here.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qs

import msgspec

from aggregator.api.forms import broken_escape, query_string
from aggregator.api.loki.errors import LokiError
from aggregator.api.times import time_ns
from aggregator.errors import LogQLError
from aggregator.logql.parser import parse, parse_log, parse_selector
from aggregator.logql.tree import TIME_MAX_NS, Direction, LogExpression, Selector
from aggregator.logql.units import parse_duration, parse_range
from aggregator.store.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from aggregator.logql.metric import Expression

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3600 * SECOND_NS
LIMIT_DEFAULT: Final = 100
# Loki's default of max_entries_limit_per_query.
LIMIT_MAX: Final = 5_000
# Loki's maxDelayForInTailing.
DELAY_MAX_S: Final = 5
# Loki's default number of steps.
_STEPS_DEFAULT: Final = 250
# Digits of whole seconds; longer numbers are ns (`loghttp.ParseTimestamp`).
_SECONDS_DIGITS: Final = 10
_NUMBER: Final = re.compile(r"-?\d{1,19}(\.\d*)?", re.ASCII)


_T = TypeVar("_T")


class Given:
    """The parameters of one request."""

    def __init__(self, text: str) -> None:
        if (broken := broken_escape(text)) is not None:
            raise LokiError(400, f'invalid URL escape "{broken}"')
        try:
            self._values = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
        except ValueError as error:
            raise LokiError(400, f"invalid parameters: {error}") from error

    @classmethod
    async def of(cls, request: web.Request) -> Given:
        """Read them from the address and, of a POST, from the form."""
        return cls(await query_string(request))

    def one(self, name: str) -> str:
        """The first value, empty if there is none."""
        return self._values.get(name, [""])[0]

    def every(self, *names: str) -> list[str]:
        """All values under these names."""
        return [value for name in names for value in self._values.get(name, [])]


class LogsAsked(msgspec.Struct, frozen=True):
    """How a log query is to be answered; ``interval_ns``: how far apart lines are at least."""

    limit: int
    direction: Direction
    interval_ns: int = 0


def window(given: Given, now_ns: int) -> Window:
    """``start`` to ``end``; by default the last hour, or ``since`` up to ``end``."""
    end_ns = _time(given, "end", now_ns)
    since = given.one("since")
    back_ns = _duration("since", since) if since else HOUR_NS
    start_ns = _time(given, "start", max(0, min(end_ns, now_ns) - back_ns))
    if end_ns < start_ns:
        raise LokiError(400, f"end timestamp must not be before or equal to start time: {end_ns} before {start_ns}")
    return Window(start_ns, end_ns)


def instant(given: Given, now_ns: int) -> int:
    """``time``, by default now."""
    return _time(given, "time", now_ns)


def step(given: Given, span: Window) -> int:
    """``step`` in ns: a duration, or seconds; by default a 250th of the range, a second at least."""
    text = given.one("step")
    if not text:
        return max(1, (span.end_ns - span.start_ns) // SECOND_NS // _STEPS_DEFAULT) * SECOND_NS
    found = _duration("step", text)
    if found <= 0:
        raise LokiError(400, "zero or negative query resolution step widths are not accepted. Try a positive integer")
    return found


def logs(given: Given) -> LogsAsked:
    """``limit``, ``direction`` and ``interval``."""
    text = given.one("limit") or str(LIMIT_DEFAULT)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 - what an int holds
        raise LokiError(400, f'strconv.Atoi: parsing "{text}": invalid syntax')
    limit = int(text)
    if limit == 0:
        raise LokiError(400, "limit must be a positive value")
    if limit > LIMIT_MAX:
        raise LokiError(400, f"max entries limit per query exceeded, limit > max_entries_limit ({limit} > {LIMIT_MAX})")
    direction = (given.one("direction") or "backward").lower()
    if direction not in {"backward", "forward"}:
        raise LokiError(400, f"invalid direction '{direction}'")
    interval = given.one("interval")
    interval_ns = _duration("interval", interval) if interval else 0
    if interval_ns < 0:
        raise LokiError(400, "interval must be >= 0")
    return LogsAsked(limit, Direction(direction), interval_ns)


def check_delay(given: Given) -> None:
    """``delay_for``, seconds, which is of no effect, but refused where Loki refuses it."""
    text = given.one("delay_for") or "0"
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise LokiError(400, f'strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) > DELAY_MAX_S:
        raise LokiError(400, f"delay_for can't be greater than {DELAY_MAX_S}")


def expression(text: str) -> Expression:
    """LogQL. Raises `LokiError` (400) with Loki's ``parse error``."""
    return _read(text, parse)


def log_expression(text: str) -> LogExpression:
    """A log query."""
    return _read(text, parse_log)


def selector(text: str) -> Selector:
    """A selector; without text every stream."""
    return _read(text, parse_selector) if text and text != "{}" else Selector()


def _read(text: str, read: Callable[[str], _T]) -> _T:
    if not text.strip():
        raise LokiError(400, "parse error at line 0, col 0: syntax error: unexpected $end")
    try:
        return read(text)
    except LogQLError as error:
        raise LokiError(400, f"parse error at line {error.line}, col {error.column}: {error.message}") from error


def _time(given: Given, name: str, default_ns: int) -> int:
    text = given.one(name)
    if not text:
        return default_ns
    try:
        found = _timestamp(text)
    except ValueError as error:
        raise LokiError(400, f"could not parse '{name}' parameter: {error}") from error
    if not 0 <= found <= TIME_MAX_NS:
        raise LokiError(400, f"could not parse '{name}' parameter: {text} is before 1970 or after 2262")
    return found


def _timestamp(text: str) -> int:
    number = _NUMBER.fullmatch(text)
    if number is None:
        return time_ns(text)
    if number[1] is not None:
        whole, _, fraction = text.partition(".")
        return int(whole) * SECOND_NS + int(fraction[:9].ljust(9, "0"))
    return int(text) * SECOND_NS if len(text) <= _SECONDS_DIGITS else int(text)


def _duration(name: str, text: str) -> int:
    """A number of seconds, or a duration as Prometheus or Go write it; ns."""
    try:
        seconds = float(text)
    except ValueError:
        return _written(name, text)
    found = seconds * SECOND_NS
    if not math.isfinite(found) or abs(found) > TIME_MAX_NS:
        raise LokiError(400, f'cannot parse "{text}" to a valid duration. It overflows int64')
    return round(found)


def _written(name: str, text: str) -> int:
    try:
        return parse_range(text)
    except ValueError:
        try:
            return int(parse_duration(text))
        except ValueError as error:
            raise LokiError(400, f"could not parse '{name}' parameter: {error}") from error
