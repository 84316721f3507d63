"""How many queries run and wait at a time: each holds a connection of the engine and memory.

Clients, told apart by their address, take turns: whoever asks a hundred questions at once does not make another wait
for more than one of them. A place that becomes free goes to the client that holds the fewest, among equals to the one
that waits the longest. Where too many wait, the newest question of whoever has the most waiting is sent away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

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


class Turnstile:
    """Lets ``concurrent`` in, lets ``waiting`` more wait for at most ``wait_s``, and refuses the rest with 429."""

    def __init__(self, concurrent: int, waiting: int, wait_s: float) -> None:
        self.running = 0
        self._concurrent = concurrent
        self._waiting_most = waiting
        self._wait_s = wait_s
        self._inside: Counter[str] = Counter()
        # Clients in the order in which they were last let in, or came; none of them without anybody waiting.
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
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
            for place in queue:
                if not place.done():
                    place.set_exception(StoppingError())

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    @contextlib.asynccontextmanager
    async def enter(self, client: str | None = None) -> AsyncIterator[None]:
        """Hold a place. Cancelling gives it back. Raises `RefusedError` if there is none, `StoppingError` once closed.

        ``client``: who asks; those of whom nobody knows are one.
        """
        asking = client or ""
        if self._closed:
            raise StoppingError
        if self.running < self._concurrent and not self._queues:
            self._take(asking)
        else:
            await self._wait(asking)
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
            self.running -= 1
            self._inside -= Counter((asking,))
            self._let_in()

    def _take(self, client: str) -> None:
        self.running += 1
        self._inside[client] += 1

    async def _wait(self, client: str) -> None:
        if self.waiting >= self._waiting_most:
            self._send_away_for(client)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, deque()).append(place)
        try:
            async with asyncio.timeout(self._wait_s):
                await place
        except TimeoutError as error:
            self._leave(client, place)
            raise _busy(f"other queries took all places for {self._wait_s:g} s") from error
        except asyncio.CancelledError:
            self._leave(client, place)
            raise

    def _leave(self, client: str, place: asyncio.Future[None]) -> None:
        """Give up waiting; also when the place had been given a moment before."""
        if place.done() and not place.cancelled() and place.exception() is None:
            self.running -= 1
            self._inside -= Counter((client,))
            self._let_in()
            return
        queue = self._queues.get(client)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[client]

    def _let_in(self) -> None:
        while self.running < self._concurrent and self._queues:
            client = min(self._queues, key=self._inside.__getitem__)
            queue = self._queues.pop(client)
            place = queue.popleft()
            if queue:
                self._queues[client] = queue
            # Whoever was cancelled has not taken itself out of the queue yet.
            if not place.done():
                self._take(client)
                place.set_result(None)

    def _send_away_for(self, client: str) -> None:
        """Make room for one more of ``client``. Raises `RefusedError` if nobody has more waiting than it."""
        busiest = max(self._queues, key=lambda one: len(self._queues[one]), default=client)
        if len(self._queues.get(busiest, ())) <= len(self._queues.get(client, ())) + 1:
            raise _busy("too many queries are waiting")
        place = self._queues[busiest].pop()
        if not place.done():
            place.set_exception(_busy("too many queries are waiting"))


def _busy(error: str) -> RefusedError:
    return RefusedError(429, Refusal(error, hint="try again later"), {"Retry-After": str(_RETRY_AFTER_S)})
