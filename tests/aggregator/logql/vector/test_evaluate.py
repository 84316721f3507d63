from __future__ import annotations

import numpy as np
import pytest

from aggregator.errors import MetricError, SeriesLimitError
from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Grouping,
    LabelReplace,
    Literal,
    MetricExpression,
    RangeAggregation,
    RangeOp,
    Unwrap,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.tree import LogExpression, Matcher, MatchOp, Selector
from aggregator.logql.vector.evaluate import evaluate
from aggregator.logql.vector.functions import label_replace
from aggregator.logql.vector.leaves import Leaf, leaves
from aggregator.logql.vector.matrix import SERIES_MAX, Matrix
from tests.aggregator.logql.vector.tables import Rows, matrix, table

ONE_STEP = np.zeros(1, np.int64)
LOGS = LogExpression(Selector((Matcher("app", MatchOp.EQUAL, "web"),)))


def ranged(op: RangeOp, grouping: Grouping | None = None) -> RangeAggregation:
    counts = op in {RangeOp.COUNT, RangeOp.RATE, RangeOp.BYTES, RangeOp.BYTES_RATE, RangeOp.ABSENT}
    return RangeAggregation(op, LOGS, 1, unwrap=None if counts else Unwrap("x"), grouping=grouping)


def over(
    op: VectorOp, inner: MetricExpression, grouping: Grouping | None = None, k: int | None = None
) -> VectorAggregation:
    return VectorAggregation(op, inner, k, grouping)


BY = Grouping(("b", "a"))
COUNT = ranged(RangeOp.COUNT)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (COUNT, [None]),
        (over(VectorOp.SUM, COUNT, BY), [("a", "b")]),
        (over(VectorOp.SUM, COUNT), [()]),
        (over(VectorOp.SUM, COUNT, Grouping(("a",), without=True)), [None]),
        (over(VectorOp.SUM, ranged(RangeOp.RATE), BY), [("a", "b")]),
        (over(VectorOp.SUM, ranged(RangeOp.BYTES), BY), [("a", "b")]),
        (over(VectorOp.SUM, ranged(RangeOp.BYTES_RATE), BY), [("a", "b")]),
        (over(VectorOp.SUM, ranged(RangeOp.SUM), BY), [("a", "b")]),
        (over(VectorOp.MIN, ranged(RangeOp.MIN), BY), [("a", "b")]),
        (over(VectorOp.MAX, ranged(RangeOp.MAX), BY), [("a", "b")]),
        # What was unwrapped is no label, but to a sum.
        (over(VectorOp.SUM, ranged(RangeOp.SUM), Grouping(("a", "x"))), [("a", "x")]),
        (over(VectorOp.MAX, ranged(RangeOp.MAX), Grouping(("a", "x"))), [("a",)]),
        # What is not one with what is inside it needs all labels.
        (over(VectorOp.MIN, ranged(RangeOp.MAX), BY), [None]),
        (over(VectorOp.AVG, COUNT, BY), [None]),
        (over(VectorOp.COUNT, COUNT, BY), [None]),
        (over(VectorOp.TOPK, COUNT, BY, 1), [None]),
        (over(VectorOp.SUM, ranged(RangeOp.AVG), BY), [None]),
        (over(VectorOp.SUM, ranged(RangeOp.RATE_COUNTER), BY), [None]),
        (over(VectorOp.SUM, LabelReplace(COUNT, "a", "x", "b", ".*"), BY), [None]),
        (over(VectorOp.SUM, over(VectorOp.MAX, COUNT)), [None]),
        (over(VectorOp.TOPK, over(VectorOp.SUM, COUNT, BY), k=1), [("a", "b")]),
        (ranged(RangeOp.ABSENT), [()]),
        (BinaryOperation(BinaryOp.DIVIDE, over(VectorOp.SUM, COUNT), COUNT), [(), None]),
        (BinaryOperation(BinaryOp.DIVIDE, COUNT, COUNT), [None]),
        (Vector(1), []),
        (Literal(1), []),
    ],
)
def test_leaves_keep_the_labels_that_suffice(
    expression: MetricExpression, expected: list[tuple[str, ...] | None]
) -> None:
    assert [leaf.keep for leaf in leaves(expression)] == expected


def value(expression: MetricExpression, rows: Rows, steps: int = 1) -> Rows:
    """The value where every leaf has these samples."""
    inner = matrix(rows, steps)
    found = evaluate(expression, inner.times, dict.fromkeys(leaves(expression), inner))
    assert isinstance(found, Matrix)
    return table(found)


THREE: Rows = [("a=2", [1.0]), ("a=3", [3.0]), ("a=1", [2.0])]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (COUNT, ["a=1", "a=2", "a=3"]),
        (over(VectorOp.TOPK, COUNT, k=2), ["a=1", "a=3"]),  # by labels, as Loki answers it
        (over(VectorOp.SORT, COUNT), ["a=2", "a=1", "a=3"]),
        (over(VectorOp.SORT_DESC, COUNT), ["a=3", "a=1", "a=2"]),
        (over(VectorOp.SORT_DESC, over(VectorOp.TOPK, COUNT, k=2)), ["a=3", "a=1"]),
        (BinaryOperation(BinaryOp.ADD, over(VectorOp.SORT_DESC, COUNT), Literal(1)), ["a=3", "a=1", "a=2"]),
    ],
)
def test_an_instant_answer_is_in_the_order_of_labels_unless_sorted(
    expression: MetricExpression, expected: list[str]
) -> None:
    assert [name for name, _ in value(expression, THREE)] == expected


