"""Log lines: one line an event, as text for people or JSON for machines, on standard error."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The same message at most so often per interval: enough to see it, too little to drown the rest.
REPEATS_MAX: Final = 5
REPEATS_INTERVAL_S: Final = 10.0
# Distinct messages remembered; templates are literals in the code, so this is never reached by input.
_TEMPLATES_MAX: Final = 1000


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--log-level`` and ``--log-format`` for a command."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        envvar="LOGBOOM_LOG_LEVEL",
        show_envvar=True,
        show_default=True,
        help="The least severe log line written.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        envvar="LOGBOOM_LOG_FORMAT",
        show_envvar=True,
        show_default=True,
        help="How log lines are written to standard error.",
    )
    return level(form(command))


def configure(level: str, form: str) -> None:
    """Send every log line of the process to standard error, in ``form`` ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(RateLimit(REPEATS_MAX, REPEATS_INTERVAL_S))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The ``extra=`` of a log call: named values that stay apart from the message."""
    return {"fields": values}


class TextFormatter(logging.Formatter):
    """``<time> <level> <logger> <message> key=value …``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        parts = [_time(record), record.levelname, record.name, _encodable(record.getMessage())]
        parts += [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        line = " ".join(parts)
        return f"{line}\n{_encodable(self.formatException(record.exc_info))}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, the fields, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        document = {"time": _time(record), "level": record.levelname, "logger": record.name}
        document["message"] = _encodable(record.getMessage())
        document |= {key: _encodable(value) for key, value in _fields(record).items()}
        if record.exc_info:
            document["exception"] = _encodable(self.formatException(record.exc_info))
        return _json(document)


class RateLimit(logging.Filter):
    """Lets the same message of the same logger pass ``most`` times per ``interval_s``.

    The first one of the next interval says how many were held back.
    """

    def __init__(self, most: int, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        key = (record.name, str(record.msg))
        now = self._clock()
        began, count = self._seen.get(key, (now, 0))
        if now - began >= self._interval_s:
            held_back = count - self._most
            if held_back > 0:
                record.fields = {**_fields(record), "repeats_held_back": held_back}
            began, count = now, 0
        if len(self._seen) >= _TEMPLATES_MAX:
            self._seen.clear()
        self._seen[key] = (began, count + 1)
        return count < self._most


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    return getattr(record, "fields", {})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    text = _encodable(value)
    return text if text and text.isprintable() and not any(c in ' "=' for c in text) else _json(text)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _encodable(value: object) -> str:
    """The value as text that UTF-8 can hold: Python keeps the other bytes of a file name as surrogates."""
    return str(value).encode("utf-8", "backslashreplace").decode()
