"""Log queries of LogQL as a value: the tree that every way of asking builds, and that everything else reads.

Names are those of the Loki documentation (https://grafana.com/docs/loki/latest/query/). Texts are as they are meant,
without quotes or escapes. Durations are ns, sizes bytes. Every value is immutable and hashable; two that are written
differently and mean the same may differ.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

# Times are int64 ns: up to 2262-04-11.
TIME_MAX_NS: Final = (1 << 63) - 1

# Labels that a record has beside those of its stream: what the store found in its line, and what went wrong with it.
LEVEL: Final = "detected_level"
LEVEL_UNKNOWN: Final = "unknown"
ERROR: Final = "__error__"
ERROR_DETAILS: Final = "__error_details__"


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


class Matcher(msgspec.Struct, frozen=True):
    """A condition on one label; a label that is not there counts as empty."""

    label: str
    op: MatchOp
    value: str


class Selector(msgspec.Struct, frozen=True):
    """Which streams: those for which every matcher holds; without matchers all (LogQL text must have one)."""

    matchers: tuple[Matcher, ...] = ()


# --- Stages of a pipeline, in the order they are written ---


class LineOp(enum.Enum):
    """How a line is tested; regular expressions are RE2 and may match anywhere in the line."""

    CONTAINS = "|="
    LACKS = "!="
    MATCHES = "|~"
    NOT_MATCHES = "!~"
    PATTERN = "|>"
    NOT_PATTERN = "!>"

    @property
    def negative(self) -> bool:
        """Whether the operator keeps what does *not* pass."""
        return self in {LineOp.LACKS, LineOp.NOT_MATCHES, LineOp.NOT_PATTERN}


class LineValue(msgspec.Struct, frozen=True):
    """What a line is tested for: a text, an expression or a pattern, as the operator says.

    ``ip``: written ``ip("…")``, with CONTAINS and LACKS only: an address, a range ``a-b`` or a CIDR block, of which an
    address stands somewhere in the line.
    """

    text: str
    ip: bool = False


class LineFilter(msgspec.Struct, frozen=True):
    """A stage that keeps the records whose line passes any of ``values`` (at least one); if negative, none of them."""

    op: LineOp
    values: tuple[LineValue, ...]

    @classmethod
    def of(cls, op: LineOp, text: str) -> LineFilter:
        """A filter with one text."""
        return cls(op, (LineValue(text),))


class Extraction(msgspec.Struct, frozen=True):
    """``label="expression"`` of a parser that is told what to take."""

    label: str
    expression: str


class JsonParser(msgspec.Struct, frozen=True):
    """``| json``: every property of the line's object, or only what ``extractions`` (JSON expressions) name."""

    extractions: tuple[Extraction, ...] = ()


class LogfmtParser(msgspec.Struct, frozen=True):
    """``| logfmt``: every key of the line, or only those that ``extractions`` name."""

    extractions: tuple[Extraction, ...] = ()
    strict: bool = False
    keep_empty: bool = False


class RegexpParser(msgspec.Struct, frozen=True):
    """``| regexp "…"``: the named groups of an RE2 expression (at least one)."""

    expression: str


class PatternParser(msgspec.Struct, frozen=True):
    """``| pattern "…"``: the named captures of a pattern (at least one)."""

    expression: str


class UnpackParser(msgspec.Struct, frozen=True):
    """``| unpack``: the labels and the line of an entry packed as JSON."""


Parser = JsonParser | LogfmtParser | RegexpParser | PatternParser | UnpackParser


class CompareOp(enum.Enum):
    """How numbers are compared."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    LESS = "<"
    LESS_OR_EQUAL = "<="


class NumberCondition(msgspec.Struct, frozen=True):
    """The label's value, as a number, compares with ``value``."""

    label: str
    op: CompareOp
    value: float


class DurationCondition(msgspec.Struct, frozen=True):
    """The label's value, as a Go duration, compares with ``value_ns``."""

    label: str
    op: CompareOp
    value_ns: int


