"""A store with its committer and everything that is asked over HTTP, for tests of what follows commits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from aggregator.api.accounting import QueryMetrics, TailMetrics
from aggregator.api.deletions import add_deletions
from aggregator.api.queries import QueryLimits, add_queries
from aggregator.api.tails import Tails
from aggregator.api.turnstile import Turnstile
from aggregator.query.live import Live
from aggregator.store.deletions import Deletions
from aggregator.store.engine import Limits
from aggregator.store.eraser import Eraser
from service.options import Address
from service.web import errors_as_json, serve
from tests.aggregator.records import Part, Record, batch, source
from tests.aggregator.stand import Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import aiohttp

DEADLINE_S = 30.0


class Followed:
    """A stand and its address."""

    def __init__(self, stand: Stand, live: Live, url: str, registry: CollectorRegistry) -> None:
        self.stand = stand
        self.live = live
        self.url = url
        self.registry = registry
        self._positions: dict[bytes, int] = {}

    async def commit(self, *bodies: bytes, log: str = "a", pod: str = "web-0", ts_ns: int = 0, flags: int = 0) -> None:
        """Commit lines of one file, of now unless said otherwise."""
        name = source(log)
        first = self._positions.get(name, 0)
        now_ns = ts_ns or time.time_ns()
        records = tuple(Record(first + n, body, now_ns, flags) for n, body in enumerate(bodies, 1))
        self._positions[name] = first + len(bodies)
        await self.stand.commit(batch(Part(name, first, records, pod=pod)))

    def figure(self, name: str) -> float:
        return self.registry.get_sample_value(f"logboom_aggregator_{name}") or 0.0


@contextlib.asynccontextmanager
async def following(
    path: Path, *, clock: Callable[[], float] = time.time, alive_s: float = 15.0, **limits: int
) -> AsyncIterator[Followed]:
    """Serve until the context ends; ``limits``: those of `Live`. Signs of life at ``/quick`` every ``alive_s``."""
    async with open_stand(path, clock, QueryLimits().concurrent + 4) as stand:
        live = Live(stand.engine, stand.commits, **limits)
        task = asyncio.create_task(live.run())
        registry = CollectorRegistry()
        app = web.Application(middlewares=[errors_as_json(registry)])
        add_queries(app, stand.engine, QueryLimits(), registry, live=live)
        deletions = await Deletions.read(stand.engine)
        eraser = Eraser(stand.engine, stand.commits, deletions, stand.metrics)
        add_deletions(app, stand.engine, deletions, eraser)
        erasing = asyncio.create_task(eraser.run())
        other, turnstile = CollectorRegistry(), Turnstile(1, 1, 1.0)
        counted, metrics = TailMetrics(other, live), QueryMetrics(other, turnstile)
        quick = Tails(stand.engine, live, counted, metrics, turnstile=turnstile, limits=Limits(), alive_s=alive_s)
        app.router.add_get("/quick", quick.get)
        async with serve(app, Address("127.0.0.1", 0)) as address:
            yield Followed(stand, live, address.url, registry)
        for each in (task, erasing):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await each


async def lines(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next objects of an answer in JSON."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            line = await response.content.readuntil(b"\n")
            assert line, "the answer ended"
            found.append(msgspec.json.decode(line))
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)
