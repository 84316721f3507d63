"""Reads rounds into batches and hands them over, one waiting at a time.

The `Collector` owns the tail. Whatever touches it holds the lock and runs in the one thread for files, so the tail
itself knows of neither. Memory is bounded by what may be held at once: the batch being built, one sealed batch that
waits, and the one the shipper has.

Cancelling `run` loses nothing that is not still in the files.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from aiofiles.os import wrap

from agent.batch import Builder, Sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.client import Answer
    from agent.discovery import Listing
    from agent.metrics import Metrics
    from agent.tail import Tail

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# How often the files are asked whether they have grown. It is part of the delay from write to store.
LOOK_EVERY_S: Final = 0.1
# The same while nothing has been written for `QUIET_AFTER_S`: a quiet node shall cost next to nothing.
LOOK_QUIET_S: Final = 0.25
QUIET_AFTER_S: Final = 5.0
# Rounds read in one go; every change of threads costs as much as a hundred lines. `/status` waits for it.
WORK_S: Final = 0.05
# How often partial lines without an end are looked for, which have waited for many seconds already, and gauges are set.
_RARELY_S: Final = 2.0


class Collector:
    """Turns what the files hold into sealed batches; `next` gives them out, `answered` takes what became of them."""

    def __init__(self, tail: Tail, builder: Builder, flush_after_s: float, metrics: Metrics) -> None:
        self._tail = tail
        self._builder = builder
        self._flush_after_s = flush_after_s
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "files")
        self._ready: asyncio.Queue[Sealed] = asyncio.Queue(1)
        self._news = asyncio.Event()
        self._unplaced = asyncio.Event()
        self._began_s = 0.0
        self._look_at_s = 0.0
        self._active_s = 0.0
        self._rarely_s = 0.0
        self._readable = False
        self._stopping = False
        self._store = ""
        self.epoch = 0

    async def run(self) -> None:
        """Read and seal until `stop`; then seal what has been read, and return."""
        while not self._stopping:
            async with self._lock:
                progress = await self._in_thread(self._work)
                if self._tail.waiting:
                    self._unplaced.set()
            if self._is_due():
                await self._seal()
            elif not progress:
                await self._pause()
        if not self._builder.is_empty:
            await self._seal()

    def stop(self) -> None:
        """Read no more."""
        self._stopping = True
        self._news.set()

    async def next(self) -> Sealed:
        """The next batch to send; waits for one."""
        return await self._ready.get()

    def done(self) -> None:
        """What `next` gave last is dealt with."""
        self._ready.task_done()

    async def drained(self) -> None:
        """Wait until everything sealed is dealt with."""
        await self._ready.join()

    async def update(self, listings: Sequence[Listing]) -> None:
        """Follow what a scan found."""

        def update() -> None:
            for listing in listings:
                self._tail.update(listing)
            # Opened at once, also while nothing is read because nothing is committed: what is open can still be read
            # after it was deleted.
            self._tail.look()

        async with self._lock:
            await self._in_thread(update)
        self._news.set()

    async def unplaced(self, most: int, timeout_s: float) -> list[bytes]:
        """Up to ``most`` sources that wait to be told where to read on; none after ``timeout_s`` without any."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._unplaced.wait()
        except TimeoutError:
            return []
        async with self._lock:
            sources = self._tail.unplaced()
            if len(sources) <= most:
                self._unplaced.clear()
        return sources[:most]

    def ask_again(self) -> None:
        """What `unplaced` gave last was not answered."""
        self._unplaced.set()

    async def answered(self, answer: Answer, ends: Mapping[bytes, int] | None = None) -> bool:
        """Take what the store holds. ``ends``: what it should hold now, if a batch was sent.

        Whether reading went back because it does not.
        """
        async with self._lock:
            if self._store and answer.store != self._store:
                _log.info("the aggregator or its store is another one, asking where to read on")
                self._metrics.store_changes.inc()
                self._discard()
                self._tail.displace()
            self._store = answer.store
            behind = any(answer.committed.get(source, 0) < end for source, end in (ends or {}).items())
            astray = await self._in_thread(lambda: self._tail.place(answer.committed))
            went_back = answer.hole or behind or astray
            if went_back:
                _log.info("the store does not hold what was sent or expected, reading goes back to what it holds")
                self._metrics.rewinds.inc()
                self._discard()
                await self._in_thread(self._tail.rewind)
            if self._tail.unplaced():
                self._unplaced.set()
        self._news.set()
        return went_back

    async def read(self, call: Callable[[Tail], _T]) -> _T:
        """What ``call`` says of the tail, which meanwhile nobody changes."""
        async with self._lock:
            return call(self._tail)

    def close(self) -> None:
        """Close every file, after `run` has returned or was cancelled."""
        self._thread.shutdown()
        self._tail.close()

    def _work(self) -> bool:
        """Read, in the thread, until there is no more, the batch is due, or it took long. Whether there may be more."""
        until_s = time.monotonic() + WORK_S
        while self._step():
            if self._is_due() or time.monotonic() >= until_s:
                return True
        return False

    def _step(self) -> bool:
        """Look and read once. Whether something was read, if only a part of a line."""
        now_s = time.monotonic()
        rounds = []
        if self._readable or now_s >= self._look_at_s:
            self._readable = self._tail.look()
            if self._readable:
                self._active_s = now_s
            self._look_at_s = now_s + (LOOK_EVERY_S if now_s - self._active_s < QUIET_AFTER_S else LOOK_QUIET_S)
        if self._readable:
            rounds = self._tail.read_round()
        if now_s - self._rarely_s >= _RARELY_S:
            overdue = self._tail.overdue()
            if overdue:
                rounds += overdue  # there may be more: asked again in the next step, if the batch is not full
            else:
                self._rarely_s = now_s
                self._tail.measure()
        for each in rounds:
            if each.parts:
                if self._builder.is_empty:
                    self._began_s = now_s
                self._builder.add(each)
        return bool(rounds) or self._readable

    def _is_due(self) -> bool:
        if self._builder.is_empty:
            return False
        return self._builder.is_full or time.monotonic() - self._began_s >= self._flush_after_s

    async def _pause(self) -> None:
        """Wait for the next look, or until the batch is due; after news of files or positions look at once."""
        until_s = self._look_at_s
        if not self._builder.is_empty:
            until_s = min(until_s, self._began_s + self._flush_after_s)
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
        self._look_at_s = 0.0

    async def _seal(self) -> None:
        async with self._lock:
            if self._builder.is_empty:
                return  # discarded meanwhile
            epoch = self.epoch
            sealed = await self._in_thread(lambda: seal(self._builder.take(), epoch))
        while not await self._handed_over(sealed):
            # Nothing is read, but what is written shows: how far behind the store is, and for how long.
            async with self._lock:
                await self._in_thread(self._look)
                if self._tail.waiting:
                    self._unplaced.set()

    async def _handed_over(self, sealed: Sealed) -> bool:
        """Whether there was room for ``sealed`` soon."""
        try:
            async with asyncio.timeout(LOOK_QUIET_S):
                await self._ready.put(sealed)
        except TimeoutError:
            return False
        return True

    def _look(self) -> None:
        self._readable = self._tail.look()
        self._tail.measure()

    def _discard(self) -> None:
        """What is read and not committed is of no use; the files still have it."""
        self.epoch += 1
        self._builder.clear()
        while not self._ready.empty():
            self._ready.get_nowait()
            self._ready.task_done()

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        result: _T = await wrap(call)(executor=self._thread)
        return result