def test_an_answer_over_time_is_in_the_order_of_labels() -> None:
    rows: Rows = [("a=2", [1.0, 9.0]), ("a=1", [2.0, 3.0])]
    assert [name for name, _ in value(over(VectorOp.SORT_DESC, COUNT), rows)] == ["a=1", "a=2"]


def test_series_of_one_step_and_another_are_one() -> None:
    both = BinaryOperation(BinaryOp.OR, over(VectorOp.SUM, COUNT, BY), over(VectorOp.MIN, ranged(RangeOp.MIN), BY))
    left, right = leaves(both)
    samples = {left: matrix([("a=1", [1.0, None])]), right: matrix([("a=1", [7.0, 2.0])])}
    found = evaluate(both, samples[left].times, samples)
    assert isinstance(found, Matrix)
    assert table(found) == [("a=1", [1.0, 2.0])]


def test_numbers_stay_numbers() -> None:
    product = BinaryOperation(BinaryOp.MULTIPLY, Literal(6), Literal(7))
    assert evaluate(product, ONE_STEP, {}) == 42.0


def test_a_vector_is_a_series_at_every_step() -> None:
    """As the health check of Grafana asks: vector(1)+vector(1)."""
    two = BinaryOperation(BinaryOp.ADD, Vector(1), Vector(1))
    found = evaluate(two, np.arange(3, dtype=np.int64), {})
    assert isinstance(found, Matrix)
    assert table(found) == [("", [2.0, 2.0, 2.0])]


def test_what_is_missing_can_be_0() -> None:
    expression = BinaryOperation(BinaryOp.OR, over(VectorOp.SUM, COUNT), Vector(0))
    assert value(expression, [], steps=2) == [("", [0.0, 0.0])]
    assert value(expression, [("", [5.0, None])]) == [("", [5.0, 0.0])]


@pytest.mark.parametrize("expression", [over(VectorOp.SUM, Literal(1)), LabelReplace(Literal(1), "a", "", "b", "")])
def test_a_number_is_no_series(expression: MetricExpression) -> None:
    with pytest.raises(MetricError, match="is of series, found a number"):
        evaluate(expression, ONE_STEP, {})


def test_an_answer_has_only_so_many_series() -> None:
    rows: Rows = [(f"n={n}", [1.0]) for n in range(SERIES_MAX + 1)]
    assert len(value(COUNT, rows[1:])) == SERIES_MAX
    assert value(over(VectorOp.SUM, COUNT), rows) == [("", [float(len(rows))])]
    with pytest.raises(SeriesLimitError, match="maximum number of series"):
        value(COUNT, rows)


@pytest.mark.parametrize(
    ("target", "replacement", "source", "expression", "expected"),
    [
        ("to", "$1-$2", "from", "(a+)(b*)", "from=aab kept=1 to=aa-b"),
        ("to", "${1}x$$", "from", "(a+).*", "from=aab kept=1 to=aax$"),
        ("to", "$1x", "from", "(a+).*", "from=aab kept=1"),  # the group 1x is none, so the label is empty
        ("to", "$word", "from", "(?P<word>a+)b", "from=aab kept=1 to=aa"),
        ("to", "$9", "from", ".*", "from=aab kept=1"),
        ("to", "x", "from", "a", "from=aab kept=1"),  # the whole value has to match
        ("to", "x", "none", ".*", "from=aab kept=1 to=x"),  # a label that is not there is empty
        ("to", "x", "none", ".+", "from=aab kept=1"),
        ("kept", "", "from", ".*", "from=aab"),
        ("from", "new", "from", ".*", "from=new kept=1"),
        ("to", "$0", "from", "a|aab", "from=aab kept=1 to=aab"),
        ("to", "cost: $", "from", ".*", "from=aab kept=1 to=cost: $"),
        ("to", "$1", "from", "aab(x)?", "from=aab kept=1"),
    ],
)
def test_labels_are_replaced(target: str, replacement: str, source: str, expression: str, expected: str) -> None:
    call = LabelReplace(COUNT, target, replacement, source, expression)
    assert table(label_replace(call, matrix([("from=aab kept=1", [1.0])]))) == [(expected, [1.0])]


def test_an_expression_has_to_be_one() -> None:
    with pytest.raises(MetricError, match="invalid regular expression"):
        label_replace(LabelReplace(COUNT, "a", "", "b", "("), matrix([]))


def test_series_made_equal_are_added_up() -> None:
    flat = LabelReplace(COUNT, "a", "x", "a", ".*")
    assert value(over(VectorOp.SUM, flat, Grouping(("a",))), THREE) == [("a=x", [6.0])]


def test_a_leaf_can_be_looked_up() -> None:
    assert leaves(over(VectorOp.SUM, COUNT))[0] == Leaf(COUNT, ())
