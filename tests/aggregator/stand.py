"""The way into a real store, put together for tests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry

from aggregator.api.batches import Batches
from aggregator.api.routes import application
from aggregator.ingest.admission import Admission
from aggregator.ingest.committer import Committer, Outcome
from aggregator.metrics import Metrics
from aggregator.store import coverage, moved, schema
from aggregator.store.commits import Commits
from aggregator.store.engine import Engine
from aggregator.store.floor import Floor
from aggregator.store.positions import Positions
from aggregator.store.retention import Retention
from aggregator.store.streams import Streams
from aggregator.store.terms import Terms
from service.options import Address
from service.web import serve
from tests.aggregator.records import DAY_S, NOW_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiohttp import web

    from aggregator.store.tier import Tier
    from service.token import Tokens
    from wire.batch import Batch

RETENTION_S: Final = 7.0 * DAY_S


class Row(msgspec.Struct, frozen=True):
    """One stored record."""

    source: str
    position: int
    body: str
    flags: int
    stream: str


class Stand:
    """An open store and its committer, running."""

    def __init__(
        self, engine: Engine, commits: Commits, clock: Callable[[], float], floor: Floor, terms: Terms
    ) -> None:
        self.engine = engine
        self.commits = commits
        self.floor = floor
        self.terms = terms
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.positions = Positions(engine)
        self.streams = Streams(engine)
        self.committer = Committer(
            engine,
            self.positions,
            self.streams,
            commits,
            terms=terms,
            floor=floor,
            metrics=self.metrics,
            clock=clock,
        )

    async def commit(self, *batches: Batch) -> list[Outcome]:
        """Commit batches that arrive together."""
        return await asyncio.gather(*(self.committer.commit(one, 1_000) for one in batches))

    async def rows(self) -> list[Row]:
        """Every stored record, by source and position."""
        return await self.engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS source, position, body, flags, "  # noqa: S608 - constants
            "any(labels['stream']) AS stream "
            f"FROM {schema.LOGS} AS l LEFT JOIN {schema.STREAMS} AS s ON l.stream_id = s.stream_id "
            "GROUP BY source, position, body, flags, committed_at, ts ORDER BY source, position",
            Row,
        )

    async def records(self) -> list[tuple[str, int]]:
        """(source, position) of every stored record, without markers."""
        rows = await self.engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS text, position AS number "  # noqa: S608 - constants
            f"FROM {schema.LOGS} WHERE {schema.IS_RECORD} ORDER BY text, number",
            _Stored,
        )
        return [(row.text, row.number) for row in rows]

    def retention(self, clock: Callable[[], float], size_bytes: int | None = None) -> Retention:
        """Housekeeping of the stand's store."""
        return Retention(
            self.engine,
            self.streams,
            self.commits,
            self.floor,
            self.terms,
            size_bytes=size_bytes,
            clock=clock,
            metrics=self.metrics,
        )

    async def is_whole(self) -> bool:
        """Whether every log file's rows stand for all of it, up to its end, each stretch once."""
        return not await coverage.tears(self.engine)

    async def reached(self, *sources: bytes) -> dict[bytes, int]:
        """The committed positions as the store has them; nothing from memory."""
        self.positions.forget(sources)
        return await self.positions.of(sources)

    async def stored(self) -> list[tuple[str, int]]:
        """(source, position) of every stored row, one entry a row."""
        rows = await self.engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS text, position AS number "  # noqa: S608 - constants
            f"FROM {schema.LOGS} ORDER BY text, number",
            _Stored,
        )
        return [(row.text, row.number) for row in rows]

    async def count(self, what: str) -> int:
        """A count of the store, as SQL after ``SELECT count() AS number FROM``."""
        (row,) = await self.engine.rows(f"SELECT count() AS number FROM {what}", _Count)  # noqa: S608 - constants
        return row.number

    def metric(self, name: str, **labels: str) -> float:
        """A sample of the registry; 0 if there is none yet."""
        return self.registry.get_sample_value(f"logboom_aggregator_{name}", labels) or 0.0


class _Stored(msgspec.Struct):
    text: str
    number: int


class _Count(msgspec.Struct):
    number: int


@contextlib.asynccontextmanager
async def open_stand(
    path: Path,
    clock: Callable[[], float] = lambda: float(NOW_S),
    connections: int = 2,
    terms: Terms = Terms(RETENTION_S),  # noqa: B008 - frozen
    tier: Tier | None = None,
) -> AsyncIterator[Stand]:
    """A stand on the store in ``path``."""
    async with (
        Engine.open(f"chdb://{path}", connections, tier=tier) as engine,
        stand_on(engine, clock, terms) as stand,
    ):
        yield stand


@contextlib.asynccontextmanager
async def stand_on(
    engine: Engine,
    clock: Callable[[], float] = lambda: float(NOW_S),
    terms: Terms = Terms(RETENTION_S),  # noqa: B008 - frozen
) -> AsyncIterator[Stand]:
    """A stand on an open store."""
    await schema.create(engine)
    if engine.has_tier:
        await moved.prepare(engine)
    stand = Stand(engine, await Commits.read(engine), clock, await Floor.read(engine), terms)
    task = asyncio.create_task(stand.committer.run())
    try:
        yield stand
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def serve_stand(
    path: Path,
    *,
    ingest_memory: int = 128 << 20,
    body_time_s: float = 30.0,
    tokens: Tokens | None = None,
    add: Callable[[web.Application, Stand], None] = lambda _, __: None,
) -> AsyncIterator[tuple[Stand, str]]:
    """A stand behind real HTTP, with the routes that ``add`` puts into it; gives it and its address."""
    async with open_stand(path) as stand:
        batches = Batches(stand.committer, Admission(ingest_memory), stand.metrics, body_time_s)

        async def not_ready() -> str | None:
            return None

        async def remark() -> str | None:
            return stand.committer.refused()

        app = application(
            batches=batches,
            positions=stand.positions,
            store="store/boot",
            tokens=tokens,
            not_ready=not_ready,
            remark=remark,
            metrics=stand.metrics,
            registry=stand.registry,
        )
        add(app, stand)
        async with serve(app, Address("127.0.0.1", 0)) as address:
            yield stand, address.url
        await batches.close()
