"""Metric queries over a real store: by statements and record by record, against samples worked out by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aggregator.errors import PipelineError, QueryTimeoutError, StepsLimitError
from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Conversion,
    Grouping,
    Literal,
    MetricExpression,
    MetricQuery,
    RangeAggregation,
    RangeOp,
    Unwrap,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.tree import (
    ERROR,
    CompareOp,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineFormat,
    LineOp,
    LogExpression,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Selector,
    Stage,
)
from aggregator.query.budget import Budget
from aggregator.query.metrics import evaluate, plan
from aggregator.store.engine import Engine, Limits
from tests.aggregator.engines import BOTH
from tests.aggregator.logql.vector.tables import Rows, table
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

S = 10**9
# A minute before an hour that has passed.
T = 1_769_860_800 * S
NOW_NS = T + 7200 * S
SHOP = LogExpression(Selector((Matcher("namespace", MatchOp.EQUAL, "shop"),)))
GAP = b'{"bytes": 10, "reason": "rotated"}'


def line(second: float, body: str, pod: str = "cart-0", **more: Any) -> dict[str, Any]:
    return {"ts": T + int(second * S), "body": body.encode(), "pod": pod, **more}


ACCESS = [
    line(0, '{"status": 200, "ms": 12, "path": "/", "took": "12ms", "size": "1KB"}'),
    line(10, '{"status": 500, "ms": 40.5, "path": "/a", "took": "1.5s", "size": "2KB"}'),
    line(20, '{"status": 200, "ms": 7, "path": "/ä", "took": "2m", "size": "512B"}'),
    line(30, '{"status": 200, "ms": 5, "path": "/", "took": "1s", "size": "1MB"}', "cart-1"),
    line(40, '{"status": 404, "ms": 3, "path": "/", "took": "1s", "size": "1MB"}', "cart-1"),
    line(60, '{"status": 200, "ms": 100, "path": "/", "took": "1s", "size": "1MB"}', "cart-1"),
    line(25, GAP.decode(), flags=Flag.GAP),
    line(15, "elsewhere", namespace="other"),
]


def bytes_of(*numbers: int) -> float:
    return float(sum(len(ACCESS[number]["body"]) for number in numbers))


def logs(*stages: Stage) -> LogExpression:
    return LogExpression(SHOP.selector, stages)


def ranged(
    op: RangeOp, of: LogExpression = SHOP, seconds: float = 30, unwrap: Unwrap | None = None, **more: Any
) -> Any:
    return RangeAggregation(op, of, int(seconds * S), unwrap=unwrap, **more)


def over(op: VectorOp, inner: MetricExpression, *by: str, k: int | None = None) -> VectorAggregation:
    return VectorAggregation(op, inner, k, Grouping(by) if by else None)


JSON = logs(JsonParser())
MS = Unwrap("ms")
SLOW = logs(JsonParser(), LabelFilter(NumberCondition("ms", CompareOp.GREATER, 6.0)))
PARSED = logs(LineFormat("{{.pod}}"))


def budget(time_s: float = 30.0) -> Budget:
    return Budget(Limits(time_s=time_s), 1 << 20)


async def found(
    engine: Engine, expression: MetricExpression, steps: int = 3, start: float = 30, step: float = 30
) -> Rows:
    """The table of steps at 30, 60 and 90 s."""
    query = MetricQuery(expression, T + int(start * S), T + int((start + step * (steps - 1)) * S), int(step * S))
    result = await evaluate(engine, query, budget(), NOW_NS)
    assert not isinstance(result.value, float)
    assert result.times.tolist() == [query.start_ns + n * query.step_ns for n in range(steps)]
    return table(result.value)


def pods(cart_0: list[float | None], cart_1: list[float | None]) -> Rows:
    return [("pod=cart-0", cart_0), ("pod=cart-1", cart_1)]


# Steps at 30, 60 and 90 s over (0, 30], (30, 60], (60, 90]: the record at 0 is outside, those at 30 and 60 are the last
# of their windows.
CASES: list[tuple[MetricExpression, Rows]] = [
    (over(VectorOp.SUM, ranged(RangeOp.COUNT), "pod"), pods([2.0, None, None], [1.0, 2.0, None])),
    (over(VectorOp.SUM, ranged(RangeOp.COUNT)), [("", [3.0, 2.0, None])]),
    (over(VectorOp.SUM, ranged(RangeOp.RATE), "pod"), pods([2 / 30, None, None], [1 / 30, 2 / 30, None])),
    (over(VectorOp.SUM, ranged(RangeOp.COUNT, seconds=60), "pod"), pods([3.0, 2.0, None], [1.0, 3.0, 2.0])),
    (over(VectorOp.SUM, ranged(RangeOp.COUNT, offset_ns=30 * S), "pod"), pods([1.0, 2.0, None], [None, 1.0, 2.0])),
    (over(VectorOp.SUM, ranged(RangeOp.COUNT, seconds=5), "pod"), pods([None] * 3, [1.0, 1.0, None])[1:]),
    (over(VectorOp.SUM, ranged(RangeOp.BYTES)), [("", [bytes_of(1, 2, 3), bytes_of(4, 5), None])]),
    (
        over(VectorOp.SUM, ranged(RangeOp.COUNT, logs(LineFilter.of(LineOp.CONTAINS, "200"))), "pod"),
        pods([1.0, None, None], [1.0, 1.0, None]),
    ),
    (
        over(VectorOp.SUM, ranged(RangeOp.COUNT, JSON), "status"),
        [("status=200", [2.0, 1.0, None]), ("status=404", [None, 1.0, None]), ("status=500", [1.0, None, None])],
    ),
    (over(VectorOp.SUM, ranged(RangeOp.COUNT, SLOW), "pod"), pods([2.0, None, None], [None, 1.0, None])),
    (
        ranged(RangeOp.SUM, JSON, unwrap=MS, grouping=Grouping(("pod",))),
        pods([47.5, None, None], [5.0, 103.0, None]),
    ),
    (ranged(RangeOp.MAX, JSON, unwrap=MS, grouping=Grouping(())), [("", [40.5, 100.0, None])]),
    (ranged(RangeOp.MIN, JSON, unwrap=MS, grouping=Grouping(())), [("", [5.0, 3.0, None])]),
    (ranged(RangeOp.AVG, JSON, unwrap=MS, grouping=Grouping(())), [("", [17.5, 51.5, None])]),
    (ranged(RangeOp.FIRST, JSON, unwrap=MS, grouping=Grouping(())), [("", [40.5, 3.0, None])]),
    (ranged(RangeOp.LAST, JSON, unwrap=MS, grouping=Grouping(())), [("", [5.0, 100.0, None])]),
    (
        ranged(RangeOp.STDVAR, JSON, unwrap=MS, grouping=Grouping(("pod",))),
        pods([16.75**2, None, None], [0.0, 48.5**2, None]),
    ),
    (ranged(RangeOp.RATE, JSON, unwrap=MS, grouping=Grouping(())), [("", [52.5 / 30, 103 / 30, None])]),
    (
        ranged(RangeOp.QUANTILE, JSON, unwrap=MS, grouping=Grouping(()), parameter=0.5),
        [("", [7.0, 51.5, None])],
    ),
    # 7 after a reset, in 10 s of which 10 s are left at both edges; and 97 in 20 s, from 0 in 3/97 of that before.
    (
        ranged(RangeOp.RATE_COUNTER, JSON, unwrap=MS, grouping=Grouping(("pod",))),
        pods([7 * (10 + 10 + 10) / 10 / 30, None, None], [0.0, 97 * (20 + 20 * 3 / 97) / 20 / 30, None]),
    ),
    (
        ranged(RangeOp.MAX, JSON, unwrap=Unwrap("took", Conversion.DURATION), grouping=Grouping(())),
        [("", [120.0, 1.0, None])],
    ),
    (
        ranged(RangeOp.SUM, JSON, unwrap=Unwrap("size", Conversion.BYTES), grouping=Grouping(())),
        [("", [2512.0 + 1e6, 2e6, None])],
    ),
    (over(VectorOp.SUM, ranged(RangeOp.BYTES, PARSED)), [("", [18.0, 12.0, None])]),
    (ranged(RangeOp.ABSENT, seconds=10), [("namespace=shop", [None, None, 1.0])]),
    (
        BinaryOperation(
            BinaryOp.DIVIDE, over(VectorOp.SUM, ranged(RangeOp.COUNT), "pod"), over(VectorOp.COUNT, Vector(1))
        ),
        [],
    ),
    (
        BinaryOperation(BinaryOp.MULTIPLY, over(VectorOp.SUM, ranged(RangeOp.COUNT)), Literal(10)),
        [("", [30.0, 20.0, None])],
    ),
    (
        over(VectorOp.TOPK, over(VectorOp.SUM, ranged(RangeOp.COUNT), "pod"), k=1),
        pods([2.0, None, None], [None, 2.0, None]),
    ),
]


@BOTH
async def test_samples_of_a_store(engine: Engine, put: Put) -> None:
    """All of them over one store: opening one takes longer than a query."""
    await put(ACCESS)
    for expression, expected in CASES:
        close(await found(engine, expression), expected)


def close(answer: Rows, expected: Rows) -> None:
    assert [name for name, _ in answer] == [name for name, _ in expected]
    for (name, values), (_, wanted) in zip(answer, expected, strict=True):
        numbers = [math.nan if value is None else value for value in wanted]
        assert [value is None for value in values] == [value is None for value in wanted], name
        assert [math.nan if value is None else value for value in values] == pytest.approx(numbers, nan_ok=True), name


async def test_every_label_is_a_label_of_a_series(engine: Engine, put: Put) -> None:
    await put(ACCESS[:1])
    ((labels, values),) = await found(engine, ranged(RangeOp.COUNT, seconds=60))
    assert labels == (
        "cluster=test container=app detected_level=unknown namespace=shop node=node-1 pod=cart-0 stream=stdout uid=u"
    )
    assert values == [1.0, None, None]


BROKEN = [*ACCESS[1:3], line(21, '{"status": 2'), line(22, '{"ms": "fast"}')]


async def test_a_record_that_cannot_be_parsed_ends_the_query(engine: Engine, put: Put) -> None:
    await put(BROKEN)
    with pytest.raises(PipelineError, match=r"pipeline error: 'JSONParserErr' for series: '\{__error__="):
        await found(engine, over(VectorOp.SUM, ranged(RangeOp.COUNT, JSON), "status"))


async def test_a_value_that_is_no_number_ends_the_query(engine: Engine, put: Put) -> None:
    await put([*ACCESS[1:3], BROKEN[-1]])
    with pytest.raises(PipelineError, match="pipeline error: 'SampleExtractionErr'"):
        await found(engine, over(VectorOp.SUM, ranged(RangeOp.SUM, JSON, unwrap=MS), "status"))


async def test_errors_can_be_filtered_out(engine: Engine, put: Put) -> None:
    await put(BROKEN)
    fine = LabelFilter(Matcher(ERROR, MatchOp.EQUAL, ""))
    parsed = ranged(RangeOp.COUNT, logs(JsonParser(), fine))
    assert await found(engine, over(VectorOp.SUM, parsed)) == [("", [3.0, None, None])]
    summed = ranged(RangeOp.SUM, JSON, unwrap=Unwrap("ms", filters=(fine,)))
    assert await found(engine, over(VectorOp.SUM, summed)) == [("", [47.5, None, None])]


@BOTH
async def test_errors_can_be_counted(engine: Engine, put: Put) -> None:
    await put(BROKEN)
    assert await found(engine, over(VectorOp.SUM, ranged(RangeOp.COUNT, JSON), ERROR)) == [
        ("", [3.0, None, None]),
        ("__error__=JSONParserErr", [1.0, None, None]),
    ]


@BOTH
async def test_both_ways_give_the_same(engine: Engine, put: Put) -> None:
    """A template that changes nothing, where SQL gives up."""
    await put(ACCESS)
    same = LineFormat("{{__line__}}")
    for op in RangeOp:
        unwrap = None if op in {RangeOp.COUNT, RangeOp.BYTES, RangeOp.BYTES_RATE} else MS
        level = 0.9 if op is RangeOp.QUANTILE else None
        grouping = Grouping(("pod",)) if unwrap is not None and op is not RangeOp.ABSENT else None
        by_statement, by_record = (
            ranged(op, logs(*before, JsonParser()), 45, unwrap, parameter=level, grouping=grouping)
            for before in ((), (same,))
        )
        expected = await found(engine, by_record, steps=7, start=0, step=17)
        answer = await found(engine, by_statement, steps=7, start=0, step=17)
        close(answer, expected)


async def test_a_logfmt_number_is_a_sample(engine: Engine, put: Put) -> None:
    await put([line(1, "level=info ms=3"), line(2, "level=info ms=4 pod=mine"), line(3, "level=warn")])
    summed = ranged(RangeOp.SUM, logs(LogfmtParser()), unwrap=MS)
    assert await found(engine, over(VectorOp.SUM, summed, "level")) == [("level=info", [7.0, None, None])]


async def test_a_query_before_the_epoch_is_empty(engine: Engine) -> None:
    """Grafana asks for vector(1)+vector(1) at 4 s after it; windows may begin before it."""
    two = BinaryOperation(BinaryOp.ADD, Vector(1), Vector(1))
    result = await evaluate(engine, MetricQuery(two, 4 * S, 4 * S, S), budget(), NOW_NS)
    assert not isinstance(result.value, float)
    assert table(result.value) == [("", [2.0])]
    for logs_of in (SHOP, PARSED):
        for offset in (0, 3600 * S):
            counted = ranged(RangeOp.COUNT, logs_of, 3600, offset_ns=offset)
            result = await evaluate(engine, MetricQuery(counted, 4 * S, 4 * S, S), budget(), NOW_NS)
            assert not isinstance(result.value, float)
            assert table(result.value) == []


async def test_a_number_is_itself(engine: Engine) -> None:
    product = BinaryOperation(BinaryOp.MULTIPLY, Literal(6), Literal(7))
    assert (await evaluate(engine, MetricQuery(product, T, T, S), budget(), NOW_NS)).value == 42.0


async def test_too_many_steps_are_refused_before_anything_is_read(engine: Engine) -> None:
    with pytest.raises(StepsLimitError):
        await evaluate(engine, MetricQuery(ranged(RangeOp.COUNT), T, T + 11_000 * S, S), budget(0.0), NOW_NS)


async def test_the_time_is_that_of_all_statements(engine: Engine) -> None:
    with pytest.raises(QueryTimeoutError):
        await evaluate(engine, MetricQuery(ranged(RangeOp.COUNT), T, T, S), budget(0.0), NOW_NS)


async def test_eleven_thousand_steps_are_one_statement(engine: Engine, put: Put) -> None:
    await put([line(n, "x") for n in range(1000)])
    answer = await found(engine, over(VectorOp.SUM, ranged(RangeOp.COUNT, seconds=0.5)), 11_000, 0, 0.1)
    ((_, values),) = answer
    # A record at n s is in the windows of five steps: n.0 to n.4.
    assert np.array([value is not None for value in values]).sum() == 5000
    assert values[:11] == [1.0, 1.0, 1.0, 1.0, 1.0, None, None, None, None, None, 1.0]


async def test_a_plan_says_what_is_a_statement(engine: Engine, put: Put) -> None:
    ratio = BinaryOperation(
        BinaryOp.DIVIDE, over(VectorOp.SUM, ranged(RangeOp.COUNT)), over(VectorOp.SUM, ranged(RangeOp.BYTES, PARSED))
    )
    query = MetricQuery(ratio, T + 30 * S, T + 90 * S, 30 * S)
    counted, parsed = plan(query)
    assert (counted.leaf.keep, parsed.leaf.keep) == ((), ())
    assert counted.statement is not None
    assert parsed.statement is None
    await put(ACCESS)
    spent = budget()
    await evaluate(engine, query, spent, NOW_NS)
    assert spent.scanned.rows >= 2 * 5
