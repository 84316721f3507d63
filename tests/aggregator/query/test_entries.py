"""Log queries finished in Python: the same whatever SQL did of them, in order, with labels, and no further than needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pytest

from aggregator.logql.compiler.plan import plan
from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.pipeline import Pipeline
from aggregator.logql.tree import (
    ERROR,
    LEVEL,
    TIME_MAX_NS,
    CompareOp,
    Decolorize,
    Direction,
    DurationCondition,
    JsonParser,
    KeepLabels,
    LabelFilter,
    LineFilter,
    LineFormat,
    LineOp,
    LineValue,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
    PatternParser,
    Query,
    RegexpParser,
    Selector,
)
from aggregator.query import logs
from aggregator.query.budget import Budget
from aggregator.query.logs import entries, pieces
from aggregator.store import schema
from aggregator.store.engine import Engine, Limits
from aggregator.store.rendering import Format, Rendering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aggregator.logql.tree import Stage
    from aggregator.query.entry import Entry

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

S: Final = 1_000_000_000
NOW_NS: Final = 1_769_860_800_123_456_789
ALL: Final = Query(Selector(), (), 0, TIME_MAX_NS)

BODIES: Final = (
    '{"level":"info","status":200,"path":"/a","took":"12ms"}',
    '{"level":"error","status":500,"path":"/b c","took":"2s","ip":"10.1.2.3"}',
    '{"level":"error","status":"500","req":{"id":"r1"},"path":"\\u002fescaped"}',
    '{"level":"warn","status":5e2,"path":"/a"}',
    '{"pod":"from the line","status":404}',
    '{"status":500,"broken":',
    "level=error status=500 path=/a took=3ms",
    'level=info msg="status=500 quoted" path=/b',
    "\x1b[31mred\x1b[0m status=500",
    "plain words and status 500",
    "",
    "10.0.0.7 - GET /index.html 200",
    "two\nlines status=500",
    "ünï cödé status=500 🪵",
)
ROWS: Final[list[dict[str, Any]]] = [
    {"body": body.encode(), "ts": NOW_NS - number * 40 * S, "pod": f"p{number % 2}", "position": 1000 - number}
    for number, body in enumerate(BODIES)
] + [{"body": b"\xff\xfe status=500", "ts": NOW_NS - 5, "pod": "p0", "position": 2000}]


def is_500(label: str = "status") -> LabelFilter:
    return LabelFilter(Matcher(label, MatchOp.EQUAL, "500"))


PIPELINES: Final[tuple[tuple[Stage, ...], ...]] = (
    (),
    (LineFilter.of(LineOp.CONTAINS, "500"),),
    (JsonParser(),),
    (JsonParser(), is_500()),
    (JsonParser(), LabelFilter(Matcher("status", MatchOp.NOT_EQUAL, "500"))),
    (JsonParser(), LabelFilter(Matcher(ERROR, MatchOp.EQUAL, ""))),
    (JsonParser(), LabelFilter(Matcher(ERROR, MatchOp.NOT_EQUAL, ""))),
    (JsonParser(), LabelFilter(NumberCondition("status", CompareOp.GREATER, 400.0))),
    (JsonParser(), LabelFilter(NumberCondition("path", CompareOp.GREATER, 1.0)), LabelFilter(Matcher(ERROR, MatchOp.NOT_EQUAL, ""))),
    (JsonParser(), LabelFilter(Or(Matcher("path", MatchOp.MATCHES, "/.*"), Matcher("req_id", MatchOp.EQUAL, "r1")))),
    (JsonParser(), LabelFilter(DurationCondition("took", CompareOp.GREATER, S)), is_500()),
    (JsonParser(), LabelFilter(Matcher("pod", MatchOp.EQUAL, "p0"))),
    (JsonParser(), LabelFilter(Matcher("pod_extracted", MatchOp.NOT_EQUAL, ""))),
    (JsonParser(), LineFormat("{{.path}} 500"), LineFilter.of(LineOp.CONTAINS, "/a 5")),
    (LogfmtParser(), is_500()),
    (LogfmtParser(), JsonParser(), is_500()),
    (LogfmtParser(), LineFilter.of(LineOp.CONTAINS, "quoted")),
    (RegexpParser(r"status=(?P<s>\\d+)"), is_500("s")),
    (PatternParser("<_>status=<s>"), is_500("s")),
    (PatternParser("<ip> - <method> <path> <code>"), LabelFilter(NumberCondition("code", CompareOp.EQUAL, 200.0))),
    (Decolorize(), LineFilter.of(LineOp.CONTAINS, "red status")),
    (LineFilter(LineOp.CONTAINS, (LineValue("10.0.0.0/8", ip=True),)),),
    (LineFilter(LineOp.LACKS, (LineValue("10.0.0.0/8", ip=True),)), LineFilter.of(LineOp.CONTAINS, "status")),
    (LineFilter.of(LineOp.PATTERN, "<_>status=500<_>"),),
    (LineFilter.of(LineOp.NOT_PATTERN, "<_>status<_>"),),
    (LineFilter.of(LineOp.MATCHES, "two.lines"),),
    (LineFilter.of(LineOp.MATCHES, "(?s)two.lines"),),
    (LabelFilter(Matcher(LEVEL, MatchOp.EQUAL, "error")), JsonParser()),
    (LabelFilter(Matcher("node", MatchOp.MATCHES, "node-.")), LabelFilter(Matcher("pod", MatchOp.NOT_EQUAL, "p0"))),
    (JsonParser(), KeepLabels(("pod", "status"))),
)  # fmt: skip


def budget() -> Budget:
    return Budget(Limits(), answer_bytes=1 << 20)


async def found(engine: Engine, query: Query) -> list[Entry]:
    return [entry async for some in entries(engine, query, budget(), NOW_NS) for entry in some]


def expected(stages: tuple[Stage, ...], levels: dict[int, str]) -> list[tuple[int, bytes, dict[str, str]]]:
    """Position, line and labels of what comes through, oldest first."""
    pipeline = Pipeline(stages, now_ns=NOW_NS)
    passed = []
    for row in sorted(ROWS, key=lambda row: row["ts"]):
        stream = {"cluster": "test", "node": "node-1", "namespace": "shop", "pod": row["pod"], "uid": "u"}
        stream |= {"container": "app", "stream": "stdout"}
        text = row["body"].decode(errors="replace")
        came = pipeline.process(row["ts"], text, Labels(stream, {LEVEL: levels[row["position"]] or "unknown"}))
        if came is not None:
            line = row["body"] if came[0] == text else came[0].encode()
            passed.append((row["position"], line, came[1].all()))
    return passed


class _Level(msgspec.Struct):
    position: int
    level: str


@pytest.fixture
async def filled(engine: Engine, put: Put) -> Engine:
    await put(ROWS)
    return engine


async def levels_of(engine: Engine) -> dict[int, str]:
    rows = await engine.rows(f"SELECT position, level FROM {schema.LOGS}", _Level)  # noqa: S608 - a table name
    return {row.position: row.level for row in rows}


async def test_every_pipeline_gives_what_python_alone_gives(filled: Engine) -> None:
    levels = await levels_of(filled)
    for stages in PIPELINES:
        wanted = expected(stages, levels)
        for limit, direction in ((0, Direction.FORWARD), (0, Direction.BACKWARD), (3, Direction.FORWARD), (3, Direction.BACKWARD)):
            query = msgspec.structs.replace(ALL, stages=stages, limit=limit, direction=direction)
            given = [(one.position, one.line, one.labels) for one in await found(filled, query)]
            ordered = wanted if direction is Direction.FORWARD else wanted[::-1]
            assert given == ordered[: limit or None], (stages, limit, direction)
