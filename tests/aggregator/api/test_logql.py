"""LogQL through /query and /histogram, over real HTTP and a real store; what it means is tests/logql's."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aggregator.api.queries import STALL_S, QueryLimits
from aggregator.logql.checks import LABELS_MAX, MATCHERS_MAX, TESTS_MAX, TEXTS_MAX
from aggregator.logql.compiler.captures import CAPTURES_MAX
from aggregator.logql.parts import DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from service.options import Address

    Put = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]

MINUTE_NS = 60_000_000_000
# The beginning of a minute, five of them ago.
BEGAN_NS = (time.time_ns() // MINUTE_NS - 5) * MINUTE_NS
LINES = (
    (0, b'{"status":200,"took":"10ms"} info fine', "cart-0"),
    (10, b'{"status":500,"path":"/a"} level=error', "cart-0"),
    (70, b'{"status":503,"path":"/b"} level=error', "web-0"),
    (80, b"plain", "web-0"),
)


@pytest.fixture
async def client(
    asking: Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]], put: Put
) -> AsyncIterator[aiohttp.ClientSession]:
    await put([{"ts": BEGAN_NS + at * 1_000_000_000, "body": body, "pod": pod} for at, body, pod in LINES])
    async with asking(QueryLimits(), STALL_S) as address, aiohttp.ClientSession(address.url) as session:
        yield session


async def ask(
    client: aiohttp.ClientSession, path: str = "/query", **parameters: str
) -> tuple[int, str, Mapping[str, str]]:
    async with client.get(path, params=parameters) as answer:
        return answer.status, await answer.text(), answer.headers


async def test_a_log_query_and_plain_parameters_both_apply(client: aiohttp.ClientSession) -> None:
    query = '{namespace="shop"} | json | status >= 500'
    _, both, _ = await ask(client, q=query, format="json")
    _, narrowed, _ = await ask(client, q=query, format="json", pod="web-*")
    assert [json.loads(line)["labels"]["status"] for line in both.splitlines()] == ["500", "503"]
    assert [json.loads(line)["pod"] for line in narrowed.splitlines()] == ["web-0"]


async def test_a_long_query_comes_as_a_form(client: aiohttp.ClientSession) -> None:
    query = '{namespace="shop"} |= "plain" ' + " ".join(f'!= "{number:099}"' for number in range(100))
    async with client.post("/query", data={"query": query}) as answer:
        assert answer.status == 200
        assert (await answer.text()).endswith(" plain\n")
    async with client.post("/query", json={"q": "x"}) as answer:
        assert (answer.status, (await answer.json())["parameter"]) == (415, "Content-Type")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", ['{pod="cart-0"} 1', '{pod="web-0"} 2']),
        ("json", ['"labels":{"pod":"cart-0"},"value":1.0}', '"labels":{"pod":"web-0"},"value":2.0}']),
        ("csv", ["ts,pod,value", ",cart-0,1", ",web-0,2"]),
    ],
)
async def test_samples_in_every_format(client: aiohttp.ClientSession, form: str, expected: list[str]) -> None:
    query = 'sum by (pod) (count_over_time({namespace="shop"}[1m]))'
    # A sample is about the minute up to it: the record at the very beginning belongs to none of these two.
    start, end = str(BEGAN_NS + MINUTE_NS), str(BEGAN_NS + 2 * MINUTE_NS)
    status, text, headers = await ask(client, q=query, format=form, start=start, end=end, step="1m")
    assert status == 200
    assert [line.endswith(one) for line, one in zip(text.splitlines(), expected, strict=True)] == [True] * len(expected)
    assert int(headers["Logboom-Scanned-Rows"]) >= 4
    assert int(headers["Logboom-Scanned-Statements"]) >= 1
    assert int(headers["Logboom-Scanned-Parts"]) >= 1


async def test_steps_are_multiples_of_the_step(client: aiohttp.ClientSession) -> None:
    _, text, _ = await ask(client, q="vector(1)", step="1m", since="5m", format="json")
    times = [json.loads(line)["ts"] for line in text.splitlines()]
    assert len(times) == 6, "the last one is of the minute that has begun"
    assert all(at.endswith(":00.000000000Z") for at in times)


async def test_statistics_end_ndjson_when_asked_for(client: aiohttp.ClientSession) -> None:
    _, text, headers = await ask(client, q='{namespace="shop"}', format="json", statistics="1")
    *records, last = [json.loads(line) for line in text.splitlines()]
    assert len(records) == len(LINES)
    assert last["statistics"]["rows"] >= int(headers["Logboom-Scanned-Rows"]) >= 4
    assert last["statistics"]["parts"] >= int(headers["Logboom-Scanned-Parts"]) >= 1
    _, without, headers = await ask(client, q='{namespace="shop"}', format="json")
    assert "statistics" not in without
    assert "Logboom-Scanned-Parts" not in headers


async def test_explain_says_how_and_answers_nothing(client: aiohttp.ClientSession) -> None:
    query = '{namespace="shop"} |= "plain" | logfmt | x="y"'
    _, text, _ = await ask(client, q=query, explain="1")
    assert "FROM logs" in text
    assert "| logfmt" in text
    _, told, _ = await ask(client, q=f"rate({query}[1m])", explain="1", format="json")
    (statement,) = json.loads(told)["statements"]
    assert statement["estimate"][0]["rows"] >= 1
    assert "logfmt" in statement["python"]


@pytest.mark.parametrize(
    ("parameters", "status", "parameter", "said"),
    [
        ({"q": '{namespace="shop"'}, 400, "q", "1:18: expected"),
        ({"q": "{}"}, 400, "q", "at least one"),
        ({"q": '{a="b"}', "query": '{a="b"}'}, 400, "q", "both given"),
        ({"q": '{a="b"}', "step": "1m"}, 400, "step", "no steps"),
        ({"q": 'rate({a="b"}[1m])', "limit": "3"}, 400, "limit", "all its samples"),
        ({"q": 'rate({a="b"}[1m])', "step": "1ms", "since": "1h"}, 400, "step", "more than 11000 steps"),
        ({"q": 'rate({a="b"}[1m])', "step": "1ms", "since": "1h"}, 400, "step", "the least step for this range is 328"),
        ({"q": 'rate({a="b"}[1m])', "step": "1s", "since": "7d"}, 400, "step", "the least step for this range is 55s"),
        ({"q": "vector(1)", "explain": "2"}, 400, "explain", "explain is 1 or left out, not '2'"),
        ({"q": '{a="b"} | line_format "{{.x"'}, 400, "q", ""),
        ({"statistics": "1"}, 400, "statistics", "NDJSON"),
    ],
)
async def test_what_is_wrong_is_named(
    client: aiohttp.ClientSession, parameters: dict[str, str], status: int, parameter: str, said: str
) -> None:
    found, text, _ = await ask(client, **parameters)
    told = json.loads(text)
    assert (found, told["parameter"]) == (status, parameter), text
    assert said in f"{told['error']}; {told['hint']}"


SELECTOR = '{namespace="shop"}'


# As many as there may be of each, and more than the engine would take in.
@pytest.mark.parametrize(
    "query",
    [
        SELECTOR + ' |> "' + "<_>a" * 1000 + '"',
        SELECTOR + ' |> "' + "<_>a" * CAPTURES_MAX + '"',
        SELECTOR + ' | pattern "' + "".join(f"<a{n}>x" for n in range(1000)) + '" | a9="q"',
        SELECTOR + "".join(f' != "a{n}"' for n in range(TESTS_MAX)),
        SELECTOR + ' |= "plain"' + "".join(f' or "a{n}"' for n in range(TEXTS_MAX - 1)),
        SELECTOR + ' != "plain"' + "".join(f' or " a{n} "' for n in range(TEXTS_MAX - 1)),
        SELECTOR + ' |~ "plain"' + "".join(f' or "a{n}"' for n in range(TESTS_MAX - 1)),
        SELECTOR + ' |~ "plain"' + "".join(f' or "a{n}.b"' for n in range(TESTS_MAX - 1)),
        SELECTOR + ' |~ "' + "|".join(f"a{n}" for n in range(2000)) + '"',
        SELECTOR + ' |~ "(?i)' + "|".join(f"a{n}" for n in range(2000)) + '"',
        SELECTOR + ' |> "plain"' + "".join(f' or "<_>a{n}"' for n in range(TESTS_MAX - 1)),
        SELECTOR + " | json | " + " or ".join(f'a="x{n}"' for n in range(DEPTH_MAX - 1)),
        SELECTOR + " | " + " or ".join(f'a{n}="x"' for n in range(DEPTH_MAX - 1)),
        SELECTOR + "".join(f' | a{n}="x"' for n in range(TESTS_MAX)),
        SELECTOR + " | json" + "".join(f' | a{n}="x"' for n in range(TESTS_MAX - 1)),
        "{" + ",".join(f'a{n}!="x"' for n in range(MATCHERS_MAX - 1)) + ',namespace="shop"}',
        f"sum by ({','.join(f'a{n}' for n in range(LABELS_MAX))}) (count_over_time({SELECTOR} | json | drop a [1m]))",
        f"sum by ({','.join(f'a{n}' for n in range(LABELS_MAX))}) (count_over_time({SELECTOR}[1m]))",
    ],
    ids=range(18),
)
async def test_the_longest_queries_are_answered(client: aiohttp.ClientSession, query: str) -> None:
    async with client.post("/query", data={"q": query}, timeout=aiohttp.ClientTimeout(total=30)) as answer:
        text = await answer.text()
        if "pipeline error" not in text:
            assert answer.status == 200, text


async def test_a_histogram_counts_by_level(client: aiohttp.ClientSession) -> None:
    start, end = str(BEGAN_NS), str(BEGAN_NS + 2 * MINUTE_NS)
    _, text, headers = await ask(client, "/histogram", start=start, end=end, step="1m")
    found = {one["labels"]["level"]: [count for _, count in one["values"]] for one in json.loads(text)["series"]}
    assert found == {"info": [1], "error": [1, 1], "unknown": [1]}
    began = {at for one in json.loads(text)["series"] for at, _ in one["values"]}
    assert len(began) == 2
    assert int(headers["Logboom-Scanned-Rows"]) >= 4
    _, text, _ = await ask(
        client, "/histogram", start=start, end=end, step="1m", by="pod", q='{namespace="shop"} |= "{"'
    )
    assert [one["labels"] for one in json.loads(text)["series"]] == [{"pod": "cart-0"}, {"pod": "web-0"}]
    _, text, _ = await ask(client, "/histogram", start=start, end=end, step="1m", by="pod", format="csv")
    assert text.splitlines()[0] == "ts,pod,value"


@pytest.mark.parametrize("step", ["1s", "9999999w"])
async def test_a_histogram_has_limits_of_steps(client: aiohttp.ClientSession, step: str) -> None:
    status, text, _ = await ask(client, "/histogram", since="1d", step=step)
    assert status == 400
    assert json.loads(text)["parameter"] == "step"


@pytest.mark.parametrize(
    ("path", "parameters", "status", "parameter"),
    [
        ("/histogram", {"by": "1x"}, 400, "by"),
        ("/histogram", {"by": "line"}, 200, None),
        ("/labels/1x/values", {}, 400, "name"),
        ("/labels/a%2Db/values", {}, 400, "name"),
        ("/labels/nope/values", {}, 200, None),
    ],
)
async def test_a_label_has_a_name(
    client: aiohttp.ClientSession, path: str, parameters: dict[str, str], status: int, parameter: str | None
) -> None:
    found, text, _ = await ask(client, path, **parameters)
    assert (found, json.loads(text).get("parameter")) == (status, parameter)


async def test_samples_come_in_the_order_asked_for(client: aiohttp.ClientSession) -> None:
    async def times(**order: str) -> list[str]:
        _, text, _ = await ask(client, q="vector(1)", step="1m", since="5m", format="json", **order)
        return [json.loads(line)["ts"] for line in text.splitlines()]

    found = await times()
    assert found == sorted(found) == await times(order="asc")
    assert await times(order="desc") == found[::-1]


async def test_who_matches_many_to_many_is_told_what_to_do(client: aiohttp.ClientSession) -> None:
    many = 'count_over_time({namespace="shop"}[1h])'
    status, text, _ = await ask(client, q=f"{many} * on(namespace) group_left {many}")
    told = json.loads(text)
    assert (status, "many-to-many matching not allowed" in told["error"]) == (400, True)
    assert told["hint"].startswith("aggregate that side")
