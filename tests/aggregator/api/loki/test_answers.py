"""Loki's query API over real HTTP and a real store: shapes, times, forms, errors; what LogQL means is tests/logql's."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aggregator.api.queries import STALL_S, QueryLimits
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from service.options import Address

    Put = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]
    Asking = Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]]

SECOND_NS = 1_000_000_000
# The beginning of a minute, five of them ago; the records are from there on.
BEGAN_S = (int(time.time()) // 60 - 5) * 60
BEGAN_NS = BEGAN_S * SECOND_NS
GAP = b'{"bytes":12,"reason":"rotated"}'
LINES: tuple[tuple[int, bytes, str, int], ...] = (
    (0, b'{"status":200}', "cart-0", 0),
    (10, b'{"status":500}', "cart-0", 0),
    (70, b'{"status":503}', "web-0", 0),
    (80, b"caf\xc3\xa9 \xff", "web-0", 0),
    (90, GAP, "web-0", Flag.GAP),
)
ALL = '{namespace="shop"}'
WINDOW = {"start": str(BEGAN_NS), "end": str(BEGAN_NS + 100 * SECOND_NS)}
ROOT = "/loki/api/v1"


def at(seconds: int) -> str:
    """Nanoseconds of a record, as text."""
    return str(BEGAN_NS + seconds * SECOND_NS)


@pytest.fixture
async def stored(put: Put) -> None:
    await put(
        [
            {"ts": BEGAN_NS + after * SECOND_NS, "body": body, "pod": pod, "flags": int(flags)}
            for after, body, pod, flags in LINES
        ]
    )


@pytest.fixture
async def client(asking: Asking, stored: None) -> AsyncIterator[aiohttp.ClientSession]:  # noqa: ARG001 - its effect
    async with asking(QueryLimits(), STALL_S) as address, aiohttp.ClientSession(address.url) as session:
        yield session


async def ask(client: aiohttp.ClientSession, path: str, **parameters: str) -> Any:
    """The data of an answer that is a success."""
    async with client.get(ROOT + path, params=parameters) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "application/json"), text
        told = json.loads(text)
        assert told["status"] == "success"
        return told["data"]


async def refusal(client: aiohttp.ClientSession, path: str, **parameters: str) -> tuple[int, str]:
    async with client.get(ROOT + path, params=parameters) as answer:
        assert answer.content_type == "text/plain"
        return answer.status, (await answer.text()).rstrip("\n")


def lines(data: Any) -> list[str]:
    """Every line of an answer, newest first."""
    values = [tuple(value[:2]) for stream in data["result"] for value in stream["values"]]
    return [line for _, line in sorted(values, reverse=True)]


async def test_lines_are_streams_by_labels_with_metadata_among_them(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query_range", query=f"{ALL} | json | status >= 500", **WINDOW)
    assert data["resultType"] == "streams"
    assert "encodingFlags" not in data
    found = {(one["stream"]["pod"], one["stream"]["status"]): one["values"] for one in data["result"]}
    assert found == {
        ("cart-0", "500"): [[at(10), '{"status":500}']],
        ("web-0", "503"): [[at(70), '{"status":503}']],
    }
    assert all(one["stream"]["detected_level"] for one in data["result"])


async def test_labels_are_categorised_when_asked(client: aiohttp.ClientSession) -> None:
    query = f"{ALL} | json | status >= 500"
    header = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
    async with client.get(f"{ROOT}/query_range", params={"query": query, **WINDOW}, headers=header) as answer:
        data = (await answer.json())["data"]
    assert data["encodingFlags"] == ["categorize-labels"]
    assert {"detected_level", "status"}.isdisjoint({name for one in data["result"] for name in one["stream"]})
    ((ts, line, kinds),) = next(one["values"] for one in data["result"] if one["stream"]["pod"] == "cart-0")
    assert (ts, line, kinds["parsed"]) == (at(10), '{"status":500}', {"status": "500"})
    assert set(kinds["structuredMetadata"]) == {"detected_level"}


async def test_bytes_that_are_not_utf8_are_replaced_and_a_gap_is_its_json(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query_range", query='{pod="web-0"} != "status"', **WINDOW)
    assert lines(data) == [GAP.decode(), "café \ufffd"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"limit": "2"}, [80, 90]),
        ({"limit": "2", "direction": "forward"}, [0, 10]),
        ({"limit": "2", "direction": "FORWARD"}, [0, 10]),
        ({}, [0, 10, 70, 80, 90]),
        ({"start": str(BEGAN_S + 10)}, [10, 70, 80, 90]),
        ({"start": f"{BEGAN_S + 10}.5"}, [70, 80, 90]),
        ({"start": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN_S + 10))}, [10, 70, 80, 90]),
        ({"end": str(BEGAN_S + 80)}, [0, 10, 70]),
        ({"start": "", "end": str(BEGAN_S + 100), "since": "25s"}, [80, 90]),
        ({"start": "", "end": ""}, [0, 10, 70, 80, 90]),
    ],
    ids=itertools.count(),  # not the times: they are others in each process that collects
)
async def test_which_lines(client: aiohttp.ClientSession, parameters: dict[str, str], expected: list[int]) -> None:
    data = await ask(client, "/query_range", query=ALL, **(WINDOW | parameters))
    found = [value[0] for stream in data["result"] for value in stream["values"]]
    assert sorted(found) == [at(seconds) for seconds in expected]


async def test_a_hundred_lines_by_default(client: aiohttp.ClientSession, put: Put) -> None:
    await put([{"ts": BEGAN_NS + number, "body": b"many", "pod": "many-0"} for number in range(101)])
    data = await ask(client, "/query_range", query='{pod="many-0"}', **WINDOW)
    (stream,) = data["result"]
    assert [value[0] for value in stream["values"]] == [str(BEGAN_NS + number) for number in range(100, 0, -1)]


@pytest.mark.parametrize("step", ["60", "1m", "60000ms"])
async def test_a_matrix(client: aiohttp.ClientSession, step: str) -> None:
    query = f"sum by (pod) (count_over_time({ALL}[1m]))"
    bounds = {"start": str(BEGAN_S + 60), "end": str(BEGAN_S + 120)}
    data = await ask(client, "/query_range", query=query, step=step, **bounds)
    assert data["resultType"] == "matrix"
    # The record at the beginning itself is not among those of the minute after it; gaps are not counted.
    assert data["result"] == [
        {"metric": {"pod": "cart-0"}, "values": [[BEGAN_S + 60, "1"]]},
        {"metric": {"pod": "web-0"}, "values": [[BEGAN_S + 120, "2"]]},
    ]


async def test_the_step_is_a_250th_of_the_range(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query_range", query="vector(1)", start="0", end="1000")
    (series,) = data["result"]
    assert series == {"metric": {}, "values": [[at, "1"] for at in range(0, 1001, 4)]}


async def test_a_vector_at_an_instant(client: aiohttp.ClientSession) -> None:
    query = f"topk(1, sum by (pod) (rate({ALL}[1m])))"
    data = await ask(client, "/query", query=query, time=f"{BEGAN_S + 120}.25")
    assert data["resultType"] == "vector"
    value = [BEGAN_S + 120.25, "0.03333333333333333"]
    assert data["result"] == [{"metric": {"pod": "web-0"}, "value": value}]


async def test_a_scalar(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query", query="1 / 4", time="4")
    assert (data["resultType"], data["result"]) == ("scalar", [4, "0.25"])


async def test_grafanas_health_query_has_one_sample(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query", query="vector(1)+vector(1)", time="4000000000", direction="backward")
    assert data["resultType"] == "vector"
    # Ten digits are seconds in Loki, whatever Grafana means by them.
    assert data["result"] == [{"metric": {}, "value": [4_000_000_000, "2"]}]


async def test_statistics_say_what_was_read(client: aiohttp.ClientSession) -> None:
    data = await ask(client, "/query_range", query=ALL, **WINDOW)
    summary = data["stats"]["summary"]
    assert summary["totalLinesProcessed"] >= len(LINES)
    assert summary["totalBytesProcessed"] > 0
    assert summary["execTime"] > 0
    assert {"bytesProcessedPerSecond", "linesProcessedPerSecond", "queueTime"} <= set(summary)


@pytest.mark.parametrize("path", ["/labels", "/label"])
async def test_label_names(client: aiohttp.ClientSession, path: str) -> None:
    assert {"namespace", "pod", "container"} <= set(await ask(client, path))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, ["cart-0", "web-0"]), ({"query": '{pod=~"w.*"}'}, ["web-0"]), ({"start": "0", "end": "1000"}, [])],
    ids=str,
)
async def test_label_values(client: aiohttp.ClientSession, parameters: dict[str, str], expected: list[str]) -> None:
    assert await ask(client, "/label/pod/values", **parameters) == expected


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([("match[]", '{pod="web-0"}')], ["web-0"]),
        ([("match", '{pod="web-0"}')], ["web-0"]),
        ([("match[]", '{pod="web-0"}'), ("match[]", '{pod=~".*-0"}')], ["cart-0", "web-0"]),
        ([], ["cart-0", "web-0"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_series(
    client: aiohttp.ClientSession, method: str, matches: list[tuple[str, str]], expected: list[str]
) -> None:
    given: Any = {"params": matches} if method == "GET" else {"data": aiohttp.FormData(matches)}
    if method == "POST" and not matches:
        given = {"data": b"", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    async with client.request(method, f"{ROOT}/series", **given) as answer:
        assert answer.status == 200, await answer.text()
        data = (await answer.json())["data"]
    assert [one["pod"] for one in data] == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (ALL, {"streams": 2, "chunks": 1, "bytes": sum(len(body) for _, body, _, _ in LINES)}),
        ('{pod="none"}', {"streams": 0, "chunks": 0, "bytes": 0}),
    ],
)
async def test_index_stats(client: aiohttp.ClientSession, selector: str, expected: dict[str, int]) -> None:
    async with client.get(f"{ROOT}/index/stats", params={"query": selector, **WINDOW}) as answer:
        assert answer.status == 200
        found = await answer.json()
    assert found == expected | {"entries": len(LINES) if expected["streams"] else 0}


async def test_a_query_is_laid_out(client: aiohttp.ClientSession) -> None:
    stages = '|="timeout" | json | status>=500 | line_format "{{.path}}" | path!="/healthz"'
    query = f"sum by(pod)(count_over_time({ALL}{stages} [1m]))"
    laid_out = await ask(client, "/format_query", query=query)
    assert len(laid_out.splitlines()) > 1
    assert await ask(client, "/format_query", query=laid_out) == laid_out


async def test_a_version(client: aiohttp.ClientSession) -> None:
    async with client.get(f"{ROOT}/status/buildinfo") as answer:
        assert answer.status == 200
        assert (await answer.json())["version"].startswith("3.")


@pytest.mark.parametrize("split", [True, False], ids=["address and form", "form"])
async def test_a_query_is_posted(client: aiohttp.ClientSession, split: bool) -> None:  # noqa: FBT001 - a case
    form = {"query": f'{ALL} |= "503" ' + " ".join(f'!= "{number:099}"' for number in range(100))}
    params = WINDOW if split else {}
    async with client.post(f"{ROOT}/query_range", params=params, data=form if split else form | WINDOW) as answer:
        assert answer.status == 200, await answer.text()
        assert lines((await answer.json())["data"]) == ['{"status":503}']


LOG_AT_INSTANT = (
    "log queries are not supported as an instant query type, please change your query to a range query type"
)


@pytest.mark.parametrize(
    ("path", "parameters", "begins"),
    [
        ("/query", {"query": ALL}, LOG_AT_INSTANT),
        ("/query_range", {"query": '{pod="x"'}, "parse error at line 1, col "),
        ("/query_range", {"query": ""}, "parse error"),
        ("/query_range", {}, "parse error"),
        ("/query_range", {"query": "{}"}, "parse error"),
        ("/query_range", {"query": '{pod=~"("}'}, "parse error"),
        ("/query", {"query": "sum("}, "parse error at line 1, col "),
        ("/format_query", {"query": "{"}, "parse error at line 1, col "),
        ("/series", {"match[]": "{"}, "parse error at line 1, col "),
        ("/labels", {"query": "{"}, "parse error at line 1, col "),
        (
            "/query_range",
            {"query": ALL, "limit": "5001"},
            "max entries limit per query exceeded, limit > max_entries_limit",
        ),
        ("/query_range", {"query": ALL, "limit": "0"}, "limit must be a positive value"),
        ("/query_range", {"query": ALL, "limit": "ten"}, ""),
        ("/query_range", {"query": ALL, "direction": "sideways"}, "invalid direction"),
        ("/query_range", {"query": ALL, "start": "yesterday"}, ""),
        ("/query_range", {"query": ALL, "start": "2000", "end": "1000"}, "end timestamp must not be before"),
        ("/query_range", {"query": "vector(1)", "step": "0"}, "zero or negative query resolution step"),
        ("/query_range", {"query": "vector(1)", "step": "-1s"}, ""),
        ("/query_range", {"query": "vector(1)", "step": "often"}, ""),
        ("/query_range", {"query": "vector(1)", "step": "1ms", "start": "0", "end": "1000"}, ""),
        ("/query", {"query": "vector(1)", "time": "1e400"}, ""),
    ],
    ids=str,
)
async def test_refused(client: aiohttp.ClientSession, path: str, parameters: dict[str, str], begins: str) -> None:
    status, text = await refusal(client, path, **parameters)
    assert status == 400
    assert text
    assert text.startswith(begins)
    assert "DB::" not in text


@pytest.mark.parametrize("broken", ["%zz", "%2", "%"])
async def test_an_escape_that_encodes_nothing_is_refused(client: aiohttp.ClientSession, broken: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"query=%7Bpod%3D%22x%22%7D&step={broken}"
    async with client.post("/loki/api/v1/query_range", data=body, headers=headers) as answer:
        assert (answer.status, await answer.text()) == (400, f'invalid URL escape "{broken}"\n')


async def test_an_error_while_samples_are_made(client: aiohttp.ClientSession) -> None:
    query = f'sum_over_time({ALL} | json | label_format status="none" | unwrap status [1m])'
    status, text = await refusal(client, "/query", query=query, time=str(BEGAN_S + 60))
    assert status == 400
    assert "SampleExtractionErr" in text


async def test_a_query_that_takes_too_long_is_a_504(asking: Asking, stored: None) -> None:  # noqa: ARG001 - its effect
    async with asking(QueryLimits(time_s=0.0), STALL_S) as address, aiohttp.ClientSession(address.url) as session:
        status, text = await refusal(session, "/query_range", query=ALL, **WINDOW)
    assert status == 504
    assert "took longer" in text
