"""`/context` over real sockets: the lines around one, whatever file and output they are of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from aggregator.store.rendering import CSV_HEADER
from tests.aggregator.api.following import Followed, following, lines
from tests.aggregator.records import source
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    """A container with a file of yesterday and one of today, both outputs, and its neighbour."""
    now_ns = time.time_ns()
    async with following(tmp_path / "store") as opened:
        await opened.commit(b"y1", b"y2", log="old", ts_ns=now_ns - DAY_NS)
        for n in range(5):
            await opened.commit(b"t%d" % n, log="new", ts_ns=now_ns + n * 10)
            await opened.commit(b"e%d" % n, log="err", ts_ns=now_ns + n * 10 + 5, flags=Flag.STDERR)
            await opened.commit(b"other", log="other", pod="web-1", ts_ns=now_ns + n * 10)
        yield opened


# The middle (file and position), before and after, the lines.
CASES = (
    (("new", 3), "&before=2&after=2", ["t1", "e1", "t2", "e2", "t3"]),
    (("new", 1), "&before=1&after=0", ["y2", "t0"]),
    (("old", 1), "&before=5&after=3", ["y1", "y2", "t0", "e0"]),
    (("old", 2), "&before=0&after=0", ["y2"]),
    (("err", 5), "", ["y1", "y2", *(f"{name}{n}" for n in range(5) for name in "te")][-11:]),
)


async def test_lines_around_one(followed: Followed) -> None:
    async with aiohttp.ClientSession() as session:
        for (log, position), parameters, wanted in CASES:
            url = f"{followed.url}/context?source={source(log).hex()}&position={position}{parameters}"
            async with session.get(f"{url}&format=json") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == "application/x-ndjson"
                found = await lines(answer, len(wanted))
                assert await answer.read() == b""
            assert [one["line"] for one in found] == wanted[: len(found)], (log, position)
            async with session.get(url) as answer:
                assert [line.split(" ", 2)[2] for line in (await answer.text()).splitlines()] == wanted
            async with session.get(url, headers={"Accept": "text/csv"}) as answer:
                assert (await answer.read()).startswith(CSV_HEADER)


async def test_lines_of_one_instant_are_cut_where_the_middle_stands(followed: Followed) -> None:
    await followed.commit(*(b"s%d" % n for n in range(9)), log="same", ts_ns=time.time_ns() + 60 * SECOND_NS)
    async with aiohttp.ClientSession() as session:
        url = f"{followed.url}/context?source={source('same').hex()}&position=5&before=2&after=2&format=json"
        async with session.get(url) as answer:
            assert [one["line"] for one in await lines(answer, 5)] == ["s2", "s3", "s4", "s5", "s6"]


REFUSALS = (
    (f"?source={'0' * 32}&position=1", 404, "position"),
    (f"?source={source('new').hex()}&position=77", 404, "position"),
    (f"?source={source('new').hex()}", 400, "position"),
    ("?source=abc&position=1", 400, "source"),
    ("?position=1", 400, "source"),
    (f"?source={'0' * 32}&position=1&before=1001", 400, "before"),
    (f"?source={'0' * 32}&position=1&after=x", 400, "after"),
    (f"?source={'0' * 32}&position=1&grep=x", 400, "grep"),
    (f"?source={'0' * 32}&position={10**30}", 400, "position"),
)


async def test_refusals_name_what_is_wrong(followed: Followed) -> None:
    async with aiohttp.ClientSession() as session:
        for parameters, status, parameter in REFUSALS:
            async with session.get(f"{followed.url}/context{parameters}") as answer:
                assert answer.status == status, parameters
                assert (await answer.json())["parameter"] == parameter, parameters


async def test_what_is_missing_is_called_missing(followed: Followed) -> None:
    async with aiohttp.ClientSession() as session:
        for parameters, missing in (("", "source"), ("?position=1", "source"), (f"?source={'0' * 32}", "position")):
            async with session.get(f"{followed.url}/context{parameters}") as answer:
                assert (await answer.json())["error"] == f"{missing} is missing"
