"""The statement of a leaf, against the same records taken one by one in Python."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from aggregator.errors import QueryDoubtError
from aggregator.logql.compiler.samples import samples
from aggregator.logql.metric import Conversion, Grouping, RangeAggregation, RangeOp, Unwrap
from aggregator.logql.pipeline import conditions, json_parser, lines, pattern, regexp
from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.unwrap import sample
from aggregator.logql.tree import (
    ERROR,
    LEVEL,
    CompareOp,
    Decolorize,
    DurationCondition,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineOp,
    LogExpression,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    PatternParser,
    RegexpParser,
    Selector,
    UnpackParser,
)
from aggregator.logql.vector.accumulator import Accumulator
from aggregator.logql.vector.leaves import Leaf
from aggregator.logql.vector.partials import Partials
from aggregator.logql.vector.ranges import Buckets
from aggregator.query import rows
from aggregator.store.engine import Limits
from aggregator.store.streams import stream_id
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aggregator.logql.tree import Stage
    from aggregator.logql.vector.matrix import Matrix
    from aggregator.store.engine import Engine

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

S: Final = 1_000_000_000
NOW_NS: Final = 1_769_860_800 * S
SHOP: Final = Selector((Matcher("namespace", MatchOp.EQUAL, "shop"),))
ERRORLESS: Final = LabelFilter(Matcher(ERROR, MatchOp.EQUAL, ""))


class Row(msgspec.Struct, frozen=True):
    ts_ns: int
    body: str
    pod: str
    level: str
    flags: int = 0
    meta: dict[str, str] = {}


def made() -> list[Row]:
    chosen = random.Random(3)
    found = []
    for number in range(600):
        level = chosen.choice(["info", "error", ""])
        status, took = chosen.choice([200, 404, 500]), chosen.choice([0, 1, 2.5, 12, 250.75, -3])
        values = f'"level":"{level}","status":{status},"took":{took},"path":"/p{number % 4}"'
        body = f'{{{values},"req":{{"id":"r{number % 3}"}}}}'
        if chosen.random() < 0.3:
            body = f"level={level} status={status} took={took} path=/p{number % 4}"
        flags = int(Flag.GAP) if number % 97 == 0 else 0
        pod = f"cart-{number % 3}"
        meta = {"tenant": f"t{number % 2}"} if number % 5 == 0 else {}
        ts_ns = NOW_NS + chosen.randrange(600) * S + chosen.choice([0, 1, S // 2])
        found.append(Row(ts_ns, body, pod, level, flags, meta))
    return found


ROWS: Final = made()


def stream_of(row: Row) -> dict[str, str]:
    return {
        "cluster": "test",
        "node": "node-1",
        "namespace": "shop",
        "pod": row.pod,
        "uid": "u",
        "container": "app",
        "stream": "stdout",
    }


@pytest.fixture
async def filled(engine: Engine, put: Put) -> Engine:
    await put(
        [
            {
                "body": row.body.encode(),
                "ts": row.ts_ns,
                "pod": row.pod,
                "flags": row.flags,
                "position": number + 1,
                "meta": row.meta,
            }
            for number, row in enumerate(ROWS)
        ]
    )
    return engine


async def by_sql(engine: Engine, leaf: Leaf, buckets: Buckets) -> Matrix:
    statement = samples(leaf, buckets)
    assert statement is not None
    partials = Partials(leaf, buckets)
    async with engine.stream(statement.sql, "ArrowStream", statement.parameters, Limits()) as chunks:
        async for chunk in chunks:
            for batch in pa.ipc.open_stream(chunk):
                rows.add(partials, batch)
    return partials.matrix()


def step_of(stage: Stage) -> Any:
    match stage:
        case LineFilter():
            return lines.line_filter(stage)
        case LabelFilter():
            return conditions.label_filter(stage)
        case JsonParser():
            return json_parser.parser(None)
        case RegexpParser(expression):
            return regexp.parser(expression)
        case PatternParser(expression):
            return pattern.parser(expression)
    raise ValueError(stage)


def by_python(leaf: Leaf, buckets: Buckets) -> Matrix:
    accumulator = Accumulator(leaf, buckets)
    aggregation = leaf.aggregation
    steps = [step_of(stage) for stage in aggregation.logs.stages]
    unwrapped = sample(aggregation.unwrap) if aggregation.unwrap else None
    in_order = sorted(enumerate(ROWS), key=lambda row: (row[1].ts_ns, stream_id(stream_of(row[1])), row[0]))
    for _, row in in_order:
        if row.flags & Flag.GAP:
            continue
        labels = Labels(stream_of(row), {LEVEL: row.level or "unknown", **row.meta})
        line: str | None = row.body
        for step in steps:
            line = None if line is None else step(row.ts_ns, line, labels)
        if line is None:
            continue
        value: float | None = float(len(line)) if aggregation.op in {RangeOp.BYTES, RangeOp.BYTES_RATE} else 1.0
        if unwrapped is not None:
            value = unwrapped(labels)
        if value is not None:
            accumulator.add(labels.all(), row.ts_ns, value)
    return accumulator.matrix()


def same(left: Matrix, right: Matrix) -> None:
    left, right = left.ordered(), right.ordered()
    assert left.labels == right.labels
    assert left.present.tolist() == right.present.tolist()
    np.testing.assert_allclose(left.values[left.present], right.values[right.present], rtol=1e-12)


STEPS: Final = {
    "an instant": Buckets(NOW_NS + 600 * S, NOW_NS + 600 * S, S, 600 * S),
    "touching": Buckets(NOW_NS, NOW_NS + 600 * S, 60 * S, 60 * S),
    "overlapping": Buckets(NOW_NS, NOW_NS + 600 * S, 30 * S, 100 * S),
    "apart, and earlier": Buckets(NOW_NS, NOW_NS + 900 * S, 60 * S, 20 * S, offset_ns=10 * S),
    "longer than all": Buckets(NOW_NS, NOW_NS + 300 * S, 60 * S, 3600 * S),
}


def leaf_of(
    op: RangeOp,
    *stages: Stage,
    keep: tuple[str, ...] | None = None,
    unwrap: Unwrap | None = None,
    grouping: Grouping | None = None,
) -> Leaf:
    parameter = 0.9 if op is RangeOp.QUANTILE else None
    return Leaf(RangeAggregation(op, LogExpression(SHOP, stages), 60 * S, 0, unwrap, parameter, grouping), keep)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("keep", [None, (), (LEVEL,), ("namespace", "pod"), ("absent", "pod"), ("pod", "tenant")])
async def test_counts_of_plain_lines(filled: Engine, steps: str, keep: tuple[str, ...] | None) -> None:
    for op in (RangeOp.COUNT, RangeOp.RATE, RangeOp.BYTES, RangeOp.BYTES_RATE, RangeOp.ABSENT):
        leaf = leaf_of(op, LineFilter.of(LineOp.CONTAINS, "00"), keep=keep)
        same(await by_sql(filled, leaf, STEPS[steps]), by_python(leaf, STEPS[steps]))


TOOK: Final = Unwrap("took", filters=(ERRORLESS,))
UNWRAPPED: Final = (
    RangeOp.SUM, RangeOp.RATE, RangeOp.AVG, RangeOp.MIN, RangeOp.MAX, RangeOp.FIRST, RangeOp.LAST, RangeOp.STDDEV,
    RangeOp.STDVAR, RangeOp.QUANTILE, RangeOp.RATE_COUNTER, RangeOp.ABSENT,
)  # fmt: skip


@pytest.mark.parametrize("op", UNWRAPPED)
async def test_unwrapped_numbers(filled: Engine, op: RangeOp) -> None:
    for name in ("overlapping", "apart, and earlier"):
        for by in (("path",), ("status", "pod"), (LEVEL,), ()):
            leaf = leaf_of(op, JsonParser(), unwrap=TOOK, grouping=Grouping(by))
            same(await by_sql(filled, leaf, STEPS[name]), by_python(leaf, STEPS[name]))


PIPELINES: Final[tuple[tuple[tuple[Stage, ...], tuple[str, ...] | None], ...]] = (
    ((JsonParser(), ERRORLESS), ("path",)),
    ((JsonParser(), ERRORLESS), ("pod", "req_id", "status")),
    ((JsonParser(), ERRORLESS), ()),
    ((JsonParser(), LabelFilter(Matcher("status", MatchOp.EQUAL, "500")), ERRORLESS), ("path",)),
    ((JsonParser(), LabelFilter(NumberCondition("status", CompareOp.GREATER_OR_EQUAL, 404.0))), ("level",)),
    ((JsonParser(), LabelFilter(Matcher("level", MatchOp.MATCHES, "e.*|")), ERRORLESS), (LEVEL, "level")),
    ((JsonParser(),), (ERROR, "pod")),
    ((LabelFilter(Matcher("pod", MatchOp.NOT_EQUAL, "cart-1")),), ("pod",)),
    ((LabelFilter(Matcher(LEVEL, MatchOp.EQUAL, "error")),), None),
    ((LabelFilter(Matcher("absent", MatchOp.EQUAL, "")),), None),
    ((LabelFilter(Matcher("tenant", MatchOp.EQUAL, "t1")),), ("pod",)),
    ((LabelFilter(Matcher("tenant", MatchOp.NOT_EQUAL, "t1")),), None),
    ((RegexpParser(r"path=(?P<path>\S+)"),), None),
    ((RegexpParser(r"path=(?P<path>\S+)"), LabelFilter(Matcher("path", MatchOp.NOT_EQUAL, ""))), ("path",)),
    ((PatternParser("level=<l> status=<s> <_>"),), None),
    ((PatternParser("level=<l> status=<s> <_>"), LabelFilter(NumberCondition("s", CompareOp.LESS, 500.0))), ("l",)),
    ((LineFilter.of(LineOp.PATTERN, "level=<_> status=500 <_>"),), ()),
    ((LineFilter.of(LineOp.NOT_PATTERN, "<_>status=200<_>"),), ()),
    ((LineFilter.of(LineOp.MATCHES, r"\bstatus\b.500"),), ()),
)


@pytest.mark.parametrize(("stages", "keep"), PIPELINES)
async def test_pipelines(filled: Engine, stages: tuple[Stage, ...], keep: tuple[str, ...] | None) -> None:
    leaf = leaf_of(RangeOp.COUNT, *stages, keep=keep)
    same(await by_sql(filled, leaf, STEPS["touching"]), by_python(leaf, STEPS["touching"]))


INEXPRESSIBLE: Final = (
    leaf_of(RangeOp.COUNT, JsonParser()),
    leaf_of(RangeOp.COUNT, LogfmtParser(), keep=("a",)),
    leaf_of(RangeOp.BYTES, Decolorize(), keep=()),
    leaf_of(RangeOp.COUNT, UnpackParser(), keep=()),
    leaf_of(RangeOp.COUNT, JsonParser(), JsonParser(), keep=("a",)),
    leaf_of(RangeOp.COUNT, JsonParser(), LabelFilter(DurationCondition("a", CompareOp.LESS, 1)), keep=("a",)),
    leaf_of(RangeOp.SUM, JsonParser(), unwrap=Unwrap("a", Conversion.BYTES), grouping=Grouping(())),
    leaf_of(RangeOp.COUNT, JsonParser(), keep=("a_extracted",)),
)


@pytest.mark.parametrize("leaf", INEXPRESSIBLE)
def test_what_sql_cannot_say_is_left_to_python(leaf: Leaf) -> None:
    assert samples(leaf, STEPS["touching"]) is None


DOUBTFUL: Final = (
    ('{"a":1.50}', leaf_of(RangeOp.COUNT, JsonParser(), keep=("a",))),
    ('{"a":"x"', leaf_of(RangeOp.COUNT, JsonParser(), keep=("a",))),
    ('{"a":"x"} and more', leaf_of(RangeOp.COUNT, JsonParser(), keep=("a",))),
    ("no JSON", leaf_of(RangeOp.COUNT, JsonParser(), keep=("a",))),
    ('{"a-b":"x"}', leaf_of(RangeOp.COUNT, JsonParser(), keep=("a_b",))),
    ('{"a":"5s"}', leaf_of(RangeOp.SUM, JsonParser(), unwrap=Unwrap("a"), grouping=Grouping(()))),
    (
        '{"a":"x"}',
        leaf_of(RangeOp.COUNT, JsonParser(), LabelFilter(NumberCondition("a", CompareOp.LESS, 1.0)), keep=()),
    ),
)


@pytest.mark.parametrize(("body", "leaf"), DOUBTFUL)
async def test_a_record_in_doubt_ends_the_statement(engine: Engine, put: Put, body: str, leaf: Leaf) -> None:
    await put([{"body": body.encode(), "ts": NOW_NS}])
    with pytest.raises(QueryDoubtError):
        await by_sql(engine, leaf, STEPS["touching"])


async def test_a_label_that_is_in_metadata_too_is_in_doubt(engine: Engine, put: Put) -> None:
    leaf = leaf_of(RangeOp.COUNT, JsonParser(), keep=("a",))
    await put([{"body": b'{"a":"x"}', "ts": NOW_NS}])
    assert (await by_sql(engine, leaf, STEPS["touching"])).labels == ((("a", "x"),),)
    await put([{"body": b'{"a":"x"}', "ts": NOW_NS, "meta": {"a": "y"}}])
    with pytest.raises(QueryDoubtError):
        await by_sql(engine, leaf, STEPS["touching"])


async def test_an_unwrapped_record_without_the_number_is_no_doubt(engine: Engine, put: Put) -> None:
    await put([{"body": b"no JSON", "ts": NOW_NS}, {"body": b'{"a":2}', "ts": NOW_NS}, {"body": b"{}", "ts": NOW_NS}])
    leaf = leaf_of(RangeOp.SUM, JsonParser(), unwrap=Unwrap("a"), grouping=Grouping(()))
    found = await by_sql(engine, leaf, STEPS["touching"])
    assert found.values[found.present].tolist() == [2.0]


async def test_a_doubt_about_what_is_filtered_away_is_none(engine: Engine, put: Put) -> None:
    await put([{"body": b'{"a":1.50,"b":"x"}', "ts": NOW_NS}, {"body": b'{"a":"y","b":"z"}', "ts": NOW_NS}])
    leaf = leaf_of(RangeOp.COUNT, JsonParser(), LabelFilter(Matcher("b", MatchOp.EQUAL, "z")), keep=("a",))
    found = await by_sql(engine, leaf, STEPS["touching"])
    assert found.labels == ((("a", "y"),),)
