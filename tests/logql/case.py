"""The shapes of a case: a query, and what is expected of it. Times are seconds from the beginning of the data."""

from __future__ import annotations

import msgspec

from tests.logql.datasets import START_NS

HOUR_S = 3_600


class Case(msgspec.Struct, frozen=True):
    """A query."""

    query: str


class Keeps(Case, frozen=True):
    """A log query: which records come through, unchanged, as `tests.logql.datasets` names them, in order of time."""

    names: str = ""


class Lines(Case, frozen=True):
    """A log query: its lines, the oldest first (at one time by pod); bytes that are no UTF-8 are U+FFFD."""

    lines: tuple[str, ...] = ()
    limit: int = 0
    backward: bool = False
    start: float = 0
    end: float = HOUR_S


class Parsed(Case, frozen=True):
    """A log query: for each line the labels that the record did not have, or had with another value."""

    labels: tuple[dict[str, str], ...] = ()


class Labels(Case, frozen=True):
    """A log query: for each line all its labels."""

    labels: tuple[dict[str, str], ...] = ()


class Instant(Case, frozen=True):
    """A metric query at one time: the value of every series, named as in LogQL without braces.

    ``ordered``: the series come in this order. ``close``: how far off a value may be, relatively.
    """

    at: float = 0
    values: dict[str, float] = {}
    ordered: bool = False
    close: float = 1e-9


class Range(Case, frozen=True):
    """A metric query over a range: for each series its values by time."""

    start: float = 0
    end: float = 0
    step: float = 1
    values: dict[str, dict[float, float]] = {}


class Scalar(Case, frozen=True):
    """A query that is a number."""

    value: float = 0


class Refused(Case, frozen=True):
    """A query that is answered 400; ``why``: what is wrong, for the reader.

    ``late``: the language allows it, what it is made of does not: templates, expressions of parsers.
    """

    why: str = ""
    late: bool = False


class Failing(Case, frozen=True):
    """A metric query that has no answer over this data: 400 as well, but only when it is run."""

    why: str = ""
    at: float = 0


def at(second: float) -> int:
    """The time in ns."""
    return START_NS + round(second * 1e9)
