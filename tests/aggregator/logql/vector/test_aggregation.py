from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql.metric import Grouping, Literal, VectorAggregation, VectorOp
from aggregator.logql.vector.aggregation import aggregate
from tests.aggregator.logql.vector.tables import Rows, matrix, table

INF, NAN = math.inf, math.nan
BY_A = Grouping(("a",))


def of(op: VectorOp, grouping: Grouping | None = None, parameter: int | None = None) -> VectorAggregation:
    return VectorAggregation(op, Literal(0), parameter, grouping)


FOUR: Rows = [
    ("a=1 b=1", [1.0, 4.0, None]),
    ("a=1 b=2", [3.0, None, None]),
    ("a=2 b=1", [5.0, 2.0, None]),
    ("b=3", [7.0, 6.0, 8.0]),
]


@pytest.mark.parametrize(
    ("op", "grouping", "expected"),
    [
        (VectorOp.SUM, None, [("", [16.0, 12.0, 8.0])]),
        (VectorOp.SUM, Grouping(()), [("", [16.0, 12.0, 8.0])]),
        (VectorOp.SUM, BY_A, [("a=1", [4.0, 4.0, None]), ("a=2", [5.0, 2.0, None]), ("", [7.0, 6.0, 8.0])]),
        (
            VectorOp.SUM,
            Grouping(("a",), without=True),
            [("b=1", [6.0, 6.0, None]), ("b=2", [3.0, None, None]), ("b=3", [7.0, 6.0, 8.0])],
        ),
        (VectorOp.SUM, Grouping((), without=True), FOUR),
        (VectorOp.SUM, Grouping(("nothing",)), [("", [16.0, 12.0, 8.0])]),
        (VectorOp.AVG, BY_A, [("a=1", [2.0, 4.0, None]), ("a=2", [5.0, 2.0, None]), ("", [7.0, 6.0, 8.0])]),
        (VectorOp.COUNT, BY_A, [("a=1", [2.0, 1.0, None]), ("a=2", [1.0, 1.0, None]), ("", [1.0, 1.0, 1.0])]),
        (VectorOp.MIN, None, [("", [1.0, 2.0, 8.0])]),
        (VectorOp.MAX, None, [("", [7.0, 6.0, 8.0])]),
        (VectorOp.STDVAR, None, [("", [5.0, 8 / 3, 0.0])]),
        (VectorOp.STDDEV, BY_A, [("a=1", [1.0, 0.0, None]), ("a=2", [0.0, 0.0, None]), ("", [0.0, 0.0, 0.0])]),
    ],
)
def test_series_of_a_group_are_one(op: VectorOp, grouping: Grouping | None, expected: Rows) -> None:
    found = table(aggregate(of(op, grouping), matrix(FOUR)))
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, values), (_, wanted) in zip(found, expected, strict=True):
        assert [value is None for value in values] == [value is None for value in wanted]
        numbers = [value for value in wanted if value is not None]
        assert [value for value in values if value is not None] == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        (VectorOp.MIN, [NAN, 2.0], 2.0),
        (VectorOp.MAX, [2.0, NAN], 2.0),
        (VectorOp.MAX, [NAN, NAN], NAN),
        (VectorOp.MIN, [INF, -INF], -INF),
        (VectorOp.SUM, [NAN, 2.0], NAN),
        (VectorOp.SUM, [INF, 2.0], INF),
        (VectorOp.AVG, [INF, -INF], NAN),
        (VectorOp.COUNT, [NAN, 2.0], 2.0),
        (VectorOp.STDDEV, [INF, 2.0], NAN),
        (VectorOp.STDVAR, [1e9, 1e9 + 1], 0.25),
    ],
)
def test_numbers_that_are_hard_to_add_up(op: VectorOp, values: list[float], expected: float) -> None:
    rows: Rows = [(f"n={n}", [value]) for n, value in enumerate(values)]
    ((_, (found,)),) = table(aggregate(of(op), matrix(rows)))
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("op", list(VectorOp))
def test_nothing_is_made_of_nothing(op: VectorOp) -> None:
    assert table(aggregate(of(op, parameter=1), matrix([]))) == []


