"""``/loki/api/v1/tail``: the WebSocket on which Grafana's live view and ``logcli --tail`` follow.

Messages are JSON: ``{"streams": [{"stream": labels, "values": [["<ns>", "<line>"]]}, …]}``, and, where a slow reader
missed lines, ``"dropped_entries": [{"timestamp": "<ns>", "labels": {}}]``. The first have the newest lines of before,
the oldest of them first. ``delay_for`` is of no effect: nothing arrives late here, everything when it is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSCloseCode, web

from aggregator.api.accounting import AnswerCutError
from aggregator.api.loki import asked, shapes
from aggregator.api.loki.asked import Given
from aggregator.api.loki.errors import LokiError, in_lokis_terms, plain
from aggregator.query.budget import Budget
from aggregator.query.live import TooManyTailsError
from aggregator.query.replay import Catching
from aggregator.query.tail import Missed
from service.web import RefusedError

if TYPE_CHECKING:
    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.turnstile import Turnstile
    from aggregator.logql.tree import LogExpression
    from aggregator.query.cursor import Cursor
    from aggregator.query.entry import Entry
    from aggregator.query.live import Live
    from aggregator.query.tail import Tail
    from aggregator.store.engine import Engine, Limits
    from aggregator.store.windows import Window

# Loki pings every second; who does not answer in half of this is gone.
_PING_S: Final = 2.0
# A reader that takes nothing for so long is gone too.
_STALL_S: Final = 60.0
# Of the lines that come first.
_HISTORY_BYTES_MAX: Final = 16 << 20
# What clients send is nothing but control frames.
_MESSAGE_BYTES_MAX: Final = 4 << 10


class LokiTails:
    """The handler; owns nothing."""

    def __init__(
        self, engine: Engine, live: Live, limits: Limits, turnstile: Turnstile, observed: QueryMetrics
    ) -> None:
        self._engine = engine
        self._live = live
        self._limits = limits
        self._turnstile = turnstile
        self._observed = observed

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Follow until one side ends it."""
        try:
            with self._observed.observed("/loki/api/v1/tail"):
                return await self._follow(request)
        except RefusedError as error:
            return plain(error)
        except AnswerCutError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _follow(self, request: web.Request) -> web.WebSocketResponse:
        now_ns = time.time_ns()
        given = Given(request.rel_url.raw_query_string)
        expression = await asyncio.to_thread(asked.log_expression, given.one("query"))
        wanted, span = asked.logs(given), asked.window(given, now_ns)
        asked.check_delay(given)
        socket = web.WebSocketResponse(heartbeat=_PING_S, max_msg_size=_MESSAGE_BYTES_MAX)
        if not socket.can_prepare(request).ok:
            raise LokiError(400, "the connection is no WebSocket: 'upgrade' token not found in 'Connection' header")
        with contextlib.ExitStack() as stack:
            with in_lokis_terms(self._limits):
                try:
                    tail = stack.enter_context(self._live.tail(expression, _written))
                except TooManyTailsError as error:
                    raise LokiError(429, "max concurrent tail requests limit exceeded") from error
                async with self._turnstile.enter(request.remote):
                    history = await self._history(expression, tail, wanted.limit, span, now_ns)
            await socket.prepare(request)
            await self._send(socket, history)
            await self._until_either_ends(socket, tail)
        return socket

    async def _history(self, expression: LogExpression, tail: Tail, limit: int, span: Window, now_ns: int) -> bytes:
        budget = Budget(self._limits, _HISTORY_BYTES_MAX)
        catching = Catching(self._engine, expression, tail.form, budget, now_ns)
        return (await catching.newest(limit, span, tail.since_ms)).data

    async def _until_either_ends(self, socket: web.WebSocketResponse, tail: Tail) -> None:
        sending = asyncio.create_task(self._pass_on(socket, tail))
        hearing = asyncio.create_task(_hear(socket))
        try:
            await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await socket.close(code=WSCloseCode.GOING_AWAY)
        finally:
            for task in (sending, hearing):
                task.cancel()
            await asyncio.gather(sending, hearing, return_exceptions=True)

    async def _pass_on(self, socket: web.WebSocketResponse, tail: Tail) -> None:
        while (taken := await tail.take()) is not None:
            if isinstance(taken, Missed):
                dropped = [{"timestamp": str(time.time_ns()), "labels": {}}]
                await self._text(socket, msgspec.json.encode({"streams": [], "dropped_entries": dropped}))
            else:
                await self._send(socket, taken.data)

    async def _send(self, socket: web.WebSocketResponse, data: bytes) -> None:
        if data:
            await self._text(socket, b'{"streams":[' + data[:-1] + b"]}")

    async def _text(self, socket: web.WebSocketResponse, data: bytes) -> None:
        try:
            async with asyncio.timeout(_STALL_S):
                await socket.send_str(data.decode())
        except TimeoutError as error:
            raise AnswerCutError("client_stalled", stalled=True) from error


async def _hear(socket: web.WebSocketResponse) -> None:
    """Read until the client closes: pings and closes are answered on the way."""
    async for _ in socket:
        pass


def _written(entry: Entry, _: Cursor) -> bytes:
    """One entry as a stream of its own, with a comma behind it."""
    (stream,) = shapes.streams([entry], categorized=False)
    return msgspec.json.encode(stream) + b","
