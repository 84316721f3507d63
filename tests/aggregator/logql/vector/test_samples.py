"""Range functions through buckets, from single records and from what a statement answers."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.errors import PipelineError, SamplesLimitError, SeriesLimitError
from aggregator.logql.metric import Grouping, RangeAggregation, RangeOp, Unwrap
from aggregator.logql.tree import LabelFilter, LogExpression, Matcher, MatchOp, Selector
from aggregator.logql.vector import partials as limits
from aggregator.logql.vector.accumulator import Accumulator
from aggregator.logql.vector.leaves import Leaf
from aggregator.logql.vector.partials import Partials, absent_labels
from aggregator.logql.vector.ranges import NO_BUCKET, Buckets
from aggregator.logql.vector.summaries import summary
from tests.aggregator.logql.vector import naive

if TYPE_CHECKING:
    from aggregator.logql.vector.matrix import Matrix

S = 10**9
ALL = LogExpression(Selector())
X = Unwrap("x")
UNWRAPPED = {
    RangeOp.RATE_COUNTER,
    RangeOp.SUM,
    RangeOp.AVG,
    RangeOp.MIN,
    RangeOp.MAX,
    RangeOp.STDDEV,
    RangeOp.STDVAR,
    RangeOp.QUANTILE,
    RangeOp.FIRST,
    RangeOp.LAST,
}


def of(op: RangeOp, range_ns: int, unwrap: Unwrap | None = None, **more: Any) -> RangeAggregation:
    unwrap = X if op in UNWRAPPED else unwrap
    parameter = more.pop("parameter", 0.5 if op is RangeOp.QUANTILE else None)
    return RangeAggregation(op, ALL, range_ns, unwrap=unwrap, parameter=parameter, **more)


def accumulated(aggregation: RangeAggregation, buckets: Buckets, records: list[tuple[int, float]]) -> Matrix:
    accumulator = Accumulator(Leaf(aggregation), buckets)
    for ts, value in records:
        accumulator.add({"pod": "a", "x": "1"}, ts, value)
    return accumulator.matrix()


def listed(matrix: Matrix) -> list[float | None]:
    """The samples of the only series."""
    if not matrix.labels:
        return [None] * len(matrix.times)
    (values,), (present,) = matrix.values.tolist(), matrix.present.tolist()
    return [value if there else None for value, there in zip(values, present, strict=True)]


# Five values in a minute, at 10 s, 20 s, …: 4 2 6 6 7; nothing at 60 s.
FIVE = [(10 * S, 4.0), (20 * S, 2.0), (30 * S, 6.0), (40 * S, 6.0), (50 * S, 7.0)]


@pytest.mark.parametrize(
    ("op", "more", "expected"),
    [
        (RangeOp.COUNT, {}, 5.0),
        (RangeOp.RATE, {}, 5 / 60),
        (RangeOp.RATE, {"unwrap": X}, 25 / 60),
        (RangeOp.BYTES, {}, 25.0),
        (RangeOp.BYTES_RATE, {}, 25 / 60),
        (RangeOp.SUM, {}, 25.0),
        (RangeOp.AVG, {}, 5.0),
        (RangeOp.MIN, {}, 2.0),
        (RangeOp.MAX, {}, 7.0),
        (RangeOp.STDVAR, {}, 3.2),  # (1 + 9 + 1 + 1 + 4) / 5
        (RangeOp.STDDEV, {}, math.sqrt(3.2)),
        (RangeOp.FIRST, {}, 4.0),
        (RangeOp.LAST, {}, 7.0),
        (RangeOp.QUANTILE, {"parameter": 0.0}, 2.0),
        (RangeOp.QUANTILE, {"parameter": 0.5}, 6.0),
        (RangeOp.QUANTILE, {"parameter": 0.3}, 4.4),  # 2 4 6 6 7: rank 1.2
        (RangeOp.QUANTILE, {"parameter": 1.0}, 7.0),
        (RangeOp.QUANTILE, {"parameter": -1.0}, -math.inf),
        (RangeOp.QUANTILE, {"parameter": 1.5}, math.inf),
        # 2 after the reset at 4, 4 and 1 more: 7 in 40 s. 10 s apart; 10 s are left at both edges, within reach.
        (RangeOp.RATE_COUNTER, {}, 7 * (60 / 40) / 60),
    ],
)
def test_a_window_of_five_values(op: RangeOp, more: dict[str, Any], expected: float) -> None:
    aggregation = of(op, 60 * S, **more)
    assert listed(accumulated(aggregation, Buckets(60 * S, 60 * S, S, 60 * S), FIVE)) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], 0.0),  # one point has no slope
        ([5.0, 5.0], 0.0),
        # Loki's own test: 47 … 61 at 46 s … 60 s in (30 s, 60 s]: 14 * (14 + 0.5) / 14 / 30.
        ([float(n) for n in range(47, 62)], 14.5 / 30),
        # 0 … 14: the counter began at 0, so nothing is added before the first.
        ([float(n) for n in range(15)], 14.0 / 30),
    ],
)
def test_a_counter_is_extrapolated_within_its_window(values: list[float], expected: float) -> None:
    records = [((61 - len(values) + n) * S, value) for n, value in enumerate(values)]
    aggregation = of(RangeOp.RATE_COUNTER, 30 * S)
    assert listed(accumulated(aggregation, Buckets(60 * S, 60 * S, S, 30 * S), records)) == [pytest.approx(expected)]


def test_a_counter_is_in_the_order_of_time_where_all_windows_overlap() -> None:
    """Windows of 9 ns, 2 ns apart: the records lie in what is one bucket of all, whose halves take turns."""
    aggregation = of(RangeOp.RATE_COUNTER, 9)
    found = listed(accumulated(aggregation, Buckets(24, 26, 2, 9), [(21, 0.0), (22, 1.0)]))
    assert found == [pytest.approx(1.5 / 9e-9)] * 2


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        (RangeOp.MIN, [NAN, 1.0, 2.0], 1.0),
        (RangeOp.MAX, [1.0, NAN, 2.0], 2.0),
        (RangeOp.MAX, [NAN, NAN], NAN),
        (RangeOp.SUM, [1.0, INF], INF),
        (RangeOp.SUM, [INF, -INF], NAN),
        (RangeOp.AVG, [INF, 1.0], INF),
        (RangeOp.STDDEV, [INF, 1.0], NAN),
        (RangeOp.STDVAR, [INF], NAN),
        (RangeOp.STDVAR, [5.0], 0.0),
        (RangeOp.QUANTILE, [NAN, 1.0, 2.0], 1.0),  # NaN is the smallest
        (RangeOp.FIRST, [NAN, 1.0], NAN),
        (RangeOp.LAST, [1.0, INF], INF),
    ],
)
def test_what_is_no_finite_number(op: RangeOp, values: list[float], expected: float) -> None:
    records = [((1 + n) * S, value) for n, value in enumerate(values)]
    found = listed(accumulated(of(op, 60 * S), Buckets(60 * S, 60 * S, S, 60 * S), records))
    assert found == [pytest.approx(expected, nan_ok=True)]


def test_an_infinity_stays_in_the_windows_that_hold_it() -> None:
    records = [(n * S, 1.0 if n != 3 else INF) for n in range(1, 9)]
    buckets = Buckets(2 * S, 8 * S, S, 2 * S)
    assert listed(accumulated(of(RangeOp.SUM, 2 * S), buckets, records)) == [2.0, INF, INF, 2.0, 2.0, 2.0, 2.0]


def test_small_values_survive_large_ones_before_them() -> None:
    records = [(1 * S, 1e18), *((n * S, 0.5) for n in range(2, 9))]
    buckets = Buckets(2 * S, 8 * S, S, 2 * S)
    assert listed(accumulated(of(RangeOp.SUM, 2 * S), buckets, records))[1:] == [1.0] * 6


def test_a_spread_is_exact_far_from_zero() -> None:
    records = [(n * S, 1e9 + n % 2) for n in range(1, 61)]
    found = listed(accumulated(of(RangeOp.STDVAR, 60 * S), Buckets(60 * S, 60 * S, S, 60 * S), records))
    assert found == [pytest.approx(0.25, rel=1e-9)]


@st.composite
def queries(draw: st.DrawFn) -> tuple[RangeAggregation, Buckets]:
    op = draw(st.sampled_from([op for op in RangeOp if op is not RangeOp.ABSENT]))
    span, step = draw(st.integers(1, 200)), draw(st.integers(1, 60))
    start, steps, offset = draw(st.integers(0, 300)), draw(st.integers(1, 12)), draw(st.integers(-40, 40))
    unwrap = draw(st.sampled_from([None, X])) if op is RangeOp.RATE else None
    parameter = draw(st.floats(0, 1)) if op is RangeOp.QUANTILE else None
    aggregation = of(op, span, unwrap, offset_ns=offset, parameter=parameter)
    return aggregation, Buckets(start, start + (steps - 1) * step, step, span, offset)


RECORDS = st.lists(st.tuples(st.integers(0, 500), st.integers(-1000, 1000).map(float)), max_size=60)


def check(aggregation: RangeAggregation, matrix: Matrix, records: list[tuple[int, float]]) -> None:
    """Against one window at a time. Values are small integers: what is only added up is exact.

    What is divided differs in the last digits, by the order of a few dozen operations; a spread is that of numbers
    up to 1000 and loses digits where it is nearly 0.
    """
    expected = [naive.sample(aggregation, int(step), records) for step in matrix.times]
    found = listed(matrix)
    exact = aggregation.op in {RangeOp.COUNT, RangeOp.SUM, RangeOp.BYTES, RangeOp.MIN, RangeOp.MAX, RangeOp.FIRST}
    assert [value is None for value in found] == [value is None for value in expected]
    close = pytest.approx([value for value in expected if value is not None], rel=1e-9, abs=1e-6, nan_ok=True)
    assert found == expected if exact else [value for value in found if value is not None] == close


@given(queries(), RECORDS)
@settings(max_examples=400, deadline=None)
def test_records_through_buckets_are_records_window_by_window(
    query: tuple[RangeAggregation, Buckets], records: list[tuple[int, float]]
) -> None:
    aggregation, buckets = query
    check(aggregation, accumulated(aggregation, buckets, records), records)


@given(queries(), RECORDS, st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_what_statements_answer_is_put_together(
    query: tuple[RangeAggregation, Buckets], records: list[tuple[int, float]], pieces: int
) -> None:
    aggregation, buckets = query
    partials = Partials(Leaf(aggregation), buckets)
    for piece in range(pieces):  # as if several parts of the store had been asked, each with buckets of the others
        own = [record for n, record in enumerate(records) if n % pieces == piece]
        answer(partials, own)
    ties = len({ts for ts, _ in records}) < len(records)
    if not (ties and aggregation.op in {RangeOp.FIRST, RangeOp.LAST, RangeOp.RATE_COUNTER}):  # their order is lost
        check(aggregation, partials.matrix(), records)


def answer(partials: Partials, records: list[tuple[int, float]]) -> None:
    """Add what a statement answers for these records: one row, one item a bucket."""
    times = np.array([ts for ts, _ in records], np.int64)
    of_records = partials.buckets.of(times)
    held = sorted(set(of_records.tolist()) - {NO_BUCKET})
    inside = [[value for (_, value), own in zip(records, of_records, strict=True) if own == bucket] for bucket in held]
    moments = [[ts for (ts, _), own in zip(records, of_records, strict=True) if own == bucket] for bucket in held]
    series = np.full(len(held), partials.series((("pod", "a"),)), np.int64)
    aggregation = partials.leaf.aggregation
    if aggregation.op in {RangeOp.QUANTILE, RangeOp.RATE_COUNTER}:
        sizes = [len(values) for values in inside]
        flat = np.array(list(chain(*inside)), np.float64)
        flat_times = np.array(list(chain(*moments)), np.int64)
        partials.add_records(np.repeat(series, sizes), np.repeat(np.array(held, np.int64), sizes), flat_times, flat)
        return
    first = aggregation.op is RangeOp.FIRST
    picks = [(min if first else max)(range(len(own)), key=own.__getitem__) for own in moments]
    pick = np.min if aggregation.op is RangeOp.MIN else np.max
    by_time = aggregation.op in {RangeOp.FIRST, RangeOp.LAST}
    values = [own[n] if by_time else pick(own) for n, own in zip(picks, inside, strict=True)]
    columns = {
        "counts": np.array([len(own) for own in inside], np.uint64),
        "sums": np.array([sum(own) for own in inside], np.float64),
        "values": np.array(values, np.float64),
        "times": np.array([own[n] for n, own in zip(picks, moments, strict=True)], np.int64),
        "means": np.array([np.mean(own) for own in inside], np.float64),
        "squares": np.array([np.var(own) * len(own) for own in inside], np.float64),
    }
    partials.add(series, np.array(held, np.int64), summary(aggregation).parts(columns))


# --- Series ---


def feed(leaf: Leaf, records: list[dict[str, str]]) -> Matrix:
    accumulator = Accumulator(leaf, Buckets(60 * S, 60 * S, S, 60 * S))
    for labels in records:
        accumulator.add(labels, 10 * S)
    return accumulator.matrix()


AB = [
    {"a": "1", "b": "1", "x": "9"},
    {"a": "1", "b": "2", "x": "8"},
    {"b": "2", "a": "1", "x": "7"},
    {"a": "", "c": "3"},
]


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (
            Leaf(of(RangeOp.COUNT, 60 * S)),
            {(("a", "1"), ("b", "1"), ("x", "9")): 1, (("a", "1"), ("b", "2"), ("x", "8")): 1}
            | {(("a", "1"), ("b", "2"), ("x", "7")): 1, (("c", "3"),): 1},
        ),
        (Leaf(of(RangeOp.COUNT, 60 * S), ()), {(): 4}),
        (Leaf(of(RangeOp.COUNT, 60 * S), ("a",)), {(("a", "1"),): 3, (): 1}),
        # What is unwrapped is no label any more.
        (Leaf(of(RangeOp.SUM, 60 * S)), {(("a", "1"), ("b", "1")): 1, (("a", "1"), ("b", "2")): 2, (("c", "3"),): 1}),
        (Leaf(of(RangeOp.SUM, 60 * S), ("x",)), {(("x", "9"),): 1, (("x", "8"),): 1, (("x", "7"),): 1, (): 1}),
        (Leaf(of(RangeOp.AVG, 60 * S, grouping=Grouping(("b",)))), {(("b", "1"),): 1, (("b", "2"),): 1, (): 1}),
        (Leaf(of(RangeOp.AVG, 60 * S, grouping=Grouping(()))), {(): 1}),
        (
            Leaf(of(RangeOp.MAX, 60 * S, grouping=Grouping(("a",), without=True))),
            {(("b", "1"),): 1, (("b", "2"),): 1, (("c", "3"),): 1},
        ),
        (
            Leaf(of(RangeOp.MAX, 60 * S, grouping=Grouping(("a",), without=True)), ("a", "b")),
            {(("b", "1"),): 1, (("b", "2"),): 1, (): 1},
        ),
        (
            Leaf(of(RangeOp.SUM, 60 * S, grouping=Grouping(("a", "b"))), ("b", "c")),
            {(("b", "1"),): 1, (("b", "2"),): 2, (): 1},
        ),
    ],
)
def test_series_have_the_labels_that_are_asked_for(leaf: Leaf, expected: dict[Any, float]) -> None:
    matrix = feed(leaf, AB)
    assert dict(zip(matrix.labels, matrix.values[:, 0].tolist(), strict=True)) == expected


def where(label: str) -> LogExpression:
    return LogExpression(Selector(), (LabelFilter(Matcher(label, MatchOp.NOT_EQUAL, "")),))


BROKEN = {"pod": "a", "__error__": "JSONParserErr", "__error_details__": 'no "value"'}


@pytest.mark.parametrize(
    "leaf",
    [Leaf(of(RangeOp.COUNT, 60 * S)), Leaf(of(RangeOp.COUNT, 60 * S), ()), Leaf(of(RangeOp.ABSENT, 60 * S), ())],
)
def test_a_record_with_an_error_is_no_sample(leaf: Leaf) -> None:
    with pytest.raises(PipelineError) as caught:
        feed(leaf, [BROKEN])
    assert str(caught.value) == (
        "pipeline error: 'JSONParserErr' for series: "
        '\'{__error__="JSONParserErr", __error_details__="no \\"value\\"", pod="a"}\'.\n'
        'Use a label filter to intentionally skip this error. (e.g | __error__!="JSONParserErr").\n'
        'To skip all potential errors you can match empty errors.(e.g __error__="")\n'
        'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )\n'
    )


def test_an_error_that_was_asked_for_is_a_label() -> None:
    asked = RangeAggregation(RangeOp.COUNT, where("__error__"), 60 * S)
    assert feed(Leaf(asked), [BROKEN]).labels == (tuple(sorted(BROKEN.items())),)
    assert feed(Leaf(of(RangeOp.COUNT, 60 * S), ("__error__",)), [BROKEN]).labels == (
        (("__error__", "JSONParserErr"),),
    )
    with pytest.raises(PipelineError):
        feed(Leaf(asked), [{"__error__": "SampleExtractionErr"}])


def test_an_error_in_no_window_is_none() -> None:
    accumulator = Accumulator(Leaf(of(RangeOp.COUNT, S)), Buckets(60 * S, 80 * S, 20 * S, S))
    accumulator.add(BROKEN, 70 * S)
    assert accumulator.matrix().labels == ()


def test_what_is_absent_has_the_labels_of_the_selector() -> None:
    selector = Selector(
        (
            Matcher("app", MatchOp.EQUAL, "web"),
            Matcher("pod", MatchOp.MATCHES, "a.*"),
            Matcher("zone", MatchOp.EQUAL, "1"),
            Matcher("zone", MatchOp.NOT_EQUAL, "2"),
        )
    )
    aggregation = RangeAggregation(RangeOp.ABSENT, LogExpression(selector), 10 * S)
    assert absent_labels(aggregation) == (("app", "web"),)
    accumulator = Accumulator(Leaf(aggregation, ()), Buckets(10 * S, 40 * S, 10 * S, 10 * S))
    accumulator.add({"app": "web"}, 15 * S)
    accumulator.add({"app": "web"}, 40 * S)
    matrix = accumulator.matrix()
    assert matrix.labels == ((("app", "web"),),)
    assert listed(matrix) == [1.0, None, 1.0, None]


# --- Limits ---


def test_there_are_only_so_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INNER_SERIES_MAX", 3)
    feed(Leaf(of(RangeOp.COUNT, S * 60)), [{"n": str(n)} for n in range(3)])
    with pytest.raises(SeriesLimitError, match=r"maximum number of series \(3\) reached for a single query; consider"):
        feed(Leaf(of(RangeOp.COUNT, S * 60)), [{"n": str(n)} for n in range(4)])


def test_there_are_only_so_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VALUES_MAX", 3)
    with pytest.raises(SamplesLimitError, match=r"\(3\)"):
        feed(Leaf(of(RangeOp.QUANTILE, S * 60)), [{}] * 4)


def test_many_records_are_held_as_their_buckets() -> None:
    partials = Partials(Leaf(of(RangeOp.COUNT, S)), Buckets(0, 99 * S, S, S))
    times = np.arange(100_000, dtype=np.int64) * S // 1000
    for _ in range(20):
        partials.add_records(np.full(100_000, partials.series(())), partials.buckets.of(times), times, np.ones(100_000))
        assert sum(len(rows[0]) for rows in partials._rows) <= 362_144
    assert float(partials.matrix().values.sum()) == 20 * 99_001  # the last second's later records are after the end
