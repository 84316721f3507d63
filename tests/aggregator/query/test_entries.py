"""Log queries finished in Python: the same whatever SQL did of them, in order, no further than needed."""

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
from aggregator.store.catalogue import Scope, label_names, label_values, stream_labels
from aggregator.store.engine import Engine, Limits
from aggregator.store.rendering import Format, Rendering
from aggregator.store.windows import Window
from tests.aggregator.engines import BOTH

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


HAS_ERROR: Final = LabelFilter(Matcher(ERROR, MatchOp.NOT_EQUAL, ""))
PIPELINES: Final[tuple[tuple[Stage, ...], ...]] = (
    (),
    (LineFilter.of(LineOp.CONTAINS, "500"),),
    (JsonParser(),),
    (JsonParser(), is_500()),
    (JsonParser(), LabelFilter(Matcher("status", MatchOp.NOT_EQUAL, "500"))),
    (JsonParser(), LabelFilter(Matcher(ERROR, MatchOp.EQUAL, ""))),
    (JsonParser(), HAS_ERROR),
    (JsonParser(), LabelFilter(NumberCondition("status", CompareOp.GREATER, 400.0))),
    (JsonParser(), LabelFilter(NumberCondition("path", CompareOp.GREATER, 1.0)), HAS_ERROR),
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
        for limit, direction in (
            (0, Direction.FORWARD),
            (0, Direction.BACKWARD),
            (3, Direction.FORWARD),
            (3, Direction.BACKWARD),
        ):
            query = msgspec.structs.replace(ALL, stages=stages, limit=limit, direction=direction)
            given = [(one.position, one.line, one.labels) for one in await found(filled, query)]
            ordered = wanted if direction is Direction.FORWARD else wanted[::-1]
            assert given == ordered[: limit or None], (stages, limit, direction)


async def test_batches_grow_and_slices_go_on_behind_them(
    engine: Engine, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_BATCH_MIN", 10)
    rows = [{"body": b"n=%d %s" % (n, b"rare=1" if n % 90 == 7 else b""), "ts": NOW_NS - n // 3} for n in range(1000)]
    await put(rows)
    stages = (LogfmtParser(), LabelFilter(Matcher("rare", MatchOp.EQUAL, "1")))
    for direction, limit in ((Direction.BACKWARD, 4), (Direction.FORWARD, 4), (Direction.BACKWARD, 100)):
        query = msgspec.structs.replace(ALL, stages=stages, limit=limit, direction=direction)
        given = [int(one.parsed["n"]) for one in await found(engine, query)]
        rare = sorted((n for n in range(1000) if n % 90 == 7), key=lambda n: (-(n // 3), n))
        assert given == (rare if direction is Direction.FORWARD else rare[::-1])[:limit]


@pytest.mark.parametrize("direction", Direction)
async def test_a_limit_is_reached_without_reading_everything(engine: Engine, put: Put, direction: Direction) -> None:
    for day in range(3):
        start = NOW_NS - day * 86_400 * S
        await put(
            [{"body": b"a=%d" % n, "ts": start - n * S, "position": day * 100_000 + n + 1} for n in range(60_000)]
        )
    for stages in ((), (LogfmtParser(), LabelFilter(Matcher("a", MatchOp.NOT_EQUAL, "")))):
        query = Query(Selector(), stages, NOW_NS - 2 * 86_400 * S - 60_000 * S, NOW_NS + S, 100, direction)
        used = budget()
        given = [one async for some in entries(engine, query, used, NOW_NS) for one in some]
        assert len(given) == 100
        assert used.scanned.rows < 90_000
        assert used.scanned.statements > 1


SHOWN: Final = (
    (Format.TEXT, b"2026-01-31T12:00:00.123456789Z shop/cart-0/app b\n"),
    (
        Format.JSON,
        (
            b'{"ts":"2026-01-31T12:00:00.123456789Z","namespace":"shop","pod":"cart-0","container":"app","node":"node-1",'
            b'"stream":"stdout","cluster":"test","uid":"u","level":"error","line":"b",'
            b'"source":"00000000000000000000000000000000","position":7,"flags":[],"labels":{"level":"error","a":"b"}}\n'
        ),
    ),
    (
        Format.CSV,
        (
            b'2026-01-31T12:00:00.123456789Z,"shop","cart-0","app","node-1","stdout","test","u",error,"b",'
            b"00000000000000000000000000000000,7,\n"
        ),
    ),
)


@pytest.mark.parametrize(("shape", "expected_bytes"), SHOWN)
async def test_what_python_finished_is_shown_as_ever(
    engine: Engine, put: Put, shape: Format, expected_bytes: bytes
) -> None:
    await put([{"body": b'{"level":"error","a":"b"}', "ts": NOW_NS, "position": 7}])
    query = msgspec.structs.replace(ALL, stages=(JsonParser(), LineFormat("{{.a}}")), limit=5)
    shown = [bytes(one.data) async for one in pieces(engine, query, Rendering(shape), budget(), NOW_NS)]
    assert b"".join(shown) == expected_bytes


@pytest.mark.parametrize("shape", Format)
@pytest.mark.parametrize("limit", [0, 4])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_sql_and_python_show_records_alike(filled: Engine, shape: Format, limit: int, newest_first: bool) -> None:  # noqa: FBT001 - a table's column
    rendering = Rendering(shape, newest_first=newest_first)
    answers = []
    for stages in ((), (LineFilter(LineOp.LACKS, (LineValue("192.0.2.1", ip=True),)),)):
        query = msgspec.structs.replace(ALL, stages=stages, limit=limit)
        assert (plan(query).rest == ()) is (stages == ())
        answers.append(b"".join([bytes(one.data) async for one in pieces(filled, query, rendering, budget(), NOW_NS)]))
    if shape is Format.JSON:
        assert [msgspec.json.decode(line) for line in answers[0].splitlines()] == [
            msgspec.json.decode(line) for line in answers[1].splitlines()
        ]
    else:
        assert answers[0] == answers[1]


async def pod_labels(engine: Engine, uid: str, labels: dict[str, str], seen_ms: int) -> None:
    await engine.insert(
        schema.PODS,
        pa.record_batch(
            {
                "uid": pa.array([uid]),
                "labels": pa.array([list(labels.items())], pa.map_(pa.string(), pa.string())),
                "seen_at": pa.array([seen_ms], pa.timestamp("ms", "UTC")),
            }
        ),
    )


POD_SELECTIONS: Final[tuple[tuple[Matcher, list[int]], ...]] = (
    (Matcher("app_kubernetes_io_name", MatchOp.EQUAL, "cart"), [1]),
    (Matcher("app_kubernetes_io_name", MatchOp.NOT_EQUAL, "cart"), [2, 3]),
    (Matcher("app_kubernetes_io_name", MatchOp.MATCHES, "c.*|"), [1, 3]),
    (Matcher("tier", MatchOp.EQUAL, "new"), [1]),
    (Matcher("tier", MatchOp.EQUAL, "old"), []),
    (Matcher("pod", MatchOp.EQUAL, "of the pod's labels"), []),
    (Matcher("pod", MatchOp.EQUAL, "a"), [1]),
)


@BOTH
async def test_labels_of_pods_select_and_are_shown(engine: Engine, put: Put) -> None:
    await put([{"body": b"x", "ts": NOW_NS + n, "uid": f"u{n}", "pod": "abc"[n - 1], "position": n} for n in (1, 2, 3)])
    await pod_labels(engine, "u1", {"app.kubernetes.io/name": "cart", "tier": "old"}, 1_000)
    await pod_labels(
        engine, "u1", {"app.kubernetes.io/name": "cart", "tier": "new", "pod": "of the pod's labels"}, 2_000
    )
    await pod_labels(engine, "u2", {"app.kubernetes.io/name": "shop"}, 1_000)
    for matcher, expected_positions in POD_SELECTIONS:
        for query in (
            msgspec.structs.replace(ALL, selector=Selector((matcher,))),
            msgspec.structs.replace(ALL, stages=(LabelFilter(matcher),)),
        ):
            assert sorted(one.position for one in await found(engine, query)) == expected_positions, matcher
    first = (await found(engine, ALL))[-1]
    assert (first.stream["app_kubernetes_io_name"], first.stream["tier"], first.stream["pod"]) == ("cart", "new", "a")
    scope = Scope(Selector((Matcher("tier", MatchOp.EQUAL, "new"),)), Window(0, TIME_MAX_NS))
    names = await label_names(engine, scope, 100, Limits())
    assert "app_kubernetes_io_name" in names.texts
    assert (await label_values(engine, "app_kubernetes_io_name", scope, 9, Limits())).texts == ("cart",)
    assert (await stream_labels(engine, scope, 9, Limits())).streams[0]["tier"] == "new"
