"""What the agent is doing, over HTTP: `/`, `/status`, `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from agent.accounts import lag
from service.web import add_health, add_metrics, errors_as_json, json_response

if TYPE_CHECKING:
    from agent.accounts import Account
    from agent.batch import Origin
    from agent.collect import Collector
    from agent.logfile import LogFile
    from agent.metrics import Metrics
    from agent.positions import Positions
    from agent.ship import Shipper
    from agent.tail import Tail
    from agent.watch import Watch


_WELCOME: Final = """logboom agent on {node}: sends this node's pod logs to the aggregator, which answers queries

  every file, and its lag     curl '{at}/status'
  alive, ready                curl '{at}/healthz' '{at}/readyz'
  figures for Prometheus      curl '{at}/metrics'
"""


class FileStatus(msgspec.Struct, frozen=True):
    """One followed file. Sizes and offsets in bytes; ``source``: 32 hex digits, empty before its first line is there.

    ``lag_bytes``: of whole lines that are not committed; ``lag_seconds``: for how long, at least, the oldest of them
    has been in the file. ``unfinished_bytes``: of a last line that has no end yet. ``damaged``: what cannot be unpacked
    of it is lost, a gap record says so.
    """

    path: str
    namespace: str
    pod: str
    container: str
    restart: int
    source: str
    size: int
    read: int
    committed: int
    lag_bytes: int
    lag_seconds: float
    open: bool
    deleted: bool
    unfinished_bytes: int
    damaged: bool


class ContainerStatus(msgspec.Struct, frozen=True):
    """One container. Bytes read, committed and lost are counted since the agent began to follow it.

    ``lag_seconds``: as for files, of its oldest byte. ``write_rate``: bytes a second, smoothed over half a minute.
    ``forecast_seconds``: until the first of its bytes that are not committed is rotated away, as if no more were
    committed; null if it does not write, or has nothing older than `ON_ITS_WAY_S` that is not committed.
    """

    namespace: str
    pod: str
    uid: str
    container: str
    files: int
    lag_bytes: int
    lag_seconds: float
    read_bytes: int
    committed_bytes: int
    lost_bytes: int
    write_rate: float
    forecast_seconds: float | None


class Status(msgspec.Struct, frozen=True):
    """The answer of `/status`. ``pods_dir``: an absolute path."""

    node: str
    cluster: str
    agent: str
    aggregator: str
    pods_dir: str
    trouble: str
    refused: str
    inotify: bool
    inotify_trouble: str
    lag_bytes: int
    excluded_containers: int
    files: tuple[FileStatus, ...]
    containers: tuple[ContainerStatus, ...]


def status_app(  # noqa: PLR0917 - one of each part, all different
    origin: Origin,
    aggregator_url: str,
    collector: Collector,
    shipper: Shipper,
    positions: Positions,
    watch: Watch,
    metrics: Metrics,
) -> web.Application:
    """The agent's own HTTP server."""
    # As JSON can hold it: a name may be any bytes.
    pods_dir = str(Path(watch.pods_dir).absolute()).encode("utf-8", "backslashreplace").decode()

    async def not_ready() -> str | None:
        if not watch.scans:
            return watch.scan_trouble or f"{watch.pods_dir} has not been scanned yet"
        trouble = shipper.trouble or positions.trouble
        if trouble:
            return f"the aggregator does not answer: {trouble}"
        if shipper.answered_s is None and positions.answered_s is None:
            return "the aggregator has not answered yet"
        return None

    async def remark() -> str | None:
        has_files = await collector.read(lambda tail: any(True for _ in tail.files()))
        return None if has_files else f"no log files found below {watch.pods_dir} yet"

    async def welcome(request: web.Request) -> web.Response:
        return web.Response(text=_WELCOME.format(at=f"{request.scheme}://{request.host}", node=origin.node))

    async def status(_: web.Request) -> web.Response:
        files, containers = await collector.read(_seen)
        behind = sum(file.lag_bytes for file in files)
        trouble = shipper.trouble or positions.trouble
        return json_response(
            Status(
                origin.node,
                origin.cluster,
                origin.agent,
                aggregator_url,
                pods_dir,
                trouble,
                shipper.refused,
                watch.has_inotify,
                watch.trouble,
                behind,
                watch.excluded,
                files,
                containers,
            )
        )

    app = web.Application(middlewares=[errors_as_json(metrics.registry)])
    add_health(app, not_ready, remark)
    add_metrics(app, metrics.registry)
    app.router.add_get("/", welcome)
    app.router.add_get("/status", status)
    return app


def _seen(tail: Tail) -> tuple[tuple[FileStatus, ...], tuple[ContainerStatus, ...]]:
    now_s = time.monotonic()
    files = tuple(_file(file, now_s) for file in tail.files())
    return files, tuple(_container(account, own, now_s) for account, own in tail.containers())


def _container(account: Account, files: list[LogFile], now_s: float) -> ContainerStatus:
    container = files[0].container
    lag_bytes, lag_s = lag(files, now_s)
    return ContainerStatus(
        container.namespace,
        container.pod,
        container.uid,
        container.name,
        len(files),
        lag_bytes,
        round(lag_s, 3),
        account.read_bytes,
        account.committed_bytes,
        account.lost_bytes,
        round(account.rate.per_s or 0.0, 1),
        None if account.forecast_s is None else round(account.forecast_s, 1),
    )


def _file(file: LogFile, now_s: float) -> FileStatus:
    return FileStatus(
        file.entry.path,
        file.container.namespace,
        file.container.pod,
        file.container.name,
        file.entry.generation.restart,
        file.source.hex() if file.source else "",
        file.size,
        file.read,
        file.committed,
        file.lag_bytes,
        round(now_s - file.behind_since_s, 3) if file.lag_bytes else 0.0,
        file.fd is not None,
        not file.listed,
        file.unfinished_bytes,
        file.spoilt,
    )
