"""Two real aggregators on one cluster, killed at any time: each line once, and seen wherever it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from aggregator.store.engine import Engine
from aggregator.store.server import server_of
from tests.aggregator.front import DONE, apart
from tests.aggregator.records import Part, Record, batch, pack, source
from tests.aggregator.test_app import DEADLINE_S, Process, Sum, post, running
from wire.answers import STORE_HEADER, Committed, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SENDERS = 3
LINES = 200


# All that is waited for, on a machine that does much else: a start takes 3 s of CPU.
START_S = 60.0
SENT_S = 4 * DEADLINE_S


@contextlib.asynccontextmanager
async def within(time_s: float, what: str, processes: list[Process]) -> AsyncIterator[None]:
    """Fail, with what was waited for and the last words of ``processes``, if it takes longer."""
    try:
        async with asyncio.timeout(time_s):
            yield
    except TimeoutError:
        said = "".join(f"{process.url}:\n{''.join(process.lines[-10:])}" for process in processes)
        pytest.fail(f"not within {time_s:g} s: {what}\n{said}")


async def send(name: str, processes: list[Process], random_: random.Random, answers: Counter[int]) -> None:
    """Have every line of a file stored, through whichever aggregator answers."""
    now = time.time_ns()
    at = 0
    async with aiohttp.ClientSession() as client:
        while at < LINES:
            end = min(LINES, at + random_.randint(1, 60))
            records = tuple(Record(n, f"{name}@{n}".encode(), now + n) for n in range(at + 1, end + 1))
            url = random_.choice(processes).url
            try:
                status, body = await post(client, url, pack(batch(Part(source(name), at, records), node=name)))
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)  # its aggregator is gone: another one, or the next
                continue
            answers[status] += 1
            if status in {200, 409}:
                at = msgspec.json.decode(body, type=Committed).committed[source(name).hex()]
            else:
                assert status == 503, body
                at = random_.choice([0, at])


async def follow(client: aiohttp.ClientSession, first: Process, second: Process) -> None:
    """See in a tail of ``first`` what ``second`` stores."""
    async with client.get(f"{first.url}/tail", params={"lines": "0"}) as tail:
        lines = pack(batch(Part(source("tailed"), 0, (Record(5, b"hello", time.time_ns()),))))
        while (await post(client, second.url, lines))[0] == 503:  # others were first too often
            pass
        while b"hello" not in (line := await tail.content.readline()):
            assert not tail.content.at_eof(), line


async def sums_of(url: str) -> list[Sum]:
    """The records of each source in the store at ``url``, once no insert is under way."""
    server = server_of(url)
    async with aiohttp.ClientSession() as client, client.get(f"http://{server.host}:{server.port}{DONE}") as answer:
        assert answer.status == 200
    async with Engine.open(url, 1) as engine:
        return await engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS name, count() AS rows, "
            "uniqExact(position) AS distinct, max(position) AS highest FROM logs WHERE namespace != '\\0' "
            "GROUP BY name ORDER BY name",
            Sum,
        )


async def test_killed_at_any_time_each_line_is_stored_once_and_seen_everywhere(tmp_path: Path) -> None:
    async with apart(tmp_path / "front", cluster=True) as url, contextlib.AsyncExitStack() as stack:
        # At once: both find no tables, and make them.
        start = functools.partial(running, url, time_s=START_S)
        processes = await asyncio.gather(*(stack.enter_async_context(start()) for _ in range(2)))
        answers: Counter[int] = Counter()
        senders = [
            asyncio.create_task(send(f"s{number}", processes, random.Random(number), answers))
            for number in range(SENDERS)
        ]
        await asyncio.wait(senders, timeout=1.0)  # the moment of the kill is the test's input
        await processes[0].stop(signal.SIGKILL)
        processes[0] = await stack.enter_async_context(start())
        async with aiohttp.ClientSession() as client:
            async with within(SENT_S, "every line acknowledged", processes):
                await asyncio.gather(*senders)
            async with within(DEADLINE_S, "a tail of one shows what the other stores", processes):
                await follow(client, *processes)
        async with within(DEADLINE_S, "the store's sums", processes):
            sums = await sums_of(url)
        whole = [Sum(f"s{number}", LINES, LINES, LINES) for number in range(SENDERS)]
        assert sums == [*whole, Sum("tailed", 1, 1, 5)]
        async with aiohttp.ClientSession() as client, within(DEADLINE_S, "answers of both", processes):
            found, named = [], set()
            for process in processes:
                async with client.get(f"{process.url}/query", params={"grep": "s1@7", "since": "5m"}) as answer:
                    found.append((await answer.text()).count("\n"))
                async with client.get(f"{process.url}/v1/positions") as answer:
                    named.add(answer.headers[STORE_HEADER])
                async with client.post(f"{process.url}/delete", data={"namespace": "shop"}) as answer:
                    assert answer.status == 501
                    assert "docs/cluster.md" in msgspec.json.decode(await answer.read(), type=Refusal).hint
            assert found == [11, 11], "7, and 70 to 79"
            assert len(named) == 1, "to meet another aggregator is no other store"
