"""GET /labels, /labels/{name}/values, /streams: what there is to select by, exact to the day.

Answers are JSON objects; ``truncated`` is true when there is more than an answer may hold.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aggregator.api.names import label_named
from aggregator.api.parameters import scope
from aggregator.api.refusals import refused
from aggregator.errors import StoreError
from aggregator.store.catalogue import label_names, label_values, stream_labels
from service.web import json_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.turnstile import Turnstile
    from aggregator.store.catalogue import Scope
    from aggregator.store.engine import Engine, Limits

# What one answer holds: the pods of a large cluster over a week; a few megabytes at most.
TEXTS_MAX: Final = 20_000
STREAMS_MAX: Final = 10_000


class LabelNames(msgspec.Struct, frozen=True):
    """The answer of ``/labels``."""

    labels: tuple[str, ...]
    truncated: bool


class LabelValues(msgspec.Struct, frozen=True):
    """The answer of ``/labels/{name}/values``."""

    values: tuple[str, ...]
    truncated: bool


class StreamList(msgspec.Struct, frozen=True):
    """The answer of ``/streams``: the labels of each."""

    streams: tuple[dict[str, str], ...]
    truncated: bool


class Catalogue:
    """The handlers; own nothing."""

    def __init__(self, engine: Engine, limits: Limits, turnstile: Turnstile, metrics: QueryMetrics) -> None:
        self._engine = engine
        self._limits = limits
        self._turnstile = turnstile
        self._metrics = metrics

    async def names(self, request: web.Request) -> web.Response:
        """Names of labels."""

        async def look_up(wanted: Scope) -> LabelNames:
            found = await label_names(self._engine, wanted, TEXTS_MAX, self._limits)
            return LabelNames(found.texts, found.truncated)

        return await self._answer("/labels", request, look_up)

    async def values(self, request: web.Request) -> web.Response:
        """Values of one label; none if no stream has it."""

        async def look_up(wanted: Scope) -> LabelValues:
            name = label_named("name", request.match_info["name"])
            found = await label_values(self._engine, name, wanted, TEXTS_MAX, self._limits)
            return LabelValues(found.texts, found.truncated)

        return await self._answer("/labels/{name}/values", request, look_up)

    async def streams(self, request: web.Request) -> web.Response:
        """Labels of streams."""

        async def look_up(wanted: Scope) -> StreamList:
            found = await stream_labels(self._engine, wanted, STREAMS_MAX, self._limits)
            return StreamList(found.streams, found.truncated)

        return await self._answer("/streams", request, look_up)

    async def _answer(
        self, route: str, request: web.Request, look_up: Callable[[Scope], Awaitable[Any]]
    ) -> web.Response:
        with self._metrics.observed(route):
            wanted = scope(request.rel_url.raw_query_string, time.time_ns())
            async with self._turnstile.enter(request.remote):
                try:
                    return json_response(await look_up(wanted))
                except StoreError as error:
                    refusal = refused(error, self._limits)
                    if refusal is None:
                        raise
                    raise refusal from error
