from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from aggregator.errors import (
    QueryLengthError,
    QueryMemoryError,
    QueryRegexError,
    QueryTimeoutError,
    StoreColdError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreMemoryError,
    StoreUnreachableError,
)
from aggregator.store import columns, schema
from aggregator.store.bounds import YIELD_MS
from aggregator.store.embedded import Embedded, directory_of
from aggregator.store.engine import INSERT_ROWS_MAX, Engine, Limits
from aggregator.store.failures import failure
from aggregator.store.settings import RESERVE_BYTES_MAX, reserve_of

if TYPE_CHECKING:
    from pathlib import Path


class Number(msgspec.Struct):
    n: int


class Running(msgspec.Struct):
    kind: str
    priority: int


class Text(msgspec.Struct):
    text: str


async def number(engine: Engine, sql: str) -> int:
    (row,) = await engine.rows(sql, Number)
    return row.n


def rows_of_logs(count: int, *, day: int = 20_000) -> pa.RecordBatch:
    arrays = {
        "namespace": columns.strings(["shop"] * count),
        "stream_id": columns.fixed(np.zeros(count, np.uint64), pa.uint64()),
        "ts": columns.fixed(np.full(count, day * 86_400 * 10**9), pa.timestamp("ns", "UTC")),
        "source": columns.fixed(np.zeros(count, "V16"), pa.binary(16)),
        "position": columns.fixed(np.arange(1, count + 1, dtype=np.uint64), pa.uint64()),
        "flags": columns.fixed(np.zeros(count, np.uint8), pa.uint8()),
        "body": columns.variable(np.full(count, 20), bytes(20 * count), pa.binary()),
    }
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


async def test_the_largest_insert_is_one_part(engine: Engine) -> None:
    await engine.execute("SYSTEM STOP MERGES")
    await engine.insert(schema.LOGS, rows_of_logs(INSERT_ROWS_MAX))
    parts = "SELECT count() AS n FROM system.parts WHERE table = 'logs' AND rows = {rows:UInt64}"
    (row,) = await engine.rows(parts, Number, {"rows": INSERT_ROWS_MAX})
    assert row.n == 1
    assert await number(engine, f"SELECT count() AS n FROM {schema.LOGS}") == INSERT_ROWS_MAX  # noqa: S608 - a table name


async def test_queries_give_way_to_inserts(engine: Engine) -> None:
    running: set[tuple[str, int]] = set()
    insert = asyncio.create_task(engine.insert(schema.LOGS, rows_of_logs(INSERT_ROWS_MAX)))
    while not insert.done():
        rows = "SELECT query_kind AS kind, toInt32OrZero(Settings['priority']) AS priority FROM system.processes"
        running |= {(row.kind, row.priority) for row in await engine.rows(rows, Running)}
    await insert
    # Beside them there is what asks for the columns' types.
    assert {each for each in running if each[0] in {"Insert", "Select"}} == {("Insert", 1), ("Select", 2)}


async def test_a_query_goes_on_however_long_it_gives_way(engine: Engine) -> None:
    first = asyncio.create_task(engine.execute("SELECT sleep(3) SETTINGS priority = 1"))
    count = "SELECT count() AS n FROM system.processes WHERE Settings['priority'] = '1'"
    async with asyncio.timeout(2):
        while not await number(engine, count):
            pass
    # A block of its own each: it waits, and is over before what it gives way to.
    began = time.monotonic()
    assert await number(engine, "SELECT sum(number) AS n FROM numbers(8192)") == 8192 * 8191 // 2
    assert time.monotonic() - began >= 0.9 * YIELD_MS / 1000
    assert not first.done()
    await first


async def test_an_insert_is_bounded(engine: Engine) -> None:
    for count in (0, INSERT_ROWS_MAX + 1):
        with pytest.raises(ValueError, match="an insert has 1 to"):
            await engine.insert(schema.LOGS, rows_of_logs(count))


async def test_an_insert_into_two_partitions_fails_whole(engine: Engine) -> None:
    two_days = pa.Table.from_batches([rows_of_logs(2), rows_of_logs(2, day=20_001)]).combine_chunks().to_batches()[0]
    with pytest.raises(StoreError, match="Too many partitions"):
        await engine.insert(schema.LOGS, two_days)
    assert await number(engine, f"SELECT count() AS n FROM {schema.LOGS}") == 0  # noqa: S608 - a table name


