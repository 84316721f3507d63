"""Puts the aggregator together and owns every task and resource of it, from start to stop.

Resources are opened in the order store, committer, server and closed in the reverse: the server stops taking requests
and answers those it has, the committer finishes its group, the store is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from typing import TYPE_CHECKING, Final, cast

import prometheus_client
from prometheus_client import CollectorRegistry

from aggregator.api.batches import Batches
from aggregator.api.deletions import add_deletions, refuse_deletions
from aggregator.api.queries import QueryLimits, add_queries
from aggregator.api.routes import application
from aggregator.errors import StoreError, StoreGoneError
from aggregator.ingest.admission import Admission
from aggregator.ingest.committer import Committer
from aggregator.metrics import Metrics
from aggregator.query.live import Live
from aggregator.store import arrivals, disk, migrations, moved, parts, schema
from aggregator.store.cold import Cold
from aggregator.store.commits import Commits
from aggregator.store.deletions import Deletions
from aggregator.store.engine import Engine
from aggregator.store.eraser import Eraser
from aggregator.store.floor import Floor
from aggregator.store.positions import Positions
from aggregator.store.retention import Retention
from aggregator.store.streams import Streams
from aggregator.store.terms import Terms
from service.logs import fields
from service.token import Tokens
from service.web import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from aggregator.config import Config
    from aggregator.store.embedded import Embedded
    from aggregator.store.tier import Tier

_log = logging.getLogger(__name__)

# Connections beside those of queries: one for committed positions, three for housekeeping (days, namespaces,
# deletions), one for tails; with a cold tier, one for moves.
_OWN_CONNECTIONS: Final = 5
_SAMPLE_EVERY_S: Final = 30.0
_LOOK_AT_STORE_EVERY_S: Final = 2.0
# A probe waits about as long (the default of Kubernetes is one second).
_READY_TIME_S: Final = 1.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


async def run(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises `StoreError`, `TokenFileError`, OSError for what keeps it from starting."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        tokens = Tokens(config.token_file) if config.token_file else None
        registry = _registry()
        metrics = Metrics(registry)
        engine = await stack.enter_async_context(
            Engine.open(
                config.store,
                config.query_concurrent + _OWN_CONNECTIONS + (1 if config.cold else 0),
                config.store_password,
                reserve_bytes=config.disk_reserve_bytes,
                tier=config.cold,
            )
        )
        await _prepare(engine)
        # An agent meets any of several aggregators; to meet another one is no reason to read anything again.
        store = f"{engine.identity}/{'shared' if engine.layout.shared else uuid.uuid4().hex}"
        positions = Positions(engine)
        # Servers repair from their replicas, or say what is lost: docs/cluster.md.
        aside = False if engine.layout.shared else await _set_aside(engine, positions, metrics)
        streams = Streams(engine)
        commits = await Commits.read(engine)
        floor = await Floor.read(engine)
        terms = Terms(config.retention_s, config.retention_rules)
        committer = Committer(engine, positions, streams, commits, terms=terms, floor=floor, metrics=metrics)
        live = Live(engine, commits)
        retention = Retention(
            engine,
            streams,
            commits,
            floor,
            terms,
            size_bytes=config.retention_size_bytes,
            clock=time.time,
            metrics=metrics,
        )
        batches = Batches(committer, Admission(config.ingest_memory_bytes), metrics)
        stack.push_async_callback(batches.close)
        housekeeping = [retention.run()]
        if terms.rules:
            housekeeping.append(retention.run_namespaces())
        if config.cold:
            housekeeping.append(_cold(engine, config.cold, config.cold_after_s, terms, metrics).run())
        if engine.layout.shared:
            housekeeping.append(commits.follow(time.time))
        else:
            deletions = await Deletions.read(engine)
            eraser = Eraser(engine, commits, deletions, metrics)
            housekeeping += [eraser.run(), _watch(engine)]
        housekeeping += [_sample(engine, positions, metrics), live.run(), committer.precedence.run()]
        for task in (*housekeeping, committer.run()):
            await stack.enter_async_context(_running(task, stop))
        # Ended before the committer is, which may wait for it.
        await stack.enter_async_context(_beside(_find_holes(positions, aside)))
        app = application(
            batches=batches,
            positions=positions,
            store=store,
            tokens=tokens,
            not_ready=lambda: _not_ready(engine),
            remark=lambda: _remark(committer, positions),
            metrics=metrics,
            registry=registry,
        )
        limits = QueryLimits(
            time_s=config.query_time_s, memory_bytes=config.query_memory_bytes, concurrent=config.query_concurrent
        )
        add_queries(app, engine, limits, registry, live=live, store=store)
        if engine.layout.shared:
            refuse_deletions(app)
        else:
            add_deletions(app, engine, deletions, eraser)
        address = await stack.enter_async_context(serve(app, config.listen))
        if tokens is None and address.host not in _LOOPBACK:
            _log.warning("no --token-file: everyone who reaches the address may read and write every log")
        _log.info("listening", extra=fields(address=address.url, store=config.store))
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the rest, until it is done."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _running(work: Coroutine[None, None, None], stop: asyncio.Event) -> AsyncIterator[None]:
    """Run ``work`` beside the rest. Should it end by itself, everything stops, with its exception if it has one."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _not_ready(engine: Engine) -> str | None:
    """Why the aggregator is of no use right now, if so.

    Not that it commits nothing: agents wait and come back by themselves, and queries are answered, but not by one whose
    address Kubernetes takes away because it is not ready.
    """
    try:
        async with asyncio.timeout(_READY_TIME_S):
            await asyncio.to_thread(engine.check)
            await engine.ping(_READY_TIME_S)
    except TimeoutError:
        return f"the store does not answer within {_READY_TIME_S:g} s"
    except StoreGoneError as error:
        return str(error)
    except StoreError as error:
        return f"the store does not answer: {error}"
    return None


