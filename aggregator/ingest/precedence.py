"""Ingestion before queries while agents catch up: then both want every core.

Queries give way to inserts (`aggregator.store.bounds`), but an insert is half of what a commit takes; the rest is
decoding and planning, in this process. So where commits follow one another without a pause, queries stand still between
inserts too: they come on by one block of rows in each `bounds.YIELD_MS`, and as before once agents have caught up.

Measured on two cores, four senders beside four heavy queries (``benchmarks --only beside``): 0.73 of the rate alone
without this, 0.85 with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aggregator.errors import StoreError
from service.logs import fields

if TYPE_CHECKING:
    from aggregator.metrics import Metrics
    from aggregator.store.engine import Engine

_log = logging.getLogger(__name__)

# From the beginning of a commit on: most are over by then, and the next one has begun.
HOLD_S: Final = 0.5


class Precedence:
    """`hold` says that ingestion needs the cores; `run`, a task, has queries stand still."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._asked = asyncio.Event()

    def hold(self) -> None:
        """Have queries stand still for `HOLD_S` from now on."""
        self._asked.set()

    async def run(self) -> None:
        """Hold queries whenever it is asked for, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._engine.hold_queries(HOLD_S)
            except StoreError as error:
                _log.warning("queries could not be held for ingestion", extra=fields(reason=error))
            else:
                self._metrics.queries_held_s.inc(HOLD_S)
