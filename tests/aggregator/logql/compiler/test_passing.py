"""What the leading stages of pipelines let through, in the engine and in Python."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from aggregator.logql.compiler.captures import CAPTURES_MAX
from aggregator.logql.compiler.passing import committed, inserted, leading, passing
from aggregator.logql.parser import parse_log
from aggregator.logql.tree import Committed
from aggregator.query.followed import Followed
from aggregator.query.reading import records_of
from aggregator.store.commits import Commits
from aggregator.store.engine import Engine, Limits
from aggregator.store.schema import LOGS
from wire.batch import Flag

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Statement
    from aggregator.query.reading import Record

BODIES = (
    b"level=error took 17ms",
    b"WARN disk 90% full_",
    b"100%_\\ escaped ' quoted \" x",
    b"\xff\xfe not UTF-8 error",
    "grüße from 10.0.0.7".encode(),
    b"line one\nERROR line two",
    b"",
    b'{"level":"info","msg":"hello"}',
)
# A pipeline, and how many stages in front of it are tried in the engine.
PIPELINES = (
    ("", 0),
    ('|= "error"', 1),
    ('|= "90% full_"', 1),
    ("|= `100%_\\ escaped`", 1),
    ('|= "error" or "full" != "disk"', 2),
    (r"|~ `took \d+ms$`", 1),
    ('!~ "(?i)error"', 1),
    ('| detected_level="error"', 1),
    ('| detected_level=~"warn|unknown" |= "x"', 2),
    ('|> "<_> took <_>"', 1),
    ('!> "<_>level<_>"', 1),
    ('|> "' + "<_>e" * CAPTURES_MAX + '<_>"', 0),
    ('|> "' + "<_>e" * CAPTURES_MAX + '"', 1),
    ('|= ip("10.0.0.0/8") |= "from"', 0),
    ('|= "level" | json | level="info"', 1),
    ('| container="app" |= "x"', 0),
)


def rows() -> pa.RecordBatch:
    count = len(BODIES)
    return pa.record_batch(
        {
            "namespace": pa.array(["shop"] * count),
            "stream_id": pa.array([7] * count, pa.uint64()),
            "ts": pa.array([time.time_ns()] * count, pa.int64()).cast(pa.timestamp("ns", "UTC")),
            "source": pa.array([bytes(16)] * count, pa.binary(16)),
            "position": pa.array(range(1, count + 1), pa.uint64()),
            "flags": pa.array([0] * (count - 1) + [int(Flag.STDERR)], pa.uint8()),
            "body": pa.array(BODIES, pa.binary()),
        }
    )


async def through(engine: Engine, statement: Statement) -> list[list[int]]:
    """The positions that come through each pipeline, SQL first and Python behind it."""
    queries = [Followed(parse_log(f'{{namespace="shop"}} {text}')) for text, _ in PIPELINES]
    found = passing(statement, [query.leading for query in queries])
    got: list[list[int]] = [[] for _ in queries]
    async with engine.stream(found.statement.sql, "ArrowStream", found.statement.parameters, Limits()) as chunks:
        async for chunk in chunks:
            for block in pa.ipc.open_stream(chunk):
                records = records_of(block, {7: {"container": "app"}})
                for query, test, positions in zip(queries, found.tests, got, strict=True):
                    passed = [True] * len(records) if test is None else block.column(test).to_pylist()
                    some = [record for record, one in zip(records, passed, strict=True) if one]
                    positions += [entry.position for entry in query.finish(some, 1, has_led=test is not None)]
    return got


async def test_the_engine_and_python_let_the_same_through(engine: Engine) -> None:
    commits = Commits(0)
    stamped = commits.stamp(rows(), time.time())
    await engine.insert(LOGS, stamped)
    commits.stored(0, stamped)
    sql = committed(Committed(commits.last_ms, 0), [7])
    records = await stored(engine, sql)
    queries = [Followed(parse_log(f'{{namespace="shop"}} {text}')) for text, _ in PIPELINES]
    everything = [[entry.position for entry in query.finish(records, 1, has_led=False)] for query in queries]
    assert everything[0] == list(range(1, len(BODIES) + 1))
    assert all(everything[1:3])
    assert await through(engine, sql) == everything
    async with engine.inserted(LOGS, stamped) as place:
        assert await through(engine, inserted(place, stamped.schema.names)) == everything


async def stored(engine: Engine, statement: Statement) -> list[Record]:
    records: list[Record] = []
    async with engine.stream(statement.sql, "ArrowStream", statement.parameters, Limits()) as chunks:
        async for chunk in chunks:
            for block in pa.ipc.open_stream(chunk):
                records += records_of(block, {7: {"container": "app"}})
    return records


@pytest.mark.parametrize(("text", "stages"), PIPELINES)
def test_stages_are_tried_in_the_engine_up_to_the_first_that_is_not_about_the_stored_line(
    text: str, stages: int
) -> None:
    assert leading(parse_log(f'{{namespace="shop"}} {text}').stages) == stages


def test_too_many_conditions_are_left_to_python() -> None:
    pipelines = [parse_log(f'{{namespace="shop"}} |= "{n}" |= "{"x" * 20}{n}"').stages for n in range(5_000)]
    found = passing(inserted("somewhere", [*rows().schema.names, "committed_at"]), pipelines)
    assert None in found.tests
    assert len(found.statement.sql) < 256 << 10


def test_too_many_values_are_left_to_python() -> None:
    # 3,000 of them would take the engine more than a second, each commit.
    pipelines = [parse_log(f'{{namespace="shop"}} |= "{n}"').stages for n in range(3_000)]
    found = passing(inserted("somewhere", [*rows().schema.names, "committed_at"]), pipelines)
    assert len(found.statement.parameters) == 500
    assert [test is not None for test in found.tests] == [True] * 500 + [False] * 2_500


@pytest.mark.parametrize(("texts", "is_sql"), [(500, True), (501, False)])
def test_the_values_of_a_list_count_one_by_one(texts: int, is_sql: bool) -> None:  # noqa: FBT001 - a column of the table
    stages = parse_log('{namespace="shop"} |= ' + " or ".join(f'"{n}"' for n in range(texts))).stages
    found = passing(inserted("somewhere", [*rows().schema.names, "committed_at"]), [stages])
    assert (found.tests[0] is not None) is is_sql


def test_a_pipeline_that_has_no_room_takes_none() -> None:
    large = parse_log('{namespace="shop"} ' + " ".join(f'|> "<_>{n}<_>x"' for n in range(300))).stages
    small = parse_log('{namespace="shop"} |= "x"').stages
    found = passing(inserted("somewhere", [*rows().schema.names, "committed_at"]), [large, small])
    assert found.tests == (None, "passes0")
    assert list(found.statement.parameters.values()) == ["%x%"]
    assert "WITH" not in found.statement.sql
