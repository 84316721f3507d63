from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from aggregator.store.deletions import OPEN_MAX
from aggregator.store.schema import LOGS
from tests.aggregator.api.following import DEADLINE_S, Followed, following
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WHOLE = {"start": "2026-01-01", "end": str(int(time.time()) + 86_400)}


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    async with following(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def told(answer: aiohttp.ClientResponse, status: int) -> Any:
    assert answer.status == status, await answer.text()
    return msgspec.json.decode(await answer.read())


async def test_a_secret_is_deleted_and_seen_by_no_query(followed: Followed, http: aiohttp.ClientSession) -> None:
    await followed.commit(b"key=AKIA", b"hello", b"AKIA again")
    url = f"{followed.url}/delete"
    job = await told(await http.post(url, data={"query": '{namespace="shop"} |= "AKIA"', **WHOLE}), 202)
    assert (job["query"], job["start"], job["state"]) == (
        '{namespace="shop"} |= "AKIA"',
        "2026-01-01T00:00:00.000000000Z",
        "queued",
    )
    async with asyncio.timeout(DEADLINE_S):
        while (now := await told(await http.get(f"{url}/{job['id']}"), 200))["state"] not in {"deleted", "gone"}:
            await asyncio.sleep(0.02)
    assert (now["records"], now["days"], now["days_done"], now["problem"]) == (2, 1, 1, "")
    answer = await http.get(f"{followed.url}/query?namespace=shop")
    assert (await answer.text()).splitlines()[0].endswith("hello")
    assert "AKIA" not in await answer.text()
    assert [each["id"] for each in (await told(await http.get(url), 200))["deletions"]] == [job["id"]]


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({}, "query"),
        ({"grep": "x"} | WHOLE, "query"),
        ({"namespace": "*"} | WHOLE, "query"),
        ({"query": '{namespace="shop"} | json'} | WHOLE, "query"),
        ({"query": '{namespace="shop"} |> "<_> x"'} | WHOLE, "query"),
        ({"query": '{namespace="shop"} |= ip("10.0.0.0/8")'} | WHOLE, "query"),
        ({"query": 'rate({namespace="shop"}[1m])'} | WHOLE, "query"),
        ({"query": "{"} | WHOLE, "query"),
        ({"query": '{namespace="shop"} |~ "("'} | WHOLE, "query"),
        ({"namespace": "shop", "regex": "("} | WHOLE, "regex"),
        ({"namespace": "shop", "start": "1"}, "end"),
        ({"namespace": "shop", "end": "1"}, "start"),
        ({"namespace": "shop", "start": "2", "end": "1"}, "start"),
        ({"namespace": "shop", "start": "soon", "end": "1"}, "start"),
        ({"namespace": "shop", "since": "1h"}, "since"),
        ({"namespace": "shop", "level": "error"} | WHOLE, "level"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(
    followed: Followed, http: aiohttp.ClientSession, given: dict[str, str], parameter: str
) -> None:
    answer = await http.post(f"{followed.url}/delete", data=given)
    assert answer.status == 400, await answer.text()
    refusal = msgspec.json.decode(await answer.read(), type=Refusal)
    assert refusal.parameter == parameter
    assert refusal.hint


async def test_one_is_cancelled_once(followed: Followed, http: aiohttp.ClientSession) -> None:
    await followed.commit(b"hello")
    await followed.stand.engine.execute(f"SYSTEM STOP MERGES {LOGS}")  # mutations as well
    url = f"{followed.url}/delete"
    job = await told(await http.post(url, data={"namespace": "shop", **WHOLE}), 202)
    assert (await told(await http.delete(f"{url}/{job['id']}"), 200))["state"] == "cancelled"
    assert (await told(await http.delete(f"{url}/{job['id']}"), 200))["state"] == "cancelled"
    await followed.stand.engine.execute(f"SYSTEM START MERGES {LOGS}")
    over = await told(await http.post(url, data={"namespace": "none", **WHOLE}), 202)
    async with asyncio.timeout(DEADLINE_S):
        while (await told(await http.get(f"{url}/{over['id']}"), 200))["state"] != "gone":
            await asyncio.sleep(0.02)
    assert (await told(await http.delete(f"{url}/{over['id']}"), 409))["parameter"] == "id"
    assert len(await followed.stand.records()) == 1


async def test_an_unknown_one_is_refused(followed: Followed, http: aiohttp.ClientSession) -> None:
    url = f"{followed.url}/delete"
    for method in ("GET", "DELETE"):
        assert (await told(await http.request(method, f"{url}/nothing"), 404))["parameter"] == "id"
    assert (await told(await http.get(url), 200))["deletions"] == []


async def test_no_more_are_taken_than_can_be_worked_off(followed: Followed, http: aiohttp.ClientSession) -> None:
    await followed.commit(b"hello")
    await followed.stand.engine.execute(f"SYSTEM STOP MERGES {LOGS}")
    url = f"{followed.url}/delete"
    asked = {"namespace": "shop", **WHOLE}
    for _ in range(OPEN_MAX):
        await told(await http.post(url, data=asked), 202)
    answer = await http.post(url, data=asked)
    await told(answer, 429)
    assert answer.headers["Retry-After"]
    await followed.stand.engine.execute(f"SYSTEM START MERGES {LOGS}")
