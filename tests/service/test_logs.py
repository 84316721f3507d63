"""One line an event, whatever is in it, and no line too often."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from service.logs import JsonFormatter, RateLimit, TextFormatter, fields

HOSTILE = 'a b\n"=\x1b[31m\udcff'


def _record(message: str = "committed", arguments: tuple[object, ...] = (), **values: Any) -> logging.LogRecord:
    logger = logging.getLogger("aggregator.ingest")
    record = logger.makeRecord(
        logger.name, logging.INFO, "f.py", 1, message, arguments, None, extra=fields(**values) if values else None
    )
    record.created = 1_700_000_000.25
    return record


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "2023-11-14T22:13:20.250Z INFO aggregator.ingest committed"),
        ({"rows": 5, "path": "/a"}, "2023-11-14T22:13:20.250Z INFO aggregator.ingest committed rows=5 path=/a"),
        ({"reason": ""}, '2023-11-14T22:13:20.250Z INFO aggregator.ingest committed reason=""'),
        ({"reason": "a=b"}, '2023-11-14T22:13:20.250Z INFO aggregator.ingest committed reason="a=b"'),
    ],
)
def test_text(values: dict[str, Any], line: str) -> None:
    assert TextFormatter().format(_record(**values)) == line


def test_json() -> None:
    assert json.loads(JsonFormatter().format(_record("took %s", ("2s",), rows=5))) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "INFO",
        "logger": "aggregator.ingest",
        "message": "took 2s",
        "rows": "5",
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_hostile_value_stays_on_its_line(formatter: logging.Formatter) -> None:
    line = formatter.format(_record(path=HOSTILE))
    assert line.isprintable()
    assert line.encode()


def test_a_message_with_bytes_of_a_file_name_is_written() -> None:
    assert json.loads(JsonFormatter().format(_record("lost %s", ("/x/\udcff",))))["message"] == "lost /x/\\udcff"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_keeps_its_traceback(formatter: logging.Formatter) -> None:
    record = _record()
    try:
        dict[str, int]()[HOSTILE]
    except KeyError:
        record.exc_info = sys.exc_info()
    text = formatter.format(record)
    assert "Traceback" in text
    assert "KeyError" in text
    assert text.count("\n") == (0 if isinstance(formatter, JsonFormatter) else text.rstrip().count("\n"))


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _passed(limit: RateLimit, clock: _Clock, *events: tuple[float, str]) -> list[tuple[str, Any]]:
    """What of (time, message) gets through, with the count held back before it."""
    passed = []
    for clock.now, message in events:
        record = _record(message)
        if limit.filter(record):
            passed.append((message, getattr(record, "fields", {}).get("repeats_held_back", 0)))
    return passed


def test_repeats_are_held_back_and_counted() -> None:
    clock = _Clock()
    events = [(0.0, "a")] * 5 + [(1.0, "b"), (9.9, "a"), (10.0, "a"), (10.1, "a"), (10.2, "a"), (20.0, "a")]
    assert _passed(RateLimit(2, 10.0, clock), clock, *events) == [
        ("a", 0),
        ("a", 0),
        ("b", 0),
        ("a", 4),
        ("a", 0),
        ("a", 1),
    ]


def test_arguments_do_not_make_another_message() -> None:
    limit = RateLimit(1, 10.0)
    assert [limit.filter(_record("lost %d", (number,))) for number in range(3)] == [True, False, False]


def test_what_is_remembered_is_bounded() -> None:
    limit = RateLimit(1, 10.0)
    for number in range(5000):
        limit.filter(_record(f"message {number}"))
    assert len(limit._seen) <= 1000


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_writes_to_standard_error_only(form: str) -> None:
    code = (
        "import logging; from service.logs import configure, fields;"
        f"configure('warning', {form!r}); log = logging.getLogger('x');"
        "log.info('quiet'); [log.warning('loud', extra=fields(n=n)) for n in range(9)]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all("loud" in line for line in lines)
