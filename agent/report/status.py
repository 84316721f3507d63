"""What the agent is doing, over HTTP: `/`, `/status`, `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from agent.report.accounts import lag
from service.web import add_health, add_metrics, errors_as_json, json_response

if TYPE_CHECKING:
    from agent.follow.logfile import LogFile
    from agent.follow.tail import Tail
    from agent.follow.watch import Watch
    from agent.metrics import Metrics
    from agent.report.accounts import Account, Lag
    from agent.ship.batch import Origin
    from agent.ship.collect import Collector
    from agent.ship.positions import Positions
    from agent.ship.ship import Shipper


_WELCOME: Final = """logboom agent on {node}: sends this node's pod logs to the aggregator, which answers queries

  every file, and its lag     curl '{at}/status'
  alive, ready                curl '{at}/healthz' '{at}/readyz'
  figures for Prometheus      curl '{at}/metrics'
"""


class FileStatus(msgspec.Struct, frozen=True):
    """One followed file. Sizes and offsets in bytes; ``source``: 32 hex digits, empty before its first line is there.

    ``lag_bytes``: of whole lines that are not committed; ``lag_seconds``: for how long, at least, the oldest of them
    has been in the file; both null while the aggregator has not said what it has of it. ``unfinished_bytes``: of a last
    line that has no end yet. ``damaged``: what cannot be unpacked of it is lost, a gap record says so.
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
    lag_bytes: int | None
    lag_seconds: float | None
    open: bool
    deleted: bool
    unfinished_bytes: int
    damaged: bool


class ContainerStatus(msgspec.Struct, frozen=True):
    """One container. Bytes read, committed and lost are counted since the agent began to follow it.

    ``lag_seconds``: as for files, of its oldest byte. ``unplaced_files``: of which it is not known what is committed;
    they do not count, and where no others lag, both are null. ``of_unknown_age``: of ``lag_bytes``, those that were
    there before the agent, or the store. ``write_rate``: bytes a second, smoothed over half a minute.
    ``forecast_seconds``: until the first of its bytes that are not committed is rotated away, as if no more were
    committed; null if it does not write, or has nothing older than `ON_ITS_WAY_S` that is not committed.
    """

    namespace: str
    pod: str
    uid: str
    container: str
    files: int
    unplaced_files: int
    lag_bytes: int | None
    lag_seconds: float | None
    of_unknown_age: int
    read_bytes: int
    committed_bytes: int
    lost_bytes: int
    write_rate: float
    forecast_seconds: float | None


class Status(msgspec.Struct, frozen=True):
    """The answer of `/status`. ``pods_dir``: an absolute path.

    ``lag_bytes``: null as in `ContainerStatus`, and before the first scan.
    """

    node: str
    cluster: str
    agent: str
    aggregator: str
    pods_dir: str
    trouble: str
    refused: str
    inotify: bool
    inotify_trouble: str
    lag_bytes: int | None
    unplaced_files: int
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

    # Once it was known of all files where to read on: those that come later are found out about as they come.
    is_placed = False

    async def not_ready() -> str | None:
        if not watch.scans:
            return watch.scan_trouble or f"{watch.pods_dir} has not been scanned yet"
        trouble = shipper.trouble or positions.trouble
        if trouble:
            return f"the aggregator does not answer: {trouble}"
        if shipper.answered_s is None and positions.answered_s is None:
            return "the aggregator has not answered yet"
        nonlocal is_placed
        unplaced = 0 if is_placed else (await collector.read(_lag)).unplaced
        is_placed = not unplaced
        return f"the aggregator has not said yet {_unplaced(unplaced)}" if unplaced else None

    async def remark() -> str | None:
        has_files = await collector.read(lambda tail: any(True for _ in tail.files()))
        if not has_files:
            return f"no log files found below {watch.pods_dir} yet"
        unplaced = (await collector.read(_lag)).unplaced
        return f"it is not known {_unplaced(unplaced)}" if unplaced else None

    async def welcome(request: web.Request) -> web.Response:
        return web.Response(text=_WELCOME.format(at=f"{request.scheme}://{request.host}", node=origin.node))

    async def status(_: web.Request) -> web.Response:
        files, containers = await collector.read(_seen)
        found = await collector.read(_lag)
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
                found.bytes if found.is_known and watch.scans else None,
                found.unplaced,
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
    found = lag(files, now_s)
    return ContainerStatus(
        container.namespace,
        container.pod,
        container.uid,
        container.name,
        len(files),
        found.unplaced,
        found.bytes if found.is_known else None,
        round(found.seconds, 3) if found.is_known else None,
        found.of_unknown_age,
        account.read_bytes,
        account.committed_bytes,
        account.lost_bytes,
        round(account.rate.per_s or 0.0, 1),
        None if account.forecast_s is None else round(account.forecast_s, 1),
    )


def _lag(tail: Tail) -> Lag:
    return lag(tail.files(), time.monotonic())


def _unplaced(files: int) -> str:
    return f"what is stored of {files} log file{'' if files == 1 else 's'}"


def _file(file: LogFile, now_s: float) -> FileStatus:
    lag_bytes = file.lag_bytes
    is_known = not (lag_bytes and file.is_unplaced)
    lag_s = round(now_s - file.behind_since_s, 3) if lag_bytes else 0.0
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
        lag_bytes if is_known else None,
        lag_s if is_known else None,
        file.fd is not None,
        not file.listed,
        file.unfinished_bytes,
        file.spoilt,
    )
