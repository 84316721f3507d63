"""LogQL as plainly as it can be said: every query over every record, one after the other, one step after the other.

Slow and without cleverness, so that what the aggregator does cleverly can be compared with it. It knows the tree of
`aggregator.logql` and nothing else of it. What it does is what Loki's documentation and source say; where these are of
two minds, `docs/logql.md` says what was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import re2

from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Conversion,
    Grouping,
    LabelReplace,
    Literal,
    MetricExpression,
    MetricQuery,
    RangeAggregation,
    RangeOp,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.metric import Vector as OneSeries
from aggregator.logql.tree import ERROR, And, Condition, LabelFilter, MatchOp, Or, Query
from aggregator.logql.tree import LogExpression as Logs
from tests.logql import series, values
from tests.logql.conditions import passes
from tests.logql.functions import replaced
from tests.logql.series import EvaluationError, Labels, UndecidedError, Vector
from tests.logql.stages import processed

if TYPE_CHECKING:
    from tests.logql.labels import Entry, Record

SAMPLE_ERROR = "SampleExtractionErr"

_READ = {
    Conversion.NUMBER: values.number,
    Conversion.BYTES: values.size,
    Conversion.DURATION: values.seconds,
    Conversion.DURATION_SECONDS: values.seconds,
}
# The outer sum's labels are then the range's own: what is grouped by may be the unwrapped label.
_SUMMED = {RangeOp.SUM, RangeOp.RATE, RangeOp.COUNT, RangeOp.BYTES, RangeOp.BYTES_RATE}


class Line(msgspec.Struct, frozen=True):
    """One line of an answer."""

    ts: int
    line: bytes
    labels: dict[str, str]


def log_query(query: Query, records: list[Record]) -> list[Line]:
    """The lines of a log query in its direction; records of one time are in the order of ``records``."""
    ordered = sorted(records, key=lambda record: record.ts)
    inside = [record for record in ordered if query.start_ns <= record.ts < query.end_ns]
    entries = processed(Logs(query.selector, query.stages), inside)
    if query.backward:
        entries.reverse()
    if query.limit:
        entries = entries[: query.limit]
    return [Line(entry.ts, entry.shown(), entry.labels()) for entry in entries]


def metric_query(query: MetricQuery, records: list[Record]) -> dict[Labels, list[tuple[int, float]]]:
    """The samples of every series in order; a number is one series without labels.

    Raises `EvaluationError` for what has no answer.
    """
    out: dict[Labels, list[tuple[int, float]]] = {}
    ordered = sorted(records, key=lambda record: record.ts)
    at = query.start_ns
    while at <= query.end_ns:
        result = evaluated(query.expression, at, ordered)
        for labels, value in result.items() if isinstance(result, dict) else [((), result)]:
            out.setdefault(labels, []).append((at, value))
        at += query.step_ns
    return out


def evaluated(expression: MetricExpression, at: int, records: list[Record]) -> Vector | float:  # noqa: PLR0911 - one case a kind
    """The value at one time."""
    match expression:
        case Literal(value):
            return value
        case OneSeries(value):
            return {(): value}
        case RangeAggregation():
            return _ranged(expression, None, at, records)
        case VectorAggregation(op, inner, _, grouping):
            if op is VectorOp.SUM and isinstance(inner, RangeAggregation) and inner.op in _SUMMED:
                return series.aggregated(expression, _ranged(inner, grouping or Grouping(()), at, records))
            return series.aggregated(expression, _vector(inner, at, records))
        case LabelReplace():
            return _replaced(expression, _vector(expression.inner, at, records))
        case BinaryOperation():
            return _operated(expression, at, records)


def _vector(expression: MetricExpression, at: int, records: list[Record]) -> Vector:
    result = evaluated(expression, at, records)
    if not isinstance(result, dict):
        raise EvaluationError("a number where series are wanted")
    return result


def _operated(operation: BinaryOperation, at: int, records: list[Record]) -> Vector | float:
    left = evaluated(operation.left, at, records)
    right = evaluated(operation.right, at, records)
    if isinstance(left, dict) and isinstance(right, dict):
        sets = operation.op in {BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS}
        return (series.of_sets if sets else series.between)(operation, left, right)
    if isinstance(left, dict) or isinstance(right, dict):
        return series.with_number(operation, left, right)
    return series.calculated(operation.op, left, right)


def _replaced(expression: LabelReplace, inner: Vector) -> Vector:
    out: Vector = {}
    whole = f"^(?:{expression.expression})$"
    for labels, value in inner.items():
        source = dict(labels).get(expression.source, "")
        changed = dict(labels)
        if re2.compile(whole).search(source):
            changed[expression.target] = replaced(whole, source, expression.replacement)
        if series.labels_of(changed) in out:
            raise UndecidedError
        out[series.labels_of(changed)] = value
    return out


def _ranged(aggregation: RangeAggregation, summed: Grouping | None, at: int, records: list[Record]) -> Vector:
    """``summed``: the grouping of the sum around it."""
    end = at - aggregation.offset_ns
    inside = [record for record in records if end - aggregation.range_ns < record.ts <= end]
    found: dict[Labels, list[tuple[int, float]]] = {}
    for entry in processed(aggregation.logs, inside):
        value = _sample(aggregation, entry)
        if value is None:
            continue
        if entry.error and not (summed and _asks_for_errors(aggregation, summed)):
            raise EvaluationError(f"pipeline error: {entry.error}")
        labels = _series(aggregation, entry, summed)
        found.setdefault(labels, []).append((entry.ts, value))
    if aggregation.op is RangeOp.ABSENT:
        return {} if found else {_absent(aggregation): 1.0}
    return {labels: series.over_time(aggregation, samples, end) for labels, samples in found.items()}


def _sample(aggregation: RangeAggregation, entry: Entry) -> float | None:
    unwrap = aggregation.unwrap
    if unwrap is None:
        bytes_counted = aggregation.op in {RangeOp.BYTES, RangeOp.BYTES_RATE}
        return float(len(entry.shown())) if bytes_counted else 1.0
    text = entry.get(unwrap.label)
    if not text:
        return None
    value = 0.0
    try:
        value = float(_READ[unwrap.conversion](text))
    except ValueError as error:
        entry.fail(SAMPLE_ERROR, str(error))
    return value if all(passes(one.condition, entry) for one in unwrap.filters) else None


def _series(aggregation: RangeAggregation, entry: Entry, summed: Grouping | None) -> Labels:
    labels = series.labels_of(entry.labels())
    grouping = aggregation.grouping or summed
    kept = grouping is not None and not grouping.without and (grouping.labels or aggregation.grouping)
    if aggregation.unwrap and not kept:
        labels = tuple(one for one in labels if one[0] != aggregation.unwrap.label)
    return series.grouped(labels, grouping) if grouping is not None else labels


def _asks_for_errors(aggregation: RangeAggregation, summed: Grouping) -> bool:
    """Whether the query speaks of errors, so that they are not its own."""
    filters = [stage for stage in aggregation.logs.stages if isinstance(stage, LabelFilter)]
    filters += aggregation.unwrap.filters if aggregation.unwrap else ()
    named = {name for one in filters for name in _names(one.condition)}
    return not summed.without and (ERROR in summed.labels or ERROR in named)


def _names(condition: Condition) -> set[str]:
    if isinstance(condition, (And, Or)):
        return _names(condition.left) | _names(condition.right)
    return {condition.label}


def _absent(aggregation: RangeAggregation) -> Labels:
    """The labels that the selector says to be equal to something, once."""
    labels: dict[str, str] = {}
    without: set[str] = set()
    for matcher in aggregation.logs.selector.matchers:
        if matcher.op is MatchOp.EQUAL and matcher.label not in labels:
            labels[matcher.label] = matcher.value
        else:
            without.add(matcher.label)
    return series.labels_of({name: value for name, value in labels.items() if name not in without})
