"""How fast batches are taken while heavy queries run, against how fast when none do; on a store of millions of lines.

Turn and turn about, with as many lines each time: batches made beforehand are sent as fast as they are acknowledged,
first alone, then while clients ask one heavy question after the other, as many at a time as the aggregator lets run.
Everything shares one machine, so what senders need is lost to both alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
import numpy as np
import zstandard

from aggregator.store.engine import Engine
from aggregator.store.schema import create
from benchmarks.processes import running
from benchmarks.stock import START_NS, Stock
from wire.batch import Batch, Chunk
from wire.codec import CONTENT_ENCODING, CONTENT_TYPE, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

STOCK_LINES: Final = 2_000_000
TURNS: Final = 5
# Each turn; a batch is as large as those of agents that catch up.
BATCHES: Final = 24
BATCH_LINES: Final = 10_000
SENDERS: Final = 4
ASKING: Final = 4
_HEADERS: Final = {"Content-Type": CONTENT_TYPE, "Content-Encoding": CONTENT_ENCODING}
_SECOND_NS: Final = 10**9
# Every one has to go through most lines of the stock.
_HEAVY: Final = (
    'sum by (detected_level) (count_over_time({namespace=~".+"} |~ "table_[0-9]+7" [1h]))',
    'quantile_over_time(0.99, {container="api"} | json | unwrap latency [1h]) by (namespace)',
    'topk(10, sum by (route) (count_over_time({container="api"} | json [1h])))',
    'sum(count_over_time({namespace=~".+"} |= "eadloc" [1h]))',
)


class Beside(msgspec.Struct, frozen=True):
    """Lines a second, medians of `TURNS`; ``asked``: heavy queries that were answered meanwhile."""

    alone: float
    beside: float
    asked: int

    @property
    def ratio(self) -> float:
        """What is left of the rate beside heavy queries."""
        return self.beside / self.alone


def measure(directory: Path) -> Beside:
    """Fill a store, have an aggregator open it, and send."""
    store = directory / "store"
    end_ns = asyncio.run(_filled(store))
    options = ("--store", f"chdb://{store}", "--retention", "3650d", "--query-time", "300s")
    with running("aggregator", directory / "aggregator.log", *options) as aggregator:
        return asyncio.run(_measured(aggregator.url, end_ns))


async def _filled(store: Path) -> int:
    async with Engine.open(f"chdb://{store}") as engine:
        await create(engine)
        stock = Stock(engine)
        await stock.grow(STOCK_LINES)
        return stock.end_ns


async def _measured(url: str, end_ns: int) -> Beside:
    batches = _batches()
    rates: dict[bool, list[float]] = {False: [], True: []}
    asked = 0
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=600)) as session:
        await _sent(session, list(itertools.islice(batches, BATCHES)))  # warms up
        for is_beside in (False, True) * TURNS:
            ready = list(itertools.islice(batches, BATCHES))
            async with contextlib.AsyncExitStack() as stack:
                answers = await stack.enter_async_context(_heavy(session, end_ns)) if is_beside else []
                began = time.monotonic()
                await _sent(session, ready)
                rates[is_beside].append(BATCHES * BATCH_LINES / (time.monotonic() - began))
            asked += len(answers)
    return Beside(statistics.median(rates[False]), statistics.median(rates[True]), asked)


async def _sent(session: aiohttp.ClientSession, batches: list[bytes]) -> None:
    """Send ``batches``, `SENDERS` at a time."""

    async def send() -> None:
        while batches:
            data = batches.pop(0)
            async with session.post("/v1/batches", data=data, headers=_HEADERS) as answer:
                answer.raise_for_status()

    await asyncio.gather(*(send() for _ in range(SENDERS)))


@contextlib.asynccontextmanager
async def _heavy(session: aiohttp.ClientSession, end_ns: int) -> AsyncIterator[list[int]]:
    """Ask without a pause as long as this is open; gives the sizes of the answers, as they come."""
    sizes: list[int] = []

    async def ask(first: int) -> None:
        for number in itertools.count(first):
            asked = {"q": _HEAVY[number % len(_HEAVY)], "start": START_NS // _SECOND_NS, "end": end_ns // _SECOND_NS}
            async with session.get(f"/query?{urlencode(asked | {'step': '1h'})}") as answer:
                answer.raise_for_status()
                sizes.append(len(await answer.read()))

    tasks = [asyncio.create_task(ask(first)) for first in range(ASKING)]
    try:
        yield sizes
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [one for one in found if isinstance(one, Exception)]
    if failed:
        raise failed[0]


def _batches() -> Iterator[bytes]:
    """Batches as agents send them, of `BATCHES` files in turn, each going on where the one before it ended."""
    bodies = [
        f"{number:08} GET /api/v1/items/{number * 7919 % 100_003} {200 + number % 7} {number % 1000}ms "
        f'agent="Mozilla/5.0" referrer="https://shop.example.com/{number % 613}"'.encode()
        for number in range(BATCH_LINES)
    ]
    lengths = np.array([len(body) for body in bodies], np.uint32)
    positions = (lengths.astype(np.uint64) + 50).cumsum(dtype=np.uint64)
    body = b"".join(bodies)
    flags = np.zeros(BATCH_LINES, np.uint8)
    compressor = zstandard.ZstdCompressor(1)
    for number in itertools.count():
        turn, file = divmod(number, BATCHES)
        pod = f"web-{file}"
        source = b"beside" + file.to_bytes(10, "little")  # none of the stock's
        start = turn * int(positions[-1])
        end = start + int(positions[-1])
        chunk = Chunk(source, start, end, "shop", pod, f"uid-{pod}", "app", 0, BATCH_LINES, joint=False)
        times = time.time_ns() + np.arange(BATCH_LINES, dtype=np.int64) * 1000
        moved = positions + np.uint64(start)
        batch = Batch("bench", f"node-{number % 8}", "bench", (chunk,), times, moved, flags, lengths, body)
        yield compressor.compress(encode(batch))
