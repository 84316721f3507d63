"""The range aggregations of an expression, with the labels that what stands around them needs.

Only range aggregations read records. Where what is around one adds its series up anyway (``sum by (pod) (rate(…))``),
the records are aggregated by those labels at once: `Leaf.keep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.metric import (
    BinaryOperation,
    LabelReplace,
    MetricExpression,
    RangeAggregation,
    RangeOp,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.tree import ERROR, And, Condition, LabelFilter, Or

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggregator.logql.vector.matrix import Labels

# Aggregations of series that are one with the aggregation of records inside them.
_PUSHED: Final = {
    VectorOp.SUM: {RangeOp.RATE, RangeOp.COUNT, RangeOp.BYTES, RangeOp.BYTES_RATE, RangeOp.SUM},
    VectorOp.MIN: {RangeOp.MIN},
    VectorOp.MAX: {RangeOp.MAX},
}


class Leaf(msgspec.Struct, frozen=True):
    """A range aggregation; ``keep``: the labels that suffice for its series, None for all of them.

    The labels of a series are those of its records that `by` names, or if that is None, all but those of `without`.
    A label without a value is none.
    """

    aggregation: RangeAggregation
    keep: tuple[str, ...] | None = None

    @property
    def by(self) -> tuple[str, ...] | None:
        """The labels that series have, in their order; None: all but `without`."""
        grouping = self.aggregation.grouping
        if grouping is None:
            return self.keep
        if grouping.without:
            return None if self.keep is None else tuple(sorted(set(self.keep) - set(self.without)))
        named = set(grouping.labels)
        return tuple(sorted(named if self.keep is None else named & set(self.keep)))

    @property
    def without(self) -> tuple[str, ...]:
        """The labels that series do not have: those left out in so many words, and what was unwrapped."""
        grouping = self.aggregation.grouping
        if grouping is not None and not grouping.without:
            return ()
        left_out = set(grouping.labels if grouping is not None else ())
        if self.aggregation.unwrap is not None:
            left_out.add(self.aggregation.unwrap.label)
        return tuple(sorted(left_out))

    @property
    def allows_errors(self) -> bool:
        """Whether the expression asks for ``__error__``: only then may records with one become samples."""
        grouping = self.aggregation.grouping
        filters = [stage for stage in self.aggregation.logs.stages if isinstance(stage, LabelFilter)]
        named = {name for stage in filters for name in names(stage.condition)}
        named |= set(self.keep or ())
        if grouping is not None and not grouping.without:
            named |= set(grouping.labels)
        return ERROR in named


def series_of(leaf: Leaf) -> Callable[[Mapping[str, str]], Labels]:
    """What gives the labels of the series that a record belongs to, from all labels of the record."""
    by, without = leaf.by, frozenset(leaf.without)
    if by is not None:
        return lambda labels: tuple((name, labels[name]) for name in by if labels.get(name))
    return lambda labels: tuple(
        sorted((name, value) for name, value in labels.items() if value and name not in without)
    )


def names(condition: Condition) -> Iterator[str]:
    """The labels that a condition looks at."""
    if isinstance(condition, And | Or):
        yield from names(condition.left)
        yield from names(condition.right)
    else:
        yield condition.label


def leaf(aggregation: RangeAggregation, outer: VectorAggregation | None = None) -> Leaf:
    """The leaf of ``aggregation``, which stands directly inside ``outer`` or, if None, inside none."""
    if aggregation.op is RangeOp.ABSENT:
        return Leaf(aggregation, ())
    if outer is None or aggregation.op not in _PUSHED.get(outer.op, ()):
        return Leaf(aggregation)
    if outer.grouping is None:
        return Leaf(aggregation, ())
    if outer.grouping.without:
        return Leaf(aggregation)
    keep = set(outer.grouping.labels)
    if aggregation.unwrap is not None and outer.op is not VectorOp.SUM:
        # ``sum by (x) (sum_over_time(… | unwrap x))`` still has its x in Loki, which there pushes down sums alone.
        keep.discard(aggregation.unwrap.label)
    return Leaf(aggregation, tuple(sorted(keep)))


def leaves(expression: MetricExpression) -> tuple[Leaf, ...]:
    """Every leaf of ``expression``, each once, in the order they are written."""
    return tuple(dict.fromkeys(_leaves(expression)))


def _leaves(expression: MetricExpression, outer: VectorAggregation | None = None) -> Iterator[Leaf]:
    match expression:
        case RangeAggregation():
            yield leaf(expression, outer)
        case VectorAggregation(inner=inner):
            yield from _leaves(inner, expression)
        case BinaryOperation(left=left, right=right):
            yield from _leaves(left)
            yield from _leaves(right)
        case LabelReplace(inner=inner):
            yield from _leaves(inner)
