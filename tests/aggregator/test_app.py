from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import click
import msgspec
import pytest

from aggregator.app import run
from aggregator.config import Config, command
from aggregator.errors import StoreError
from aggregator.store.engine import Engine
from aggregator.store.schema import IS_RECORD, LOGS
from tests.aggregator.records import HEADERS, Part, Record, batch, pack, part, source
from wire.answers import STORE_HEADER, Committed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE_S = 30.0
# Of the 30 s that Kubernetes gives, and the 10 s of Docker.
STOP_S = 2.0
SENDERS = 4
ROWS = 500
KILLS = 4


class Process(msgspec.Struct):
    """An aggregator, running."""

    child: asyncio.subprocess.Process
    url: str
    # What it has logged since it listens.
    lines: list[str] = []

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
async def running(store: Path | str, *arguments: str, time_s: float = DEADLINE_S) -> AsyncIterator[Process]:
    """``store``: a directory, or an address; ``time_s``: within that it listens."""
    address = store if isinstance(store, str) else f"chdb://{store}"
    child = await spawn("--listen", "127.0.0.1:0", "--store", address, *arguments)
    assert child.stderr is not None
    url, said = "", ""
    try:
        async with asyncio.timeout(time_s):
            while not url:
                line = (await child.stderr.readline()).decode()
                assert line, f"it ended before it listened: {said}"
                said += line
                if " listening " in line:
                    url = line.split("address=")[1].split()[0]
    except TimeoutError:
        pytest.fail(f"not within {time_s:g} s: an aggregator listens; it said: {said}")
    finally:
        if not url:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    process = Process(child, url)

    async def drain(stderr: asyncio.StreamReader) -> None:
        async for line in stderr:
            process.lines.append(line.decode())

    drained = asyncio.create_task(drain(child.stderr))
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
    named = []
    for _ in range(KILLS):
        async with running(tmp_path / "store") as process, aiohttp.ClientSession() as client:
            named.append((await named_by(process.url)).split("/"))
            names = [f"s{number}" for number in range(SENDERS)]
            senders = [asyncio.create_task(send_on(client, process.url, name, acknowledged)) for name in names]
            await asyncio.wait(senders, timeout=random_.uniform(0.3, 1.2))  # the moment of the kill is the test's input
            await process.stop(signal.SIGKILL)
            for ended in await asyncio.gather(*senders, return_exceptions=True):
                assert isinstance(ended, aiohttp.ClientError), repr(ended)
    stores, boots = zip(*named, strict=True)
    assert (len(set(stores)), len(set(boots))) == (1, KILLS), "the header tells every restart, of one store"
    assert len(acknowledged) == SENDERS
    async with Engine.open(f"chdb://{tmp_path}/store", 1) as engine:
        sums = await engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS name, count() AS rows, "
            "uniqExact(position) AS distinct, max(position) AS highest FROM logs GROUP BY name",
            Sum,
        )
    for one in sums:
        assert one.rows == one.distinct == one.highest, "positions 1 to the highest, each once"
        assert one.highest >= acknowledged[one.name]
    assert {one.name for one in sums} == set(acknowledged)


async def test_a_wiped_store_is_told_by_the_header(tmp_path: Path) -> None:
    headers = []
    for _ in range(2):
        async with running(tmp_path / "store") as process:
            headers.append((await named_by(process.url)).split("/"))
        shutil.rmtree(tmp_path / "store")
    (store, boot), (other_store, other_boot) = headers
    assert store != other_store
    assert boot != other_boot


async def named_by(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/v1/positions") as answer:
        return answer.headers[STORE_HEADER]


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
            "uniqExact(position) AS distinct, max(position) AS highest FROM logs GROUP BY name",
            Sum,
        )
    assert {f"s{i}" for i in stored} <= {one.name for one in sums}


@pytest.fixture
async def much(tmp_path: Path) -> Path:
    """A store with a million records, in which a regex takes seconds, and Python minutes."""
    path = tmp_path / "store"
    async with running(path) as process, aiohttp.ClientSession() as client:
        assert (await post(client, process.url, pack(batch(part("a", 0, [1], time=time.time_ns())))))[0] == 200
        assert await process.stop(signal.SIGTERM) == 0
    async with Engine.open(f"chdb://{path}", 1) as engine:
        await engine.execute(
            f"INSERT INTO {LOGS} (namespace, stream_id, ts, source, position, flags, body) "  # noqa: S608 - names of ours
            "SELECT namespace, stream_id, ts, source, 2 + number, 0, "
            "concat(toString(number), repeat(' lorem ipsum dolor sit amet', 12)) "
            f"FROM {LOGS} AS one CROSS JOIN numbers(1000000) AS many WHERE {IS_RECORD}"
        )
    return path


