"""An expression's value from the samples of its leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.errors import MetricError, SeriesLimitError
from aggregator.logql.metric import (
    BinaryOperation,
    LabelReplace,
    Literal,
    MetricExpression,
    RangeAggregation,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.vector.aggregation import aggregate
from aggregator.logql.vector.binary import operate
from aggregator.logql.vector.functions import label_replace
from aggregator.logql.vector.leaves import Leaf, leaf
from aggregator.logql.vector.matrix import SERIES_MAX, Matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.logql.vector.matrix import Int64s


def evaluate(expression: MetricExpression, times: Int64s, samples: Mapping[Leaf, Matrix]) -> Matrix | float:
    """The value of ``expression`` at the steps ``times``; a number if there are no series in it.

    ``samples``: those of each of `aggregator.logql.vector.leaves.leaves`. Series are in the order of their labels,
    those of an instant query that sorts in that order. Raises a `MetricError`.
    """
    value = _value(expression, times, samples)
    if not isinstance(value, Matrix):
        return value
    result = value.seen().united()
    if len(result.labels) > SERIES_MAX:
        raise SeriesLimitError(SERIES_MAX)
    return result if len(times) == 1 and sorts(expression) else result.ordered()


def sorts(expression: MetricExpression) -> bool:
    """Whether anything in ``expression`` gives series an order of their own."""
    match expression:
        case VectorAggregation(op, inner):
            return op in {VectorOp.SORT, VectorOp.SORT_DESC} or sorts(inner)
        case BinaryOperation(left=left, right=right):
            return sorts(left) or sorts(right)
        case LabelReplace(inner=inner):
            return sorts(inner)
        case _:
            return False


def _value(
    expression: MetricExpression,
    times: Int64s,
    samples: Mapping[Leaf, Matrix],
    outer: VectorAggregation | None = None,
) -> Matrix | float:
    match expression:
        case RangeAggregation():
            return samples[leaf(expression, outer)]
        case VectorAggregation(inner=inner):
            return aggregate(expression, _series(_value(inner, times, samples, expression), expression.op.value))
        case BinaryOperation(left=left, right=right):
            return operate(expression, _value(left, times, samples), _value(right, times, samples))
        case LabelReplace(inner=inner):
            return label_replace(expression, _series(_value(inner, times, samples), "label_replace"))
        case Vector(value):
            return Matrix.constant(times, value)
        case Literal(value):
            return value


def _series(value: Matrix | float, what: str) -> Matrix:
    if not isinstance(value, Matrix):
        raise MetricError(f"{what} is of series, found a number")
    return value
