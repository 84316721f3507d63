"""A metric query: the samples of its leaves, each by one statement or record by record, and what is made of them.

What one query may use is its `Budget`'s, over all its statements; how much may be held while it is worked on is bounded
in `aggregator.logql.vector`. Cancelling ends the statement that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from aggregator.errors import QueryDoubtError, SamplesLimitError
from aggregator.logql.compiler.samples import samples
from aggregator.logql.compiler.statement import Statement
from aggregator.logql.metric import RangeOp
from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.unwrap import sample, unwrap_labels
from aggregator.logql.tree import ERROR, ERROR_DETAILS, Direction, Query
from aggregator.logql.vector import evaluate as algebra
from aggregator.logql.vector.accumulator import Accumulator
from aggregator.logql.vector.leaves import Leaf, leaves
from aggregator.logql.vector.matrix import Int64s, Matrix
from aggregator.logql.vector.partials import Partials
from aggregator.logql.vector.ranges import Buckets, times
from aggregator.query import rows
from aggregator.query.logs import entries
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.logql.metric import MetricQuery, RangeAggregation
    from aggregator.query.budget import Budget
    from aggregator.query.entry import Entry
    from aggregator.store.engine import Engine

    # A record's labels and what it counts for; None if it is no sample.
    Valued = Callable[[Entry], tuple[dict[str, str], float] | None]


# Samples of an answer, each about two hundred bytes until it is sent: a hundred times as many as a screen shows.
ANSWER_SAMPLES_MAX: Final = 500_000


class Result(msgspec.Struct, frozen=True, eq=False):
    """What a metric query is worth at its steps ``times`` (int64 ns): series, or a number that is the same at each."""

    times: Int64s
    value: Matrix | float


class Part(msgspec.Struct, frozen=True, eq=False):
    """A leaf of a query, and the statement of its samples; None: its records have to be gone through."""

    leaf: Leaf
    buckets: Buckets
    statement: Statement | None


def plan(query: MetricQuery) -> tuple[Part, ...]:
    """How the leaves of ``query`` are asked for. Raises `aggregator.errors.StepsLimitError`."""
    return tuple(_part(leaf, query) for leaf in leaves(query.expression))


def _part(leaf: Leaf, query: MetricQuery) -> Part:
    aggregation = leaf.aggregation
    buckets = Buckets(query.start_ns, query.end_ns, query.step_ns, aggregation.range_ns, aggregation.offset_ns)
    return Part(leaf, buckets, samples(leaf, buckets))


async def evaluate(engine: Engine, query: MetricQuery, budget: Budget, now_ns: int) -> Result:
    """The value of ``query``.

    Raises a `MetricError` where it has none or would be too much, StageError for a stage that makes no sense, a
    `StoreError` where its statements fail. What it read is in ``budget.scanned``.
    """
    steps = times(query.start_ns, query.end_ns, query.step_ns)
    found = {part.leaf: await _samples(engine, part, budget, now_ns) for part in plan(query)}
    value = await asyncio.to_thread(algebra.evaluate, query.expression, steps, found)
    if isinstance(value, Matrix) and int(value.present.sum()) > ANSWER_SAMPLES_MAX:
        raise SamplesLimitError(ANSWER_SAMPLES_MAX)
    return Result(steps, value)


async def _samples(engine: Engine, part: Part, budget: Budget, now_ns: int) -> Matrix:
    if part.statement is not None:
        try:
            partials = await _answered(engine, part, part.statement, budget)
            return await asyncio.to_thread(partials.matrix)
        except QueryDoubtError:
            pass  # what was found so far is forgotten
    accumulator = await _accumulated(engine, part, budget, now_ns)
    return await asyncio.to_thread(accumulator.matrix)


async def _answered(engine: Engine, part: Part, statement: Statement, budget: Budget) -> Partials:
    """What the leaf's statement answers."""
    partials = Partials(part.leaf, part.buckets)
    engine.aside.need(part.buckets.start_ns, part.buckets.end_ns)
    async with engine.stream(statement.sql, "ArrowStream", statement.parameters, budget.left()) as chunks:
        async for chunk in chunks:
            for batch in pa.ipc.open_stream(chunk):
                await asyncio.to_thread(rows.add, partials, batch)
    return partials


async def _accumulated(engine: Engine, part: Part, budget: Budget, now_ns: int) -> Accumulator:
    """The leaf's records, as they come out of its pipeline in the order of time."""
    aggregation, buckets = part.leaf.aggregation, part.buckets
    logs = aggregation.logs
    query = Query(logs.selector, logs.stages, buckets.start_ns, buckets.end_ns, direction=Direction.FORWARD)
    accumulator, valued = Accumulator(part.leaf, buckets), _valued(aggregation)
    found = entries(engine, query, budget, now_ns, _wanted(part.leaf))
    async with contextlib.aclosing(found) as pieces:
        async for piece in pieces:
            await asyncio.to_thread(_take, accumulator, valued, piece)
    return accumulator


def _wanted(leaf: Leaf) -> set[str] | None:
    """The labels that are looked at once a record has come through; None: all of them."""
    if leaf.by is None:
        return None
    unwrap = leaf.aggregation.unwrap
    return set(leaf.by) | (unwrap_labels(unwrap) if unwrap is not None else set())


def _take(accumulator: Accumulator, valued: Valued, piece: Sequence[Entry]) -> None:
    for entry in piece:
        if not entry.flags & Flag.GAP:
            found = valued(entry)
            if found is not None:
                labels, value = found
                accumulator.add(labels, entry.ts_ns, value)


def _valued(aggregation: RangeAggregation) -> Valued:
    if aggregation.unwrap is not None:
        unwrapped = sample(aggregation.unwrap)

        def of_label(entry: Entry) -> tuple[dict[str, str], float] | None:
            labels = _labels(entry)
            value = unwrapped(labels)
            return None if value is None else (labels.all(), value)

        return of_label
    if aggregation.op in {RangeOp.BYTES, RangeOp.BYTES_RATE}:
        return lambda entry: (entry.labels, float(len(entry.line)))
    return lambda entry: (entry.labels, 1.0)


def _labels(entry: Entry) -> Labels:
    """The labels of an entry as they were at the end of its pipeline."""
    labels = Labels(entry.stream, entry.metadata)
    labels.parsed = dict(entry.parsed)
    labels.error = labels.parsed.pop(ERROR, "")
    labels.error_details = labels.parsed.pop(ERROR_DETAILS, "")
    return labels
