"""The engines that a test may ask for.

embedded  inside this process
server    ClickHouse's HTTP interface over the embedded engine, through the official client
cluster   the same, as a cluster of one shard: rows are read and written through a Distributed table
real      the server that LOGBOOM_TEST_CLICKHOUSE_URL names, in a database made for the test and dropped after it
"""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING, Final

import pytest

from aggregator.store.engine import Engine
from tests.aggregator.front import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REAL: Final = os.environ.get("LOGBOOM_TEST_CLICKHOUSE_URL", "")
_SHARED: Final = ["server", "cluster", *(["real"] if REAL else [])]
EVERY: Final = pytest.mark.parametrize("engine", ["embedded", *_SHARED], indirect=True)
# For what is about SQL: those that differ most.
BOTH: Final = pytest.mark.parametrize("engine", ["embedded", *_SHARED[1:]], indirect=True)
SHARED: Final = pytest.mark.parametrize("engine", _SHARED, indirect=True)


@contextlib.asynccontextmanager
async def open_engine(kind: str, path: Path, connections: int = 6) -> AsyncIterator[Engine]:
    """A new store, without tables."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "embedded":
            url = f"chdb://{path}/store"
        elif kind == "real":
            url = await stack.enter_async_context(_database())
        else:
            url = (await stack.enter_async_context(serving(path / "front", cluster=kind == "cluster"))).url
        yield await stack.enter_async_context(
            Engine.open(url, connections, os.environ.get("LOGBOOM_TEST_CLICKHOUSE_PASSWORD", ""))
        )


@contextlib.asynccontextmanager
async def _database() -> AsyncIterator[str]:
    """The address of a database of its own on the real server."""
    name = f"logboom_test_{uuid.uuid4().hex}"
    start, mark, parameters = REAL.partition("?")
    url = f"{start.rstrip('/')}/{name}{mark}{parameters}"
    try:
        yield url
    finally:
        async with Engine.open(url, 1, os.environ.get("LOGBOOM_TEST_CLICKHOUSE_PASSWORD", "")) as engine:
            await engine.execute(f"DROP DATABASE IF EXISTS {name}{engine.layout.on_cluster} SYNC")
