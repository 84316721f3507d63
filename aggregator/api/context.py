"""GET /context: a line and those around it, of its container: both outputs, rotated files, earlier and later runs."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from aggregator.api.following import context_asked
from aggregator.api.refusals import refused
from aggregator.errors import QueryAnswerError, StoreError
from aggregator.logql.tree import TIME_MAX_NS, Direction, Query, Selector
from aggregator.query.budget import Budget
from aggregator.query.logs import pieces
from aggregator.store.container import Located, locate
from aggregator.store.rendering import Format, header
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.following import ContextAsked
    from aggregator.api.turnstile import Turnstile
    from aggregator.store.engine import Engine, Limits

_CONTENT_TYPES: Final = {
    Format.TEXT: "text/plain; charset=utf-8",
    Format.JSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}


class Context:
    """The handler of ``/context``; owns nothing."""

    def __init__(
        self, engine: Engine, limits: Limits, answer_bytes: int, turnstile: Turnstile, metrics: QueryMetrics
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._answer_bytes = answer_bytes
        self._turnstile = turnstile
        self._metrics = metrics

    async def get(self, request: web.Request) -> web.Response:
        """Answer one request."""
        with self._metrics.observed("/context"):
            asked = context_asked(request.rel_url.raw_query_string, request.headers.get("Accept", ""))
            async with self._turnstile.enter(request.remote):
                try:
                    data = await self._around(asked)
                except QueryAnswerError as error:
                    raise RefusedError(413, Refusal(str(error), "before", "lower before and after")) from error
                except StoreError as error:
                    refusal = refused(error, self._limits)
                    if refusal is None:
                        raise
                    raise refusal from error
        headers = {
            "Content-Type": _CONTENT_TYPES[asked.rendering.format],
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return web.Response(body=data, headers=headers)

    async def _around(self, asked: ContextAsked) -> bytes:
        budget = Budget(self._limits, self._answer_bytes)
        found = await locate(self._engine, asked.source, asked.position, budget.left)
        if found is None:
            hint = "source and position are those that answers in JSON have; what is older than the retention is gone"
            raise RefusedError(404, Refusal("there is no such line", "position", hint))
        data = bytearray(header(asked.rendering))
        now_ns = time.time_ns()
        for query in _queries(asked, found):
            async with contextlib.aclosing(pieces(self._engine, query, asked.rendering, budget, now_ns)) as some:
                async for piece in some:
                    data += piece.data
                    self._metrics.rows.inc(piece.rows)
                    self._metrics.bytes.inc(len(piece.data))
                    if len(data) > self._answer_bytes:
                        raise QueryAnswerError(f"the lines are larger than {self._answer_bytes} bytes")
        return bytes(data)


def _queries(asked: ContextAsked, found: Located) -> list[Query]:
    """What gives the lines up to the one in the middle, then those behind it."""
    at = found.place
    behind = msgspec.structs.replace(at, position=at.position + 1)
    if found.container is None:
        alone = msgspec.structs.replace(at, position=at.position - 1)
        return [Query(Selector(), (), at.ts_ns, at.ts_ns + 1, 1, Direction.FORWARD, after=alone, before=behind)]
    queries = [Query(found.container, (), 0, at.ts_ns + 1, asked.before + 1, Direction.BACKWARD, before=behind)]
    if asked.after:
        queries.append(Query(found.container, (), at.ts_ns, TIME_MAX_NS, asked.after, Direction.FORWARD, after=at))
    return queries
