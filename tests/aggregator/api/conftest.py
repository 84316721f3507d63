"""The query side behind a real socket."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from aggregator.api.queries import STALL_S, QueryLimits, add_queries
from aggregator.query.live import Live
from aggregator.store.commits import Commits
from service.options import Address
from service.web import errors_as_json, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from aggregator.store.engine import Engine


@pytest.fixture
def figures() -> list[CollectorRegistry]:
    """The registry of each application that `asking` served, in order."""
    return []


@pytest.fixture
def asking(
    engine: Engine, figures: list[CollectorRegistry]
) -> Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]]:
    """Serves the query side with these limits, until the context ends."""

    @contextlib.asynccontextmanager
    async def open_(limits: QueryLimits, stall_s: float = STALL_S, store: str = "") -> AsyncIterator[Address]:
        registry = CollectorRegistry()
        figures.append(registry)
        app = web.Application(middlewares=[errors_as_json(registry)])
        live = Live(engine, await Commits.read(engine))
        add_queries(app, engine, limits, registry, live=live, store=store, stall_s=stall_s)
        async with serve(app, Address("127.0.0.1", 0)) as address:
            yield address

    return open_
