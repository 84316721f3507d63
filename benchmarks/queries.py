"""Questions in LogQL against the same ones in SQL by hand, on the bare engine; in a store that grows.

Each question is asked in turn by the aggregator's own way from text to answer, over HTTP where `/query` can say it, and
of the engine alone, which has the same settings and threads. What the engine remembers of conditions is forgotten
before each: otherwise whoever comes second had an easy time.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import pyarrow as pa
from aiohttp import web
from prometheus_client import CollectorRegistry

from aggregator.api.queries import QueryLimits, add_queries
from aggregator.logql.tree import Query
from aggregator.logql.vector.matrix import Matrix
from aggregator.query import logs, metrics
from aggregator.query.budget import Budget
from aggregator.query.live import Live
from aggregator.store.commits import Commits
from aggregator.store.engine import Engine, Limits
from aggregator.store.rendering import Rendering
from aggregator.store.schema import create
from benchmarks.questions import NEWEST, Question, questions
from benchmarks.stock import START_NS, Stock, needle
from service.options import Address
from service.web import serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

RUNS: Final = 5
MILLIONS: Final = (1, 5, 10)
_MILLION: Final = 1_000_000
_LIMITS: Final = Limits(time_s=600.0)
_ANSWER_BYTES: Final = 64 << 20
_START_S: Final = START_NS // 10**9
# By how much answers may differ: by hand the edge of a minute is in the minute after it, in LogQL in the one before.
_DIFFERENCE: Final = 0.02


class Took(msgspec.Struct, frozen=True):
    """Median seconds of a question over ``lines`` lines; ``http_s``: 0 where it was not asked over HTTP."""

    name: str
    lines: int
    asked_s: float
    bare_s: float
    http_s: float
    asked_cpu_s: float
    bare_cpu_s: float

    @property
    def ratio(self) -> float:
        """The aggregator against the bare engine."""
        return self.asked_s / self.bare_s

    @property
    def cpu_ratio(self) -> float:
        """The same in CPU of the whole process: of use where others are at work on the machine."""
        return self.asked_cpu_s / self.bare_cpu_s


def measure(
    directory: Path, millions: tuple[int, ...] = MILLIONS, tell: Callable[[Took], None] = lambda _: None
) -> list[Took]:
    """Ask every question of a store that grows to each of ``millions`` of lines; ``tell`` hears each result."""
    return asyncio.run(_measure(directory, millions, tell))


async def _measure(directory: Path, millions: tuple[int, ...], tell: Callable[[Took], None]) -> list[Took]:
    found: list[Took] = []
    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(Engine.open(f"chdb://{directory / 'store'}"))
        await create(engine)
        app = web.Application()
        add_queries(app, engine, QueryLimits(), CollectorRegistry(), live=Live(engine, Commits(0)))
        address = await stack.enter_async_context(serve(app, Address("127.0.0.1", 0)))
        session = await stack.enter_async_context(aiohttp.ClientSession(address.url))
        stock = Stock(engine)
        for million in millions:
            await stock.grow(million * _MILLION)
            for question in questions(needle()):
                took = await Asking(engine, session, question, stock).medians()
                tell(took)
                found.append(took)
    return found


class Asking:
    """One question, asked of the stock as it is now in every way there is."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession, question: Question, stock: Stock) -> None:
        self._engine = engine
        self._session = session
        self._question = question
        self._lines = stock.lines
        self._span = (_START_S, stock.end_ns // 10**9)

    async def medians(self) -> Took:
        """Every way in turn, `RUNS` times, after once to warm up. Raises `RuntimeError` if answers differ."""
        ways: dict[str, Callable[[], Awaitable[int]]] = {"asked": self.asked, "bare": self.bare}
        if self._question.parameters:
            ways["http"] = self.over_http
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        answers = {name: await ask() for name, ask in ways.items()}
        if max(answers.values()) - min(answers.values()) > _DIFFERENCE * max(answers.values()):
            raise RuntimeError(f"{self._question.name}: answers of different length, {answers}")
        for _ in range(RUNS):
            for name, ask in ways.items():
                await self._engine.execute("SYSTEM DROP QUERY CONDITION CACHE")
                began, cpu_began = time.perf_counter(), time.process_time()
                await ask()
                seconds[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - cpu_began)
        asked_s, bare_s, http_s = (statistics.median(seconds.get(name, [0.0])) for name in ("asked", "bare", "http"))
        asked_cpu_s, bare_cpu_s = (statistics.median(cpu[name]) for name in ("asked", "bare"))
        return Took(self._question.name, self._lines, asked_s, bare_s, http_s, asked_cpu_s, bare_cpu_s)

    async def asked(self) -> int:
        """As the aggregator does it; gives how many records or samples there are."""
        query = self._question.query(*self._span)
        budget = Budget(_LIMITS, _ANSWER_BYTES)
        now_ns = self._span[1] * 10**9
        if isinstance(query, Query):
            rows = 0
            async with contextlib.aclosing(logs.pieces(self._engine, query, Rendering(), budget, now_ns)) as pieces:
                async for piece in pieces:
                    rows += piece.rows
            return rows
        value = (await metrics.evaluate(self._engine, query, budget, now_ns)).value
        return int(value.present.sum()) if isinstance(value, Matrix) else 1

    async def bare(self) -> int:
        """The SQL by hand, the same way out of the engine; gives how many rows there are."""
        rows = 0
        async with self._engine.stream(self._question.bare(*self._span), "ArrowStream", None, _LIMITS) as chunks:
            async for chunk in chunks:
                rows += sum(batch.num_rows for batch in pa.ipc.open_stream(chunk))
        return rows

    async def over_http(self) -> int:
        """By `/query`; gives how many lines there are."""
        start, end = self._span
        path = f"/query?start={start}&end={end}&limit={NEWEST}&{self._question.parameters}"
        async with self._session.get(path) as response:
            response.raise_for_status()
            return (await response.read()).count(b"\n")
