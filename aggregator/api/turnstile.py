"""How many queries run and wait at a time: each holds a connection of the engine and memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# About what a query takes: whoever comes back then may find a place.
_RETRY_AFTER_S: Final = 2


class Turnstile:
    """Lets ``concurrent`` in, lets ``waiting`` more wait for at most ``wait_s``, and refuses the rest with 429."""

    def __init__(self, concurrent: int, waiting: int, wait_s: float) -> None:
        self.running = 0
        self.waiting = 0
        self._places = asyncio.Semaphore(concurrent)
        self._waiting_most = waiting
        self._wait_s = wait_s

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Hold a place. Raises `RefusedError` if there is none to be had. Cancelling gives the place back."""
        await self._wait()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._places.release()

    async def _wait(self) -> None:
        if self._places.locked() and self.waiting >= self._waiting_most:
            raise _busy("too many queries are waiting")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise _busy(f"other queries took all places for {self._wait_s:g} s") from error
        finally:
            self.waiting -= 1


def _busy(error: str) -> RefusedError:
    return RefusedError(429, Refusal(error, hint="try again later"), {"Retry-After": str(_RETRY_AFTER_S)})
