"""The routes of Loki's query API; push, volumes, patterns and detected fields are not among them yet."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from aggregator.api.loki import asked, shapes
from aggregator.api.loki.asked import Given
from aggregator.api.loki.errors import LokiError, in_lokis_terms, plain
from aggregator.logql.metric import MetricQuery
from aggregator.logql.printer import formatted
from aggregator.logql.tree import LogExpression, Query
from aggregator.query import metrics
from aggregator.query.budget import Budget
from aggregator.query.logs import entries
from aggregator.store.catalogue import Scope, label_names, label_values, stream_labels
from aggregator.store.expressions import check_expressions
from aggregator.store.ledger import volume
from service.web import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.turnstile import Turnstile
    from aggregator.logql.metric import MetricExpression
    from aggregator.query.entry import Entry
    from aggregator.store.engine import Engine, Limits
    from aggregator.store.windows import Window

PREFIX: Final = "/loki/api/v1"
ENCODING_HEADER: Final = "X-Loki-Response-Encoding-Flags"
# Label names, values and streams in one answer.
TEXTS_MAX: Final = 50_000
STREAMS_MAX: Final = 50_000
# Of one request, a statement each: more than any client sends.
SELECTORS_MAX: Final = 50
_INSTANT_LOGS: Final = (
    "log queries are not supported as an instant query type, please change your query to a range query type"
)


class Loki:
    """The handlers; own nothing."""

    def __init__(
        self, engine: Engine, limits: Limits, answer_bytes: int, turnstile: Turnstile, observed: QueryMetrics
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._answer_bytes = answer_bytes
        self._turnstile = turnstile
        self._observed = observed

    def add_to(self, app: web.Application) -> None:
        """Put every route into ``app``, for GET and for forms in a POST."""
        for path, handler in (
            ("/query_range", self.query_range),
            ("/query", self.query),
            ("/labels", self.labels),
            ("/label", self.labels),
            ("/label/{name:[^/]+}/values", self.values),
            ("/series", self.series),
            ("/index/stats", self.index_stats),
            ("/format_query", self.format_query),
            ("/status/buildinfo", self.buildinfo),
        ):
            route = PREFIX + path
            app.router.add_get(route, functools.partial(self._handle, route, handler), allow_head=False)
            app.router.add_post(route, functools.partial(self._handle, route, handler))

    async def _handle(
        self, route: str, handler: Callable[[Given, web.Request], Awaitable[bytes]], request: web.Request
    ) -> web.Response:
        try:
            with self._observed.observed(route):
                given = await Given.of(request)
                async with self._turnstile.enter(request.remote):
                    with in_lokis_terms(self._limits):
                        body = await handler(given, request)
        except RefusedError as error:
            return plain(error)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def query_range(self, given: Given, request: web.Request) -> bytes:
        """Lines, or samples at steps."""
        now_ns, began = time.time_ns(), time.monotonic()
        span = asked.window(given, now_ns)
        expression = await asyncio.to_thread(asked.expression, given.one("query"))
        budget = Budget(self._limits, self._answer_bytes)
        if isinstance(expression, LogExpression):
            wanted = asked.logs(given)
            query = Query(
                expression.selector, expression.stages, span.start_ns, span.end_ns, wanted.limit, wanted.direction
            )
            found: list[Entry] = []
            if span.start_ns < span.end_ns:
                found = await self._entries(query, wanted.interval_ns, budget, now_ns)
            categorized = shapes.CATEGORIZED in request.headers.get(ENCODING_HEADER, "")
            return await asyncio.to_thread(
                shapes.logs, found, budget.scanned, time.monotonic() - began, categorized=categorized
            )
        step_ns = asked.step(given, span)
        result = await metrics.evaluate(
            self._engine, MetricQuery(expression, span.start_ns, span.end_ns, step_ns), budget, now_ns
        )
        return await asyncio.to_thread(shapes.matrix, result, budget.scanned, time.monotonic() - began)

    async def query(self, given: Given, _: web.Request) -> bytes:
        """Samples at one instant."""
        now_ns, began = time.time_ns(), time.monotonic()
        at_ns = asked.instant(given, now_ns)
        expression: MetricExpression | LogExpression
        expression = await asyncio.to_thread(asked.expression, given.one("query"))
        if isinstance(expression, LogExpression):
            raise LokiError(400, _INSTANT_LOGS)
        budget = Budget(self._limits, self._answer_bytes)
        result = await metrics.evaluate(
            self._engine, MetricQuery(expression, at_ns, at_ns, asked.SECOND_NS), budget, now_ns
        )
        return await asyncio.to_thread(shapes.vector, result, budget.scanned, time.monotonic() - began)

    async def labels(self, given: Given, _: web.Request) -> bytes:
        """Names of labels; as everywhere in Loki's API to the day."""
        scope = self._scope(given, given.one("query"))
        found = await label_names(self._engine, scope, TEXTS_MAX, self._limits)
        return shapes.success(found.texts, _cut(TEXTS_MAX) if found.truncated else ())

    async def values(self, given: Given, request: web.Request) -> bytes:
        """Values of one label."""
        scope = self._scope(given, given.one("query"))
        found = await label_values(self._engine, request.match_info["name"], scope, TEXTS_MAX, self._limits)
        return shapes.success(found.texts, _cut(TEXTS_MAX) if found.truncated else ())

    async def series(self, given: Given, _: web.Request) -> bytes:
        """Labels of streams that match any of the selectors."""
        # Grafana sends match[], logcli match.
        texts = given.every("match[]", "match") or [""]
        if len(texts) > SELECTORS_MAX:
            raise LokiError(
                400, f"more than {SELECTORS_MAX} values of match: put alternatives into one selector with =~"
            )
        budget = Budget(self._limits, self._answer_bytes)
        found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        is_cut = False
        for text in texts:
            streams = await stream_labels(self._engine, self._scope(given, text), STREAMS_MAX, budget.left())
            found |= {tuple(sorted(labels.items())): labels for labels in streams.streams}
            is_cut = is_cut or streams.truncated or len(found) > STREAMS_MAX
            if is_cut:
                break
        ordered = [found[key] for key in sorted(found)[:STREAMS_MAX]]
        return await asyncio.to_thread(shapes.success, ordered, _cut(STREAMS_MAX) if is_cut else ())

    async def index_stats(self, given: Given, _: web.Request) -> bytes:
        """How much there is of what a selector matches; a chunk is a log file here."""
        found = await volume(self._engine, self._scope(given, given.one("query")), self._limits)
        return shapes.encoded(
            {"streams": found.streams, "chunks": found.sources, "bytes": found.bytes, "entries": found.records}
        )

    async def format_query(self, given: Given, _: web.Request) -> bytes:
        """A query over several lines."""
        expression = await asyncio.to_thread(asked.expression, given.one("query"))
        return shapes.success(formatted(expression))

    async def buildinfo(self, _: Given, __: web.Request) -> bytes:
        """What clients ask to know which features there are: those of Loki 3."""
        return shapes.encoded(
            {"version": "3.0.0", "revision": f"logboom-{version('logboom')}", "branch": "", "buildUser": ""}
        )

    def _scope(self, given: Given, text: str) -> Scope:
        span: Window = asked.window(given, time.time_ns())
        return Scope(asked.selector(text), span)

    async def _entries(self, query: Query, interval_ns: int, budget: Budget, now_ns: int) -> list[Entry]:
        """The first lines of a query, those left out that follow another by less than ``interval_ns``."""
        await check_expressions(self._engine, query, budget.left)
        # Which lines an interval leaves out shows as they come: nobody knows how many it takes.
        every = msgspec.structs.replace(query, limit=0) if interval_ns else query
        found: list[Entry] = []
        async with contextlib.aclosing(entries(self._engine, every, budget, now_ns)) as lists:
            async for some in lists:
                kept = _apart(some, interval_ns, found[-1:])[: query.limit - len(found)]
                found += kept
                budget.hold(sum(len(entry.line) for entry in kept))
                if len(found) == query.limit:
                    break
        return found


def _cut(most: int) -> tuple[str, ...]:
    """What is said of an answer that has as much as it may, and not all."""
    return (f"there are more than {most}; ask for less time, or with a narrower selector",)


def _apart(entries: list[Entry], interval_ns: int, last: list[Entry]) -> list[Entry]:
    """Those of ``entries`` that are at least so far from the one kept before them, of which ``last`` was the last."""
    if not interval_ns:
        return entries
    kept = last[:]
    for entry in entries:
        if not kept or abs(entry.ts_ns - kept[-1].ts_ns) >= interval_ns:
            kept.append(entry)
    return kept[len(last) :]
