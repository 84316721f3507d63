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
from aggregator.api.forms import query_string
from aggregator.api.histogram import Histograms
from aggregator.api.labels import Catalogue
from aggregator.api.loki.handlers import Loki
from aggregator.api.loki.streaming import LokiTails
from aggregator.api.nodes import NodeHandlers
from aggregator.api.openapi import openapi_handler
from aggregator.api.parameters import Asked, asked
from aggregator.api.refusals import answered, refused, stage_refused
from aggregator.api.scanned import scanned_headers
from aggregator.api.tails import Tails
from aggregator.api.times import rfc3339
from aggregator.api.turnstile import Turnstile
from aggregator.api.welcome import welcome
from aggregator.errors import StoreError
from aggregator.logql.metric import MetricQuery
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.tree import Query
from aggregator.nodes import Nodes
from aggregator.query import metrics
from aggregator.query.budget import Budget
from aggregator.query.explain import explain_logs, explain_metrics
from aggregator.query.explain import told as told_of
from aggregator.query.logs import pieces
from aggregator.query.tables import samples, table
from aggregator.store.engine import Engine, Limits
from aggregator.store.expressions import check_expressions
from aggregator.store.rendering import Format, header
from service.logs import fields
from service.web import json_response
from wire.answers import Refusal

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from aggregator.query.live import Live

_log = logging.getLogger(__name__)

_CONTENT_TYPES: Final = {
    Format.TEXT: "text/plain; charset=utf-8",
    Format.JSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}
# Lines are what strangers wrote: no browser may guess that they are a page, no cache may keep them.
_LINES_OF_STRANGERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
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
    store: str = "",
    stall_s: float = STALL_S,
) -> None:
    """Put into ``app`` what answers questions: ``/``, ``/query``, ``/labels``, ``/nodes`` and so on.

    ``store``: as for `aggregator.api.routes.application`; empty takes the figures of every agent for this store's.
    """
    turnstile = Turnstile(limits.concurrent, limits.waiting, limits.time_s)
    observed = QueryMetrics(registry, turnstile)
    catalogue = Catalogue(engine, _engine_limits(limits, limits.time_s), turnstile, observed)

    async def end_queries(_: web.Application) -> None:
        turnstile.close()

    app.on_shutdown.append(end_queries)
    app.router.add_get("/", welcome)
    app.router.add_get("/openapi.json", openapi_handler(limits.rows))
    queries = Queries(engine, limits, turnstile, observed, stall_s)
    app.router.add_get("/query", queries.get, allow_head=False)
    app.router.add_post("/query", queries.get)
    histograms = Histograms(engine, _engine_limits(limits, limits.time_s), limits.answer_bytes, turnstile, observed)
    app.router.add_get("/histogram", histograms.get, allow_head=False)
    app.router.add_get("/labels", catalogue.names, allow_head=False)
    app.router.add_get("/labels/{name:[^/]+}/values", catalogue.values, allow_head=False)
    app.router.add_get("/streams", catalogue.streams, allow_head=False)
    export = _engine_limits(limits, limits.export_time_s)
    tails = Tails(engine, live, TailMetrics(registry, live), observed, turnstile=turnstile, limits=export)
    app.router.add_get("/tail", tails.get, allow_head=False)
    app.on_shutdown.append(tails.close)
    context = Context(engine, _engine_limits(limits, limits.time_s), limits.answer_bytes, turnstile, observed)
    app.router.add_get("/context", context.get, allow_head=False)
    Loki(engine, _engine_limits(limits, limits.time_s), limits.answer_bytes, turnstile, observed).add_to(app)
    loki_tails = LokiTails(engine, live, export, turnstile, observed)
    app.router.add_get("/loki/api/v1/tail", loki_tails.get, allow_head=False)
    known = Nodes(registry, store)
    nodes = NodeHandlers(known, engine, _engine_limits(limits, limits.time_s), turnstile, observed)
    app.router.add_post("/v1/heartbeats", nodes.heartbeat)
    app.router.add_get("/nodes", nodes.nodes, allow_head=False)
    app.router.add_get("/completeness", nodes.completeness, allow_head=False)


