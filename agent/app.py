"""Puts the parts together; owns every task and resource of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import signal
import threading
from typing import TYPE_CHECKING, Final

import aiohttp

from agent.follow.deleted import Hold
from agent.follow.tail import Tail
from agent.follow.watch import Watch
from agent.memory import keep_what_is, share_one_arena
from agent.metrics import Metrics
from agent.report.forecast import Rotation
from agent.report.heartbeat import Heart
from agent.report.status import status_app
from agent.ship.batch import Builder, Origin
from agent.ship.client import TIMEOUT_S, Client, connector
from agent.ship.collect import Collector
from agent.ship.positions import Positions
from agent.ship.ship import Shipper
from agent.ship.trust import Trust
from service.logs import fields
from service.web import serve
from wire.codec import NAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config import Config
    from service.options import Address

_log = logging.getLogger(__name__)

# How long a stopping agent sends what it has already read. Nothing depends on it: the files still have it.
GRACE_S: Final = 5.0
# After this the process ends, even if a thread does not: less than the 30 s that Kubernetes gives a pod.
END_WITHIN_S: Final = 10.0
# Of the node's name in the agent's, which ends in random digits.
_AGENT_BYTES_MAX: Final = NAME_BYTES_MAX - 10


async def run(config: Config) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises `OSError` if it cannot listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _raise_open_files_limit()
    share_one_arena()
    keep_what_is()
    ending = asyncio.create_task(_end_within(stop, END_WITHIN_S))
    await follow(config, stop, lambda address: _log.info("listening", extra=fields(address=address.url)))
    ending.cancel()
    _log.info("stopped")


async def follow(
    config: Config, stop: asyncio.Event, listening: Callable[[Address], None], timeout_s: float = TIMEOUT_S
) -> None:
    """Run the agent until ``stop`` is set; tell ``listening`` which address was bound. Raises `OSError`.

    ``timeout_s``: how long the aggregator may take for an answer.
    """
    metrics = Metrics()
    origin = Origin(config.cluster, config.node_name, f"{_shortened(config.node_name)}-{secrets.token_hex(4)}")
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector()))
        client = Client(
            session,
            config.aggregator_url,
            origin,
            config.token_file,
            trust=Trust(config.ca_file),
            timeout_s=timeout_s,
        )
        hold = Hold(config.deleted_hold_s, config.deleted_bytes, config.deleted_files)
        rotation = Rotation(config.rotation_bytes, config.rotation_files)
        rules = config.all_rules()
        tail = Tail(
            config.cluster,
            config.record_bytes,
            metrics,
            hold=hold,
            rotation=rotation,
            rules=rules,
            inotify=config.inotify,
        )
        collector = Collector(tail, Builder(origin, config.batch_bytes), config.flush_after_s, metrics)
        stack.callback(collector.close)
        watch = Watch(str(config.pods_dir), collector, metrics, use_inotify=config.inotify, collects=rules.collects)
        stack.callback(watch.close)
        shipper = Shipper(collector, client, metrics)
        positions = Positions(collector, client)
        heart = Heart(collector, client, origin, lambda: shipper.trouble or positions.trouble)
        status = status_app(origin, config.aggregator_url, collector, shipper, positions, watch, metrics)
        address = await stack.enter_async_context(serve(status, config.listen))
        listening(address)
        _log.info(
            "reading",
            extra=fields(pods_dir=config.pods_dir, node=config.node_name, aggregator=config.aggregator_url),
        )
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(watch.run(), name="watch"),
                tasks.create_task(positions.run(), name="positions"),
                tasks.create_task(shipper.run(), name="ship"),
                tasks.create_task(heart.run(), name="heartbeat"),
            ]
            collecting = tasks.create_task(collector.run(), name="collect")
            await stop.wait()
            _log.info("stopping", extra=fields(grace_s=GRACE_S))
            await _finish(collector, collecting)
            for task in running:
                task.cancel()


async def _end_within(stop: asyncio.Event, seconds: float) -> None:
    """End the process some time after ``stop``, whatever a thread still waits for: a dead disk, a name server."""
    await stop.wait()
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _shortened(name: str) -> str:
    """``name``, so that a few characters more are still a name."""
    return name.encode()[:_AGENT_BYTES_MAX].decode(errors="ignore")


async def _finish(collector: Collector, collecting: asyncio.Task[None]) -> None:
    """Send what has been read, if that is quickly done."""
    collector.stop()
    try:
        async with asyncio.timeout(GRACE_S):
            await asyncio.shield(collecting)
            await collector.drained()
    except TimeoutError:
        _log.warning("stopped before everything read was committed; it is read again at the next start")
        collecting.cancel()


def _raise_open_files_limit() -> None:
    """Every followed file may be open at once; the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
