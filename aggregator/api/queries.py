"""GET /query: records as text, NDJSON or CSV, sent as the engine makes them.

What goes wrong before the first byte is an error answer. What goes wrong after it ends the answer with a line of JSON,
``{"error": …}``, and with the connection, without the last chunk that HTTP asks for: no client can take the answer for
complete. A client that goes away, or reads nothing for a minute, ends its query in the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from aggregator.api.accounting import AnswerCutError, QueryMetrics, TailMetrics, outcome_of
from aggregator.api.context import Context
from aggregator.api.labels import Catalogue
from aggregator.api.nodes import NodeHandlers
from aggregator.api.openapi import openapi_handler
from aggregator.api.parameters import Asked, asked
from aggregator.api.refusals import refused
from aggregator.api.tails import Tails
from aggregator.api.turnstile import Turnstile
from aggregator.api.welcome import welcome
from aggregator.errors import StoreError
from aggregator.nodes import Nodes
from aggregator.query.budget import Budget
from aggregator.query.logs import pieces
from aggregator.store.engine import Engine, Limits
from aggregator.store.expressions import check_expressions
from aggregator.store.rendering import Format, header
from service.logs import fields
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from prometheus_client import CollectorRegistry

    from aggregator.query.live import Live
    from aggregator.query.shown import Piece

_log = logging.getLogger(__name__)

_CONTENT_TYPES: Final = {
    Format.TEXT: "text/plain; charset=utf-8",
    Format.JSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}
# A reader that takes nothing for so long holds a place that others wait for.
STALL_S: Final = 60.0
# Bytes handed to a connection at once: what a reader has to take within `STALL_S`.
_WRITE_BYTES: Final = 256 << 10


class QueryLimits(msgspec.Struct, frozen=True):
    """What queries may use.

    ``time_s``: a query with a limit, a catalogue's answer. ``export_time_s``: a query with limit=0, its reader's pace
    included. ``memory_bytes``, ``threads``: of the engine, per query. ``read_bytes``: uncompressed, per statement.
    ``rows``: the largest limit. ``answer_bytes``: of an answer that is held until its oldest record is known.
    ``concurrent``, ``waiting``: queries that run and that wait; the engine needs a connection for each that runs.
    """

    time_s: float = 30.0
    export_time_s: float = 3600.0
    memory_bytes: int = 1 << 30
    read_bytes: int = 256 << 30
    rows: int = 100_000
    answer_bytes: int = 64 << 20
    threads: int = 2
    concurrent: int = 4
    waiting: int = 32


def add_queries(
    app: web.Application,
    engine: Engine,
    limits: QueryLimits,
    registry: CollectorRegistry,
    *,
    live: Live,
    stall_s: float = STALL_S,
) -> None:
    """Put into ``app`` what answers questions: ``/``, ``/query``, ``/labels``, ``/nodes`` and so on."""
    turnstile = Turnstile(limits.concurrent, limits.waiting, limits.time_s)
    metrics = QueryMetrics(registry, turnstile)
    catalogue = Catalogue(engine, _engine_limits(limits, limits.time_s), turnstile, metrics)
    app.router.add_get("/", welcome)
    app.router.add_get("/openapi.json", openapi_handler(limits.rows))
    app.router.add_get("/query", Queries(engine, limits, turnstile, metrics, stall_s).get, allow_head=False)
    app.router.add_get("/labels", catalogue.names, allow_head=False)
    app.router.add_get("/labels/{name:[^/]+}/values", catalogue.values, allow_head=False)
    app.router.add_get("/streams", catalogue.streams, allow_head=False)
    export = _engine_limits(limits, limits.export_time_s)
    tails = Tails(engine, live, TailMetrics(registry, live), metrics, turnstile=turnstile, limits=export)
    app.router.add_get("/tail", tails.get, allow_head=False)
    app.on_shutdown.append(tails.close)
    context = Context(engine, _engine_limits(limits, limits.time_s), limits.answer_bytes, turnstile, metrics)
    app.router.add_get("/context", context.get, allow_head=False)
    known = Nodes(registry)
    nodes = NodeHandlers(known, engine, _engine_limits(limits, limits.time_s), turnstile, metrics)
    app.router.add_post("/v1/heartbeats", nodes.heartbeat)
    app.router.add_get("/nodes", nodes.nodes, allow_head=False)
    app.router.add_get("/completeness", nodes.completeness, allow_head=False)


class Queries:
    """The handler of ``/query``; owns nothing."""

    def __init__(
        self, engine: Engine, limits: QueryLimits, turnstile: Turnstile, metrics: QueryMetrics, stall_s: float
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._turnstile = turnstile
        self._metrics = metrics
        self._stall_s = stall_s

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer one query."""
        response = web.StreamResponse()
        try:
            with self._metrics.observed("/query"):
                now_ns = time.time_ns()
                accept = request.headers.get("Accept", "")
                wanted = asked(request.rel_url.raw_query_string, accept, now_ns, self._limits.rows)
                response.headers["Content-Type"] = _CONTENT_TYPES[wanted.rendering.format]
                # Lines are what strangers wrote: no browser may guess that they are a page, no cache may keep them.
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Cache-Control"] = "no-store"
                async with self._turnstile.enter():
                    await self._answer(request, response, wanted, now_ns)
        except AnswerCutError as cut:
            # Not before the query has ended: losing its connection cancels this handler.
            if request.transport is not None:
                if cut.stalled:
                    request.transport.abort()
                else:
                    request.transport.close()
        return response

    async def _answer(self, request: web.Request, response: web.StreamResponse, wanted: Asked, now_ns: int) -> None:
        time_s = self._limits.time_s if wanted.query.limit else self._limits.export_time_s
        limits = _engine_limits(self._limits, time_s)
        budget = Budget(limits, self._limits.answer_bytes)
        try:
            await check_expressions(self._engine, wanted.query, budget.left)
            async with contextlib.aclosing(self._pieces(wanted, budget, now_ns)) as pieces:
                async for piece in pieces:
                    if not response.prepared:
                        await self._begin(request, response, wanted)
                    await self._write(response, piece.data)
                    self._metrics.rows.inc(piece.rows)
                    self._metrics.bytes.inc(len(piece.data))
            if not response.prepared:
                await self._begin(request, response, wanted)
            await response.write_eof()
        except StoreError as error:
            refusal = refused(error, limits)
            if response.prepared:
                if refusal is None:
                    _log.exception("query failed", extra=fields(query=request.path_qs))
                told = refusal.refusal if refusal else Refusal("internal error", hint="the server's log has details")
                await self._write(response, memoryview(msgspec.json.encode(told) + b"\n"))
                raise AnswerCutError(outcome_of(refusal.status if refusal else 500)) from error
            if refusal is None:
                raise
            raise refusal from error

    def _pieces(self, wanted: Asked, budget: Budget, now_ns: int) -> AsyncGenerator[Piece]:
        return pieces(self._engine, wanted.query, wanted.rendering, budget, now_ns)

    async def _begin(self, request: web.Request, response: web.StreamResponse, wanted: Asked) -> None:
        await response.prepare(request)
        await self._write(response, memoryview(header(wanted.rendering)))

    async def _write(self, response: web.StreamResponse, data: memoryview) -> None:
        for first in range(0, len(data), _WRITE_BYTES):
            try:
                async with asyncio.timeout(self._stall_s):
                    await response.write(data[first : first + _WRITE_BYTES])
            except TimeoutError as error:
                raise AnswerCutError("client_stalled", stalled=True) from error


def _engine_limits(limits: QueryLimits, time_s: float) -> Limits:
    return Limits(time_s=time_s, memory_bytes=limits.memory_bytes, read_bytes=limits.read_bytes, threads=limits.threads)
