"""How many queries run and wait at a time: each holds a connection of the engine and memory.

Clients, told apart by their address, take turns: whoever asks a hundred questions at once does not make another wait
for more than one of them. A place that becomes free goes to the client that holds the fewest, among equals to the one
that waits the longest. Where too many wait, the newest question of whoever has the most waiting is sent away.

One place is kept from exports, which may take an hour each: unless it is the only one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import msgspec

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# About what a query takes: whoever comes back then may find a place.
_RETRY_AFTER_S: Final = 2


class StoppingError(RefusedError):
    """The server is stopping."""

    def __init__(self) -> None:
        told = Refusal("the aggregator is stopping", hint="ask again when it is back")
        super().__init__(503, told, {"Retry-After": "2"})


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    place: asyncio.Future[None]
    is_export: bool


class Turnstile:
    """Lets ``concurrent`` in, lets ``waiting`` more wait for at most ``wait_s``, and refuses the rest with 429."""

    def __init__(self, concurrent: int, waiting: int, wait_s: float) -> None:
        self.running = 0
        self._exporting = 0
        self._concurrent = concurrent
        self._exporting_most = max(1, concurrent - 1)
        self._waiting_most = waiting
        self._wait_s = wait_s
        self._inside: Counter[str] = Counter()
        # Clients in the order in which they were last let in, or came; none of them without anybody waiting.
        self._queues: dict[str, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        # Those that `close` has ended.
        self._ended: set[asyncio.Task[object]] = set()
        self._closed = False

    def close(self) -> None:
        """End who is inside, send away who waits and who comes: all of them are told that the server is stopping."""
        self._closed = True
        self._ended |= self._tasks
        for task in self._tasks:
            task.cancel()
        for queue in self._queues.values():
            for waiting in queue:
                if not waiting.place.done():
                    waiting.place.set_exception(StoppingError())

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    @contextlib.asynccontextmanager
    async def enter(self, client: str | None, *, is_export: bool = False) -> AsyncIterator[None]:
        """Hold a place. Cancelling gives it back. Raises `RefusedError` if there is none, `StoppingError` once closed.

        ``client``: who asks; those of whom nobody knows are one. ``is_export``: it may take as long as it likes.
        """
        asking = client or ""
        if self._closed:
            raise StoppingError
        if self._has_place(is_export=is_export) and not self._is_anyone_next():
            self._take(asking, is_export=is_export)
        else:
            await self._wait(asking, is_export=is_export)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a place is held by a task")
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise StoppingError from None
        finally:
            self._tasks.discard(task)
            self._give_back(asking, is_export=is_export)

    def _has_place(self, *, is_export: bool) -> bool:
        return self.running < self._concurrent and not (is_export and self._exporting >= self._exporting_most)

    def _is_anyone_next(self) -> bool:
        return any(self._has_place(is_export=one.is_export) for queue in self._queues.values() for one in queue)

    def _take(self, client: str, *, is_export: bool) -> None:
        self.running += 1
        self._exporting += is_export
        self._inside[client] += 1

    def _give_back(self, client: str, *, is_export: bool) -> None:
        self.running -= 1
        self._exporting -= is_export
        self._inside -= Counter((client,))
        self._let_in()

    async def _wait(self, client: str, *, is_export: bool) -> None:
        if self.waiting >= self._waiting_most:
            self._send_away_for(client)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), is_export)
        self._queues.setdefault(client, deque()).append(waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                await waiting.place
        except TimeoutError as error:
            self._leave(client, waiting)
            raise _busy(f"other queries took all places for {self._wait_s:g} s") from error
        except asyncio.CancelledError:
            self._leave(client, waiting)
            raise

    def _leave(self, client: str, waiting: _Waiting) -> None:
        """Give up waiting; also when the place had been given a moment before."""
        place = waiting.place
        if place.done() and not place.cancelled() and place.exception() is None:
            self._give_back(client, is_export=waiting.is_export)
            return
        queue = self._queues.get(client)
        if queue is not None and waiting in queue:
            self._drop(client, waiting)

    def _drop(self, client: str, waiting: _Waiting) -> None:
        """Take it out of its queue; its client is the last one then."""
        queue = self._queues.pop(client)
        queue.remove(waiting)
        if queue:
            self._queues[client] = queue

    def _let_in(self) -> None:
        while (found := self._next()) is not None:
            client, waiting = found
            self._drop(client, waiting)
            # Whoever was cancelled has not taken itself out of the queue yet.
            if not waiting.place.done():
                self._take(client, is_export=waiting.is_export)
                waiting.place.set_result(None)

    def _next(self) -> tuple[str, _Waiting] | None:
        for client in sorted(self._queues, key=self._inside.__getitem__):
            for waiting in self._queues[client]:
                if self._has_place(is_export=waiting.is_export):
                    return client, waiting
        return None

    def _send_away_for(self, client: str) -> None:
        """Make room for one more of ``client``. Raises `RefusedError` if nobody has more waiting than it."""
        busiest = max(self._queues, key=lambda one: len(self._queues[one]), default=client)
        if len(self._queues.get(busiest, ())) <= len(self._queues.get(client, ())) + 1:
            raise _busy("too many queries are waiting")
        place = self._queues[busiest].pop().place
        if not place.done():
            place.set_exception(_busy("too many queries are waiting"))


def _busy(error: str) -> RefusedError:
    return RefusedError(429, Refusal(error, hint="try again later"), {"Retry-After": str(_RETRY_AFTER_S)})
