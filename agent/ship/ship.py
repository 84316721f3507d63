"""Sends batches until they are committed, one at a time.

A batch is retried for ever as long as the trouble may pass; a record the aggregator will never take is found by
halving, and replaced by a gap record that says so. If not even that is taken, or it is a proxy in between that takes no
body of the size, the record waits: batches are halved for it, and nothing is given up. Cancelling loses nothing: what
was not committed is in the files.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agent.errors import BodyLimitError, GapRefusedError, OtherBuildError, RefusedError, UnavailableError
from agent.ship.backoff import Backoff
from agent.ship.batch import Sealed, halves, in_its_place, seal_batch, unseal
from service.logs import fields
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.metrics import Metrics
    from agent.ship.client import Client
    from agent.ship.collect import Collector
    from wire.batch import Batch

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
        # That something in between limits the size of bodies is said once; every batch may be halved for it.
        self._is_limited = False

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
                await self._send(sealed)
            except BodyLimitError as error:
                if pieces := halves(await asyncio.to_thread(unseal, sealed)):
                    self._say_limited(error)
                    await self._deliver_in_pieces(pieces, sealed.epoch, "too_large")
                    return
                await self._wait(error)
            except UnavailableError as error:
                await self._wait(error)
            except RefusedError as error:
                batch = await asyncio.to_thread(unseal, sealed)
                if pieces := halves(batch):
                    self._heard()
                    self._backoff.reset()
                    await self._deliver_in_pieces(pieces, sealed.epoch, "too_large" if error.too_large else "refused")
                    return
                try:
                    await self._send_gap(batch, sealed.epoch, error)
                except UnavailableError as trouble:
                    await self._wait(trouble)
                    continue
                return
            else:
                return

    async def _send(self, sealed: Sealed) -> bool:
        """Send ``sealed`` once, and take the answer: whether it is stored now; if not, reading went back.

        Raises `UnavailableError` or `RefusedError`.
        """
        began_s = time.monotonic()
        answer = await self._client.send(sealed.data)
        self._metrics.batch(sealed, "hole" if answer.hole else "committed", time.monotonic() - began_s)
        self._heard()
        if await self._collector.answered(answer, sealed.ends):
            # Reading went back, so the next batch fits. Should it not, that must not become a busy loop.
            await asyncio.sleep(self._backoff.next_s())
            return False
        self._backoff.reset()
        return True

    async def _deliver_in_pieces(self, pieces: Sequence[Batch], epoch: int, outcome: str) -> None:
        self._metrics.batches.labels(outcome).inc()
        for piece in pieces:
            await self._deliver(await asyncio.to_thread(seal_batch, piece, epoch))

    async def _send_gap(self, batch: Batch, epoch: int, error: RefusedError) -> None:
        """Have a gap record stand for the one of ``batch``, which ``error`` refuses. Raises `UnavailableError`.

        Until it is taken, it is the record that is tried: another aggregator may take that.
        """
        chunk = next((chunk for chunk in batch.chunks if chunk.rows), batch.chunks[0])
        pod = f"{chunk.namespace}/{chunk.pod}"
        if (batch.flags & Flag.GAP).all():
            raise GapRefusedError(error, pod, chunk.container) from error
        gap = seal_batch(in_its_place(batch, error.rule), epoch)
        try:
            if not await self._send(gap):
                return
        except RefusedError as again:
            raise GapRefusedError(again, pod, chunk.container) from again
        self.refused = str(error)
        self._metrics.batches.labels("too_large" if error.too_large else "refused").inc()
        self._metrics.refused_records.inc(gap.rows)
        _log.error(
            "record refused for good, a gap record takes its place",
            extra=fields(pod=pod, container=chunk.container, reason=error),
        )

    def _heard(self) -> None:
        if self.trouble:
            _log.info("aggregator answers again", extra=fields(failures=self._backoff.failures))
        self.trouble = ""
        self.answered_s = time.monotonic()

    def _say_limited(self, error: BodyLimitError) -> None:
        if not self._is_limited:
            _log.warning("batch too large for a proxy in between, sent in pieces", extra=fields(reason=error.reason))
        self._is_limited = True

    async def _wait(self, error: UnavailableError) -> None:
        self.trouble = error.reason
        match error:
            case OtherBuildError():
                outcome = "incompatible"
                said = "the aggregator is of another version, waiting until both are alike; nothing is dropped"
            case GapRefusedError():
                outcome = "incompatible"
                said = "neither a record nor the gap record in its place is taken, trying again; nothing is dropped"
            case BodyLimitError():
                outcome = "unavailable"
                said = "the body of a single record is too large for a proxy in between, trying again"
            case _:
                outcome = "unavailable"
                said = "batch not taken, trying again"
        self._metrics.batches.labels(outcome).inc()
        pause_s = self._backoff.next_s(error.retry_after_s)
        _log.warning(said, extra=fields(reason=error.reason, in_s=f"{pause_s:.1f}"))
        await asyncio.sleep(pause_s)
