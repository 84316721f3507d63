"""What every engine does, whichever it is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

from aggregator.errors import (
    QueryDoubtError,
    QueryMemoryError,
    QueryRegexError,
    QueryTimeoutError,
    StoreError,
    StoreUnreachableError,
)
from aggregator.store import columns, disk, schema
from aggregator.store.engine import INSERT_ROWS_MAX, Engine, Limits, Slot
from tests.aggregator.engines import BOTH, EVERY, SHARED
from tests.aggregator.front import serving
from tests.aggregator.records import DAY_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOSTILE = ["", "it's", "back\\slash", "tab\tnew\nline\r", "nul\0", "{x:String}", "%s %(x)s", "żółw 🐢", "a&b=c;d"]
FOREVER = "SELECT count() AS n FROM numbers(100000000000) WHERE sipHash64(number) = 1"


class Number(msgspec.Struct):
    n: int


class Texts(msgspec.Struct):
    one: str
    many: list[str]
    numbers: list[int]


def rows_of_logs(count: int, *, day: int = 20_000, first: int = 1) -> pa.RecordBatch:
    arrays = {
        "namespace": columns.strings(["shop"] * count),
        "stream_id": columns.fixed(np.zeros(count, np.uint64), pa.uint64()),
        "ts": columns.fixed(np.full(count, day * DAY_S * 10**9), pa.timestamp("ns", "UTC")),
        "source": columns.fixed(np.zeros(count, "V16"), pa.binary(16)),
        "position": columns.fixed(np.arange(first, first + count, dtype=np.uint64), pa.uint64()),
        "flags": columns.fixed(np.zeros(count, np.uint8), pa.uint8()),
        "body": columns.variable(np.full(count, 20), bytes(20 * count), pa.binary()),
    }
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


async def number(engine: Engine, sql: str, limits: Limits | None = None) -> int:
    (row,) = await engine.rows(sql, Number, limits=limits)
    return row.n


async def positions(engine: Engine) -> list[int]:
    rows = await engine.rows(f"SELECT position AS n FROM {schema.LOGS} ORDER BY n", Number)  # noqa: S608 - a table name
    return [row.n for row in rows]


@BOTH
async def test_parameters_arrive_as_they_are(engine: Engine) -> None:
    for text in HOSTILE:
        many = ["", text, text]
        (row,) = await engine.rows(
            "SELECT {x:String} AS one, {y:Array(String)} AS many, {z:Array(UInt64)} AS numbers",
            Texts,
            {"x": text, "y": tuple(many), "z": (1, 2**64 - 1)},
        )
        assert row == Texts(text, many, [1, 2**64 - 1])


@BOTH
async def test_thousands_of_sources_fit_into_a_statement(engine: Engine) -> None:
    sources = [2**128 - 1 - number for number in range(10_000)]
    (row,) = await engine.rows("SELECT length({s:Array(UInt128)}) AS n", Number, {"s": sources})
    assert row.n == len(sources)


@BOTH
async def test_failures_have_types(engine: Engine) -> None:
    with pytest.raises(QueryRegexError):
        await engine.rows("SELECT match('a', {x:String}) AS n", Number, {"x": "("})
    with pytest.raises(QueryTimeoutError):
        await number(engine, FOREVER, Limits(time_s=0.2))
    with pytest.raises(QueryMemoryError):
        await number(
            engine, "SELECT length(groupArray(number)) AS n FROM numbers(10000000)", Limits(memory_bytes=1 << 20)
        )
    with pytest.raises(StoreError, match="nothing_like_it"):
        await number(engine, "SELECT nothing_like_it AS n")
    assert await number(engine, "SELECT 1 AS n") == 1


@BOTH
async def test_a_failure_in_the_middle_of_an_answer_is_raised(engine: Engine) -> None:
    sql = "SELECT number, throwIf(number = 90000) AS thrown FROM numbers(100000)"

    async def read() -> None:
        async with engine.stream(sql, "ArrowStream", None, Limits(threads=1)) as pieces:
            async for piece in pieces:
                assert pa.ipc.open_stream(piece).read_all().num_rows

    with pytest.raises(QueryDoubtError):
        await read()


@BOTH
async def test_an_answer_comes_whole_in_pieces(engine: Engine) -> None:
    async with engine.stream("SELECT number AS n FROM numbers(50000)", "ArrowStream", None, Limits()) as pieces:
        tables = [pa.ipc.open_stream(piece).read_all() async for piece in pieces]
    assert len(tables) > 1
    assert pa.concat_tables(tables).column("n").to_pylist() == list(range(50_000))


@BOTH
async def test_a_query_ends_when_nobody_waits_for_it(engine: Engine) -> None:
    running = (
        "SELECT count() AS n FROM system.processes WHERE query LIKE '%Hash64(number) = 1%' AND query NOT LIKE '%LIKE%'"
    )
    rows = FOREVER.replace("count()", "number")

    async def follow() -> None:
        async with engine.stream(rows, "ArrowStream", None, Limits(time_s=120)) as pieces:
            async for _ in pieces:
                pass

    waiting = [asyncio.create_task(number(engine, FOREVER, Limits(time_s=120))), asyncio.create_task(follow())]
    await asyncio.wait(waiting, timeout=0.3)
    assert not any(one.done() for one in waiting)
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    async with asyncio.timeout(10):
        while await number(engine, running):
            await asyncio.sleep(0.05)


@BOTH
async def test_the_largest_insert_is_one_part(engine: Engine) -> None:
    await engine.execute(f"SYSTEM STOP MERGES {engine.layout.logs}")
    await engine.insert(schema.LOGS, rows_of_logs(INSERT_ROWS_MAX), Slot("largest", min(1, engine.layout.shards)))
    sql = f"SELECT toUInt64(rows) AS n FROM {engine.layout.parts} WHERE table = '{engine.layout.logs}'"  # noqa: S608 - own words
    assert [row.n for row in await engine.rows(sql, Number)] == [INSERT_ROWS_MAX]


@EVERY
async def test_an_insert_is_all_or_nothing(engine: Engine) -> None:
    two_days = pa.Table.from_batches([rows_of_logs(2), rows_of_logs(2, day=20_001)]).combine_chunks().to_batches()[0]
    with pytest.raises(StoreError, match="Too many partitions"):
        await engine.insert(schema.LOGS, two_days)
    for count in (0, INSERT_ROWS_MAX + 1):
        with pytest.raises(ValueError, match="an insert has 1 to"):
            await engine.insert(schema.LOGS, rows_of_logs(count))
    assert await positions(engine) == []


@EVERY
async def test_tables_and_space_are_known(engine: Engine) -> None:
    await engine.insert(schema.LOGS, rows_of_logs(3))
    assert {one.name: one.rows for one in await disk.tables(engine)}["logs"] == 3
    assert await engine.free_bytes() > 0
    await engine.ping(5.0)
    engine.check()


@SHARED
async def test_queries_of_servers_are_not_held(engine: Engine) -> None:
    async with asyncio.timeout(10):
        await engine.hold_queries(60)
        assert await number(engine, "SELECT 1 AS n") == 1


@SHARED
async def test_of_a_slot_the_first_insert_counts(engine: Engine) -> None:
    shard = min(1, engine.layout.shards)
    await engine.insert(schema.LOGS, rows_of_logs(2), Slot("one", shard))
    await engine.insert(schema.LOGS, rows_of_logs(1, first=7), Slot("one", shard))
    await engine.insert(schema.LOGS, rows_of_logs(1, first=8), Slot("two", shard))
    await engine.insert(schema.LOGS, rows_of_logs(1, first=9, day=20_001), Slot("one", shard))
    assert await positions(engine) == [1, 2, 8, 9], "a slot is one of its day"


@SHARED
async def test_the_store_is_the_same_for_everyone(engine: Engine) -> None:
    first = engine.identity
    await schema.create(engine)
    assert first == engine.identity
    assert len(first) == 32


async def test_a_server_that_is_away_is_told_from_a_failure(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front:
        url = front.url
        opened = Engine.open(url, 1)
        engine = await opened.__aenter__()
        await schema.create(engine)
    try:
        for call in (engine.ping(1.0), number(engine, "SELECT 1 AS n"), engine.insert(schema.LOGS, rows_of_logs(1))):
            with pytest.raises(StoreUnreachableError):
                await call
    finally:
        await opened.__aexit__(None, None, None)
    with pytest.raises(StoreUnreachableError):
        async with Engine.open(url, 1):
            pass


@contextlib.asynccontextmanager
async def deaf(path: Path) -> AsyncIterator[tuple[Engine, list[str]]]:
    """A store whose server takes statements and answers nothing any more; and those that it took."""
    async with serving(path / "front") as front, Engine.open(front.url, 1) as engine:
        await schema.create(engine)
        heard: list[str] = []

        async def for_ever(sql: str) -> None:
            heard.append(sql)
            await asyncio.Event().wait()

        front.instead = for_ever
        yield engine, heard


async def test_a_server_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LATE_S", "_CHANGE_S", "_END_S", "INSERT_S"):
        monkeypatch.setattr(f"aggregator.store.clickhouse.{name}", 0.2)

    async def stream(engine: Engine) -> None:
        async with engine.stream("SELECT 1", "ArrowStream", None, Limits(time_s=0.1)):
            pass

    async with deaf(tmp_path) as (engine, _), asyncio.timeout(20):
        for call in (
            engine.ping(0.2),
            engine.execute("SELECT 1"),
            number(engine, "SELECT 1 AS n", Limits(time_s=0.1)),
            stream(engine),
            engine.insert(schema.LOGS, rows_of_logs(1)),
        ):
            with pytest.raises(StoreUnreachableError, match="not answered for 0"):
                await call


async def test_who_leaves_a_server_that_never_answers_may_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.store.clickhouse._END_S", 0.2)
    async with deaf(tmp_path) as (engine, heard), asyncio.timeout(20):
        asking = asyncio.create_task(number(engine, "SELECT 1 AS n"))
        while not heard:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert heard[-1].startswith("KILL QUERY"), "it was told to end what nobody waits for"


async def test_a_reader_that_leaves_is_no_server_that_is_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front, Engine.open(front.url, 1) as engine:
        heard: list[str] = []

        async def listen(sql: str) -> None:
            heard.append(sql)

        front.instead = listen
        with pytest.raises(aiohttp.ClientConnectionResetError):
            async with engine.stream("SELECT number FROM numbers(1000000000)", "ArrowStream", None, Limits()):
                raise aiohttp.ClientConnectionResetError
        assert heard[-1].startswith("KILL QUERY")


async def test_a_server_that_goes_in_the_middle_of_an_answer_is_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front, Engine.open(front.url, 1) as engine:
        front.cut = True

        async def read() -> int:
            async with engine.stream("SELECT number FROM numbers(50000)", "ArrowStream", None, Limits()) as pieces:
                return sum([pa.ipc.open_stream(piece).read_all().num_rows async for piece in pieces])

        with pytest.raises(StoreUnreachableError):
            await read()


async def test_a_wrong_password_is_said_and_not_repeated(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front:

        async def refuse(_: str) -> web.Response:
            said = "Code: 516. DB::Exception: default: Authentication failed: password is incorrect"
            return web.Response(text=said, status=403, headers={"X-ClickHouse-Exception-Code": "516"})

        front.instead = refuse
        with pytest.raises(StoreError, match="Authentication failed") as raised:
            async with Engine.open(front.url, 1, "hunter2"):
                pass
        assert not isinstance(raised.value, StoreUnreachableError)
        assert "hunter2" not in str(raised.value)


async def test_a_proxy_that_finds_no_server_is_one_that_is_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front, Engine.open(front.url, 1) as engine:

        async def refuse(_: str) -> web.Response:
            return web.Response(text="<html>no healthy upstream</html>", status=503)

        front.instead = refuse
        with pytest.raises(StoreUnreachableError, match="upstream"):
            await number(engine, "SELECT 1 AS n")


async def test_a_cluster_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path / "front") as front:
        with pytest.raises(StoreError, match="know no cluster 'other'"):
            async with Engine.open(front.url + "?cluster=other", 1):
                pass


async def test_a_cluster_of_older_servers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.store.clickhouse._FIT", "a_setting_that_they_do_not_have")
    async with serving(tmp_path / "front", cluster=True) as front:
        with pytest.raises(StoreError, match="too old"):
            async with Engine.open(front.url, 1):
                pass


async def test_servers_without_their_client_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aggregator.store.clickhouse", raising=False)
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(StoreError, match=r"pip install 'logboom\[clickhouse\]'"):
        async with Engine.open("clickhouse://nowhere", 1):
            pass