RANKED: Rows = [("n=1", [1.0, 5.0]), ("n=2", [NAN, 5.0]), ("n=3", [3.0, None]), ("n=4", [2.0, 5.0])]


@pytest.mark.parametrize(
    ("op", "count", "expected"),
    [
        (VectorOp.TOPK, 1, [("n=1", [None, 5.0]), ("n=3", [3.0, None])]),
        (VectorOp.TOPK, 2, [("n=2", [None, 5.0]), ("n=1", [None, 5.0]), ("n=3", [3.0, None]), ("n=4", [2.0, None])]),
        (VectorOp.APPROX_TOPK, 1, [("n=1", [None, 5.0]), ("n=3", [3.0, None])]),
        (VectorOp.BOTTOMK, 1, [("n=1", [1.0, 5.0])]),
        (VectorOp.TOPK, 0, []),
    ],
)
def test_the_first_are_kept_as_they_are(op: VectorOp, count: int, expected: Rows) -> None:
    """Of equal ones those that stand first; NaN only where nothing else is left."""
    assert sorted(table(aggregate(of(op, parameter=count), matrix(RANKED)))) == sorted(expected)


def test_nan_is_ranked_last_in_both_directions() -> None:
    rows: Rows = [("n=1", [NAN]), ("n=2", [1.0]), ("n=3", [INF])]
    for op in (VectorOp.TOPK, VectorOp.BOTTOMK):
        assert len(table(aggregate(of(op, parameter=3), matrix(rows)))) == 3
        assert [name for name, _ in table(aggregate(of(op, parameter=2), matrix(rows)))] == ["n=2", "n=3"]


def test_every_group_has_its_first() -> None:
    found = table(aggregate(of(VectorOp.TOPK, BY_A, 1), matrix(FOUR)))
    assert found == [
        ("a=1 b=1", [None, 4.0, None]),
        ("a=1 b=2", [3.0, None, None]),
        ("a=2 b=1", [5.0, 2.0, None]),
        ("b=3", [7.0, 6.0, 8.0]),
    ]


@pytest.mark.parametrize(
    ("op", "grouping", "expected"),
    [
        (VectorOp.SORT, None, ["a=1", "a=2 n=1", "a=2 n=2", "a=3", "a=4"]),
        (VectorOp.SORT_DESC, None, ["a=3", "a=2 n=1", "a=2 n=2", "a=1", "a=4"]),
        (VectorOp.SORT_DESC, BY_A, ["a=2 n=1", "a=2 n=2", "a=1", "a=3", "a=4"]),
    ],
)
def test_series_are_sorted_by_value(op: VectorOp, grouping: Grouping | None, expected: list[str]) -> None:
    rows: Rows = [("a=2 n=1", [2.0]), ("a=2 n=2", [2.0]), ("a=1", [1.0]), ("a=3", [9.0]), ("a=4", [NAN])]
    assert [name for name, _ in table(aggregate(of(op, grouping), matrix(rows)))] == expected


CELLS = st.one_of(st.none(), st.integers(-9, 9).map(float))


@given(
    st.lists(st.tuples(st.sampled_from("12"), st.lists(CELLS, min_size=3, max_size=3)), max_size=8), st.integers(1, 4)
)
def test_every_step_is_aggregated_by_itself(series: list[tuple[str, list[float | None]]], count: int) -> None:
    rows: Rows = [(f"a={a} n={n}", values) for n, (a, values) in enumerate(series)]
    whole = matrix(rows, steps=3)
    for op in VectorOp:
        found = dict(table(aggregate(of(op, BY_A, count), whole)))
        for step in range(3):
            alone = dict(table(aggregate(of(op, BY_A, count), matrix([(name, [row[step]]) for name, row in rows]))))
            at_step = {name: row[step] for name, row in found.items() if row[step] is not None}
            assert at_step == {name: row[0] for name, row in alone.items() if row[0] is not None}
