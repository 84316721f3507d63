"""A query made narrower: more matchers and filters in front of what it says already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aggregator.logql.metric import (
    BinaryOperation,
    LabelReplace,
    Literal,
    MetricExpression,
    RangeAggregation,
    Vector,
    VectorAggregation,
)
from aggregator.logql.tree import LogExpression, Selector

if TYPE_CHECKING:
    from aggregator.logql.tree import Stage


def narrowed_logs(logs: LogExpression, selector: Selector, stages: tuple[Stage, ...]) -> LogExpression:
    """``logs`` of streams that ``selector`` matches too, and of records that come through ``stages`` first."""
    return LogExpression(Selector((*selector.matchers, *logs.selector.matchers)), (*stages, *logs.stages))


def narrowed(expression: MetricExpression, selector: Selector, stages: tuple[Stage, ...]) -> MetricExpression:
    """``expression`` with every log expression in it narrowed as by `narrowed_logs`."""
    replace = msgspec.structs.replace
    match expression:
        case RangeAggregation(logs=logs):
            return replace(expression, logs=narrowed_logs(logs, selector, stages))
        case VectorAggregation(inner=inner) | LabelReplace(inner=inner):
            return replace(expression, inner=narrowed(inner, selector, stages))
        case BinaryOperation(left=left, right=right):
            return replace(expression, left=narrowed(left, selector, stages), right=narrowed(right, selector, stages))
        case Vector() | Literal():
            return expression
