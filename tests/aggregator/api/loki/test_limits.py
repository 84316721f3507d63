"""What Loki's API lets through: intervals, empty forms, slow forms, large answers, readers that stall."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aggregator.api import forms
from aggregator.api.loki import handlers, streaming
from aggregator.api.queries import STALL_S, QueryLimits
from aggregator.query import metrics
from tests.aggregator.api.following import DEADLINE_S, following, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from service.options import Address

    Put = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]
    Asking = Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]]

ROOT = "/loki/api/v1"
ALL = '{namespace="shop"}'
S = 10**9
BEGAN_S = (int(time.time()) // 60 - 5) * 60


@pytest.fixture
async def address(asking: Asking, put: Put) -> AsyncIterator[Address]:
    await put([{"ts": (BEGAN_S + second) * S, "body": b"line"} for second in (0, 1, 2, 3, 5)])
    async with asking(QueryLimits(), STALL_S) as served:
        yield served


@pytest.fixture
async def client(address: Address) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(address.url) as session:
        yield session


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"interval": "2s"}, [5, 3, 1]),
        ({"interval": "2", "direction": "forward"}, [0, 2, 5]),
        ({"interval": "2s", "direction": "forward", "limit": "2"}, [0, 2]),
        ({"interval": "1s", "limit": "1"}, [5]),
        ({"interval": "1m"}, [5]),
        ({"interval": "0"}, [5, 3, 2, 1, 0]),
    ],
)
async def test_lines_are_an_interval_apart(
    client: aiohttp.ClientSession, parameters: dict[str, str], expected: list[int]
) -> None:
    async with client.get(f"{ROOT}/query_range", params={"query": ALL, **parameters}) as answer:
        data = (await answer.json())["data"]
    [stream] = data["result"]
    assert [int(ts) // S - BEGAN_S for ts, _ in stream["values"]] == expected
    assert data["stats"]["summary"]["totalEntriesReturned"] == len(expected)


async def test_an_interval_below_nothing_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.get(f"{ROOT}/query_range", params={"query": ALL, "interval": "-1s"}) as answer:
        assert answer.status == 400


async def test_a_post_may_have_its_parameters_in_the_address_alone(client: aiohttp.ClientSession) -> None:
    for path in (f"{ROOT}/query_range", f"{ROOT}/series", f"{ROOT}/labels"):
        async with client.post(path, params={"query": ALL}) as answer:
            assert answer.status == 200, path
    async with client.post("/query", params={"q": ALL}) as answer:
        assert len((await answer.text()).splitlines()) == 5


async def test_a_form_that_does_not_arrive_is_given_up(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms.query_string, "__defaults__", (0.05,))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"POST /query HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 100\r\n\r\nq="
    )
    async with asyncio.timeout(DEADLINE_S):
        assert b" 408 " in await reader.readline()
    writer.close()


async def test_a_matrix_of_too_many_samples_is_refused(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "ANSWER_SAMPLES_MAX", 10)
    parameters = {"query": "vector(1)", "start": "1", "end": "10", "step": "1"}
    async with client.get(f"{ROOT}/query_range", params=parameters) as answer:
        assert answer.status == 200
    async with client.get(f"{ROOT}/query_range", params={**parameters, "end": "11"}) as answer:
        assert answer.status == 400
        assert (await answer.text()).startswith("maximum number of samples (10) reached")


async def test_a_reader_that_stalls_is_cut_off_and_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_STALL_S", 0.2)
    async with following(tmp_path) as stand:
        host, _, port = stand.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
        writer.write(
            b"GET /loki/api/v1/tail?query=%7Bnamespace%3D%22shop%22%7D HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in await reader.readline()
        await until(lambda: len(stand.live) == 1)
        # More than the buffers of both ends hold; nothing of it is read.
        for _ in range(24):
            await stand.commit(*[b"x" * 20_000] * 50)
        await until(lambda: len(stand.live) == 0)
        assert stand.registry.get_sample_value("logboom_http_unexpected_errors_total") == 0
        labels = {"route": "/loki/api/v1/tail", "outcome": "client_stalled"}
        await until(lambda: stand.registry.get_sample_value("logboom_aggregator_queries_total", labels) == 1)
        writer.close()


async def test_a_catalogue_that_is_cut_says_so(client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "TEXTS_MAX", 2)
    monkeypatch.setattr(handlers, "STREAMS_MAX", 0)
    for path in ("/labels", "/series"):
        async with client.get(ROOT + path) as answer:
            assert "there are more than" in (await answer.json())["warnings"][0], path


async def test_a_request_has_no_more_selectors_than_it_may(client: aiohttp.ClientSession) -> None:
    parameters = [("match[]", '{pod="x"}')] * (handlers.SELECTORS_MAX + 1)
    async with client.get(f"{ROOT}/series", params=parameters) as answer:
        assert answer.status == 400
        assert "match" in await answer.text()
