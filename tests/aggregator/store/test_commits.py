from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from aggregator.logql.compiler.plan import replay
from aggregator.logql.tree import TIME_MAX_NS, Committed, Query, Selector
from aggregator.store.commits import Commit, Commits
from aggregator.store.schema import LOGS
from tests.aggregator.engines import BOTH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aggregator.store.engine import Engine

ROWS = pa.record_batch({"position": pa.array([1, 2], pa.uint64())})
DAY = 20_000


def heard_by(commits: Commits) -> list[Commit]:
    heard: list[Commit] = []
    commits.listen(heard.append)
    return heard


def times(rows: pa.RecordBatch) -> list[int]:
    return [value.value for value in rows.column("committed_at")]


def test_times_rise_whatever_the_clock_does() -> None:
    commits = Commits(5_000)
    heard = heard_by(commits)
    for now_s in (4.0, 4.0, 6.0, 6.0, 1.0):
        commits.stored(DAY, commits.stamp(ROWS, now_s))
    assert [(one.after_ms, one.at_ms) for one in heard] == [
        (5_000, 5_001),
        (5_001, 5_002),
        (5_002, 6_000),
        (6_000, 6_001),
        (6_001, 6_002),
    ]
    assert [times(one.rows) for one in heard if one.rows is not None] == [[one.at_ms] * 2 for one in heard]
    assert commits.last_ms == 6_002


def test_behind_an_insert_that_may_have_failed_only_the_store_knows() -> None:
    commits = Commits(0)
    heard = heard_by(commits)
    commits.stamp(ROWS, 1.0)
    commits.stored(DAY, commits.stamp(ROWS, 2.0))
    commits.stored(DAY, commits.stamp(ROWS, 3.0))
    assert [(one.after_ms, one.at_ms, one.rows is None) for one in heard] == [(0, 2_000, True), (2_000, 3_000, False)]


@BOTH
async def test_the_sequence_goes_on_where_the_store_is(
    engine: Engine, put: Callable[[list[dict[str, object]]], Awaitable[None]]
) -> None:
    assert (await Commits.read(engine)).last_ms == 0
    began_ms = int(time.time() * 1000)
    await put([{"body": b"x", "ts": time.time_ns()}])
    assert began_ms <= (await Commits.read(engine)).last_ms <= int(time.time() * 1000) + 1


class _Plan(msgspec.Struct):
    explain: str


async def test_commits_are_found_without_reading_the_others(
    engine: Engine, put: Callable[[list[dict[str, object]]], Awaitable[None]]
) -> None:
    await engine.execute("SYSTEM STOP MERGES")
    for n in range(8):
        await put([{"body": b"x", "ts": time.time_ns() - n * 10**12, "position": n + 1}])
        await asyncio.sleep(0.002)  # a time of their own, given by the column's default
    last_ms = (await Commits.read(engine)).last_ms
    query = Query(Selector(), (), 0, TIME_MAX_NS, committed=Committed(last_ms, last_ms - 1))
    statement = replay(query)
    sql = f"SELECT explain FROM (EXPLAIN indexes = 1 {statement.sql})"  # noqa: S608 - a statement of ours
    rows = await engine.rows(sql, _Plan, statement.parameters)
    text = " ".join(row.explain.strip() for row in rows)
    assert "Name: commits" in text
    behind = text.partition("Name: commits")[2]
    assert "Granules: 1/" in behind, text
    assert len(await engine.rows(f"SELECT count() AS n FROM {LOGS}", dict[str, int])) == 1  # noqa: S608 - a table name
