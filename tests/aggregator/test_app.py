from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from aggregator.store.engine import Engine
from tests.aggregator.records import HEADERS, Part, Record, batch, pack, part, source
from wire.answers import STORE_HEADER, Committed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE_S = 30.0
SENDERS = 4
ROWS = 500
KILLS = 4


class Process(msgspec.Struct):
    """An aggregator, running."""

    child: asyncio.subprocess.Process
    url: str

    async def stop(self, number: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            return await self.child.wait()


async def spawn(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aggregator",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )


@contextlib.asynccontextmanager
async def running(store: Path, *arguments: str) -> AsyncIterator[Process]:
    child = await spawn("--listen", "127.0.0.1:0", "--store", f"chdb://{store}", *arguments)
    assert child.stderr is not None
    url = ""
    async with asyncio.timeout(DEADLINE_S):
        while not url:
            line = (await child.stderr.readline()).decode()
            assert line, "it ended before it listened"
            if " listening " in line:
                url = line.split("address=")[1].split()[0]
    drained = asyncio.create_task(child.stderr.read())
    process = Process(child, url)
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)
        await drained


async def post(client: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, bytes]:
    async with client.post(f"{url}/v1/batches", data=body, headers=HEADERS) as answer:
        return answer.status, await answer.read()


async def send_on(client: aiohttp.ClientSession, url: str, name: str, acknowledged: dict[str, int]) -> None:
    """Send batch after batch of one source until the aggregator is gone."""
    now = time.time_ns()
    async with client.get(f"{url}/v1/positions", params={"source": source(name).hex()}) as answer:
        at = msgspec.json.decode(await answer.read(), type=Committed).committed[source(name).hex()]
    assert at >= acknowledged.get(name, 0), "what was acknowledged is kept"
    while True:
        records = tuple(Record(at + 1 + i, f"{name}@{at + 1 + i}".encode(), now) for i in range(ROWS))
        status, body = await post(client, url, pack(batch(Part(source(name), at, records), node=name)))
        assert status == 200
        at = msgspec.json.decode(body, type=Committed).committed[source(name).hex()]
        acknowledged[name] = at


class Sum(msgspec.Struct):
    name: str
    rows: int
    distinct: int
    highest: int


async def test_killed_at_any_time_it_keeps_what_it_acknowledged_and_stores_nothing_twice(tmp_path: Path) -> None:
    random_ = random.Random(7)
    acknowledged: dict[str, int] = {}
    for _ in range(KILLS):
        async with running(tmp_path / "store") as process, aiohttp.ClientSession() as client:
            names = [f"s{number}" for number in range(SENDERS)]
            senders = [asyncio.create_task(send_on(client, process.url, name, acknowledged)) for name in names]
            await asyncio.wait(senders, timeout=random_.uniform(0.3, 1.2))  # the moment of the kill is the test's input
            await process.stop(signal.SIGKILL)
            for ended in await asyncio.gather(*senders, return_exceptions=True):
                assert isinstance(ended, aiohttp.ClientError), repr(ended)
    assert len(acknowledged) == SENDERS
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        sums = await engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS name, count() AS rows, "
            "uniqExact(position) AS distinct, max(position) AS highest FROM logboom.logs GROUP BY name",
            Sum,
        )
    for one in sums:
        assert one.rows == one.distinct == one.highest, "positions 1 to the highest, each once"
        assert one.highest >= acknowledged[one.name]
    assert {one.name for one in sums} == set(acknowledged)


async def test_a_restart_is_told_by_the_header_and_so_is_a_wiped_store(tmp_path: Path) -> None:
    headers = []
    for store in ("one", "one", "two"):
        async with (
            running(tmp_path / store) as process,
            aiohttp.ClientSession(process.url) as client,
            client.get("/v1/positions") as answer,
        ):
            headers.append(answer.headers[STORE_HEADER].split("/"))
    ids, boots = zip(*headers, strict=True)
    assert ids[0] == ids[1] != ids[2]
    assert len(set(boots)) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_its_commits_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    now = time.time_ns()
    async with running(tmp_path / "store") as process, aiohttp.ClientSession() as client:
        posts = [
            asyncio.create_task(post(client, process.url, pack(batch(part(f"s{i}", 0, [1], time=now), node=f"n{i}"))))
            for i in range(20)
        ]
        await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        assert await process.stop(number) == 0
        answered = await asyncio.gather(*posts, return_exceptions=True)
    stored = [i for i, answer in enumerate(answered) if not isinstance(answer, BaseException) and answer[0] == 200]
    assert stored
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        sums = await engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS name, count() AS rows, "
            "uniqExact(position) AS distinct, max(position) AS highest FROM logboom.logs GROUP BY name",
            Sum,
        )
    assert {f"s{i}" for i in stored} <= {one.name for one in sums}


async def test_it_answers_probes_queries_and_metrics(tmp_path: Path) -> None:
    async with running(tmp_path / "store") as process, aiohttp.ClientSession(process.url) as client:
        assert (await post(client, "", pack(batch(part("a", 0, [1], time=time.time_ns())))))[0] == 200
        for path, expected in {
            "/healthz": "ok\n",
            "/readyz": "ok\n",
            "/query?since=1h": "shop/web-0/app a@1",
            "/metrics": "logboom_aggregator_rows_committed_total 1.0",
        }.items():
            async with client.get(path) as answer:
                assert answer.status == 200, path
                assert expected in await answer.text(), path


async def fails(*arguments: str) -> str:
    """What an aggregator that cannot start says, on one line."""
    child = await spawn(*arguments)
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await child.communicate()
    assert child.returncode == 1
    (line,) = errors.decode().splitlines()
    assert line.startswith("logboom-aggregator: ")
    return line


async def test_what_keeps_it_from_starting_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "file").write_text("")
    listen = ("--listen", "127.0.0.1:0")
    store = f"chdb://{tmp_path}/store"
    assert "chdb:///absolute/path" in await fails(*listen, "--store", "postgres://x")
    assert "cannot be opened" in await fails(*listen, "--store", f"chdb://{tmp_path}/file/store")
    assert "is empty" in await fails(*listen, "--store", store, "--token-file", str(tmp_path / "empty"))
    assert "No such file" in await fails(*listen, "--store", store, "--token-file", str(tmp_path / "none"))
    async with running(tmp_path / "other") as process:
        assert "in use by another process" in await fails(*listen, "--store", f"chdb://{tmp_path}/other")
        address = process.url.removeprefix("http://")
        assert "address already in use" in await fails("--listen", address, "--store", store)