async def test_a_failing_insert_says_so_and_the_next_one_works(engine: Engine) -> None:
    await engine.execute(f"ALTER TABLE {schema.LOGS} ADD CONSTRAINT small CHECK position < 3")
    with pytest.raises(StoreError, match="VIOLATED_CONSTRAINT"):
        await engine.insert(schema.LOGS, rows_of_logs(3))
    await engine.insert(schema.LOGS, rows_of_logs(2))
    assert await number(engine, f"SELECT count() AS n FROM {schema.LOGS}") == 2  # noqa: S608 - a table name


@pytest.mark.parametrize("value", ["", "it's", "back\\slash", "tab\tnew\nline\r", "nul\0", "{x:String}", "żółw 🐢"])
async def test_parameters_arrive_as_they_are(engine: Engine, value: str) -> None:
    (one,) = await engine.rows("SELECT {x:String} AS text", Text, {"x": value})
    (many,) = await engine.rows("SELECT {x:Array(String)}[2] AS text", Text, {"x": ["", value]})
    assert (one.text, many.text) == (value, value)


async def test_failures_have_types(engine: Engine) -> None:
    with pytest.raises(QueryRegexError):
        await engine.rows("SELECT match('a', {x:String}) AS n", Number, {"x": "("})
    with pytest.raises(QueryTimeoutError):
        await number_of_forever(engine, Limits(time_s=0.2))
    assert await number(engine, "SELECT 1 AS n") == 1


async def number_of_forever(engine: Engine, limits: Limits) -> None:
    await engine.rows(
        "SELECT count() AS n FROM numbers(100000000000) WHERE sipHash64(number) = 1", Number, None, limits
    )


async def test_a_cancelled_query_ends_and_gives_its_connection_back(tmp_path: Path) -> None:
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        for _ in range(3):
            running = asyncio.create_task(number_of_forever(engine, Limits(time_s=120)))
            done, _ = await asyncio.wait([running], timeout=0.2)
            assert not done
            running.cancel()
            await asyncio.wait([running])
            async with asyncio.timeout(10):  # the only connection there is
                assert await number(engine, "SELECT 1 AS n") == 1


async def test_a_probe_does_not_wait_for_a_connection(tmp_path: Path) -> None:
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        running = asyncio.create_task(number_of_forever(engine, Limits(time_s=120)))
        done, _ = await asyncio.wait([running], timeout=0.2)
        assert not done
        async with asyncio.timeout(5):
            await engine.ping(1.0)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


async def test_a_query_that_is_cancelled_as_it_begins_ends_too(tmp_path: Path) -> None:
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        # In the first milliseconds the engine does not know the query yet, or has no piece of it to stop at.
        for delay_ms in range(8):
            running = asyncio.create_task(number_of_forever(engine, Limits(time_s=120)))
            await asyncio.wait([running], timeout=delay_ms / 1000)
            running.cancel()
            async with asyncio.timeout(10):
                assert await number(engine, "SELECT 1 AS n") == 1


async def read_all(engine: Engine, sql: str) -> None:
    async with engine.stream(sql, "ArrowStream", None, Limits(memory_bytes=4 << 20)) as chunks:
        async for _ in chunks:
            pass


async def test_a_failed_query_leaves_nothing_for_the_next_one(tmp_path: Path) -> None:
    sql = "SELECT concat(toString(number), repeat('x', 400)) AS shown FROM numbers(100000) ORDER BY shown"
    async with Engine.open(f"chdb://{tmp_path}/one", 1) as one:
        for _ in range(3):
            with pytest.raises(QueryMemoryError):
                await read_all(one, sql)
            assert await one.rows("SELECT 1 AS one", dict[str, int]) == [{"one": 1}]


@pytest.mark.usefixtures("engine")
async def test_a_store_is_opened_by_one_process_at_a_time(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from aggregator.store.engine import Engine\n"
        "async def main():\n    async with Engine.open(sys.argv[1]): pass\n"
        "asyncio.run(main())"
    )
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, f"chdb://{tmp_path}/store"], capture_output=True, check=False
    )
    assert second.returncode == 1
    assert b"StoreLockedError" in second.stderr
    assert f"in use by another process (pid {os.getpid()})".encode() in second.stderr


@pytest.mark.usefixtures("engine")
async def test_a_store_that_is_open_cannot_be_opened_again(tmp_path: Path) -> None:
    with pytest.raises(StoreLockedError):
        async with Engine.open(f"chdb://{tmp_path}/store"):
            pass


async def test_closing_twice_is_once(tmp_path: Path) -> None:
    async with Embedded.start(f"chdb://{tmp_path}/store", 1) as engine:
        await engine.close()


async def test_the_engine_leaves_memory_for_the_rest_of_the_process(engine: Engine) -> None:
    sql = "SELECT toUInt64(value) AS n FROM system.server_settings WHERE name = 'max_server_memory_usage'"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < await number(engine, sql) <= 0.81 * physical


