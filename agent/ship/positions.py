"""Asks where to read on: for files that are new, and for all when the store is not the one it was."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from agent.errors import UnavailableError
from agent.ship.backoff import Backoff
from service.logs import fields
from wire.answers import SOURCES_PER_REQUEST_MAX

if TYPE_CHECKING:
    from agent.ship.client import Client
    from agent.ship.collect import Collector

_log = logging.getLogger(__name__)

# A node that ships nothing still learns within this time that its store was wiped or restored.
ASK_EVERY_S: Final = 10.0


class Positions:
    """Answers the collector's files where to read on, for as long as it runs."""

    def __init__(self, collector: Collector, client: Client) -> None:
        self._collector = collector
        self._client = client
        self._backoff = Backoff()
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        # As in `Shipper`: when the aggregator last answered, and why it does not now.
        self.answered_s: float | None = None
        self.trouble = ""

    async def run(self) -> None:
        """Ask for ever; at first about nothing, so that it is known before there are files whether anybody answers."""
        await self._ask([])
        while True:
            patience_s = ASK_EVERY_S * (0.5 + self._random.random())
            sources = await self._collector.unplaced(SOURCES_PER_REQUEST_MAX, patience_s)
            await self._ask(sources)

    async def _ask(self, sources: list[bytes]) -> None:
        try:
            answer = await self._client.positions(sources)
        except UnavailableError as error:
            self.trouble = error.reason
            pause_s = self._backoff.next_s(error.retry_after_s)
            _log.warning("positions not known, asking again", extra=fields(reason=error.reason, in_s=f"{pause_s:.1f}"))
            await asyncio.sleep(pause_s)
            self._collector.ask_again()
        else:
            self._backoff.reset()
            self.trouble = ""
            self.answered_s = time.monotonic()
            await self._collector.answered(answer)
