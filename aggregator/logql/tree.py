"""A query as a value, in the terms of LogQL.

Whoever asks for records builds one of these: the plain parameters of ``/query`` today, LogQL text and Grafana later.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

DAY_NS: Final = 86_400_000_000_000
# Times are int64 ns: up to 2262-04-11.
TIME_MAX_NS: Final = (1 << 63) - 1


class MatchOp(enum.Enum):
    """How a label's value is compared; regular expressions are RE2 and must match the whole value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"

    @property
    def negative(self) -> bool:
        """Whether the operator keeps what does *not* compare."""
        return self in {MatchOp.NOT_EQUAL, MatchOp.NOT_MATCHES}


class LineOp(enum.Enum):
    """How a line is tested; regular expressions are RE2 and may match anywhere in the line."""

    CONTAINS = "|="
    LACKS = "!="
    MATCHES = "|~"
    NOT_MATCHES = "!~"


class Direction(enum.Enum):
    """Which records a limit keeps: the newest (backward from the end) or the oldest."""

    BACKWARD = "backward"
    FORWARD = "forward"


class Matcher(msgspec.Struct, frozen=True):
    """A condition on one label; a label that a stream does not have counts as empty."""

    label: str
    op: MatchOp
    value: str


class Selector(msgspec.Struct, frozen=True):
    """Which streams: those for which every matcher holds; without matchers all."""

    matchers: tuple[Matcher, ...] = ()


class LineFilter(msgspec.Struct, frozen=True):
    """A stage that keeps the records whose line passes a test."""

    op: LineOp
    value: str


class LabelFilter(msgspec.Struct, frozen=True):
    """A stage that keeps the records for which a matcher holds; today's only such label is `LEVEL`."""

    matcher: Matcher


Stage = LineFilter | LabelFilter

# The label that the store finds in a record itself, and its value where it found none.
LEVEL: Final = "level"
LEVEL_UNKNOWN: Final = "unknown"


class Query(msgspec.Struct, frozen=True):
    """Records of ``selector`` that pass every stage, from ``start_ns`` to before ``end_ns``.

    Times are ns since the epoch, UTC, 0 to `TIME_MAX_NS`. ``limit``: how many of them, from the end that ``direction``
    says; 0 means all.
    """

    selector: Selector
    stages: tuple[Stage, ...]
    start_ns: int
    end_ns: int
    limit: int = 0
    direction: Direction = Direction.BACKWARD

    @property
    def backward(self) -> bool:
        """Whether the limit keeps the newest records."""
        return self.direction is Direction.BACKWARD
