"""The page on LogQL: what it lists is what the code knows, and its queries run and find something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import pyarrow as pa
import pytest

from aggregator.api.loki.asked import LIMIT_MAX
from aggregator.errors import LogQLError
from aggregator.logql.metric import BinaryOp, Conversion, Group, MetricQuery, RangeOp, VectorOp
from aggregator.logql.metric_construction import PICKED_MAX
from aggregator.logql.parser import QUERY_BYTES_MAX, parse
from aggregator.logql.parts import DEPTH_MAX
from aggregator.logql.pipeline import actions, jsontext, printf, strings, template
from aggregator.logql.regex import EXPRESSION_CHARACTERS_MAX, EXPRESSION_MEMORY_BYTES_MAX
from aggregator.logql.tree import CompareOp, LineOp, LogExpression, MatchOp, Parser, Query
from aggregator.logql.vector import matrix, ranges
from aggregator.query import logs, metrics
from aggregator.query.budget import Budget
from aggregator.store import schema
from aggregator.store.engine import Engine, Limits
from aggregator.store.streams import stream_id
from tests.aggregator.records import DAY_S, NOW_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE: Final = (Path(__file__).parents[2] / "docs" / "logql.md").read_text("utf-8")
TABLE: Final = PAGE.partition("## What there is")[2].partition("**Labels of a record**")[0].replace("\\|", "|")
LIMITS: Final = PAGE.partition("## Limits")[2].partition("## Where")[0]
QUERIES: Final = re.findall(r"```logql\n(.*?)\n```", PAGE, re.DOTALL)
PARSERS: Final = [parser.__name__.removesuffix("Parser").lower() for parser in get_args(Parser)]
STAGES: Final = ["unwrap", "line_format", "label_format", "decolorize", "drop", "keep", "label_replace", "vector"]
OPERATORS: Final = [*MatchOp, *LineOp, *CompareOp, *BinaryOp, *Group, *Conversion]

S: Final = 10**9
LABELS: Final = {"cluster": "", "node": "node-1", "namespace": "shop", "pod": "cart-0", "uid": "u", "stream": "stdout"}
POD_LABELS: Final = {"app.kubernetes.io/name": "cart"}
# Container to the lines it writes again and again.
LINES: Final = {
    "app": (
        '{"status":200,"path":"/cart","took_ms":12,"request":{"items":[{"sku":"a1"}]}}',
        '{"status":503,"path":"/pay","took_ms":900,"text":"checkout error: timeout"}',
    ),
    "worker": (
        "user=jane took=1.5s done",
        "user=joe took=20ms connection refused",
        "\x1b[33mWARN\x1b[0m disk nearly full",
    ),
    "web": (
        '10.1.2.3 - - [now] "GET /healthz HTTP/1.1" 200 12',
        '10.2.3.4 - - [now] "POST /pay HTTP/1.1" 500 4096',
    ),
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Engine]:
    """An hour of three containers of one pod, a line each every ten seconds."""
    async with Engine.open(f"chdb://{tmp_path}/store") as opened:
        await schema.create(opened)
        streams = [LABELS | {"container": one} for one in LINES]
        await opened.insert(
            schema.STREAMS,
            pa.record_batch(
                {
                    "day": pa.array([NOW_NS // S // DAY_S] * len(streams), pa.int32()),
                    "stream_id": pa.array(map(stream_id, streams), pa.uint64()),
                    "labels": pa.array([list(one.items()) for one in streams], pa.map_(pa.string(), pa.string())),
                }
            ),
        )
        await opened.insert(
            schema.PODS,
            pa.record_batch(
                {
                    "uid": pa.array(["u"]),
                    "labels": pa.array([list(POD_LABELS.items())], pa.map_(pa.string(), pa.string())),
                    "seen_at": pa.array([NOW_NS // 10**6]).cast(pa.timestamp("ms", "UTC")),
                }
            ),
        )
        rows = [
            (stream_id(one), number, LINES[one["container"]][number % len(LINES[one["container"]])])
            for one in streams
            for number in range(1, 360)
        ]
        await opened.insert(
            schema.LOGS,
            pa.record_batch(
                {
                    "namespace": pa.array(["shop"] * len(rows)),
                    "stream_id": pa.array([row[0] for row in rows], pa.uint64()),
                    "ts": pa.array([NOW_NS - row[1] * 10 * S for row in rows], pa.int64()).cast(
                        pa.timestamp("ns", "UTC")
                    ),
                    "source": pa.array([row[0].to_bytes(16, "little") for row in rows], pa.binary(16)),
                    "position": pa.array([1000 - row[1] for row in rows], pa.uint64()),
                    "flags": pa.array([0] * len(rows), pa.uint8()),
                    "body": pa.array([row[2].encode() for row in rows], pa.binary()),
                }
            ),
        )
        yield opened


@pytest.mark.parametrize("name", [op.value for op in (*RangeOp, *VectorOp)] + PARSERS + STAGES)
def test_everything_there_is_stands_in_the_table(name: str) -> None:
    assert re.search(rf"`{name}[`(; ]", TABLE)


@pytest.mark.parametrize("op", LineOp)
def test_every_line_filter_stands_in_its_row(op: LineOp) -> None:
    row = next(line for line in TABLE.splitlines() if line.startswith("| line filters"))
    assert f"`{op.value}`" in row


@pytest.mark.parametrize("text", [op.value for op in OPERATORS if op.value])
def test_every_operator_stands_in_the_table(text: str) -> None:
    assert re.search(rf"[` ]{re.escape(text)}[`( ,]", TABLE)


BY_SQL: Final = (
    '|= "x" != "y" |~ "z" !~ "q" |> "a<_>b" !> "<_>c" or "d"',
    '| pod="x" or detected_level=~"e.*"',
    "| json | status >= 500",
    '| json | a="b" or c > 5, d="e"',
    '| json | a_b_c_d="x"',
    '| regexp "(?P<x>.)"',
    '| pattern "<x> y"',
    "| json | unwrap n",
    '| pattern "<n> y" | unwrap n',
)
BY_RECORDS: Final = (
    '|= ip("10.0.0.0/8")',
    '| json l="a.b"',
    "| logfmt",
    "| unpack",
    "| json | n > 1s",
    "| json | n > 5KB",
    '| json | n = ip("10.0.0.1")',
    '| json | a_b_c_d_e="x"',
    '| json | a__b="x"',
    "| pod > 5",
    '| line_format "x"',
    '| label_format a="b"',
    "| decolorize",
    "| drop a",
    "| keep a",
    "| json | unwrap bytes(n)",
    "| json | unwrap duration(n)",
)


@pytest.mark.parametrize(
    ("stages", "is_sql"), [*((one, True) for one in BY_SQL), *((one, False) for one in BY_RECORDS)]
)
def test_what_sql_does_is_what_the_table_says(stages: str, *, is_sql: bool) -> None:
    function = "sum_over_time" if "unwrap" in stages else "rate"
    expression = parse(f'sum({function}({{namespace="shop"}} {stages} [5m]))')
    assert not isinstance(expression, LogExpression)
    [part] = metrics.plan(MetricQuery(expression, NOW_NS, NOW_NS, S))
    assert (part.statement is not None) == is_sql


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        ("a query", (QUERY_BYTES_MAX >> 10, DEPTH_MAX)),
        ("an expression", (EXPRESSION_CHARACTERS_MAX >> 10, EXPRESSION_MEMORY_BYTES_MAX >> 20)),
        ("steps", (ranges.STEPS_MAX,)),
        ("series", (matrix.SERIES_MAX, matrix.INNER_SERIES_MAX, matrix.SAMPLES_MAX // 10**6)),
        ("lines of an answer", (LIMIT_MAX,)),
        ("`topk`", (PICKED_MAX,)),
        ("objects inside", (jsontext.NESTING_MAX,)),
        ("a template |", (template.TEMPLATE_CHARACTERS_MAX >> 10, template.NESTING_MAX)),
        ("a template and", (actions.STEPS_MAX, strings.TEXT_CHARACTERS_MAX >> 20, printf.WIDTH_MAX)),
    ],
)
def test_limits_on_the_page_are_those_of_the_code(row: str, numbers: tuple[int, ...]) -> None:
    [line] = [line for line in LIMITS.splitlines() if line.startswith(f"| {row}")]
    assert tuple(int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\b(?!\))", line)) == numbers


@pytest.mark.parametrize(
    "text",
    [
        '{größe="x"}',
        r'{a="\xff"}',
        'rate({a="b"}[0s])',
        'quantile_over_time(1.1, {a="b"} | unwrap c [5m])',
        'quantile_over_time(-0.1, {a="b"} | unwrap c [5m])',
        'topk(2147483648, rate({a="b"}[5m]))',
        "sum(" * 101 + 'rate({a="b"}[5m])' + ")" * 101,
        '{a="b"} | json a="x", a="y"',
        '{a="b"} | xml',
        'variants(rate({a="b"}[5m])) of ({a="b"}[5m])',
        "{}",
    ],
)
def test_what_the_page_says_is_refused_is(text: str) -> None:
    with pytest.raises(LogQLError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('{json="x"} | drop by', '{ json = "x" } | drop by'),
        ('rate({a="b"}[ 5m ])', 'rate({a="b"}[5m])'),
        ('rate({a="b"}[5m]) + bool rate({a="b"}[5m])', 'rate({a="b"}[5m]) + rate({a="b"}[5m])'),
        ('rate({a="b"}[5m] offset -1h)', 'rate({a="b"}[5m] offset -3600s)'),
        ('topk(2147483647, rate({a="b"}[5m]))', 'topk(2147483647,rate({a="b"}[5m]))'),
    ],
)
def test_what_the_page_says_is_taken_is(text: str, same: str) -> None:
    assert parse(text) == parse(same)


def test_there_is_a_cookbook() -> None:
    assert len(set(QUERIES)) >= 15


async def test_every_query_of_the_cookbook_finds_something(store: Engine) -> None:
    start_ns = NOW_NS - 3600 * S
    empty = []
    for text in QUERIES:
        expression = parse(text)
        budget = Budget(Limits(), 1 << 20)
        found: list[Any]
        if isinstance(expression, LogExpression):
            query = Query(expression.selector, expression.stages, start_ns, NOW_NS, 10)
            found = [one async for some in logs.entries(store, query, budget, NOW_NS) for one in some]
        else:
            asked = MetricQuery(expression, start_ns, NOW_NS, 60 * S)
            result = await metrics.evaluate(store, asked, budget, NOW_NS)
            assert isinstance(result.value, matrix.Matrix)
            found = [one for one, there in zip(result.value.labels, result.value.present, strict=True) if there.any()]
        empty += [] if found else [text]
    assert empty == []
