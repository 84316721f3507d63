"""Every case there is, the name of each, and what one expects in the form that both runners give it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.tree import LEVEL, LEVEL_UNKNOWN
from tests.logql import cases_operating, cases_parsing, cases_ranges, cases_selecting, cases_shaping
from tests.logql.case import Case, Failing, Instant, Keeps, Labels, Lines, Parsed, Range, Refused, Scalar
from tests.logql.datasets import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.logql.labels import Record

CASES: Final[tuple[Case, ...]] = (
    cases_selecting.CASES + cases_parsing.CASES + cases_shaping.CASES + cases_ranges.CASES + cases_operating.CASES
)
LOGS: Final = tuple(case for case in CASES if isinstance(case, (Keeps, Lines, Parsed, Labels)))
METRICS: Final = tuple(case for case in CASES if isinstance(case, (Instant, Range, Scalar)))
REFUSED: Final = tuple(case for case in CASES if isinstance(case, Refused))
FAILING: Final = tuple(case for case in CASES if isinstance(case, Failing))

Series = tuple[tuple[str, str], ...]
Samples = dict[Series, dict[int, float]]

_PAIR: Final = re.compile(r'(\w+)="([^"]*)"')


class Answered(msgspec.Struct, frozen=True):
    """A line of an answer: text, and all labels without the details of an error, whose words are nobody's promise."""

    ts: int
    line: str
    labels: Mapping[str, str]


def name(case: Case) -> str:
    """Unique, and readable in a report."""
    extra = "".join(f" {key}={value}" for key, value in _settings(case).items())
    return f"{type(case).__name__}: {case.query}{extra}"


def _settings(case: Case) -> dict[str, object]:
    names = ("at", "start", "end", "step", "limit", "backward")
    return {one: getattr(case, one) for one in names if getattr(case, one, 0) not in {0, 3600}}


def series(text: str) -> Series:
    """The labels of ``a="b",c="d"``."""
    return tuple(sorted(_PAIR.findall(text)))


def check_lines(case: Case, answer: Iterable[Answered]) -> None:
    """Compare an answer, the oldest first, with what a log query expects."""
    given = sorted(answer, key=lambda one: (one.ts, one.labels.get("pod", "")))
    match case:
        case Keeps(_, names):
            wanted = sorted((RECORDS[one] for one in names.split()), key=lambda one: (one.ts, dict(one.stream)["pod"]))
            assert [(one.ts, one.line) for one in given] == [(one.ts, text(one)) for one in wanted]
        case Lines():
            assert [one.line for one in given] == list(case.lines)
        case Parsed(_, labels):
            assert [_added(one) for one in given] == list(labels)
        case Labels(_, labels):
            assert [dict(one.labels) for one in given] == list(labels)
        case _:
            raise TypeError(case)


def text(record: Record) -> str:
    return record.line.decode(errors="replace")


def _added(answered: Answered) -> dict[str, str]:
    """Labels that no record of that time has."""
    own = [
        dict(record.stream) | {LEVEL: record.level or LEVEL_UNKNOWN}
        for record in RECORDS.values()
        if record.ts == answered.ts
    ]
    return {key: value for key, value in answered.labels.items() if not any(one.get(key) == value for one in own)}


def check_samples(wanted: Samples, given: Samples, close: float = 1e-9) -> None:
    """Compare series by series, time by time."""
    assert sorted(given) == sorted(wanted)
    for labels, values in wanted.items():
        assert sorted(given[labels]) == sorted(values), labels
        for time, value in values.items():
            assert same(given[labels][time], value, close), (labels, time, given[labels][time], value)


def same(left: float, right: float, close: float = 1e-9) -> bool:
    """Whether two values are as good as equal."""
    return (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=close, abs_tol=1e-12)