def _is_export(wanted: Asked) -> bool:
    return not wanted.explain and isinstance(wanted.query, Query) and not wanted.query.limit


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
                asked_of = await query_string(request)
                # Reading a query of many kilobytes takes a while.
                wanted = await asyncio.to_thread(asked, asked_of, accept, now_ns, self._limits.rows)
                async with self._turnstile.enter(request.remote, is_export=_is_export(wanted)):
                    if wanted.explain:
                        return await self._explained(wanted)
                    if isinstance(wanted.query, MetricQuery):
                        return await self._measured(wanted.query, wanted.rendering.format, now_ns, wanted)
                    response.headers["Content-Type"] = _CONTENT_TYPES[wanted.rendering.format]
                    response.headers.update(_LINES_OF_STRANGERS)
                    await self._answer(request, response, wanted, wanted.query, now_ns)
        except AnswerCutError as cut:
            # Not before the query has ended: losing its connection cancels this handler.
            if request.transport is not None:
                if cut.stalled:
                    request.transport.abort()
                else:
                    request.transport.close()
        return response

    async def _explained(self, wanted: Asked) -> web.Response:
        """How the query would be run."""
        limits = _engine_limits(self._limits, self._limits.time_s)
        budget = Budget(limits, self._limits.answer_bytes)
        with answered(limits):
            if isinstance(wanted.query, MetricQuery):
                explanation = await explain_metrics(self._engine, wanted.query, budget)
            else:
                explanation = await explain_logs(self._engine, wanted.query, budget)
        if wanted.rendering.format is Format.JSON:
            return json_response(explanation)
        return web.Response(text=told_of(explanation), headers=_LINES_OF_STRANGERS)

    async def _measured(self, query: MetricQuery, form: Format, now_ns: int, wanted: Asked) -> web.Response:
        """The samples of a metric query."""
        limits = _engine_limits(self._limits, self._limits.time_s)
        budget = Budget(limits, self._limits.answer_bytes, counts_parts=True)
        with answered(limits):
            result = await metrics.evaluate(self._engine, query, budget, now_ns)
            found = await asyncio.to_thread(samples, result, newest_first=wanted.rendering.newest_first)
            data = await asyncio.to_thread(table, found, form, rfc3339, self._limits.answer_bytes)
        self._metrics.rows.inc(len(found))
        self._metrics.bytes.inc(len(data))
        if wanted.statistics:
            data += _statistics(budget)
        headers = {"Content-Type": _CONTENT_TYPES[form]} | _LINES_OF_STRANGERS | scanned_headers(budget.scanned)
        return web.Response(body=data, headers=headers)

    async def _answer(
        self, request: web.Request, response: web.StreamResponse, wanted: Asked, query: Query, now_ns: int
    ) -> None:
        time_s = self._limits.time_s if query.limit else self._limits.export_time_s
        limits = _engine_limits(self._limits, time_s)
        budget = Budget(limits, self._limits.answer_bytes, counts_parts=wanted.statistics)
        try:
            await check_expressions(self._engine, query, budget.left)
            found = pieces(self._engine, query, wanted.rendering, budget, now_ns)
            async with contextlib.aclosing(found) as answer:
                async for piece in answer:
                    if not response.prepared:
                        await self._begin(request, response, wanted, budget)
                    await self._write(response, piece.data)
                    self._metrics.rows.inc(piece.rows)
                    self._metrics.bytes.inc(len(piece.data))
            if not response.prepared:
                await self._begin(request, response, wanted, budget)
            if wanted.statistics:
                await self._write(response, memoryview(_statistics(budget)))
            await response.write_eof()
        except (StageError, StoreError) as error:
            await self._give_up(request, response, error, limits)

    async def _give_up(
        self, request: web.Request, response: web.StreamResponse, error: StageError | StoreError, limits: Limits
    ) -> None:
        """Say what went wrong: as an answer, or, where one has begun, as its last line."""
        refusal = stage_refused(error) if isinstance(error, StageError) else refused(error, limits)
        if not response.prepared:
            if refusal is None:
                raise error
            raise refusal from error
        if refusal is None:
            _log.error("query failed", exc_info=error, extra=fields(query=request.path_qs))
        told = refusal.refusal if refusal else Refusal("internal error", hint="the server's log has details")
        await self._write(response, memoryview(msgspec.json.encode(told) + b"\n"))
        raise AnswerCutError(outcome_of(refusal.status if refusal else 500)) from error

    async def _begin(self, request: web.Request, response: web.StreamResponse, wanted: Asked, budget: Budget) -> None:
        """What is read by now is said in headers: all of it if the answer was held until it was whole."""
        response.headers.update(scanned_headers(budget.scanned))
        await response.prepare(request)
        await self._write(response, memoryview(header(wanted.rendering)))

    async def _write(self, response: web.StreamResponse, data: memoryview) -> None:
        for first in range(0, len(data), _WRITE_BYTES):
            try:
                async with asyncio.timeout(self._stall_s):
                    await response.write(data[first : first + _WRITE_BYTES])
            except TimeoutError as error:
                raise AnswerCutError("client_stalled", stalled=True) from error


def _statistics(budget: Budget) -> bytes:
    """The last line of NDJSON that says what was read."""
    return msgspec.json.encode({"statistics": budget.scanned}) + b"\n"


def _engine_limits(limits: QueryLimits, time_s: float) -> Limits:
    return Limits(time_s=time_s, memory_bytes=limits.memory_bytes, read_bytes=limits.read_bytes, threads=limits.threads)
