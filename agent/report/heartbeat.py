"""Tells the aggregator every few seconds that this agent lives, and what its node holds of each container.

Nothing depends on it: a heartbeat that is not taken is forgotten, the next one says more than it did. An aggregator
that knows no heartbeats answers 404, which is as good.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from agent.errors import RefusedError, UnavailableError
from agent.report.accounts import lag
from service.logs import fields
from wire.heartbeat import CONTAINERS_MAX, EVERY_S, TEXT_MAX, ContainerState, Heartbeat, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.follow.logfile import LogFile
    from agent.follow.tail import Tail
    from agent.report.accounts import Account
    from agent.ship.batch import Origin
    from agent.ship.client import Client
    from agent.ship.collect import Collector

_log = logging.getLogger(__name__)

# The first one is sent soon, so that a node that has just started is seen.
_FIRST_S: Final = 1.0


class Heart:
    """Sends heartbeats for as long as it runs; ``trouble`` says why batches or positions are not answered now."""

    def __init__(self, collector: Collector, client: Client, origin: Origin, trouble: Callable[[], str]) -> None:
        self._collector = collector
        self._client = client
        self._origin = origin
        self._trouble = trouble
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._began_s = time.monotonic()
        self._failing = False

    async def run(self) -> None:
        """Send for ever."""
        pause_s = _FIRST_S
        while True:
            await asyncio.sleep(pause_s * (0.5 + self._random.random()))
            pause_s = EVERY_S
            is_scanned, containers = await self._collector.read(lambda tail: (tail.is_scanned, _states(tail)))
            await self._send(self._heartbeat(containers, is_scanned=is_scanned))

    def _heartbeat(self, containers: tuple[ContainerState, ...], *, is_scanned: bool) -> Heartbeat:
        return Heartbeat(
            self._origin.cluster,
            self._origin.node,
            self._origin.agent,
            version("logboom"),
            round(time.monotonic() - self._began_s, 1),
            sum(container.files for container in containers),
            sum(container.lag_bytes for container in containers),
            max((container.lag_seconds for container in containers), default=0.0),
            self._trouble()[:TEXT_MAX],  # it may be what a proxy said, at whatever length
            containers[:CONTAINERS_MAX],
            max(0, len(containers) - CONTAINERS_MAX),
            sum(container.unplaced_files for container in containers),
            not is_scanned,
            self._collector.store[:TEXT_MAX],
        )

    async def _send(self, heartbeat: Heartbeat) -> None:
        try:
            await self._client.heartbeat(encode(heartbeat))
        except (UnavailableError, RefusedError) as error:
            if not self._failing:  # once: whoever ships or asks for positions says it again and again
                _log.info("heartbeat not taken", extra=fields(reason=error))
            self._failing = True
        else:
            self._failing = False


def _states(tail: Tail) -> tuple[ContainerState, ...]:
    now_s = time.monotonic()
    return tuple(_state(account, files, now_s) for account, files in tail.containers())


def _state(account: Account, files: list[LogFile], now_s: float) -> ContainerState:
    container = files[0].container
    found = lag(files, now_s)
    return ContainerState(
        container.namespace,
        container.pod,
        container.uid,
        container.name,
        len(files),
        sum(file.size for file in files),
        found.bytes,
        round(found.seconds, 3),
        account.lost_bytes,
        found.unplaced,
        found.of_unknown_age,
    )