async def test_inserts_are_refused_before_the_disk_is_full_and_reads_go_on(tmp_path: Path) -> None:
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        await schema.create(engine)
        await engine.insert(schema.LOGS, rows_of_logs(1))
    async with Engine.open(f"chdb://{tmp_path}/store", 1, reserve_bytes=1 << 60) as engine:
        with pytest.raises(StoreFullError):
            await engine.insert(schema.LOGS, rows_of_logs(1))
        assert await number(engine, f"SELECT count() AS n FROM {schema.LOGS}") == 1  # noqa: S608 - a table name
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        await engine.insert(schema.LOGS, rows_of_logs(1))
        assert await number(engine, f"SELECT count() AS n FROM {schema.LOGS}") == 2  # noqa: S608 - a table name


def test_the_reserve_is_a_share_of_the_disk(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert reserve_of(tmp_path) == min(RESERVE_BYTES_MAX, disk.f_blocks * disk.f_frsize // 20)


async def test_the_memory_of_all_queries_is_told_from_that_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = "<clickhouse><max_server_memory_usage>400000000</max_server_memory_usage></clickhouse>"
    monkeypatch.setattr("aggregator.store.opening.config", lambda *_: tight)
    hungry = "SELECT length(groupArray(toString(number))) AS n FROM numbers(100000000)"
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        for limit, kind in ((1 << 40, StoreMemoryError), (100 << 20, QueryMemoryError)):
            with pytest.raises(kind):
                await engine.rows(hungry, Number, limits=Limits(memory_bytes=limit))


@pytest.mark.parametrize("name", ["a#b", "100%", "a%23b", "with space", "ä'\";", "data"])
async def test_a_store_is_where_its_address_says_whatever_the_name(tmp_path: Path, name: str) -> None:
    async with Embedded.start(f"chdb://{tmp_path}/{name}/store", 1) as engine:
        assert engine.path == tmp_path / name / "store"
        assert (tmp_path / name / "store" / "engine").is_dir()
        sql = "SELECT toUInt64(value) AS n FROM system.server_settings WHERE name = 'mark_cache_size'"
        assert await number(engine, sql) == 128 << 20  # as in our configuration: it was found


@pytest.mark.parametrize(
    "url", ["http://x/y", "chdb://relative", "chdb://host/path", "chdb:///x?y=z", "chdb:///x&y", "/plain/path", ""]
)
def test_what_is_no_store_address_says_what_is(url: str) -> None:
    with pytest.raises(StoreError, match="chdb:///absolute/path"):
        directory_of(url)


async def test_a_store_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/store cannot be opened"):
        async with Engine.open(f"chdb://{tmp_path}/file/store"):
            pass


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB", StoreFullError),
        ("Code: 74. DB::ErrnoException: Cannot write: errno: 28, strerror: No space left on device", StoreFullError),
        ("Code: 241. DB::Exception: Query memory limit exceeded: would use 1 MiB", QueryMemoryError),
        ("Code: 241. DB::Exception: (total) memory limit exceeded: would use 1 MiB", StoreMemoryError),
        ("Code: 241. DB::Exception: Memory limit (total) exceeded: would use 1 MiB", StoreMemoryError),
        ("Code: 427. DB::Exception: CANNOT_COMPILE_REGEXP: (No space left on device", QueryRegexError),
        ("Code: 36. DB::Exception: Query tree is too big. Maximum: 500000", QueryLengthError),
        ("Code: 36. DB::Exception: Bad arguments", StoreError),
        ("Code: 62. DB::Exception: Max query size exceeded: Syntax error", QueryLengthError),
        ("Code: 62. DB::Exception: Syntax error: Max query size exceeded", StoreError),
        ("Code: 306. DB::Exception: Stack size too large", QueryLengthError),
        ("nothing like a code", StoreError),
    ],
)
def test_error_texts_become_types(text: str, kind: type[StoreError]) -> None:
    assert type(failure(RuntimeError(text))) is kind


@pytest.mark.parametrize(
    ("code", "here", "of_servers"),
    [
        (210, StoreColdError, StoreUnreachableError),
        (499, StoreColdError, StoreUnreachableError),
        (999, StoreError, StoreUnreachableError),
        (241, QueryMemoryError, QueryMemoryError),
    ],
)
def test_what_is_away_is_the_tier_of_a_store_here_and_else_the_servers(
    code: int, here: type[StoreError], of_servers: type[StoreError]
) -> None:
    error = RuntimeError(f"Code: {code}. DB::Exception: away")
    assert type(failure(error)) is here
    assert type(failure(error, of_servers=True)) is of_servers
