"""Loki's API over real sockets: shapes, times, errors. What queries mean is tests/logql's."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aggregator.api.queries import STALL_S, QueryLimits
from tests.aggregator.api.following import following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from service.options import Address

    Put = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]

SECOND_NS = 1_000_000_000
BEGAN_NS = (time.time_ns() // SECOND_NS - 300) * SECOND_NS
LINES = (b'{"status":500} level=error', b"plain \xff", b'{"status":200} info')
PREFIX = "/loki/api/v1"
LABELS = {"cluster": "test", "node": "node-1", "namespace": "shop", "uid": "u", "container": "app", "stream": "stdout"}


@pytest.fixture
async def client(
    asking: Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]], put: Put
) -> AsyncIterator[aiohttp.ClientSession]:
    await put([{"ts": BEGAN_NS + number * SECOND_NS, "body": line} for number, line in enumerate(LINES)])
    async with asking(QueryLimits(), STALL_S) as address, aiohttp.ClientSession(address.url) as session:
        yield session


async def data(client: aiohttp.ClientSession, path: str, **parameters: str) -> Any:
    async with client.get(PREFIX + path, params=parameters) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        found = json.loads(text)
    assert found["status"] == "success"
    return found["data"]


async def test_lines_come_by_stream_the_newest_first(client: aiohttp.ClientSession) -> None:
    found = await data(client, "/query_range", query='{namespace="shop"} | json', limit="2")
    assert found["resultType"] == "streams"
    by_status = {one["stream"].get("status", ""): one for one in found["result"]}
    assert by_status["200"]["stream"].items() >= {**LABELS, "pod": "cart-0", "detected_level": "info"}.items()
    assert by_status["200"]["values"] == [[str(BEGAN_NS + 2 * SECOND_NS), '{"status":200} info']]
    assert found["stats"]["summary"]["totalLinesProcessed"] >= 3


async def test_labels_come_in_categories_when_asked_for(client: aiohttp.ClientSession) -> None:
    url = f"{PREFIX}/query_range"
    headers = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
    parameters = {"query": '{namespace="shop"} |= "500" | json'}
    async with client.get(url, params=parameters, headers=headers) as answer:
        found = (await answer.json())["data"]
    assert found["encodingFlags"] == ["categorize-labels"]
    (stream,) = found["result"]
    assert stream["stream"] == {**LABELS, "pod": "cart-0"}
    (value,) = stream["values"]
    assert value[2]["structuredMetadata"] == {"detected_level": "error"}
    assert value[2]["parsed"]["status"] == "500"


@pytest.mark.parametrize(("at", "seconds"), [("4000000000", 4_000_000_000), ("4", 4), ("40000000000", 40)])
async def test_grafanas_health_question(client: aiohttp.ClientSession, at: str, seconds: int) -> None:
    """Ten digits are seconds, more of them ns."""
    found = await data(client, "/query", query="vector(1)+vector(1)", time=at)
    assert (found["resultType"], found["result"]) == ("vector", [{"metric": {}, "value": [seconds, "2"]}])


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (str(BEGAN_NS), str(BEGAN_NS + 2 * SECOND_NS), "1"),
        (str(BEGAN_NS // SECOND_NS), str(BEGAN_NS // SECOND_NS + 2), "1s"),
        (f"{BEGAN_NS // SECOND_NS}.000", f"{BEGAN_NS // SECOND_NS + 2}.0", "1000ms"),
        (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN_NS // SECOND_NS)),
            time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(BEGAN_NS // SECOND_NS + 2)),
            "1.0",
        ),
    ],
    ids=["nanoseconds", "seconds", "fractions", "RFC 3339"],
)
async def test_times_and_steps_in_every_way_of_writing(
    client: aiohttp.ClientSession, start: str, end: str, step: str
) -> None:
    query = 'sum(count_over_time({namespace="shop"}[1s]))'
    found = await data(client, "/query_range", query=query, start=start, end=end, step=step)
    seconds = BEGAN_NS // SECOND_NS
    assert found["resultType"] == "matrix"
    assert found["result"] == [{"metric": {}, "values": [[seconds + number, "1"] for number in range(3)]}]


async def test_numbers_are_scalars_at_an_instant(client: aiohttp.ClientSession) -> None:
    found = await data(client, "/query", query="1 + 1", time="1700000000.5")
    assert (found["resultType"], found["result"]) == ("scalar", [1700000000.5, "2"])


async def test_catalogues(client: aiohttp.ClientSession) -> None:
    assert await data(client, "/labels") == sorted([*LABELS, "pod"])
    assert await data(client, "/label") == sorted([*LABELS, "pod"])
    assert await data(client, "/label/pod/values", query='{namespace="shop"}') == ["cart-0"]
    assert await data(client, "/label/nothing/values") == []
    for name in ("match[]", "match"):
        assert await data(client, "/series", **{name: '{pod=~"cart.*"}'}) == [{**LABELS, "pod": "cart-0"}]
    async with client.get(f"{PREFIX}/index/stats", params={"query": '{namespace="shop"}'}) as answer:
        stats = await answer.json()
    assert (stats["streams"], stats["entries"], stats["bytes"]) == (1, 3, sum(map(len, LINES)))
    assert await data(client, "/format_query", query='{a="b"}|="c"') == '{a="b"} |= "c"'
    async with client.get(f"{PREFIX}/status/buildinfo") as answer:
        assert (await answer.json())["version"] == "3.0.0"


async def test_forms_are_as_good_as_addresses(client: aiohttp.ClientSession) -> None:
    async with client.post(f"{PREFIX}/query_range", data={"query": '{namespace="shop"}', "limit": "1"}) as answer:
        assert len((await answer.json())["data"]["result"]) == 1


@pytest.mark.parametrize(
    ("path", "parameters", "status", "said"),
    [
        ("/query_range", {"query": '{a="b"'}, 400, "parse error at line 1, col 7: "),
        ("/query_range", {"query": ""}, 400, "parse error at line 0, col 0: syntax error: unexpected $end"),
        ("/query_range", {"query": "{}"}, 400, "at least one"),
        ("/query_range", {"query": '{a="b"}', "limit": "5001"}, 400, "max entries limit per query exceeded"),
        ("/query_range", {"query": '{a="b"}', "limit": "x"}, 400, "invalid syntax"),
        ("/query_range", {"query": '{a="b"}', "direction": "up"}, 400, "invalid direction"),
        ("/query_range", {"query": '{a="b"}', "start": "x"}, 400, "could not parse 'start' parameter"),
        ("/query_range", {"query": '{a="b"}', "start": "9", "end": "8"}, 400, "end timestamp must not be before"),
        ("/query_range", {"query": "vector(1)", "step": "-1"}, 400, "zero or negative"),
        ("/query_range", {"query": "vector(1)", "step": "1ms"}, 400, "exceeded maximum resolution"),
        ("/query_range", {"query": '{a="b"} | line_format "{{"'}, 400, ""),
        ("/query", {"query": '{a="b"}'}, 400, "log queries are not supported as an instant query type"),
        ("/tail", {"query": '{a="b"}'}, 400, "'upgrade' token not found"),
        ("/tail", {"query": "vector(1)"}, 400, "parse error"),
        ("/tail", {"query": '{a="b"}', "delay_for": "6"}, 400, "delay_for can't be greater than 5"),
        ("/tail", {"query": '{a="b"}', "delay_for": "5"}, 400, "'upgrade' token not found"),
        ("/tail", {"query": '{a="b"}', "delay_for": "x"}, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("/label/pod/values", {"query": "{"}, 400, "parse error"),
    ],
)
async def test_errors_are_plain_texts(
    client: aiohttp.ClientSession, path: str, parameters: dict[str, str], status: int, said: str
) -> None:
    async with client.get(PREFIX + path, params=parameters) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (status, "text/plain")
        assert said in text
        assert "SELECT" not in text


async def test_a_websocket_brings_the_newest_lines_then_what_is_committed(tmp_path: Path) -> None:
    async with following(tmp_path / "store") as followed, aiohttp.ClientSession() as session:
        await followed.commit(b"one", b"two", b"other")
        url = f"{followed.url}{PREFIX}/tail"
        parameters = {"query": '{pod="web-0"} != "other"', "limit": "1"}
        async with session.ws_connect(url, params=parameters) as socket:
            first = await socket.receive_json(timeout=10)
            assert [value[1] for one in first["streams"] for value in one["values"]] == ["two"]
            assert first["streams"][0]["stream"]["pod"] == "web-0"
            await followed.commit(b"other")
            await followed.commit(b"three", b"four")
            seen: list[str] = []
            while len(seen) < 2:
                message = await socket.receive_json(timeout=10)
                seen += [value[1] for one in message["streams"] for value in one["values"]]
            assert seen == ["three", "four"]
        async with asyncio.timeout(10):
            while len(followed.live):
                await asyncio.sleep(0.01)
