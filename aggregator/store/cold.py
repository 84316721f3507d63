"""Moving old days to the cold tier, bringing back what was set aside, dropping there what is over.

A day moves part by part when its end is longer ago than ``after_s``; what still arrives for it follows. A part is in
one place or the other, whenever the process is killed: the engine copies it, then swaps, and looks after what was cut
off when it is started. Nothing of this runs on the writer's connection: batches do not wait for a tier that hangs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import StoreColdError, StoreError
from aggregator.store import moved
from aggregator.store.aside import break_off, twice
from aggregator.store.keepsake import forget, keep, place_of, settle
from aggregator.store.schema import LOGS
from aggregator.store.terms import day_name, oldest_day
from aggregator.store.tier import DISK
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.metrics import Metrics
    from aggregator.store.embedded import Embedded
    from aggregator.store.tier import Tier

_log = logging.getLogger(__name__)

# Days end once a day; late records of old days, and parts that a merge held, come between.
_EVERY_S: Final = 60.0
# After a failure, doubled each time.
_AGAIN_S: Final = 2.0
_AGAIN_MAX_S: Final = 300.0
# How often a day that takes long is said to go on.
_PROGRESS_S: Final = 30.0
# PART_IS_TEMPORARILY_LOCKED, NO_SUCH_DATA_PART, ABORTED: a merge has the part, or had it.
_MERGING: Final = frozenset({384, 232, 236})
# How an S3 server says that there is no such object.
_GONE: Final = "key does not exist"


class _Part(msgspec.Struct):
    day: int
    name: str
    bytes: int
    path: str


class Cold:
    """Keeps the days that are older than ``after_s`` in ``tier``, and no day longer than ``retention_s``."""

    def __init__(
        self,
        engine: Embedded,
        tier: Tier,
        *,
        after_s: float,
        retention_s: float,
        clock: Callable[[], float],
        metrics: Metrics,
        every_s: float = _EVERY_S,
    ) -> None:
        self._engine = engine
        self._tier = tier
        self._after_s = after_s
        self._retention_s = retention_s
        self._clock = clock
        self._metrics = metrics
        self._every_s = every_s

    async def run(self) -> None:
        """Do what is to be done, for ever; a failure is logged and tried again, later each time."""
        failed = 0
        while True:
            try:
                await self.tidy()
            except (StoreError, OSError) as error:
                wait_s = min(_AGAIN_MAX_S, _AGAIN_S * 2**failed) * random.uniform(0.7, 1.0)  # noqa: S311 - a jitter
                failed += 1
                self._metrics.cold_failures.inc()
                _log.error(
                    "the cold tier does not do what it should",
                    extra=fields(tier=self._tier.bucket, reason=error, again_s=round(wait_s, 1), failed=failed),
                )
                await asyncio.sleep(min(wait_s, self._every_s * 2**failed))
                continue
            if failed:
                _log.info("the cold tier works again", extra=fields(tier=self._tier.bucket))
            failed = 0
            await asyncio.sleep(self._every_s)

    async def tidy(self) -> None:
        """Bring back, drop and move what there is. Raises `StoreError`, OSError; what was done until then stays."""
        oldest, local = (oldest_day(self._clock(), age_s) for age_s in (self._retention_s, self._after_s))
        doubled = await asyncio.to_thread(twice, self._engine.path)
        aside = {day: sorted(names) for day, names in sorted(self._engine.aside.parts.items())}
        over = await self._parts(f"disk_name = '{DISK}' AND day < {oldest}")
        old = await self._parts(f"disk_name != '{DISK}' AND day BETWEEN {oldest} AND {local - 1}")
        self._metrics.cold_aside.set(sum(map(len, aside.values())))
        if doubled or aside or over or old:
            await self._answer()
        for day, names in aside.items():
            await self._bring_back(day, names)
        for name in doubled:
            await self._drop_twice(name)
        for day in dict.fromkeys(part.day for part in over):
            await self._engine.apart(f"ALTER TABLE {LOGS} DROP PARTITION ID '{day}'")
            self._metrics.days_dropped.labels("logs", "age").inc()
            _log.info("day dropped from the cold tier", extra=fields(day=day_name(day)))
        for day, parts in groupby(old, lambda part: part.day):
            await self._move(day, list(parts))

    async def _drop_twice(self, name: str) -> None:
        try:
            await self._engine.apart(f"ALTER TABLE {LOGS} DROP DETACHED PART '{name}' SETTINGS allow_drop_detached = 1")
        except StoreColdError:
            raise
        except StoreError as error:  # it costs room, and nothing else
            _log.warning("what is left of a move could not be removed", extra=fields(part=name, reason=error))

    async def _answer(self) -> None:
        """Raise `StoreColdError` unless the tier's server answers: what is begun without it takes long to fail."""
        if not await asyncio.to_thread(self._tier.answers):
            raise StoreColdError(f"{self._tier.endpoint} does not answer")

    async def _bring_back(self, day: int, names: list[str]) -> None:
        for name in names:
            try:
                await self._engine.apart(f"ALTER TABLE {LOGS} ATTACH PART '{name}'")
            except StoreError as error:
                if isinstance(error, StoreColdError) and _GONE not in str(error):
                    raise
                _log.error(
                    "a part in the cold tier is broken", extra=fields(day=day_name(day), part=name, reason=error)
                )
                await asyncio.to_thread(break_off, self._engine.path, name)
            self._engine.aside.attached(day, name)
        self._metrics.cold_aside.set(sum(map(len, self._engine.aside.parts.values())))
        _log.info("a day in the cold tier can be read again", extra=fields(day=day_name(day), parts=len(names)))

    async def _move(self, day: int, parts: list[_Part]) -> None:
        loop = asyncio.get_running_loop()
        began_s = told_s = loop.time()
        total = sum(part.bytes for part in parts)
        _log.info("moving a day to the cold tier", extra=fields(day=day_name(day), parts=len(parts), bytes=total))
        await moved.note(self._engine, day)
        done = held = 0
        for number, part in enumerate(parts, 1):
            if not await self._moved(part):
                held += 1
                continue
            done += part.bytes
            self._metrics.cold_parts.inc()
            self._metrics.cold_bytes.inc(part.bytes)
            self._metrics.cold_last_success.set(self._clock())
            if loop.time() - told_s > _PROGRESS_S:
                told_s = loop.time()
                _log.info("moving a day", extra=fields(day=day_name(day), parts=f"{number}/{len(parts)}", bytes=done))
        seconds = round(loop.time() - began_s, 1)
        found = fields(day=day_name(day), parts=len(parts) - held, bytes=done, held=held, seconds=seconds)
        _log.info("a day is in the cold tier" + (", but for parts that merges held" if held else ""), extra=found)

    async def _moved(self, part: _Part) -> bool:
        """Whether ``part`` is in the tier now, for good; it is not if a merge has it."""
        store, place = self._engine.path, place_of(part.path)
        try:
            await asyncio.to_thread(keep, store, place)
            await self._engine.apart(f"ALTER TABLE {LOGS} MOVE PART '{part.name}' TO VOLUME '{DISK}'")
        except (StoreError, OSError) as error:
            await asyncio.to_thread(forget, store, place)
            if isinstance(error, FileNotFoundError) or (isinstance(error, StoreError) and error.code in _MERGING):
                return False
            raise
        await asyncio.to_thread(settle, store, place)
        return True

    async def _parts(self, condition: str) -> list[_Part]:
        return await self._engine.rows(
            "SELECT toInt32(partition_id) AS day, name, bytes_on_disk AS bytes, path "  # noqa: S608 - own words
            f"FROM {self._engine.layout.parts} WHERE table = '{LOGS}' AND {condition} ORDER BY day, name",
            _Part,
        )
