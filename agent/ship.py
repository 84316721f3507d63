"""Sends batches until they are committed, one at a time.

A batch is retried for ever as long as the trouble may pass; a record the aggregator will never take is found by
halving, and replaced by a gap record that says so. Cancelling loses nothing: what was not committed is in the files.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agent.backoff import Backoff
from agent.batch import Sealed, halves, in_its_place, seal_batch, unseal
from agent.errors import GapRefusedError, OtherBuildError, RefusedError, UnavailableError
from service.logs import fields
from wire.batch import Flag

if TYPE_CHECKING:
    from agent.client import Client
    from agent.collect import Collector
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)


class Shipper:
    """Takes batches from the collector and sees each to its end."""

    def __init__(self, collector: Collector, client: Client, metrics: Metrics) -> None:
        self._collector = collector
        self._client = client
        self._metrics = metrics
        self._backoff = Backoff()
        # When the aggregator last answered, monotonic seconds; None before it has. `trouble`: why it does not now.
        self.answered_s: float | None = None
        self.trouble = ""
        self.refused = ""

    async def run(self) -> None:
        """Ship for ever."""
        while True:
            sealed = await self._collector.next()
            with self._metrics.in_flight.track_inprogress():
                await self._deliver(sealed)
            self._collector.done()
            del sealed  # a megabyte or so, and the next one may be long in coming

    async def _deliver(self, sealed: Sealed) -> None:
        """See ``sealed`` committed; or dropped, because reading has gone back and will bring it again."""
        while sealed.epoch == self._collector.epoch:
            try:
                began_s = time.monotonic()
                answer = await self._client.send(sealed.data)
            except UnavailableError as error:
                await self._wait(error)
            except RefusedError as error:
                await self._deliver_in_pieces(sealed, error)
                return
            else:
                self._metrics.batch(sealed, "hole" if answer.hole else "committed", time.monotonic() - began_s)
                self._heard()
                if await self._collector.answered(answer, sealed.ends):
                    # Reading went back, so the next batch fits. Should it not, that must not become a busy loop.
                    await asyncio.sleep(self._backoff.next_s())
                else:
                    self._backoff.reset()
                return

    async def _deliver_in_pieces(self, sealed: Sealed, error: RefusedError) -> None:
        self._heard()
        self._backoff.reset()
        self._metrics.batches.labels("too_large" if error.too_large else "refused").inc()
        batch = await asyncio.to_thread(unseal, sealed)
        pieces = halves(batch)
        if pieces is None:
            chunk = next((chunk for chunk in batch.chunks if chunk.rows), batch.chunks[0])
            if (batch.flags & Flag.GAP).all():
                raise GapRefusedError(error, f"{chunk.namespace}/{chunk.pod}", chunk.container)
            self.refused = str(error)
            self._metrics.refused_records.inc(sealed.rows)
            _log.error(
                "record refused for good, a gap record takes its place",
                extra=fields(pod=f"{chunk.namespace}/{chunk.pod}", container=chunk.container, reason=error),
            )
            await self._deliver(seal_batch(in_its_place(batch, error.rule), sealed.epoch))
            return
        for half in pieces:
            await self._deliver(await asyncio.to_thread(seal_batch, half, sealed.epoch))

    def _heard(self) -> None:
        if self.trouble:
            _log.info("aggregator answers again", extra=fields(failures=self._backoff.failures))
        self.trouble = ""
        self.answered_s = time.monotonic()

    async def _wait(self, error: UnavailableError) -> None:
        self.trouble = error.reason
        is_other = isinstance(error, OtherBuildError)
        self._metrics.batches.labels("incompatible" if is_other else "unavailable").inc()
        pause_s = self._backoff.next_s(error.retry_after_s)
        said = (
            "the aggregator is of another version, waiting until both are alike; nothing is dropped"
            if is_other
            else "batch not taken, trying again"
        )
        _log.warning(said, extra=fields(reason=error.reason, in_s=f"{pause_s:.1f}"))
        await asyncio.sleep(pause_s)
