"""What range functions make of samples, vector aggregations of series, binary operations of both: one step at a time.

A vector is a dict from labels (sorted pairs) to a value.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from aggregator.logql.metric import BinaryOp, Group, Matching, RangeOp, VectorOp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggregator.logql.metric import BinaryOperation, Grouping, RangeAggregation, VectorAggregation

Labels = tuple[tuple[str, str], ...]
Vector = dict[Labels, float]
Sample = tuple[int, float]

_COMPARE: dict[BinaryOp, Callable[[float, float], bool]] = {
    BinaryOp.EQUAL: lambda left, right: left == right,
    BinaryOp.NOT_EQUAL: lambda left, right: left != right,
    BinaryOp.GREATER: lambda left, right: left > right,
    BinaryOp.GREATER_OR_EQUAL: lambda left, right: left >= right,
    BinaryOp.LESS: lambda left, right: left < right,
    BinaryOp.LESS_OR_EQUAL: lambda left, right: left <= right,
}


class EvaluationError(Exception):
    """The query has no answer."""


class UndecidedError(Exception):
    """Several answers are right: a tie at the edge of topk, two series that label_replace makes one."""


def labels_of(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """The labels of a series; an empty one is none."""
    return tuple(sorted((name, value) for name, value in dict(pairs).items() if value))


def grouped(labels: Labels, grouping: Grouping | None) -> Labels:
    """What is left of the labels when series are grouped; of no grouping nothing."""
    if grouping is None:
        return ()
    return tuple(one for one in labels if (one[0] in grouping.labels) is not grouping.without)


# --- Range functions: the samples of one series in one range, in order; at least one ---


def over_time(aggregation: RangeAggregation, samples: list[Sample], end: int) -> float:  # noqa: C901, PLR0911, PLR0912 - one case a function
    """The value of a range that ends at ``end`` ns, inclusive."""
    values = [value for _, value in samples]
    range_s = aggregation.range_ns / 1e9
    match aggregation.op:
        case RangeOp.RATE:
            return (sum(values) if aggregation.unwrap else len(values)) / range_s
        case RangeOp.BYTES_RATE:
            return sum(values) / range_s
        case RangeOp.COUNT:
            return float(len(values))
        case RangeOp.SUM | RangeOp.BYTES:
            return float(sum(values))
        case RangeOp.AVG:
            return mean(values)
        case RangeOp.MIN:
            return least(values)
        case RangeOp.MAX:
            return -least([-value for value in values])
        case RangeOp.STDVAR:
            return variance(values)
        case RangeOp.STDDEV:
            return math.sqrt(variance(values))
        case RangeOp.FIRST:
            return values[0]
        case RangeOp.LAST:
            return values[-1]
        case RangeOp.QUANTILE:
            return quantile(aggregation.parameter or 0.0, values)
        case RangeOp.RATE_COUNTER:
            return increase(samples, end - aggregation.range_ns, end) / range_s
        case _:
            return 1.0


def mean(values: list[float]) -> float:
    """Infinite if one is, unless both infinities or a NaN are among them."""
    return float(sum(value / len(values) for value in values))


def least(values: list[float]) -> float:
    """NaN only if all are."""
    numbers = [value for value in values if not math.isnan(value)]
    return min(numbers) if numbers else math.nan


def variance(values: list[float]) -> float:
    """Of all there are, not an estimate."""
    middle = mean(values)
    return float(sum((value - middle) ** 2 for value in values) / len(values))


def quantile(q: float, values: list[float]) -> float:
    """Between the two nearest in proportion."""
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


def increase(samples: list[Sample], start: int, end: int) -> float:
    """What a counter rose by over the whole of a range, its resets counted; of one sample 0.

    As Prometheus extrapolates: to an edge that is near, else by half of the average distance; never below zero.
    """
    if len(samples) == 1:
        return 0.0
    risen = samples[-1][1] - samples[0][1]
    for (_, before), (_, after) in itertools.pairwise(samples):
        if after < before:
            risen += before
    seen = samples[-1][0] - samples[0][0]
    apart = seen / (len(samples) - 1)
    to_start: float = samples[0][0] - start
    if risen > 0 and samples[0][1] >= 0:
        to_start = min(to_start, seen * (samples[0][1] / risen))
    whole: float = seen
    for edge in (to_start, end - samples[-1][0]):
        whole += edge if edge < apart * 1.1 else apart / 2
    return risen * (whole / seen)


# --- Vector aggregations ---


def aggregated(aggregation: VectorAggregation, inner: Vector) -> Vector:
    """The vector that an aggregation makes of one; in order for sort and sort_desc."""
    match aggregation.op:
        case VectorOp.SORT:
            return dict(sorted(inner.items(), key=lambda one: one[1]))
        case VectorOp.SORT_DESC:
            return dict(sorted(inner.items(), key=lambda one: -one[1]))
    groups: dict[Labels, list[tuple[Labels, float]]] = {}
    for labels, value in inner.items():
        groups.setdefault(grouped(labels, aggregation.grouping), []).append((labels, value))
    if aggregation.op in {VectorOp.TOPK, VectorOp.BOTTOMK, VectorOp.APPROX_TOPK}:
        sign = 1 if aggregation.op is VectorOp.BOTTOMK else -1
        chosen = [one for members in groups.values() for one in _first(members, aggregation.parameter or 0, sign)]
        return dict(chosen)
    return {labels: _combined(aggregation.op, [value for _, value in group]) for labels, group in groups.items()}


def _first(members: list[tuple[Labels, float]], count: int, sign: int) -> list[tuple[Labels, float]]:
    if count < 1:
        return []
    ordered = sorted(members, key=lambda one: (math.isnan(one[1]), sign * one[1]))
    if len(ordered) > count and ordered[count - 1][1] == ordered[count][1]:
        raise UndecidedError
    return ordered[:count]


def _combined(op: VectorOp, values: list[float]) -> float:  # noqa: PLR0911 - one case a function
    match op:
        case VectorOp.SUM:
            return float(sum(values))
        case VectorOp.AVG:
            return mean(values)
        case VectorOp.COUNT:
            return float(len(values))
        case VectorOp.MIN:
            return least(values)
        case VectorOp.MAX:
            return -least([-value for value in values])
        case VectorOp.STDVAR:
            return variance(values)
        case _:
            return math.sqrt(variance(values))


# --- Binary operations ---


def calculated(op: BinaryOp, left: float, right: float) -> float:  # noqa: PLR0911 - one case an operator
    """Two numbers; a comparison gives 1 or 0; what is divided by 0 is NaN."""
    if op in _COMPARE:
        return float(_COMPARE[op](left, right))
    try:
        match op:
            case BinaryOp.ADD:
                return left + right
            case BinaryOp.SUBTRACT:
                return left - right
            case BinaryOp.MULTIPLY:
                return left * right
            case BinaryOp.DIVIDE:
                return left / right
            case BinaryOp.MODULO:
                return math.fmod(left, right)
            case _:
                return math.pow(left, right)
    except ZeroDivisionError:
        return math.nan
    except OverflowError:
        return math.copysign(math.inf, left) if right % 2 == 1 else math.inf
    except ValueError:
        return math.inf if op is BinaryOp.POWER and left == 0 else math.nan


def with_number(operation: BinaryOperation, left: Vector | float, right: Vector | float) -> Vector:
    """A vector and a number: a comparison without ``bool`` keeps the vector's samples for which it holds."""
    vector = left if isinstance(left, dict) else right
    assert isinstance(vector, dict)
    out = {}
    for labels, value in vector.items():
        result = calculated(
            operation.op, value if isinstance(left, dict) else left, value if isinstance(right, dict) else right
        )
        if operation.op not in _COMPARE or operation.returns_bool:
            out[labels] = result
        elif result:
            out[labels] = value
    return out


