"""The query side over real sockets: what a client sees when all is well, when a limit is hit, when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from aggregator.api import labels
from aggregator.api.openapi import document
from aggregator.api.parameters import AHEAD_NS
from aggregator.api.queries import QueryLimits
from aggregator.store.rendering import CSV_HEADER
from aggregator.store.schema import LOGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from prometheus_client import CollectorRegistry

    from aggregator.store.engine import Engine
    from service.options import Address

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]
    Asking = Callable[..., AbstractAsyncContextManager[Address]]

DEADLINE_S = 20.0
# More than the buffers of a connection hold, so that an answer is under way until its reader takes it.
MANY = 60_000


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def many(engine: Engine, put: Put) -> None:
    await put([{"body": b"line 0", "ts": time.time_ns(), "position": 1}])
    same = "namespace, stream_id, source, flags"
    await engine.execute(
        f"INSERT INTO {LOGS} ({same}, ts, position, body) "  # noqa: S608 - constants
        f"SELECT {same}, ts - toIntervalNanosecond(number), 1 + number, "
        f"concat('line ', toString(number), ' ', repeat('x', 400)) FROM {LOGS}, numbers(1, {MANY - 1}) AS counted"
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


def count(figures: list[CollectorRegistry], outcome: str) -> float:
    labels = {"route": "/query", "outcome": outcome}
    return figures[-1].get_sample_value("logboom_aggregator_queries_total", labels) or 0.0


def running(figures: list[CollectorRegistry]) -> float:
    return figures[-1].get_sample_value("logboom_aggregator_queries_running") or 0.0


async def test_records_as_text_json_and_csv(asking: Asking, put: Put, session: aiohttp.ClientSession) -> None:
    now = time.time_ns()
    await put([{"body": b"older", "ts": now - 10}, {"body": b"\xff newer", "ts": now - 5}])
    async with asking(QueryLimits()) as address:
        async with session.get(f"{address.url}/query") as text:
            assert text.status == 200
            assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert text.headers["X-Content-Type-Options"] == "nosniff"
            lines = (await text.read()).splitlines()
        assert [line.split(b" ", 1)[1] for line in lines] == [b"shop/cart-0/app older", b"shop/cart-0/app \xff newer"]
        async with session.get(f"{address.url}/query?order=desc", headers={"Accept": "application/json"}) as json:
            assert json.headers["Content-Type"] == "application/x-ndjson"
            rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(await json.read())
        assert [row["line"] for row in rows] == ["\ufffd newer", "older"]
        async with session.get(f"{address.url}/query?format=csv&limit=0&grep=older") as csv:
            assert (await csv.text()).startswith(f"{CSV_HEADER.decode()}2")


async def test_nothing_found_is_an_empty_answer(asking: Asking, session: aiohttp.ClientSession) -> None:
    async with asking(QueryLimits()) as address:
        for parameters in ("", "?limit=0", "?format=json&grep=absent"):
            async with session.get(f"{address.url}/query{parameters}") as response:
                assert response.status == 200
                assert await response.read() == b""


REFUSALS: tuple[tuple[str, QueryLimits, int, str], ...] = (
    ("?sinc=1h", QueryLimits(), 400, "sinc"),
    ("?regex=(", QueryLimits(), 400, "regex"),
    ("?regex=(%3F%3Da)", QueryLimits(), 400, "regex"),
    ("?limit=11", QueryLimits(rows=10), 400, "limit"),
    ("?limit=1000", QueryLimits(answer_bytes=1000), 413, "limit"),
    ("?limit=0", QueryLimits(memory_bytes=1 << 20), 413, "memory"),
    ("?limit=0", QueryLimits(read_bytes=1000), 413, "read"),
    ("?regex=(x%7By)%7B1,200%7Dz&limit=10", QueryLimits(time_s=0.02), 504, "time"),
)


@pytest.mark.usefixtures("many")
async def test_refusals_name_limit_and_remedy(asking: Asking, session: aiohttp.ClientSession) -> None:
    for parameters, limits, status, parameter in REFUSALS:
        async with asking(limits) as address, session.get(f"{address.url}/query{parameters}") as response:
            assert response.status == status, parameters
            refusal = await response.json()
        assert refusal["parameter"] == parameter
        assert refusal["error"]
        assert refusal["hint"]


async def open_answer(address: Address, parameters: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An answer that is read no further than its first line of status."""
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=1 << 16)
    writer.write(f"GET /query{parameters} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    assert b"200" in await asyncio.wait_for(reader.readline(), DEADLINE_S)
    return reader, writer


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.usefixtures("many")
async def test_a_client_that_goes_away_ends_its_query(
    asking: Asking, engine: Engine, figures: list[CollectorRegistry]
) -> None:
    async with asking(QueryLimits(concurrent=1)) as address:
        _, writer = await open_answer(address, "?limit=0")
        assert running(figures) == 1
        assert await statements(engine) == 1
        async with closing(writer):
            pass
        await until(lambda: running(figures) == 0)
        assert count(figures, "client_gone") == 1
        assert await statements(engine) == 0


async def statements(engine: Engine) -> int:
    """How many statements that give records run in the engine."""
    sql = "SELECT count() AS found FROM system.processes WHERE query LIKE '%AS shown%' AND query NOT LIKE '%LIKE%'"
    (row,) = await engine.rows(sql, dict[str, int])
    return row["found"]


@pytest.mark.usefixtures("many")
async def test_a_client_that_reads_nothing_is_let_go(asking: Asking, figures: list[CollectorRegistry]) -> None:
    async with asking(QueryLimits(), stall_s=0.2) as address:
        _, writer = await open_answer(address, "?limit=0")
        async with closing(writer):
            await until(lambda: count(figures, "client_stalled") == 1)
        assert running(figures) == 0


@pytest.mark.usefixtures("many")
async def test_a_failure_in_the_middle_of_an_answer_is_told_and_cuts_it(
    asking: Asking, engine: Engine, figures: list[CollectorRegistry]
) -> None:
    async with asking(QueryLimits()) as address:
        reader, writer = await open_answer(address, "?limit=0")
        async with closing(writer):
            await engine.execute("KILL QUERY WHERE query LIKE '%AS shown%' AND query NOT LIKE '%KILL%' ASYNC")
            rest = await asyncio.wait_for(reader.read(-1), DEADLINE_S)
        # The last chunk is the error; the empty one that HTTP ends an answer with does not come.
        told = rest[rest.rindex(b'{"error"') :]
        assert told == b'{"error":"the query was ended by the server","hint":"try again"}\n\r\n'
        assert count(figures, "ended") == 1
    async with (
        asking(QueryLimits()) as address,
        aiohttp.ClientSession() as session,
        session.get(f"{address.url}/query?limit=0") as response,
    ):
        await engine.execute("KILL QUERY WHERE query LIKE '%AS shown%' AND query NOT LIKE '%KILL%' ASYNC")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.usefixtures("many")
async def test_too_many_queries_are_refused(
    asking: Asking, session: aiohttp.ClientSession, figures: list[CollectorRegistry]
) -> None:
    async with asking(QueryLimits(concurrent=1, waiting=1)) as address:
        _, writer = await open_answer(address, "?limit=0")
        async with closing(writer):
            waiting = asyncio.create_task(session.get(f"{address.url}/labels"))
            await until(lambda: figures[-1].get_sample_value("logboom_aggregator_queries_waiting") == 1)
            async with session.get(f"{address.url}/query") as response:
                assert response.status == 429
                assert int(response.headers["Retry-After"]) > 0
        async with await asyncio.wait_for(waiting, DEADLINE_S) as response:
            assert response.status == 200
        assert count(figures, "busy") == 1


async def test_labels_values_and_streams(asking: Asking, put: Put, session: aiohttp.ClientSession) -> None:
    now = time.time_ns()
    await put(
        [
            {"body": b"x", "ts": now, "pod": "a", "node": "n1"},
            {"body": b"x", "ts": now, "pod": "b", "node": "n2", "namespace": "it's"},
            {"body": b"x", "ts": now - 3 * 86_400 * 10**9, "pod": "old"},
        ]
    )
    async with asking(QueryLimits()) as address:

        async def get(path: str) -> Any:
            async with session.get(f"{address.url}{path}") as response:
                assert response.status == 200
                return await response.json()

        names = ["cluster", "container", "namespace", "node", "pod", "stream", "uid"]
        assert await get("/labels") == {"labels": names, "truncated": False}
        assert await get("/labels?pod=absent") == {"labels": [], "truncated": False}
        assert await get("/labels/pod/values") == {"values": ["a", "b"], "truncated": False}
        assert await get("/labels/pod/values?since=4d") == {"values": ["a", "b", "old"], "truncated": False}
        assert await get("/labels/pod/values?namespace=it's&node=n*") == {"values": ["b"], "truncated": False}
        async with session.get(f"{address.url}/labels/it's%20%7Bx:String%7D/values") as response:
            assert response.status == 400
            assert "it's {x:String}" in (await response.json())["error"]
        assert await get("/labels/pod/values?cluster=test&uid=u&node=n1") == {"values": ["a"], "truncated": False}
        assert await get("/labels/pod/values?cluster=other") == {"values": [], "truncated": False}
        streams = await get("/streams?namespace=shop")
        assert [one["pod"] for one in streams["streams"]] == ["a"]
        assert set(streams["streams"][0]) == set(names)
        async with session.get(f"{address.url}/labels?grep=x") as response:
            assert response.status == 400


async def test_an_answer_that_leaves_something_out_says_so(
    asking: Asking, put: Put, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "TEXTS_MAX", 2)
    monkeypatch.setattr(labels, "STREAMS_MAX", 2)
    await put([{"body": b"x", "ts": time.time_ns(), "pod": pod, "node": node} for pod, node in ("am", "bm", "cn")])
    async with asking(QueryLimits()) as address:
        for path, key, expected in (
            ("/labels", "labels", (["cluster", "container"], True)),
            ("/labels/pod/values", "values", (["a", "b"], True)),
            ("/labels/node/values", "values", (["m", "n"], False)),
        ):
            async with session.get(f"{address.url}{path}") as response:
                found = await response.json()
            assert (found[key], found["truncated"]) == expected, path
        for parameters, pods, truncated in (("", ["a", "b"], True), ("?node=m", ["a", "b"], False)):
            async with session.get(f"{address.url}/streams{parameters}") as response:
                found = await response.json()
            assert ([one["pod"] for one in found["streams"]], found["truncated"]) == (pods, truncated)


async def test_the_front_page_has_lines_that_work(asking: Asking, session: aiohttp.ClientSession) -> None:
    async with asking(QueryLimits()) as address:
        async with session.get(address.url) as response:
            page = await response.text()
        lines = [part for part in page.split("'") if part.startswith("http")]
        assert len(lines) > 9
        for line in lines:
            async with session.get(line) as response:
                # Health, figures and deletions belong to the whole aggregator, which is not here.
                assert response.status == (404 if line.endswith(("z", "/metrics", "/delete")) else 200), line


async def test_the_front_page_names_every_path(asking: Asking, session: aiohttp.ClientSession) -> None:
    async with asking(QueryLimits()) as address, session.get(address.url) as response:
        page = await response.text()
    paths = {"/loki/api/v1" if path.startswith("/loki/") else path for path in document(1)["paths"]} - {"/"}
    assert [path for path in paths if not re.search(re.sub(r"\{\w+\}", "[^/ ']+", path) + r"\b", page)] == []


async def test_a_record_from_the_future_does_not_hide_the_newest(
    asking: Asking, put: Put, session: aiohttp.ClientSession
) -> None:
    now = time.time_ns()
    day_ns = 86_400 * 10**9
    await put(
        [
            {"body": b"now", "ts": now},
            {"body": b"clock ahead", "ts": now + AHEAD_NS // 2},
            {"body": b"future", "ts": now + 7 * day_ns},
        ]
    )
    async with asking(QueryLimits()) as address:
        for parameters, expected in (
            ("", ["now", "clock ahead"]),
            ("?limit=1", ["clock ahead"]),
            ("?limit=0", ["now", "clock ahead"]),
            (f"?end={now + 8 * day_ns}&since=9d", ["now", "clock ahead", "future"]),
            (f"?start={now}&end={now + 8 * day_ns}&limit=0", ["now", "clock ahead", "future"]),
        ):
            async with session.get(f"{address.url}/query{parameters}") as response:
                lines = (await response.text()).splitlines()
            assert [line.split(" ", 2)[2] for line in lines] == expected, parameters