async def _remark(committer: Committer, positions: Positions) -> str | None:
    """What is wrong, though queries are answered."""
    if not positions.is_known:
        return "queries are answered, but batches wait until it is known what is missing of damaged parts"
    why = committer.refused()
    return f"queries are answered, but batches are refused: {why}" if why else None


async def _watch(engine: Engine) -> None:
    """Say in the log, once, that the store was taken away; nothing brings it back."""
    while True:
        await asyncio.sleep(_LOOK_AT_STORE_EVERY_S)
        try:
            await asyncio.to_thread(engine.check)
        except StoreGoneError as error:
            _log.error("nothing is answered or committed any more", extra=fields(reason=error))
            await asyncio.get_running_loop().create_future()


async def _prepare(engine: Engine) -> None:
    """Have the tables as they are today. Raises `StoreError`."""
    await schema.create(engine)
    await migrations.migrate(engine)
    if engine.has_tier:
        await moved.prepare(engine)
    if await arrivals.is_unfinished(engine):
        _log.warning("an import into the store is not finished: what it lacks is in no answer; see docs/moving.md")


def _cold(engine: Engine, tier: Tier, after_s: float, terms: Terms, metrics: Metrics) -> Cold:
    # `aggregator.config` refuses a tier where servers are the store.
    here = cast("Embedded", engine)
    return Cold(here, tier, after_s=after_s, retention_s=terms.longest_s, clock=time.time, metrics=metrics)


async def _set_aside(engine: Engine, positions: Positions, metrics: Metrics) -> bool:
    """Whether parts are damaged, so that holes are to be looked for. Then no position is told before that is over."""
    aside = await parts.set_aside(engine)
    metrics.parts_set_aside.set(len(aside))
    for part in aside:
        found = fields(table=part.table, day=part.day, bytes=part.bytes, path=part.path)
        _log.error("a part is damaged and set aside, its records are in no answer; see docs/operations.md", extra=found)
    if aside and engine.aside.parts:
        _log.error("what is missing is not looked for while the cold tier is away: restart when it is back")
        return False
    if aside:
        positions.await_holes()
    return bool(aside)


async def _find_holes(positions: Positions, are_parts_damaged: bool) -> None:  # noqa: FBT001 - the only one
    """Where the engine has set damaged parts aside, have agents send again what was in them."""
    if not are_parts_damaged:
        return
    _log.info("looking for what is missing, in all records; agents wait meanwhile, it may take minutes")
    try:
        await positions.find_holes()
    except StoreError as error:
        _log.error("what is missing could not be found: it is not sent again", extra=fields(reason=error))
        return
    _log.warning("agents are asked for what is missing", extra=fields(log_files=positions.holes))


async def _sample(engine: Engine, positions: Positions, metrics: Metrics) -> None:
    """Look at the store's size from time to time; asking at every scrape would let scrapers set the pace."""
    while True:
        try:
            tables = await disk.tables(engine)
            for figure in (metrics.store_bytes, metrics.store_parts, metrics.store_rows):
                figure.clear()  # a table whose days were all dropped is not among them
            for table in tables:
                metrics.store_bytes.labels(table.name, "local").set(table.bytes)
                if table.cold_bytes:
                    metrics.store_bytes.labels(table.name, "cold").set(table.cold_bytes)
                metrics.store_parts.labels(table.name).set(table.parts)
                metrics.store_rows.labels(table.name).set(table.rows)
            metrics.store_free_bytes.set(await engine.free_bytes())
            metrics.sources_holed.set(positions.holes)
        except (StoreError, OSError) as error:
            _log.warning("the store's size could not be read", extra=fields(reason=error))
        await asyncio.sleep(_SAMPLE_EVERY_S)


def _registry() -> CollectorRegistry:
    """A registry with the process's own figures in it."""
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.PlatformCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    return registry
