"""What a statement reads: partitions, the sort order and the token index are made use of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from aggregator.logql.compiler.captures import CAPTURES_MAX, CAPTURES_TOGETHER_MAX
from aggregator.logql.compiler.fields import COMPARISONS_MAX, FIELDS_MAX
from aggregator.logql.compiler.plan import compile_query, plan
from aggregator.logql.compiler.samples import samples
from aggregator.logql.compiler.words import whole_words
from aggregator.logql.metric import MetricQuery, RangeAggregation, RangeOp
from aggregator.logql.tree import (
    Decolorize,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineOp,
    LineValue,
    LogExpression,
    LogfmtParser,
    Matcher,
    MatchOp,
    PatternParser,
    Query,
    Selector,
)
from aggregator.logql.vector.leaves import Leaf
from aggregator.logql.vector.ranges import Buckets
from aggregator.query.budget import Budget
from aggregator.query.explain import explain_logs, explain_metrics
from aggregator.store.engine import Limits
from aggregator.store.explain import estimates, indexes
from aggregator.store.scanned import Scanned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aggregator.logql.compiler.statement import Statement
    from aggregator.logql.tree import Stage
    from aggregator.store.engine import Engine

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

S: Final = 1_000_000_000
DAY_NS: Final = 86_400 * S
NOW_NS: Final = 1_769_860_800 * S
ROWS: Final = 40_000
WHOLE: Final = Query(Selector(), (), NOW_NS - 5 * DAY_NS, NOW_NS + DAY_NS)


@pytest.fixture
async def filled(engine: Engine, put: Put) -> Engine:
    """Two days; on each, four streams one after the other, every line with a word of its own."""
    for day in range(2):
        start = NOW_NS - day * DAY_NS
        await put(
            [
                {
                    "body": b"request word%d done" % n,
                    "ts": start + n * 1000,
                    "pod": f"p{n // (ROWS // 4)}",
                    "position": day * ROWS + n + 1,
                }
                for n in range(ROWS)
            ]
        )
    return engine


async def reads(engine: Engine, statement: Statement) -> tuple[int, int]:
    """Parts and granules of ``logs``."""
    found = [one for one in await estimates(engine, statement, Limits()) if one.table == "logs"]
    return sum(one.parts for one in found), sum(one.marks for one in found)


def where(*stages: Stage, selector: Selector = WHOLE.selector, start_ns: int = WHOLE.start_ns) -> Statement:
    return plan(msgspec.structs.replace(WHOLE, stages=stages, selector=selector, start_ns=start_ns)).statement


def listed(op: LineOp, *texts: str) -> LineFilter:
    return LineFilter(op, tuple(map(LineValue, texts)))


def regex(expression: str) -> LineFilter:
    return LineFilter.of(LineOp.MATCHES, expression)


async def test_a_day_is_a_partition(filled: Engine) -> None:
    every = await reads(filled, where())
    one = await reads(filled, where(start_ns=NOW_NS))
    assert (every[0], one[0]) == (2, 1)
    assert one[1] * 2 == every[1]


async def test_a_stream_is_found_by_the_sort_order(filled: Engine) -> None:
    _, every = await reads(filled, where())
    selector = Selector((Matcher("namespace", MatchOp.EQUAL, "shop"), Matcher("pod", MatchOp.EQUAL, "p2")))
    _, one = await reads(filled, where(selector=selector))
    assert one <= every / 2
    text = await indexes(filled, where(selector=selector), Limits())
    assert "stream_id" in text
    assert "PrimaryKey" in text


PRUNED: Final[tuple[tuple[Stage, ...], ...]] = (
    (LineFilter.of(LineOp.CONTAINS, "st word777 do"),),
    (regex(r"\bword777\b"),),
    (regex(r"(?s)\bword777\b"),),
    (regex(r"^request word777 "),),
    (regex(r"request word777 .*"),),
    (LineFilter.of(LineOp.PATTERN, "<_>t word777 d<_>"),),
    (JsonParser(), LineFilter.of(LineOp.CONTAINS, " word777 ")),
    (LogfmtParser(), regex(r"\bword777\b")),
    (listed(LineOp.CONTAINS, *(f"t word{n} d" for n in range(770, 780))),),
    (listed(LineOp.CONTAINS, "t word777 d", " é u ", " w x y ", "a b c"),),
    (listed(LineOp.MATCHES, "t word777 d|t word778 d|t word779 d", "(t word780 d|t word781 d)"),),
    (listed(LineOp.MATCHES, "t word777 d", r"\bword778\b"),),
)
NOT_PRUNED: Final[tuple[tuple[Stage, ...], ...]] = (
    (LineFilter.of(LineOp.CONTAINS, "word777"),),
    (regex("word777"),),
    (regex(r"\bword777\b|x"),),
    (LineFilter.of(LineOp.LACKS, " word777 "),),
    (listed(LineOp.LACKS, *(f" word{n} " for n in range(770, 780))),),
    (listed(LineOp.CONTAINS, *(f"t word{n} d" for n in range(770, 779)), "word779"),),
    (listed(LineOp.MATCHES, "t word777 d|word778|word779|t word780 d"),),
    (Decolorize(), LineFilter.of(LineOp.CONTAINS, " word777 ")),
)


@pytest.mark.parametrize("stages", PRUNED)
async def test_whole_words_prune(filled: Engine, stages: tuple[Stage, ...]) -> None:
    _, every = await reads(filled, where())
    _, some = await reads(filled, where(*stages))
    assert some <= every / 2


@pytest.mark.parametrize("stages", NOT_PRUNED)
async def test_words_that_may_be_cut_do_not(filled: Engine, stages: tuple[Stage, ...]) -> None:
    assert await reads(filled, where(*stages)) == await reads(filled, where())


async def test_the_samples_of_a_leaf_are_pruned_too(filled: Engine) -> None:
    logs = LogExpression(Selector(), (regex(r"\bword777\b"),))
    buckets = Buckets(NOW_NS + S, NOW_NS + S, S, 60 * S)
    statement = samples(Leaf(RangeAggregation(RangeOp.COUNT, logs, 60 * S), ()), buckets)
    assert statement is not None
    parts, marks = await reads(filled, statement)
    _, every = await reads(filled, where())
    assert parts == 1
    assert marks <= every / 4


async def test_the_streams_of_a_leaf_are_found_by_the_sort_order(filled: Engine) -> None:
    buckets = Buckets(NOW_NS + S, NOW_NS + S, S, DAY_NS)

    def counted(*matchers: Matcher) -> Statement:
        logs = LogExpression(Selector((Matcher("namespace", MatchOp.EQUAL, "shop"), *matchers)), ())
        statement = samples(Leaf(RangeAggregation(RangeOp.COUNT, logs, DAY_NS), ("pod",)), buckets)
        assert statement is not None
        return statement

    _, every = await reads(filled, counted())
    _, one = await reads(filled, counted(Matcher("pod", MatchOp.EQUAL, "p2")))
    assert one <= every / 2


PARTS: Final = (
    ("two days", where(), 2),
    ("a day", where(start_ns=NOW_NS), 1),
    ("a time with no records", where(start_ns=NOW_NS + DAY_NS // 2), 0),
)


@pytest.mark.parametrize(("statement", "parts"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
async def test_parts_that_are_read_are_counted(filled: Engine, statement: Statement, parts: int) -> None:
    scanned = Scanned(parts=0)
    async with filled.stream(statement.sql, "ArrowStream", statement.parameters, Limits(scanned=scanned)) as chunks:
        async for _ in chunks:
            pass
    assert scanned.parts == parts


async def test_metadata_is_read_of_records_that_have_some(filled: Engine) -> None:
    logs = LogExpression(Selector(), ())
    statement = samples(
        Leaf(RangeAggregation(RangeOp.COUNT, logs, DAY_NS), ("pod",)), Buckets(NOW_NS + S, NOW_NS + S, S, DAY_NS)
    )
    assert statement is not None
    columns = await indexes(filled, statement, Limits())
    assert columns.count("ReadFromMergeTree (logboom.logs)") == 2
    assert "PREWHERE notEmpty(meta)" in statement.sql


WORDS: Final = (
    (r"\bword\b", ("word",)),
    (r"word", ()),
    (r"\bword", ()),
    (r" word ", ("word",)),
    (r"\btrace_id\b", ("trace", "id")),
    (r"^a b$", ("a", "b")),
    (r"\ba\b|\bb\b", ()),
    (r"(?i)\bword\b", ()),
    (r"(?s)\bword\b", ("word",)),
    (r"\b(word)\b", ()),
    (r"\bone\b.*\btwo\b", ("one", "two")),
    (r" words? ", ()),
    (r" word+ ", ()),
    (r" one two* ", ("one",)),
    (r"[ ]word[ ]", ()),
    (r"\.word\.", ("word",)),
    (r" a\d ", ()),
    (r" é b é ", ("b",)),
    (r"éb ", ()),
    (r"\bword\b{2}", ()),
    (r"\Q word \E", ()),
    (r" \x41b ", ()),
    (r"a|", ()),
    (r"(a b c) d ", ("d",)),
)


@pytest.mark.parametrize(("expression", "words"), WORDS)
def test_words_that_are_whole_in_every_match(expression: str, words: tuple[str, ...]) -> None:
    assert whole_words(expression) == words


async def test_a_query_is_explained(filled: Engine) -> None:
    stages = (LineFilter.of(LineOp.CONTAINS, " word777 "), LogfmtParser())
    query = msgspec.structs.replace(WHOLE, selector=Selector((Matcher("pod", MatchOp.EQUAL, "p0"),)), stages=stages)
    told = await explain_logs(filled, query, Budget(Limits(), 1))
    (statement,) = told.statements
    assert statement.python == "| logfmt"
    assert "LIKE" in statement.sql
    assert "% word777 %" in statement.parameters.values()
    assert any(one.table == "logs" and one.marks for one in statement.estimate)
    assert "body_tokens" in statement.plan
    leaf = RangeAggregation(RangeOp.COUNT, LogExpression(query.selector, stages[:1]), 60 * S)
    counted = await explain_metrics(filled, MetricQuery(leaf, NOW_NS, NOW_NS, S), Budget(Limits(), 1))
    assert "count()" in counted.statements[0].sql
    assert counted.statements[0].python == ""


def test_what_is_left_for_python() -> None:
    stages = (LineFilter.of(LineOp.CONTAINS, "a"), JsonParser(), LabelFilter(Matcher("b", MatchOp.EQUAL, "c")))
    assert plan(msgspec.structs.replace(WHOLE, stages=stages)).rest == stages[1:]
    assert plan(msgspec.structs.replace(WHOLE, stages=stages[:1])).rest == ()
    with pytest.raises(ValueError, match="no SQL for JsonParser"):
        compile_query(msgspec.structs.replace(WHOLE, stages=stages))


@pytest.mark.parametrize(
    ("most", "stages"),
    [
        (CAPTURES_MAX, lambda count: (PatternParser("".join(f"<a{n}> " for n in range(count))),)),
        (
            FIELDS_MAX,
            lambda count: (
                JsonParser(),
                *(LabelFilter(Matcher(f"a{n}", MatchOp.EQUAL, "x")) for n in range(count)),
            ),
        ),
        (COMPARISONS_MAX, lambda count: [LabelFilter(Matcher(f"a{n}", MatchOp.EQUAL, "x")) for n in range(count)]),
        (CAPTURES_TOGETHER_MAX, lambda count: (listed(LineOp.PATTERN, *(f"<_>a{n}" for n in range(count))),)),
    ],
)
def test_what_would_be_a_statement_of_a_size_that_is_slow_to_understand_is_left_for_python(
    most: int, stages: Callable[[int], Iterable[Stage]]
) -> None:
    buckets = Buckets(NOW_NS, NOW_NS, S, 60 * S)
    for count, is_sql in ((most, True), (most + 1, False)):
        logs = LogExpression(WHOLE.selector, tuple(stages(count)))
        leaf = Leaf(RangeAggregation(RangeOp.COUNT, logs, 60 * S), ())
        assert (samples(leaf, buckets) is not None) is is_sql


async def test_what_a_user_wrote_stays_a_value(engine: Engine, put: Put) -> None:
    await put([{"body": b'{"it\'s":"x"}', "ts": NOW_NS}])
    selector = Selector((Matcher("'; DROP TABLE logs; --", MatchOp.EQUAL, ""),))
    logs = LogExpression(
        selector, (JsonParser(), LabelFilter(Matcher("a", MatchOp.NOT_EQUAL, "' OR 1=1 --{x:String}")))
    )
    buckets = Buckets(NOW_NS + S, NOW_NS + S, S, 60 * S)
    statement = samples(Leaf(RangeAggregation(RangeOp.COUNT, logs, 60 * S), ("b",)), buckets)
    assert statement is not None
    (row,) = await engine.rows(statement.sql, dict[str, Any], statement.parameters)
    assert row["counts"] == [1]
