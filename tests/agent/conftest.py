from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from service.options import Address
from service.web import serve
from tests.agent.stand_in import Aggregator, Node
from tests.agent.tailing import Clock, TailedNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

DEADLINE_S = 15.0


@pytest.fixture
async def aggregator(tmp_path: Path) -> AsyncIterator[Aggregator]:
    stand_in = Aggregator()
    async with serve(stand_in.app, Address("127.0.0.1", 0)) as address:
        (tmp_path / "url").write_text(address.url)
        yield stand_in


@pytest.fixture
def node(tmp_path: Path, aggregator: Aggregator) -> Node:  # noqa: ARG001 - it writes the address
    (tmp_path / "pods").mkdir()
    return Node(tmp_path / "pods", (tmp_path / "url").read_text())


@pytest.fixture
def tailed(tmp_path: Path) -> Iterator[TailedNode]:
    node = TailedNode(tmp_path / "pods")
    yield node
    node.tail.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds, or fail at a deadline."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def get() -> AsyncIterator[Callable[[str], Awaitable[tuple[int, bytes]]]]:
    """GET an address: its status and body."""
    async with aiohttp.ClientSession() as session:

        async def fetch(url: str) -> tuple[int, bytes]:
            async with session.get(url) as response:
                return response.status, await response.read()

        yield fetch
