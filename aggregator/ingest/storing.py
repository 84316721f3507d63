"""Storing a group of batches in a store that nobody else writes to."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aggregator.ingest.plan import plan
from aggregator.ingest.pods import PodStreams
from aggregator.store.schema import LOGS
from aggregator.store.terms import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aggregator.ingest.plan import Plan
    from aggregator.metrics import Metrics
    from aggregator.store.commits import Commits
    from aggregator.store.engine import Engine
    from aggregator.store.floor import Floor
    from aggregator.store.positions import Positions
    from aggregator.store.streams import Streams
    from aggregator.store.terms import Terms
    from wire.batch import Batch


class Storing:
    """Remembers where sources stand, for nobody else moves them. Used for one group at a time."""

    def __init__(
        self,
        engine: Engine,
        positions: Positions,
        streams: Streams,
        commits: Commits,
        *,
        terms: Terms,
        floor: Floor,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._positions = positions
        self._streams = streams
        self._commits = commits
        self._terms = terms
        self._floor = floor
        self._metrics = metrics
        self._clock = clock
        self._pods = PodStreams()

    async def store(self, batches: Sequence[Batch]) -> Plan:
        """Store what is new of ``batches``; what the plan says is so. Raises `StoreError`: then parts of it may be."""
        sources = dict.fromkeys(chunk.source for batch in batches for chunk in batch.chunks)
        committed = await self._positions.of(sources)
        now_s = self._clock()
        kept = Kept(self._terms, now_s, self._floor.at_ns)
        behind, held = self._positions.behind(sources), self._positions.held(sources)
        now_ns = int(now_s * 1e9)
        planned = await asyncio.to_thread(plan, batches, committed, self._pods, kept, now_ns, behind=behind, held=held)
        for insert in planned.inserts:
            await self._streams.write(insert.day, insert.streams)
            rows = self._commits.stamp(insert.rows, self._clock())
            await self._engine.insert(LOGS, rows)
            self._commits.stored(insert.day, rows)
            self._metrics.inserts.inc()
        self._positions.committed(planned.reached, planned.behind)
        return planned

    def forget(self, sources: Iterable[bytes]) -> None:
        """Ask the store again: an insert that failed may yet be in it, and so may inserts before it."""
        self._positions.forget(sources)
        self._streams.forget()
