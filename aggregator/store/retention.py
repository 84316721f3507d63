"""Dropping what is over: days by age and by the store's size, and namespaces out of days.

Cheapest first: a day goes whole, labels and all, as soon as nobody's retention holds it, or when the store is larger
than it may be and the day is its oldest one; that is a few files removed. Only what shares a day with what is kept is
deleted out of it (`aggregator.store.erasure`). What still arrives for what was dropped is acknowledged but not stored
(`aggregator.ingest.plan`), by the same rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import StoreError
from aggregator.store import erasure
from aggregator.store.erasure import Going
from aggregator.store.moved import is_cold
from aggregator.store.schema import IS_RECORD, LOGS, STREAMS
from aggregator.store.terms import day_name, moment, oldest_day
from service.logs import fields
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aggregator.metrics import Metrics
    from aggregator.store.commits import Commits
    from aggregator.store.engine import Engine
    from aggregator.store.floor import Floor
    from aggregator.store.streams import Streams
    from aggregator.store.terms import Terms

_log = logging.getLogger(__name__)

# A cap that is kept within a few minutes; a look costs one statement on the list of parts.
EVERY_S: Final = 60.0
# Where the oldest records of a day have to go, its parts are rewritten: so much is made free at once that it is not
# done again for every minute's growth.
_ROOM: Final = 0.9
# What mutations are known by.
_CUT: Final = "retentionofsize"
_THINNED: Final = "retentionofnamespaces"
_MINUTE_NS: Final = 60_000_000_000
_SECOND_NS: Final = 1_000_000_000


class _Day(msgspec.Struct):
    day: int
    bytes: int


class _Table(msgspec.Struct):
    name: str


class _Minute(msgspec.Struct):
    minute: int
    rows: int


class Retention:
    """Keeps the store within ``terms`` and, if not None, ``size_bytes`` on disk, all tables together. Owns no task."""

    def __init__(
        self,
        engine: Engine,
        streams: Streams,
        commits: Commits,
        floor: Floor,
        terms: Terms,
        *,
        size_bytes: int | None,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._commits = commits
        self._floor = floor
        self._terms = terms
        self._size_bytes = size_bytes
        self._clock = clock
        self._metrics = metrics
        self._thinned: dict[int, int] = {}
        metrics.floor_seconds.set_function(lambda: floor.at_ns / 1e9)
        metrics.store_limit_bytes.set(size_bytes or 0)

    async def run(self) -> None:
        """Keep days and size within bounds, for ever; a failure is logged and tried again."""
        await _ever("days that are over could not be dropped", self.drop)

    async def run_namespaces(self) -> None:
        """Keep namespaces within theirs, beside `run`, for it may take long."""
        await _ever("namespaces could not be thinned out", self.thin_out)

    async def drop(self) -> None:
        """Drop every day that is over, then what the store has no room for. Raises `StoreError`."""
        today = oldest_day(self._clock(), 0.0)
        # What a group that was under way has stored below the floor since it was lifted goes here as well.
        over = oldest_day(self._clock(), self._terms.longest_s)
        for day in await self._days():
            if day.day < over:
                await self._drop(day, "age")
            elif day.day < self._floor.at_ns // DAY_NS:
                await self._drop(day, "size")
        if self._size_bytes is not None:
            await self._fit(self._size_bytes, today)

    async def _fit(self, size_bytes: int, today: int) -> None:
        days = await self._days()
        size = await self._size()
        while size > size_bytes and len(days) > 1 and days[0].day < today:
            oldest = days.pop(0)
            await self._floor.lift((oldest.day + 1) * DAY_NS)
            await self._drop(oldest, "size")
            size -= oldest.bytes
        if size <= size_bytes or not days:
            return
        # The sum above is of parts, some of which may just have been merged into others.
        size = await self._size()
        excess = size - int(size_bytes * _ROOM)
        if size > size_bytes and days[0].day <= today and days[0].bytes > excess:
            await self._cut(days[0], excess / days[0].bytes)
        elif size > size_bytes:
            found = fields(bytes=size, limit=size_bytes, oldest_day=day_name(days[0].day))
            hint = "its records are of a time to come: delete them with POST /delete, or raise the limit"
            _log.error(
                "the store is larger than --retention-size, and nothing older is left", extra=found | {"hint": hint}
            )

    async def _cut(self, day: _Day, share: float) -> None:
        """Delete the oldest ``share`` of the records of ``day``, to the minute; nothing while that is under way."""
        if (await erasure.look(self._engine, _CUT)).open:
            return
        minutes = await self._engine.rows(
            f"SELECT intDiv(toUnixTimestamp64Nano(ts), {_MINUTE_NS}) AS minute, toUInt64(count()) AS rows "  # noqa: S608 - own words
            f"FROM {LOGS} WHERE toDate32(ts) = '{day_name(day.day)}' AND {IS_RECORD} GROUP BY minute ORDER BY minute",
            _Minute,
            None,
            erasure.LIMITS,
        )
        # What is below a floor that was lifted before goes as well: marking it may have failed then.
        floor_ns = max(_floor_for(minutes, share, int(self._clock() * _SECOND_NS)), self._floor.at_ns)
        await self._floor.lift(floor_ns)
        condition = f"ts < fromUnixTimestamp64Nano(toInt64({floor_ns}), 'UTC')"
        going = Going(day.day, condition, {}, self._commits.last_ms, _mark(_CUT))
        async with erasure.alone(self._engine):
            rows = await erasure.mark(self._engine, going)
            if not rows:
                return
            await erasure.begin(self._engine, going)
        _log.warning(
            "the oldest records of a day are deleted, for want of room",
            extra=fields(day=day_name(day.day), before=moment(floor_ns), limit=self._size_bytes),
        )
        self._metrics.erased.labels("size").inc(rows)
        # On a full disk it may wait for room, which other days make by being dropped.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await erasure.finish(self._engine, going.mark)

    async def thin_out(self) -> None:
        """Delete what is over of namespaces that share a day with others, each day once a day. Raises `StoreError`."""
        now_s = self._clock()
        today = oldest_day(now_s, 0.0)
        first, last = (oldest_day(now_s, age_s) for age_s in (self._terms.longest_s, self._terms.shortest_s))
        for day in await self._days():
            if first <= day.day < last and self._thinned.get(day.day) != today:
                await self._thin_out(day.day, now_s)
                self._thinned[day.day] = today
        self._thinned = {day: when for day, when in self._thinned.items() if day >= first}

    async def _thin_out(self, day: int, now_s: float) -> None:
        found = await self._engine.rows(
            f"SELECT DISTINCT toString(namespace) AS name FROM {LOGS} "  # noqa: S608 - own words
            f"WHERE toDate32(ts) = '{day_name(day)}' AND {IS_RECORD}",
            _Table,
            None,
            erasure.LIMITS,
        )
        over = self._terms.over([row.name for row in found], day, now_s)
        if not over:
            return
        values = {"over": over}
        going = Going(day, "namespace IN {over:Array(String)}", values, self._commits.last_ms, _mark(_THINNED))
        rows = await erasure.erase(self._engine, going)
        try:
            # In the background, for inserts wait for what the engine does at once.
            await self._engine.execute(
                f"ALTER TABLE {STREAMS} DELETE IN PARTITION '{day_name(day)}' "
                f"WHERE labels['namespace'] IN {{over:Array(String)}} AND '{going.mark}' != '' "
                "SETTINGS mutations_sync = 0",
                values,
            )
            await erasure.finish(self._engine, going.mark)
        finally:
            self._streams.forget()
        self._metrics.erased.labels("namespace").inc(rows)
        _log.info(
            "records of namespaces deleted that are over",
            extra=fields(day=day_name(day), namespaces=",".join(over), rows=rows),
        )

    async def _days(self) -> list[_Day]:
        """Every day that has records or labels, oldest first, with its bytes on disk."""
        layout = self._engine.layout
        return await self._engine.rows(
            "SELECT toInt32(toDate32(partition)) AS day, sum(bytes_on_disk) AS bytes "  # noqa: S608 - own words
            f"FROM {layout.parts} WHERE table IN ('{layout.logs}', '{STREAMS}') GROUP BY day "
            # What has something in the cold tier is left to `aggregator.store.cold`: here inserts would wait for it.
            f"HAVING countIf({is_cold(self._engine)}) = 0 ORDER BY day",
            _Day,
        )

    async def _size(self) -> int:
        (found,) = await self._engine.rows(
            "SELECT toInt32(0) AS day, toUInt64(sum(bytes_on_disk)) AS bytes "  # noqa: S608 - own words
            f"FROM {self._engine.layout.parts} WHERE NOT {is_cold(self._engine)}",
            _Day,
        )
        return found.bytes

    async def _drop(self, day: _Day, reason: str) -> None:
        """Drop a day, records before labels."""
        name = day_name(day.day)
        layout = self._engine.layout
        tables = await self._engine.rows(
            f"SELECT DISTINCT table AS name FROM {layout.parts} WHERE partition = '{name}' ORDER BY name",  # noqa: S608 - own words
            _Table,
        )
        for table in tables:
            await self._engine.execute(f"ALTER TABLE {table.name}{layout.on_cluster} DROP PARTITION '{name}'")
            self._metrics.days_dropped.labels(table.name, reason).inc()
            _log.info("day dropped", extra=fields(table=table.name, day=name, reason=reason, bytes=day.bytes))
        self._streams.forget()


def _floor_for(minutes: list[_Minute], share: float, now_ns: int) -> int:
    """The end of the minute with which the oldest ``share`` of the rows is reached, and not later than now."""
    wanted = share * sum(each.rows for each in minutes)
    reached, floor_ns = 0, 0
    for each in minutes:
        if reached >= wanted:
            break
        reached += each.rows
        floor_ns = (each.minute + 1) * _MINUTE_NS
    return min(floor_ns, now_ns)


def _mark(what: str) -> str:
    return what + uuid.uuid4().hex


async def _ever(failure: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except StoreError as error:
            _log.error(failure, extra=fields(reason=error))
        await asyncio.sleep(EVERY_S)
