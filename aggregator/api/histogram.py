"""GET /histogram: how many records there are, step by step, by level or another label."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from aggregator.api.parameters import counting
from aggregator.api.refusals import answered, refusal_of
from aggregator.api.scanned import scanned_headers
from aggregator.api.times import rfc3339
from aggregator.errors import StepsLimitError
from aggregator.logql.metric import Grouping, MetricQuery, RangeAggregation, RangeOp, VectorAggregation, VectorOp
from aggregator.logql.tree import LEVEL
from aggregator.query import metrics
from aggregator.query.budget import Budget
from aggregator.query.tables import Sample, samples, table
from aggregator.store.rendering import Format
from service.web import json_response

if TYPE_CHECKING:
    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.parameters import Counting
    from aggregator.api.turnstile import Turnstile
    from aggregator.store.engine import Engine, Limits

_TYPES: Final = {Format.TEXT: "text/plain; charset=utf-8", Format.CSV: "text/csv; charset=utf-8; header=present"}


class Counts(msgspec.Struct, frozen=True):
    """Records with one value of the label, by step: RFC 3339 of the step's beginning, and how many; 0 is left out."""

    labels: dict[str, str]
    values: tuple[tuple[str, int], ...]


class Histogram(msgspec.Struct, frozen=True):
    """The answer of ``/histogram``; ``step`` in seconds."""

    step: float
    series: tuple[Counts, ...]


class Histograms:
    """The handler; owns nothing."""

    def __init__(
        self, engine: Engine, limits: Limits, answer_bytes: int, turnstile: Turnstile, observed: QueryMetrics
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._answer_bytes = answer_bytes
        self._turnstile = turnstile
        self._observed = observed

    async def get(self, request: web.Request) -> web.Response:
        """Count."""
        with self._observed.observed("/histogram"):
            asked = counting(request.rel_url.raw_query_string, request.headers.get("Accept", ""), time.time_ns())
            async with self._turnstile.enter(request.remote):
                budget = Budget(self._limits, self._answer_bytes, counts_parts=True)
                with answered(self._limits):
                    found = await self._counted(asked, budget)
            headers = scanned_headers(budget.scanned)
            if asked.format is Format.JSON:
                return json_response(_histogram(asked, found), headers=headers)
            data = await asyncio.to_thread(table, found, asked.format, rfc3339, self._answer_bytes)
            return web.Response(body=data, headers=headers | {"Content-Type": _TYPES[asked.format]})

    async def _counted(self, asked: Counting, budget: Budget) -> list[Sample]:
        """How many, at the beginning of each step, under the name by which the label was asked for."""
        step = asked.step_ns
        first, last = asked.window.start_ns // step, -(-asked.window.end_ns // step)
        if last - first > _STEPS_MAX:
            raise refusal_of(StepsLimitError(_STEPS_MAX), self._limits)
        # A step has the records of [t, t + step); a sample at t looks back over (t - range, t].
        query = MetricQuery(_counts(asked), (first + 1) * step - 1, last * step - 1, step)
        result = await metrics.evaluate(self._engine, query, budget, time.time_ns())
        shown = "level" if asked.label == LEVEL else asked.label
        return [
            Sample(one.ts_ns - step + 1, tuple((shown, value) for _, value in one.labels), one.value)
            for one in samples(result)
        ]


# As many as a metric query may have (Loki's limit): more than any screen shows.
_STEPS_MAX: Final = 11_000


def _counts(asked: Counting) -> VectorAggregation:
    counted = RangeAggregation(RangeOp.COUNT, asked.logs, asked.step_ns)
    return VectorAggregation(VectorOp.SUM, counted, grouping=Grouping((asked.label,)))


def _histogram(asked: Counting, found: list[Sample]) -> Histogram:
    series: dict[tuple[tuple[str, str], ...], list[tuple[str, int]]] = {}
    for sample in found:
        series.setdefault(sample.labels, []).append((rfc3339(sample.ts_ns), int(sample.value)))
    counts = tuple(Counts(dict(labels), tuple(values)) for labels, values in sorted(series.items()))
    return Histogram(asked.step_ns / 1e9, counts)
