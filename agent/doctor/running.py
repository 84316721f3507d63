"""The agent that runs at ``--listen``, asked for its `/status`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from agent.doctor.report import Lost, Running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.options import Address

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0, sock_connect=2.0)


class Followed(msgspec.Struct, frozen=True):
    """What is taken of a file in `/status`: agents of other versions may say more, or less."""

    path: str
    source: str = ""
    read: int = 0
    lag_seconds: float | None = 0.0
    damaged: bool = False


class _Container(msgspec.Struct, frozen=True):
    namespace: str
    pod: str
    container: str
    lost_bytes: int = 0


class _Status(msgspec.Struct, frozen=True):
    node: str
    files: tuple[Followed, ...]
    cluster: str = ""
    aggregator: str = ""
    trouble: str = ""
    refused: str = ""
    inotify: bool | None = None
    pods_dir: str = ""
    containers: tuple[_Container, ...] = ()


async def ask(session: aiohttp.ClientSession, address: Address) -> tuple[Running, tuple[Followed, ...]]:
    """What the agent at ``address`` says of itself and its files; of port 0, which names no place, nothing."""
    if address.port == 0:
        return Running("", answers=False, error="--listen names no port"), ()
    try:
        async with session.get(f"{address.url}/status", timeout=_TIMEOUT) as response:
            body = await response.read()
            if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                return Running(address.url, answers=False, error=f"it answers {response.status}"), ()
        told = msgspec.json.decode(body, type=_Status)
    except aiohttp.ClientConnectorError as error:
        return Running(address.url, answers=False, error=reason_of(error.os_error)), ()
    except (aiohttp.ClientError, TimeoutError) as error:
        return Running(address.url, answers=False, error=str(error) or type(error).__name__), ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Running(address.url, answers=False, error="what answers there is no agent of logboom"), ()
    running = Running(
        address.url,
        answers=True,
        node=told.node,
        cluster=told.cluster,
        aggregator=told.aggregator,
        trouble=told.trouble,
        refused=told.refused,
        inotify=told.inotify,
        pods_dir=told.pods_dir,
        lost=tuple(
            Lost(each.namespace, each.pod, each.container, each.lost_bytes)
            for each in told.containers
            if each.lost_bytes
        ),
    )
    return running, told.files


def reason_of(error: OSError) -> str:
    """The system's words for ``error``, not asyncio's."""
    return os.strerror(error.errno) if error.errno else str(error)


def by_name(files: tuple[Followed, ...]) -> Mapping[str, Followed]:
    """``files`` by source and, for those that have none yet, by path."""
    return {file.source or file.path: file for file in files}
