"""Deleting records: ``POST /delete`` asks for it, ``GET`` says how far it is, ``DELETE /delete/{id}`` ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.api.forms import query_string
from aggregator.api.parameters import LINES, LOGQL, SELECTORS, TIMES, Given, log_query
from aggregator.api.refusals import answered, refusal_of
from aggregator.api.times import TIME_HINT, rfc3339, time_ns
from aggregator.errors import DeletionsFullError, LogQLError, StoreError, StoreFullError
from aggregator.logql.parser import parse_log
from aggregator.logql.printer import printed
from aggregator.logql.tree import Query
from aggregator.store.deletions import State
from aggregator.store.engine import Limits
from aggregator.store.eraser import problem_of
from aggregator.store.expressions import check_expressions
from service.logs import fields
from service.web import RefusedError, json_response
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from aggregator.api.parameters import Parameter
    from aggregator.store.deletions import Deletion, Deletions
    from aggregator.store.engine import Engine
    from aggregator.store.eraser import Eraser

_log = logging.getLogger(__name__)

# Without a level, which is read out of the line, and with a range that has both ends: nobody deletes by default.
DELETE: Final[tuple[Parameter, ...]] = (
    *SELECTORS,
    *(parameter for parameter in LINES if parameter.name != "level"),
    *LOGQL,
    *(parameter for parameter in TIMES if parameter.name in {"start", "end"}),
)
_LIMITS: Final = Limits()
_RETRY_S: Final = 10
_MS_NS: Final = 1_000_000
_HINDERED: Final = "the engine failed and tries again; the server's log says why"


class DeletionState(msgspec.Struct, frozen=True):
    """One deletion, as it is answered.

    ``state``: queued, running, deleted (in no answer any more), gone (in no file any more), cancelled. ``records``:
    found so far. ``days``: with records in the range when it began. ``parts_left``: parts of the store to be rewritten
    for the day at hand. ``files_left``: parts with deleted records that are still on the disk. ``problem``: why it does
    not go on, empty if it does.
    """

    id: str
    query: str
    start: str
    end: str
    state: State
    requested_at: str
    ended_at: str | None
    records: int
    days: int
    days_done: int
    parts_left: int
    files_left: int
    problem: str


class DeletionList(msgspec.Struct, frozen=True):
    """The answer of ``GET /delete``: the newest first."""

    deletions: tuple[DeletionState, ...]


def add_deletions(app: web.Application, engine: Engine, deletions: Deletions, eraser: Eraser) -> None:
    """Put ``/delete`` into ``app``."""
    handlers = DeletionHandlers(engine, deletions, eraser)
    app.router.add_post("/delete", handlers.ask)
    app.router.add_get("/delete", handlers.every, allow_head=False)
    app.router.add_get("/delete/{id}", handlers.one, allow_head=False)
    app.router.add_delete("/delete/{id}", handlers.cancel)


def refuse_deletions(app: web.Application) -> None:
    """Put ``/delete`` into ``app`` of a store that nothing can be deleted from."""

    async def refuse(_: web.Request) -> web.Response:
        hint = "docs/cluster.md says how to blank records out on the servers; --retention drops whole days"
        raise RefusedError(501, Refusal("records that ClickHouse servers store cannot be deleted", hint=hint))

    app.router.add_route("*", "/delete", refuse)
    app.router.add_route("*", "/delete/{id}", refuse)


class DeletionHandlers:
    """The handlers; own nothing."""

    def __init__(self, engine: Engine, deletions: Deletions, eraser: Eraser) -> None:
        self._engine = engine
        self._deletions = deletions
        self._eraser = eraser

    async def ask(self, request: web.Request) -> web.Response:
        """Take a deletion, to be done later."""
        query, text = await asyncio.to_thread(_asked, await query_string(request))
        with answered(_LIMITS):
            await check_expressions(self._engine, query, lambda: _LIMITS)
        await asyncio.to_thread(_check, text)
        try:
            job = await self._deletions.ask(text, query.start_ns, query.end_ns, time.time())
        except DeletionsFullError as error:
            hint = "wait until some are over, or cancel some: DELETE /delete/{id}"
            raise RefusedError(429, Refusal(str(error), hint=hint), {"Retry-After": str(_RETRY_S)}) from error
        except StoreError as error:
            raise _unavailable(error) from error
        start, end = rfc3339(query.start_ns), rfc3339(query.end_ns)
        told = fields(id=job.id, query=text, start=start, end=end, client=request.remote)
        _log.warning("records are to be deleted", extra=told)
        return json_response(self._told(job), 202, {"Location": f"/delete/{job.id}"})

    async def every(self, _: web.Request) -> web.Response:
        """List the deletions."""
        return json_response(DeletionList(tuple(self._told(job) for job in self._deletions.all())))

    async def one(self, request: web.Request) -> web.Response:
        """How far one is."""
        return json_response(self._told(self._known(request)))

    async def cancel(self, request: web.Request) -> web.Response:
        """End one that is not over."""
        try:
            job = await self._eraser.cancel(self._known(request).id)
        except StoreError as error:
            raise _unavailable(error) from error
        if job.state is not State.CANCELLED:
            hint = "what is deleted cannot be brought back"
            raise RefusedError(409, Refusal(f"the deletion is over: {job.state.value}", "id", hint))
        return json_response(self._told(job))

    def _known(self, request: web.Request) -> Deletion:
        job = self._deletions.get(request.match_info["id"])
        if job is None:
            raise RefusedError(404, Refusal("there is no such deletion", "id", "GET /delete lists those there are"))
        return job

    def _told(self, job: Deletion) -> DeletionState:
        progress = self._eraser.progress.get(job.id)
        hindered = _HINDERED if progress and progress.problem else ""
        return DeletionState(
            id=job.id,
            query=job.query,
            start=rfc3339(job.start_ns),
            end=rfc3339(job.end_ns),
            state=job.state,
            requested_at=rfc3339(job.requested_ms * _MS_NS),
            ended_at=rfc3339(job.ended_ms * _MS_NS) if job.ended_ms else None,
            records=job.records,
            days=job.days,
            days_done=job.days_done,
            parts_left=progress.parts_left if progress else 0,
            files_left=len(job.parts),
            problem=job.problem or hindered,
        )


def _unavailable(error: StoreError) -> Exception:
    """The answer where the store could not write down what was asked."""
    if isinstance(error, StoreFullError):
        told = Refusal("the store's disk is full", hint="free space, or wait until retention has; then ask again")
        return RefusedError(503, told, {"Retry-After": str(_RETRY_S)})
    return refusal_of(error, _LIMITS)


def _asked(text: str) -> tuple[Query, str]:
    """What is to be deleted, and in LogQL. Raises `RefusedError` (400)."""
    given = Given(text, DELETE)
    logs = log_query(given)
    if not logs.selector.matchers:
        hint = 'say which streams: namespace=shop, or query={namespace="shop"}'
        raise RefusedError(400, Refusal("there is no selector", "query", hint))
    problem = problem_of(logs)
    if problem is not None:
        raise RefusedError(400, Refusal(problem, "query", 'for example {namespace="shop"} |= "text of the line"'))
    start_ns, end_ns = (_edge(given, name) for name in ("start", "end"))
    if start_ns >= end_ns:
        raise RefusedError(400, Refusal("the range is empty: start is not before end", "start", "start < end"))
    return Query(logs.selector, logs.stages, start_ns, end_ns), printed(logs)


def _check(query: str) -> None:
    """Refuse what plain parameters alone may say, such as everything: it is LogQL that is kept and read again."""
    try:
        parse_log(query)
    except LogQLError as error:
        raise RefusedError(400, Refusal(error.message, "query", "name a namespace, pod or container")) from error


def _edge(given: Given, name: str) -> int:
    text = given.one(name)
    if text is None:
        raise RefusedError(400, Refusal(f"{name} is missing", name, TIME_HINT))
    try:
        return time_ns(text)
    except ValueError as error:
        raise RefusedError(400, Refusal(str(error), name, TIME_HINT)) from error
