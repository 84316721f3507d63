"""GET /tail: what is committed, as it is committed, after the newest lines or what was missed since a cursor.

A tail first holds on to what is committed from now on, then reads from the store what was committed before: no line is
in both or in neither. Should what it holds grow too large meanwhile, it lets go and reads on from the store.

A place among the queries is needed for reading from the store only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from aggregator.api.accounting import AnswerCutError, outcome_of
from aggregator.api.following import Shape, TailAsked, tail_asked
from aggregator.api.refusals import refused
from aggregator.api.turnstile import StoppingError
from aggregator.errors import QueryAnswerError, StoreError
from aggregator.logql.pipeline.stages import StageError
from aggregator.query.budget import Budget
from aggregator.query.cursor import Cursor
from aggregator.query.events import Events
from aggregator.query.live import Live, TooManyTailsError
from aggregator.query.replay import Catching
from aggregator.query.tail import Missed, Piece
from aggregator.store.rendering import Format
from service.logs import fields
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggregator.api.accounting import QueryMetrics, TailMetrics
    from aggregator.api.turnstile import Turnstile
    from aggregator.query.tail import Tail
    from aggregator.store.engine import Engine, Limits

_log = logging.getLogger(__name__)

# Proxies and browsers give up connections on which nothing comes, the least patient after half a minute.
ALIVE_S: Final = 15.0
# A reader that takes nothing for so long is cut off; it can come back with its cursor.
STALL_S: Final = 600.0
# A peer that vanished without a word is noticed after about a minute, whether or not there is something to send.
_IDLE_S, _PROBE_S, _PROBES = 30, 10, 3
# A reader that has taken nothing for so long gives its place among the queries back, and gets another one later.
_PATIENCE_S: Final = 2.0
# Readers that take what there is have it by then; the others come back with their cursors.
_STOP_S: Final = 1.0
# How often what was committed meanwhile is read from the store before the reader is told that it missed lines.
_ROUNDS_MAX: Final = 5
# Of the newest lines, which are held until the oldest of them is found.
_HISTORY_BYTES_MAX: Final = 16 << 20
# Bytes handed to a connection at once.
_WRITE_BYTES: Final = 256 << 10

_CONTENT_TYPES: Final = {
    Shape.TEXT: "text/plain; charset=utf-8",
    Shape.JSON: "application/x-ndjson",
    Shape.EVENTS: "text/event-stream; charset=utf-8",
}


class Tails:
    """The handler of ``/tail``; `close` ends what is being answered."""

    def __init__(
        self,
        engine: Engine,
        live: Live,
        counted: TailMetrics,
        metrics: QueryMetrics,
        *,
        turnstile: Turnstile,
        limits: Limits,
        alive_s: float = ALIVE_S,
    ) -> None:
        self._engine = engine
        self._live = live
        self._counted = counted
        self._metrics = metrics
        self._turnstile = turnstile
        self._limits = limits
        self._alive_s = alive_s
        self._answers: dict[asyncio.Task[object], web.Request] = {}
        cursors = live.cursors
        self._events = {
            (Shape.TEXT, False): Events(cursors, Format.TEXT),
            (Shape.TEXT, True): Events(cursors, Format.TEXT, colour=True),
            (Shape.JSON, False): Events(cursors, Format.JSON),
            (Shape.EVENTS, False): Events(cursors, Format.JSON, sse=True),
        }

    async def close(self, _: web.Application) -> None:
        """End every tail: it has what was committed, unless its reader takes nothing."""
        self._live.close()
        if self._answers:
            await asyncio.wait(self._answers, timeout=_STOP_S)
        for request in self._answers.values():
            if request.transport is not None:
                request.transport.abort()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer until the client goes away, or the server stops."""
        response = web.StreamResponse()
        try:
            with self._metrics.observed("/tail"), self._answering(request):
                now_ns = time.time_ns()
                asked = tail_asked(request.rel_url.raw_query_string, request.headers, self._live.cursors, now_ns)
                events = self._events[asked.shape, asked.colour]
                response.headers["Content-Type"] = _CONTENT_TYPES[asked.shape]
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Cache-Control"] = "no-store"
                # Proxies of the nginx kind would collect lines for minutes.
                response.headers["X-Accel-Buffering"] = "no"
                with self._tail(asked, events) as tail:
                    sending = _Sending(request, response, events)
                    try:
                        await self._catch_up(tail, asked, sending, now_ns)
                        await self._follow(tail, sending)
                    except StoppingError:
                        if not sending.is_whole:
                            raise
                    await response.write_eof()
        except AnswerCutError as cut:
            if request.transport is not None:
                if cut.stalled:
                    request.transport.abort()
                else:
                    request.transport.close()
        return response

    @contextlib.contextmanager
    def _answering(self, request: web.Request) -> Iterator[None]:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is answered by a task")
        self._answers[task] = request
        try:
            yield
        finally:
            del self._answers[task]

    @contextlib.contextmanager
    def _tail(self, asked: TailAsked, events: Events) -> Iterator[Tail]:
        with contextlib.ExitStack() as stack:
            try:
                tail = stack.enter_context(self._live.tail(asked.expression, events.record))
            except TooManyTailsError as error:
                refusal = Refusal("too many tails are open", hint="end some, or try again later")
                raise RefusedError(429, refusal, {"Retry-After": "10"}) from error
            except StageError as error:
                raise RefusedError(400, Refusal(str(error), "query")) from error
            yield tail

    async def _catch_up(self, tail: Tail, asked: TailAsked, sending: _Sending, now_ns: int) -> None:
        """Send what was committed up to where ``tail`` begins."""
        cursor = asked.cursor
        for rounds_left in reversed(range(_ROUNDS_MAX)):
            try:
                if cursor is None:
                    async with self._turnstile.enter(sending.request.remote):
                        newest = await self._catching(tail, now_ns).newest(asked.lines, asked.window, tail.since_ms)
                    await self._send(newest, sending)
                elif cursor.history_end_ns or cursor.commit_ms < tail.since_ms or cursor.place is not None:
                    await self._replay(tail, cursor, sending, now_ns)
            except QueryAnswerError as error:
                raise RefusedError(413, Refusal(str(error), "lines", "lower lines")) from error
            except StoreError as error:
                await self._fail(error, sending)
            await sending.begin()
            if not tail.has_missed or not rounds_left:
                return  # its reader is told what it missed
            cursor = Cursor(tail.since_ms)
            tail.restart(self._live.last_ms)

    def _catching(self, tail: Tail, now_ns: int) -> Catching:
        budget = Budget(self._limits, _HISTORY_BYTES_MAX)
        return Catching(self._engine, tail.expression, tail.form, budget, now_ns)

    async def _replay(self, tail: Tail, cursor: Cursor, sending: _Sending, now_ns: int) -> None:
        """Send what was committed behind ``cursor``. A slow reader holds no place while it is waited for."""
        reached: Cursor | None = cursor
        while reached is not None:
            pieces = self._catching(tail, now_ns).resumed(reached, tail.since_ms)
            reached = None
            async with self._turnstile.enter(sending.request.remote), contextlib.aclosing(pieces):
                async for piece in pieces:
                    sent = asyncio.create_task(self._send(piece, sending))
                    try:
                        await asyncio.wait((sent,), timeout=_PATIENCE_S)
                    except asyncio.CancelledError:
                        sent.cancel()
                        await asyncio.wait((sent,))
                        raise
                    if not sent.done():
                        reached = piece.cursor
                        break
                    sent.result()
            if reached is not None:
                await sent

    async def _follow(self, tail: Tail, sending: _Sending) -> None:
        """Send what is committed."""
        while True:
            try:
                async with asyncio.timeout(self._alive_s):
                    taken = await tail.take()
            except TimeoutError:
                reached = self._live.reached(tail)
                if reached is not None:
                    await sending.write(sending.events.alive(reached))
                continue
            match taken:
                case None:
                    return
                case Missed(count, cursor):
                    self._counted.missed.inc(count or 1)
                    await sending.write(sending.events.missed(count, cursor))
                case Piece():
                    await self._send(taken, sending)

    async def _send(self, piece: Piece, sending: _Sending) -> None:
        if piece.records:
            await sending.write(piece.data)
            self._counted.lines.inc(piece.records)

    async def _fail(self, error: StoreError, sending: _Sending) -> None:
        refusal = refused(error, self._limits)
        if not sending.has_begun:
            raise refusal or error from error
        if refusal is None:
            _log.error("a tail failed", exc_info=error, extra=fields(query=sending.request.path_qs))
        told = refusal.refusal if refusal else Refusal("internal error", hint="the server's log has details")
        await sending.write(sending.events.error(told))
        raise AnswerCutError(outcome_of(refusal.status if refusal else 500)) from error


class _Sending:
    """One answer, begun with its first byte."""

    def __init__(self, request: web.Request, response: web.StreamResponse, events: Events) -> None:
        self.request = request
        self.events = events
        # Whether what was sent ends with a line: an answer may end there, for its reader has the cursor.
        self.is_whole = False
        self._response = response

    @property
    def has_begun(self) -> bool:
        """Whether it is too late for an error answer."""
        return self._response.prepared

    async def begin(self) -> None:
        """Send the head, if it was not sent yet."""
        if self.has_begun:
            return
        if self.request.transport is not None:
            _watch(self.request.transport.get_extra_info("socket"))
        await self._response.prepare(self.request)
        await self.write(self.events.begin())

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when the connection has taken most of it."""
        await self.begin()
        self.is_whole = False
        view = memoryview(data)
        for first in range(0, len(view), _WRITE_BYTES):
            try:
                async with asyncio.timeout(STALL_S):
                    await self._response.write(view[first : first + _WRITE_BYTES])
            except TimeoutError as error:
                raise AnswerCutError("client_stalled", stalled=True) from error
        self.is_whole = True


def _watch(connection: socket.socket | None) -> None:
    """Have the system find out whether the other end is still there."""
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
