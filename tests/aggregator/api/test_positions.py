from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from aggregator.store.schema import LOGS
from tests.aggregator.records import batch, part, source
from tests.aggregator.stand import serve_stand
from wire.answers import SOURCES_PER_REQUEST_MAX, STORE_HEADER, Committed, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B = source("a").hex(), source("b").hex()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with serve_stand(tmp_path / "store") as (stand, url), aiohttp.ClientSession(url) as session:
        await stand.commit(batch(part("a", 0, [10, 20])))
        stand.positions.forget([source("a")])
        yield session


async def test_known_and_unknown_sources_are_answered(client: aiohttp.ClientSession) -> None:
    async with client.get(f"/v1/positions?cluster=c&node=n&source={A}&source={B}") as answer:
        assert answer.status == 200
        assert answer.headers[STORE_HEADER] == "store/boot"
        assert msgspec.json.decode(await answer.read(), type=Committed) == Committed({A: 20, B: 0})


async def test_as_many_sources_as_allowed_fit_into_a_request(client: aiohttp.ClientSession) -> None:
    sources = [source(f"s{number}").hex() for number in range(SOURCES_PER_REQUEST_MAX)]
    query = "cluster=" + "%C5" * 253 + "&node=" + "n" * 253 + "".join(f"&source={one}" for one in sources)
    async with client.get(f"/v1/positions?{query}") as answer:
        assert answer.status == 200
        assert len(msgspec.json.decode(await answer.read(), type=Committed).committed) == len(sources)


async def test_about_no_source_the_store_is_named_all_the_same(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/positions") as answer:
        assert answer.headers[STORE_HEADER] == "store/boot"
        assert msgspec.json.decode(await answer.read(), type=Committed) == Committed({})


WRONG = (
    ("source=", "source"),
    ("source=xyz", "source"),
    (f"source={A.upper()}", "source"),
    (f"source={A}0", "source"),
    (f"source={A}&uid=1", "uid"),
    ("&".join([f"source={A}"] * (SOURCES_PER_REQUEST_MAX + 1)), "source"),
)


async def test_what_is_wrong_is_named(client: aiohttp.ClientSession) -> None:
    for query, parameter in WRONG:
        async with client.get(f"/v1/positions?{query}") as answer:
            assert answer.status == 400, query
            assert answer.headers[STORE_HEADER]
            refusal = msgspec.json.decode(await answer.read(), type=Refusal)
            assert refusal.parameter == parameter
            assert refusal.error
            assert refusal.hint


async def test_a_failing_store_is_a_503(tmp_path: Path) -> None:
    async with serve_stand(tmp_path / "store") as (stand, url), aiohttp.ClientSession(url) as session:
        await stand.engine.execute(f"DETACH TABLE {LOGS}")
        async with session.get(f"/v1/positions?source={A}") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "2"
