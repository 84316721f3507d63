"""Dropping the days that are over.

A day is dropped, labels and all, when its end lies longer ago than the retention. What still arrives for such a day is
acknowledged but not stored (`aggregator.ingest.plan`), by the same rule.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import date
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import StoreError
from aggregator.store.schema import DATABASE
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from aggregator.store.engine import Engine
    from aggregator.store.streams import Streams

_log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
# Days end once a day; an hour's delay is little beside them.
_EVERY_S: Final = 3_600.0
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class _Partition(msgspec.Struct):
    name: str
    day: str


def oldest_day(now_s: float, retention_s: float) -> int:
    """The oldest day that is kept, counted from 1970-01-01 UTC: the one that holds the moment ``retention_s`` ago."""
    return max(0, int((now_s - retention_s) // _DAY_S))


class Retention:
    """Drops days at start and every hour."""

    def __init__(
        self, engine: Engine, streams: Streams, retention_s: float, clock: Callable[[], float], dropped: Counter
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._retention_s = retention_s
        self._clock = clock
        self._dropped = dropped

    async def run(self) -> None:
        """Drop what is over, for ever; a failure is logged and tried again an hour later."""
        while True:
            try:
                await self.drop()
            except StoreError as error:
                _log.error("days that are over could not be dropped", extra=fields(reason=error))
            await asyncio.sleep(_EVERY_S)

    async def drop(self) -> None:
        """Drop every day that is over, records before labels. Raises `StoreError`."""
        oldest = date.fromordinal(_EPOCH_ORDINAL + oldest_day(self._clock(), self._retention_s)).isoformat()
        partitions = await self._engine.rows(
            # system.parts prints a day as a date, which sorts as text.
            "SELECT DISTINCT table AS name, partition AS day FROM system.parts "  # noqa: S608 - a constant
            f"WHERE database = '{DATABASE}' AND active AND partition < {{oldest:String}} ORDER BY name, day",
            _Partition,
            {"oldest": oldest},
        )
        for partition in partitions:
            await self._engine.execute(f"ALTER TABLE {DATABASE}.{partition.name} DROP PARTITION '{partition.day}'")
            self._dropped.labels(partition.name).inc()
            _log.info("day dropped", extra=fields(table=partition.name, day=partition.day, oldest_kept=oldest))
        if partitions:
            self._streams.forget()
