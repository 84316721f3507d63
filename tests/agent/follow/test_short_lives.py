"""A whole agent and pods that do not live long, or leave more behind than may be held."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from wire.batch import Flag

if TYPE_CHECKING:
    from aiohttp import web

    from tests.agent.stand_in import Aggregator, Node
    from wire.batch import Batch

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Get = Callable[[str], Awaitable[tuple[int, bytes]]]


def cri(number: int) -> bytes:
    return b"2023-04-05T02:29:34.%09dZ stdout F line %d" % (number, number)


async def found(url: str, get: Get, files: int) -> None:
    """Wait until an agent has that many files open."""
    async with asyncio.timeout(15):
        while sum(file["open"] for file in json.loads((await get(f"{url}/status"))[1])["files"]) != files:
            pass


async def test_a_pod_that_is_deleted_within_a_second_is_complete(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    async with node.agent():
        node.write("a_b_c/web/0.log", *map(cri, range(1000)))
        await asyncio.sleep(0.5)  # it lives for half a second: this is the case, not a wait for something
        shutil.rmtree(node.root / "a_b_c")
        await until(lambda: len(aggregator.bodies()) == 1000)
    assert aggregator.bodies() == [b"line %d" % number for number in range(1000)]


@pytest.mark.parametrize("inotify", [True, False])
async def test_five_hundred_pods_that_start_at_once_and_are_deleted_are_complete(
    node: Node, aggregator: Aggregator, until: Until, get: Get, *, inotify: bool
) -> None:
    async with node.agent(inotify=inotify) as url:
        for pod in range(500):
            node.write(f"a_b_{pod}/web/0.log", *(cri(10 * pod + number) for number in range(10)))
        await found(url, get, 500)
        for pod in range(500):
            shutil.rmtree(node.root / f"a_b_{pod}")
        await until(lambda: len(aggregator.bodies()) == 5000)
        await found(url, get, 0)
    assert sorted(aggregator.bodies()) == sorted(b"line %d" % number for number in range(5000))


async def test_what_may_not_be_held_while_the_aggregator_is_away_becomes_one_gap_record(
    node: Node, aggregator: Aggregator, until: Until, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.follow.gaps.DUE_AFTER_S", 0.1)
    away = asyncio.Event()

    async def hold(_: web.Request, __: Batch) -> None:
        await away.wait()

    lines = [cri(number) for number in range(60_000)]
    size = sum(len(line) + 1 for line in lines)
    aggregator.always = hold
    path = node.write("a_b_c/web/0.log", *lines)
    async with node.agent(batch_bytes=64 << 10, deleted_bytes=1000) as url:
        await until(lambda: aggregator.requests == 1)
        shutil.rmtree(node.root / "a_b_c")
        # News of another directory brings the scan, and with it the look.
        node.write("a_b_d/web/0.log", cri(0))
        await found(url, get, 1)
        away.set()
        await until(lambda: any(row.flags & Flag.GAP for rows in aggregator.rows.values() for row in rows))
        await until(lambda: len(aggregator.rows) == 2)
        metrics = (await get(f"{url}/metrics"))[1].decode()
    assert not path.exists()
    rows = max(aggregator.rows.values(), key=len)
    *read, gap = rows
    assert gap.flags == Flag.GAP
    assert [row.body for row in read] == [b"line %d" % number for number in range(len(read))]
    lost = size - read[-1].position
    assert (gap.position, json.loads(gap.body)) == (size, {"bytes": lost, "reason": "held too long"})
    assert 'logboom_agent_gaps_total{reason="held too long"} 1.0' in metrics
    assert float(metrics.split('logboom_agent_gap_bytes_total{reason="held too long"} ')[1].split()[0]) == lost