class BytesCondition(msgspec.Struct, frozen=True):
    """The label's value, as a size (``5KB``, ``1.5MiB``), compares with ``value_bytes``."""

    label: str
    op: CompareOp
    value_bytes: int


class IpCondition(msgspec.Struct, frozen=True):
    """The label's value is, or with ``negative`` is not, an address in ``text``: address, range ``a-b``, CIDR."""

    label: str
    negative: bool
    text: str


class And(msgspec.Struct, frozen=True):
    """Both hold."""

    left: Condition
    right: Condition


class Or(msgspec.Struct, frozen=True):
    """One holds, or both."""

    left: Condition
    right: Condition


Condition = Matcher | NumberCondition | DurationCondition | BytesCondition | IpCondition | And | Or


class LabelFilter(msgspec.Struct, frozen=True):
    """A stage that keeps the records whose labels, as they are by then, meet a condition."""

    condition: Condition


class LineFormat(msgspec.Struct, frozen=True):
    """``| line_format "…"``: the line becomes what a Go template gives."""

    template: str


class Assignment(msgspec.Struct, frozen=True):
    """One assignment of ``label_format``: from a Go template, or renaming the label ``source``; one of both is set."""

    label: str
    template: str | None = None
    source: str | None = None


class LabelFormat(msgspec.Struct, frozen=True):
    """``| label_format a="…",b=c``."""

    assignments: tuple[Assignment, ...]


class Decolorize(msgspec.Struct, frozen=True):
    """``| decolorize``: the line without ANSI sequences."""


class DropLabels(msgspec.Struct, frozen=True):
    """``| drop a,b="x"``: without these labels, a matcher's only where it holds."""

    labels: tuple[str | Matcher, ...]


class KeepLabels(msgspec.Struct, frozen=True):
    """``| keep a,b="x"``: without any other labels; a matcher's is kept only where it holds."""

    labels: tuple[str | Matcher, ...]


Stage = (
    LineFilter
    | JsonParser
    | LogfmtParser
    | RegexpParser
    | PatternParser
    | UnpackParser
    | LabelFilter
    | LineFormat
    | LabelFormat
    | Decolorize
    | DropLabels
    | KeepLabels
)


class LogExpression(msgspec.Struct, frozen=True):
    """A log query: the records of streams that come through a pipeline."""

    selector: Selector
    stages: tuple[Stage, ...] = ()


# --- What is asked: a pipeline and a time ---


class Direction(enum.Enum):
    """Which records a limit keeps: the newest (backward from the end) or the oldest."""

    BACKWARD = "backward"
    FORWARD = "forward"


class Place(msgspec.Struct, frozen=True):
    """Where a record stands in the order of all, which is by these fields; ``source``: its 16 bytes."""

    ts_ns: int
    stream_id: int
    source: bytes
    position: int


class Committed(msgspec.Struct, frozen=True):
    """The commits behind the one at ``after_ms``, up to and including the one at ``to_ms``; ms since the epoch.

    With ``place``, of the commit at ``after_ms`` as well the records that stand behind it.
    """

    to_ms: int
    after_ms: int = -1
    place: Place | None = None


class Query(msgspec.Struct, frozen=True):
    """Records of ``selector`` that come through every stage, from ``start_ns`` to before ``end_ns``.

    Times are ns since the epoch, UTC, 0 to `TIME_MAX_NS`. ``limit``: how many of them, from the end that ``direction``
    says; 0 means all. ``after``, ``before``: records behind, and in front of, a place only. ``committed``: records of
    these commits only.
    """

    selector: Selector
    stages: tuple[Stage, ...]
    start_ns: int
    end_ns: int
    limit: int = 0
    direction: Direction = Direction.BACKWARD
    after: Place | None = None
    before: Place | None = None
    committed: Committed | None = None

    @property
    def backward(self) -> bool:
        """Whether the limit keeps the newest records."""
        return self.direction is Direction.BACKWARD
