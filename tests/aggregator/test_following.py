"""A tail across processes that are told to stop, and killed, in the middle of commits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from tests.aggregator.records import Part, Record, batch, pack, source
from tests.aggregator.test_app import DEADLINE_S, post, running

if TYPE_CHECKING:
    from pathlib import Path

ENDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)
ROWS = 50
LINES = {"namespace": "shop", "lines": "1000", "format": "json"}


class Line(msgspec.Struct):
    position: int = 0
    cursor: str = ""
    missed: int = 0


async def follow(client: aiohttp.ClientSession, url: str, got: list[Line]) -> None:
    """Take lines until the answer ends, from where the last one ended; none if it was stopped before it answered."""
    asked = {**LINES, "cursor": got[-1].cursor} if got else LINES
    async with client.get(f"{url}/tail", params=asked) as answer:
        if answer.status == 503:
            return
        assert answer.status == 200, await answer.text()
        while line := await answer.content.readline():
            if line.endswith(b"\n"):
                got.append(msgspec.json.decode(line, type=Line))


async def send(client: aiohttp.ClientSession, url: str, at: int) -> int:
    """Send batches until the aggregator is gone; gives the position that was reached for sure."""
    with contextlib.suppress(aiohttp.ClientError):
        while True:
            records = tuple(Record(at + n, b"line", time.time_ns()) for n in range(1, ROWS + 1))
            status, _ = await post(client, url, pack(batch(Part(source("a"), at, records))))
            if status != 200:
                break
            at += ROWS
    return at


async def committed(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(f"{url}/v1/positions", params={"source": source("a").hex()}) as answer:
        return int((await answer.json())["committed"][source("a").hex()])


async def test_a_tail_goes_on_in_the_next_process_with_every_line_once(tmp_path: Path) -> None:
    chance = random.Random(3)
    got: list[Line] = []
    timeout = aiohttp.ClientTimeout(total=None)
    for end in ENDS:
        async with running(tmp_path / "store") as process, aiohttp.ClientSession(timeout=timeout) as client:
            at = await committed(client, process.url)
            tail = asyncio.create_task(follow(client, process.url, got))
            sender = asyncio.create_task(send(client, process.url, at))
            await asyncio.wait([tail], timeout=chance.uniform(0.5, 1.5))  # the moment of the end is the test's input
            await process.stop(end)
            await sender
            (ended,) = await asyncio.gather(tail, return_exceptions=True)
            if end is signal.SIGTERM:
                assert ended is None, "the answer ends properly"
            else:
                assert isinstance(ended, aiohttp.ClientError | None)
    async with running(tmp_path / "store") as process, aiohttp.ClientSession(timeout=timeout) as client:
        reached = await committed(client, process.url)
        tail = asyncio.create_task(follow(client, process.url, got))
        async with asyncio.timeout(DEADLINE_S):
            while not got or got[-1].position < reached:
                await asyncio.sleep(0.01)
        await process.stop(signal.SIGTERM)
        await tail
    assert sum(one.missed for one in got) == 0
    assert [one.position for one in got] == list(range(1, reached + 1))