def key(labels: Labels, matching: Matching) -> Labels:
    """What must be the same on both sides."""
    return tuple(one for one in labels if (one[0] in matching.labels) is matching.on)


def of_sets(operation: BinaryOperation, left: Vector, right: Vector) -> Vector:
    """``and``, ``or``, ``unless``."""
    on_left = {key(labels, operation.matching) for labels in left}
    on_right = {key(labels, operation.matching) for labels in right}
    match operation.op:
        case BinaryOp.AND:
            return {one: value for one, value in left.items() if key(one, operation.matching) in on_right}
        case BinaryOp.UNLESS:
            return {one: value for one, value in left.items() if key(one, operation.matching) not in on_right}
        case _:
            added = {one: value for one, value in right.items() if key(one, operation.matching) not in on_left}
            return left | added


def between(operation: BinaryOperation, left: Vector, right: Vector) -> Vector:
    """Arithmetic and comparison of two vectors."""
    matching = operation.matching
    many, one = (right, left) if matching.group is Group.RIGHT else (left, right)
    ones: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in one.items():
        if key(labels, matching) in ones:
            raise EvaluationError("many-to-many matching not allowed")
        ones[key(labels, matching)] = (labels, value)
    out: Vector = {}
    matched: set[Labels] = set()
    for labels, value in many.items():
        same = key(labels, matching)
        if same not in ones:
            continue
        if matching.group is Group.NONE and same in matched:
            raise EvaluationError("many-to-one matching must be explicit")
        matched.add(same)
        other, other_value = ones[same]
        result_labels = _result(labels, other, matching)
        if result_labels in out:
            raise EvaluationError("grouping labels must ensure unique matches")
        sides = (other_value, value) if matching.group is Group.RIGHT else (value, other_value)
        result = calculated(operation.op, *sides)
        if operation.op not in _COMPARE or operation.returns_bool:
            out[result_labels] = result
        elif result:
            out[result_labels] = sides[0]
    return out


def _result(many: Labels, one: Labels, matching: Matching) -> Labels:
    labels = dict(many if matching.group is not Group.NONE else key(many, matching))
    for name in matching.include:
        labels[name] = dict(one).get(name, "")
    return labels_of(labels)