@pytest.mark.parametrize(
    "query",
    [
        'sum(count_over_time({namespace="shop"} | line_format "{{ .pod }} {{ .namespace }}" [1h]))',
        'sum(count_over_time({namespace="shop"} |~ "(a|e|i|o)[a-z ]{1,200}(t|u)[a-z ]{1,200}z" [1h]))',
        'topk(3, rate({namespace="shop"} | pattern "<n> <rest>" [1h]))',
    ],
    ids=["records", "sql", "labels"],
)
async def test_told_to_stop_it_ends_the_queries_that_run(much: Path, query: str) -> None:
    async with running(much, "--query-time", "300s") as process, aiohttp.ClientSession(process.url) as client:
        asking = asyncio.create_task(ask(client, query))
        async with asyncio.timeout(DEADLINE_S):
            while "logboom_aggregator_queries_running 1.0" not in await metrics_of(client):
                await asyncio.sleep(0.01)
        await asyncio.wait([asking], timeout=0.5)  # into the middle of it
        assert not asking.done(), "it ended by itself"
        began = time.monotonic()
        assert await process.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < STOP_S
        status, told = await asking
        assert (status, "the aggregator is stopping" in told) == (503, True)


async def ask(client: aiohttp.ClientSession, query: str) -> tuple[int, str]:
    async with client.get("/query", params={"q": query, "since": "2h", "step": "1m"}) as answer:
        return answer.status, await answer.text()


async def metrics_of(client: aiohttp.ClientSession) -> str:
    async with client.get("/metrics") as answer:
        return await answer.text()


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


def empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def put_another_in_its_place(directory: Path) -> None:
    shutil.copytree(directory, directory.with_name("copy"), symlinks=True)
    shutil.rmtree(directory)
    directory.with_name("copy").rename(directory)


@pytest.mark.parametrize("take_away", [empty, shutil.rmtree, put_another_in_its_place])
async def test_a_store_that_is_taken_away_from_under_it_is_told_and_takes_nothing_more(
    tmp_path: Path, take_away: Callable[[Path], None]
) -> None:
    now = time.time_ns()
    async with running(tmp_path / "store") as process, aiohttp.ClientSession(process.url) as client:
        assert (await post(client, "", pack(batch(part("a", 0, [1], time=now)))))[0] == 200
        take_away(tmp_path / "store")
        async with asyncio.timeout(DEADLINE_S):
            while not any(" ERROR " in line and "was emptied or replaced" in line for line in process.lines):
                await asyncio.sleep(0.05)
        for path in ("/readyz", "/query", "/query?limit=0", "/labels", "/v1/positions?source=" + source("b").hex()):
            async with client.get(path) as answer:
                assert answer.status == 503, path
                assert "was emptied or replaced" in await answer.text(), path
        status, told = await post(client, "", pack(batch(part("a", 1, [2], time=now))))
        assert (status, b"was emptied or replaced" in told) == (503, True)


def config(tmp_path: Path, *arguments: str) -> Config:
    heard: list[Config] = []
    options = ("--listen", "127.0.0.1:0", "--store", f"chdb://{tmp_path}/store", *arguments)
    command(heard.append).main(options, standalone_mode=False)
    return heard[0]


async def test_what_keeps_it_from_starting_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for option, value, error, expected in (
            ("--store", "postgres://x", StoreError, "chdb:///absolute/path"),
            ("--store", f"chdb://{tmp_path}/file/store", StoreError, "cannot be opened"),
            ("--store", f"chdb://{tmp_path}/home", StoreError, r"not empty and no store of logboom \(letter.txt is"),
            ("--token-file", str(tmp_path / "empty"), click.BadParameter, "is empty"),
            ("--token-file", str(tmp_path / "none"), click.BadParameter, "No such file"),
            ("--listen", f"127.0.0.1:{taken.getsockname()[1]}", OSError, "cannot listen on .*: Address already in use"),
        ):
            with pytest.raises(error, match=expected):
                await run(config(tmp_path, option, value))


async def test_it_says_so_on_one_line_and_so_does_a_store_that_another_process_has(tmp_path: Path) -> None:
    async with Engine.open(f"chdb://{tmp_path}/store", 1):
        child = await spawn("--listen", "127.0.0.1:0", "--store", f"chdb://{tmp_path}/store")
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await child.communicate()
    assert child.returncode == 1
    (line,) = errors.decode().splitlines()
    assert line.startswith("logboom-aggregator: ")
    assert "in use by another process" in line
