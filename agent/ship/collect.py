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

from agent.memory import give_back
from agent.ship.batch import Builder, Sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.follow.discovery import Listing
    from agent.follow.rounds import Round
    from agent.follow.tail import Tail
    from agent.metrics import Metrics
    from agent.ship.client import Answer

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# How often the files are asked whether they have grown. What one look finds makes one round, and one batch as soon as
# it is old enough: fewer looks make fewer rounds, batches and requests of as many lines, and those are what a node
# where every file gets a line now and then costs.
LOOK_EVERY_S: Final = 0.25
# Where many files grow, so many times as long: half as many rounds and batches. A line waits for the next look, and if
# it is too young then for what follows to be known (`join.CLOSED_AFTER_NS`) for the one after that: 0.75 s at most.
MANY_LOOKS: Final = 2
# Nobody who wants batches sooner than that gets more looks a second than ten.
LOOK_EVERY_LEAST_S: Final = 0.1
# Rounds read in one go. `/status` waits for it.
WORK_S: Final = 0.05
# How often partial lines without an end are looked for, which have waited for many seconds already, and gauges are set.
_RARELY_S: Final = 2.0
# After so long without a line, freed memory is given back: blocks and batches may not be needed again for hours.
_IDLE_AFTER_S: Final = 2.0


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
        self._room = asyncio.Event()
        self._room.set()
        self._news = asyncio.Event()
        self._unplaced = asyncio.Event()
        self._look_every_s = min(LOOK_EVERY_S, max(LOOK_EVERY_LEAST_S, flush_after_s))
        self._look_at_s = 0.0
        # When the files were looked at last, and the time before that: what one look finds, the one before had not.
        self._looked_s = 0.0
        self._looked_before_s = 0.0
        # The first records of the batch were read, and written, after these.
        self._began_s = 0.0
        self._written_s = 0.0
        self._rarely_s = 0.0
        # When something was read last; None once the memory for it was given back.
        self._read_s: float | None = None
        self._readable = False
        self._stopping = False
        # Whose positions the files have; empty before the first answer.
        self.store = ""
        self.epoch = 0

    async def run(self) -> None:
        """Read and seal until `stop`; then seal what has been read, and return."""
        while True:
            # Read only what can be handed over at once: a line that is read waits for two batches at most.
            await self._wait_for_room()
            if self._stopping:
                break
            async with self._lock:
                sealed = await self._in_thread(self._work)
                if self._tail.waiting:
                    self._unplaced.set()
            if sealed is not None:
                self._ready.put_nowait(sealed)
                self._room.clear()
            if not self._readable:
                await self._pause()
        async with self._lock:
            sealed = await self._in_thread(self._last)
        if sealed is not None:
            await self._ready.put(sealed)

    async def _wait_for_room(self) -> None:
        """Wait until what is read can be handed over; meanwhile only look how far files grow."""
        while not self._room.is_set():
            try:
                async with asyncio.timeout(_RARELY_S):
                    await self._room.wait()
            except TimeoutError:
                async with self._lock:
                    await self._in_thread(self._measure)
                    if self._tail.waiting:
                        self._unplaced.set()

    def stop(self) -> None:
        """Read no more."""
        self._stopping = True
        self._news.set()
        self._room.set()

    async def next(self) -> Sealed:
        """The next batch to send; waits for one."""
        sealed = await self._ready.get()
        self._room.set()
        return sealed

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
            if not self._tail.is_scanned:
                self._tail.is_scanned = True  # there are none
                self._tail.measure()

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
            if self.store and answer.store != self.store:
                _log.info("the aggregator or its store is another one, asking where to read on")
                self._metrics.store_changes.inc()
                self._discard()
                self._tail.displace()
            self.store = answer.store
            behind = any(answer.committed.get(source, 0) < end for source, end in (ends or {}).items())
            # Nearly every answer only confirms what was sent; to open and place files is left to the thread.
            others = self._tail.advance(answer.committed)
            astray = bool(others) and await self._in_thread(lambda: self._tail.place(others))
            went_back = answer.hole or behind or astray
            if went_back:
                _log.info("the store does not hold what was sent or expected, reading goes back to what it holds")
                self._metrics.rewinds.inc()
                self._discard()
                await self._in_thread(self._tail.rewind)
            # To ask every file costs milliseconds, and an answer that only confirms has not made one unplaced.
            if (others or went_back or ends is None) and self._tail.unplaced():
                self._unplaced.set()
        if went_back or ends is None:
            self._news.set()  # there is something to read that no look finds
        return went_back

    async def read(self, call: Callable[[Tail], _T]) -> _T:
        """What ``call`` says of the tail, which meanwhile nobody changes."""
        async with self._lock:
            return call(self._tail)

    def close(self) -> None:
        """Close every file, after `run` has returned or was cancelled."""
        self._thread.shutdown()
        self._tail.close()

    def _work(self) -> Sealed | None:
        """Read, in the thread, until there is no more, the batch is due, or it took long. The batch, if it is due.

        All in one go: to change threads costs as much as a hundred lines.
        """
        until_s = time.monotonic() + WORK_S
        self._step()
        while self._readable and not self._is_due() and time.monotonic() < until_s:
            self._step()
        return self._sealed() if self._is_due() else None

    def _step(self) -> None:
        """Look, if it is time, and read once."""
        now_s = time.monotonic()
        rounds = []
        if now_s >= self._look_at_s:
            self._readable = self._tail.look()
            self._looked_before_s, self._looked_s = self._looked_s, now_s
            self._look_at_s = now_s + self._look_every_s * (MANY_LOOKS if self._tail.are_many else 1)
        if self._readable:
            rounds = self._tail.read_round()
            self._readable = self._tail.readable
        rounds += self._tail.lost()
        if now_s - self._rarely_s >= _RARELY_S:
            overdue = self._tail.overdue()
            rounds += overdue
            if not overdue:  # else there may be more: asked again in the next step, if the batch is not full
                self._rarely_s = now_s
                self._tail.measure()
            if self._read_s is not None and now_s - self._read_s >= _IDLE_AFTER_S:
                give_back()
                self._read_s = None
        if rounds:
            self._read_s = now_s
        self._add(rounds, now_s)

    def _add(self, rounds: list[Round], now_s: float) -> None:
        for each in rounds:
            if each.parts:
                if self._builder.is_empty:
                    self._began_s, self._written_s = now_s, self._looked_before_s
                self._builder.add(each)

    def _last(self) -> Sealed | None:
        """What was read, with the lines that are held; None if that is nothing."""
        self._tail.close_held()
        self._add([*self._tail.read_round(), *self._tail.lost()], time.monotonic())
        return self._sealed()

    def _measure(self) -> None:
        """Bring the gauges up to date while nothing is read."""
        self._readable = self._tail.look()
        self._tail.measure()

    def _is_due(self) -> bool:
        if self._builder.is_empty:
            return False
        # Where there is more to be read, it is worth waiting for.
        since_s = self._began_s if self._readable else self._written_s
        return self._builder.is_full or time.monotonic() >= since_s + self._flush_after_s

    async def _pause(self) -> None:
        """Wait for the next look, or until the batch is due; after news of files or positions look at once."""
        until_s = self._look_at_s
        if not self._builder.is_empty:
            until_s = min(until_s, self._written_s + self._flush_after_s)
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()
        self._look_at_s = 0.0

    def _sealed(self) -> Sealed | None:
        """What was read, ready to be sent; None if that is nothing."""
        return None if self._builder.is_empty else seal(self._builder.take(), self.epoch)

    def _discard(self) -> None:
        """What is read and not committed is of no use; the files still have it."""
        self.epoch += 1
        self._builder.clear()
        while not self._ready.empty():
            self._ready.get_nowait()
            self._ready.task_done()
        self._room.set()

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        result: _T = await wrap(call)(executor=self._thread)
        return result
