"""Metric queries of LogQL as a value: samples made of records, series made of samples.

As in `aggregator.logql.tree`: names are Loki's, durations are ns, values are immutable.
"""

from __future__ import annotations

import enum

import msgspec

from aggregator.logql.tree import LabelFilter, LogExpression


class Conversion(enum.Enum):
    """How the text of an unwrapped label becomes a number: as a float, a size in bytes, a Go duration in seconds."""

    NUMBER = ""
    BYTES = "bytes"
    DURATION = "duration"
    DURATION_SECONDS = "duration_seconds"


class Unwrap(msgspec.Struct, frozen=True):
    """``| unwrap label``, and the label filters after it: which samples records are."""

    label: str
    conversion: Conversion = Conversion.NUMBER
    filters: tuple[LabelFilter, ...] = ()


class RangeOp(enum.Enum):
    """What is made of the records, or samples, of a range."""

    RATE = "rate"
    RATE_COUNTER = "rate_counter"
    COUNT = "count_over_time"
    BYTES_RATE = "bytes_rate"
    BYTES = "bytes_over_time"
    SUM = "sum_over_time"
    AVG = "avg_over_time"
    MIN = "min_over_time"
    MAX = "max_over_time"
    STDDEV = "stddev_over_time"
    STDVAR = "stdvar_over_time"
    QUANTILE = "quantile_over_time"
    FIRST = "first_over_time"
    LAST = "last_over_time"
    ABSENT = "absent_over_time"


class Grouping(msgspec.Struct, frozen=True):
    """``by (labels)``, or ``without (labels)``."""

    labels: tuple[str, ...]
    without: bool = False


class RangeAggregation(msgspec.Struct, frozen=True):
    """``op(parameter, {…} | … | unwrap … [range] offset …) by (…)``: one sample a series at every step.

    A sample at t is made of what lies in (t - offset - range, t - offset]. ``parameter``: of QUANTILE alone.
    """

    op: RangeOp
    logs: LogExpression
    range_ns: int
    offset_ns: int = 0
    unwrap: Unwrap | None = None
    parameter: float | None = None
    grouping: Grouping | None = None


class VectorOp(enum.Enum):
    """What is made of the series of a step."""

    SUM = "sum"
    AVG = "avg"
    COUNT = "count"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    STDVAR = "stdvar"
    TOPK = "topk"
    BOTTOMK = "bottomk"
    APPROX_TOPK = "approx_topk"
    SORT = "sort"
    SORT_DESC = "sort_desc"


class VectorAggregation(msgspec.Struct, frozen=True):
    """``op by (…) (parameter, inner)``; ``parameter``: how many, of TOPK, BOTTOMK and APPROX_TOPK alone."""

    op: VectorOp
    inner: MetricExpression
    parameter: int | None = None
    grouping: Grouping | None = None


class BinaryOp(enum.Enum):
    """Operators between samples, those that bind tightest first."""

    POWER = "^"
    MULTIPLY = "*"
    DIVIDE = "/"
    MODULO = "%"
    ADD = "+"
    SUBTRACT = "-"
    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    AND = "and"
    UNLESS = "unless"
    OR = "or"


class Group(enum.Enum):
    """Which side of a binary operation may have several series to one of the other."""

    NONE = ""
    LEFT = "group_left"
    RIGHT = "group_right"


class Matching(msgspec.Struct, frozen=True):
    """Which series of both sides belong together: those equal ``on`` labels, else ``ignoring`` them.

    ``include``: labels that ``group`` takes over from the side of one.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    group: Group = Group.NONE
    include: tuple[str, ...] = ()


class BinaryOperation(msgspec.Struct, frozen=True):
    """``left op right``; ``returns_bool``: a comparison gives 0 or 1 instead of keeping what compares."""

    op: BinaryOp
    left: MetricExpression
    right: MetricExpression
    matching: Matching = Matching()
    returns_bool: bool = False


class LabelReplace(msgspec.Struct, frozen=True):
    """``label_replace(inner, target, replacement, source, expression)``; the expression is RE2, matched whole."""

    inner: MetricExpression
    target: str
    replacement: str
    source: str
    expression: str


class Vector(msgspec.Struct, frozen=True):
    """``vector(value)``: one series without labels."""

    value: float


class Literal(msgspec.Struct, frozen=True):
    """A number."""

    value: float


MetricExpression = RangeAggregation | VectorAggregation | BinaryOperation | LabelReplace | Vector | Literal
Expression = LogExpression | MetricExpression


class MetricQuery(msgspec.Struct, frozen=True):
    """Samples of ``expression`` at ``start_ns``, ``start_ns + step_ns``, … up to and including ``end_ns``.

    An instant query has ``start_ns == end_ns``; its step (above 0) is of no effect.
    """

    expression: MetricExpression
    start_ns: int
    end_ns: int
    step_ns: int
