"""Log queries: as entries, for whoever goes on with them, and as pieces of an answer, as bytes.

What SQL can say of a pipeline the engine does; the rest of it Python does, record by record, in threads, for no more
records than needed. Both ways are asynchronous generators; closing one ends its statement in the engine.

A query with a limit is asked for in windows of time that grow from the end where its direction begins. Where Python
goes on with a window's records, it asks for a batch, then for a larger one, and then for all that is left of the
window, slice by slice: few records are looked at in vain if many come through, and none twice if few do. A query
without a limit is asked for in slices. So neither ever holds, nor the engine sorts, more than a slice; what is shown
oldest first and found newest first is held until its oldest record is known, at most ``Budget.answer_bytes``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.errors import QueryAnswerError
from aggregator.logql.compiler.plan import candidates, compile_query, plan
from aggregator.logql.tree import Direction, Place, Query
from aggregator.query.entry import Entry
from aggregator.query.finish import finisher
from aggregator.query.reading import Reader
from aggregator.query.shown import Piece, shown
from aggregator.store.rendering import rendered
from aggregator.store.slices import slices, within
from aggregator.store.windows import Widening, Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from aggregator.query.budget import Budget
    from aggregator.query.finish import Finish
    from aggregator.store.engine import Engine
    from aggregator.store.rendering import Rendering

# Records asked for at first where Python decides which of them count: as many as are wanted, and so many at least.
_BATCH_MIN: Final = 1_000
# How much larger the second batch is; what few records come through is looked for slice by slice.
_BATCH_GROWTH: Final = 10


async def entries(
    engine: Engine, query: Query, budget: Budget, now_ns: int, wanted: Collection[str] | None = None
) -> AsyncGenerator[list[Entry]]:
    """The records that come through the query's pipeline, in its direction, as many as its limit (0: all).

    ``wanted``: the labels that will be looked at, None all of them: of others entries may have some or none.
    Raises `aggregator.logql.pipeline.stages.StageError` for a stage that makes no sense, and a `StoreError`.
    """
    rest = plan(query).rest
    reader = Reader(engine, Window(query.start_ns, query.end_ns), budget)
    search = _Search(engine, reader, budget, finisher(rest, now_ns, wanted))
    found = search.limited(query, now_ns, exact=not rest) if query.limit else search.every(query)
    async with contextlib.aclosing(found) as lists:
        async for some in lists:
            yield some


async def pieces(
    engine: Engine, query: Query, rendering: Rendering, budget: Budget, now_ns: int
) -> AsyncGenerator[Piece]:
    """The records that the query's limit keeps (0: all of them), rendered, in the rendering's order.

    Raises what `entries` raises, and `QueryAnswerError` if more than ``budget.answer_bytes`` would have to be held.
    """
    if not query.limit:
        # All of them: they can be found in the order in which they are shown.
        direction = Direction.BACKWARD if rendering.newest_first else Direction.FORWARD
        query = msgspec.structs.replace(query, direction=direction)
    if plan(query).rest:
        found = _finished(engine, query, rendering, budget, now_ns)
    elif query.limit:
        found = _newest(engine, query, rendering, budget, now_ns)
    else:
        found = _every(engine, query, rendering, budget)
    held: list[list[Piece]] = []
    held_bytes = 0
    async with contextlib.aclosing(found) as steps:
        async for step, piece in steps:
            if rendering.newest_first == query.backward:
                yield piece
                continue
            # Inside a step pieces are in order, and a later step comes before those found already.
            while len(held) <= step:
                held.append([])
            held[step].append(piece)
            held_bytes += len(piece.data)
            if held_bytes > budget.answer_bytes:
                raise QueryAnswerError(f"the answer is larger than {budget.answer_bytes} bytes")
    for step_pieces in reversed(held):
        for piece in step_pieces:
            yield piece


class _Search:
    """Looks for entries; owns nothing."""

    def __init__(self, engine: Engine, reader: Reader, budget: Budget, finish: Finish) -> None:
        self._engine = engine
        self._reader = reader
        self._budget = budget
        self._finish = finish

    async def limited(self, query: Query, now_ns: int, *, exact: bool) -> AsyncGenerator[list[Entry]]:
        """As many as the query's limit says; ``exact``: Python drops no record."""
        widening = Widening(Window(query.start_ns, query.end_ns), query.direction, query.limit, now_ns)
        while (window := widening.next()) is not None:
            step = within(query, window, widening.missing)
            if step.start_ns >= step.end_ns:
                continue
            found = self._answered(step, step.limit, None) if exact else self._batches(step)
            async with contextlib.aclosing(found) as lists:
                async for some in lists:
                    if some.entries:
                        yield some.entries[: widening.missing]
                        widening.found(len(some.entries))
                    if widening.missing <= 0:
                        return

    async def every(self, query: Query, after: Place | None = None) -> AsyncGenerator[list[Entry]]:
        """All of them that stand behind ``after``."""
        async for window in slices(self._engine, query, self._budget.left, newest_first=query.backward):
            async with contextlib.aclosing(self._answered(within(query, window, 0), 0, after)) as lists:
                async for some in lists:
                    if some.entries:
                        yield some.entries

    async def _batches(self, query: Query) -> AsyncGenerator[_Found]:
        """What comes through of a window's records: of a batch, of a larger one, then of all that is left."""
        after: Place | None = None
        for growth in (1, _BATCH_GROWTH):
            batch = max(_BATCH_MIN, query.limit) * growth
            records = 0
            async with contextlib.aclosing(self._answered(query, batch, after)) as lists:
                async for some in lists:
                    records += some.records
                    after = some.last
                    yield some
            if records < batch or after is None:
                return
            query = _behind(query, after)
        async with contextlib.aclosing(self.every(query, after)) as rest:
            async for entries_left in rest:
                yield _Found(entries_left, 0, after)

    async def _answered(self, query: Query, most: int, after: Place | None) -> AsyncGenerator[_Found]:
        """What one statement finds, and Python makes of it."""
        self._engine.aside.need(query.start_ns, query.end_ns)
        statement = candidates(query, most, after)
        async with contextlib.aclosing(self._reader.records(statement)) as blocks:
            async for records in blocks:
                found = await asyncio.to_thread(self._finish, records)
                yield _Found(found, len(records), records[-1].place)


class _Found(msgspec.Struct, frozen=True):
    """What came through of some records: how many those were, and where the last of them stands."""

    entries: list[Entry]
    records: int
    last: Place | None


def _behind(query: Query, place: Place) -> Query:
    """``query`` without the time in front of ``place``, in the query's direction."""
    if query.backward:
        return msgspec.structs.replace(query, end_ns=place.ts_ns + 1)
    return msgspec.structs.replace(query, start_ns=place.ts_ns)


async def _finished(
    engine: Engine, query: Query, rendering: Rendering, budget: Budget, now_ns: int
) -> AsyncGenerator[tuple[int, Piece]]:
    """What Python finished, each list a step of its own and in the rendering's order."""
    as_found = rendering.newest_first == query.backward
    number = 0
    async with contextlib.aclosing(entries(engine, query, budget, now_ns)) as lists:
        async for some in lists:
            yield number, await asyncio.to_thread(shown, some if as_found else some[::-1], rendering)
            number += 1


async def _newest(
    engine: Engine, query: Query, rendering: Rendering, budget: Budget, now_ns: int
) -> AsyncGenerator[tuple[int, Piece]]:
    """What the engine finished of a query with a limit: window by window, each in the rendering's order."""
    widening = Widening(Window(query.start_ns, query.end_ns), query.direction, query.limit, now_ns)
    number = 0
    while (window := widening.next()) is not None:
        step = within(query, window, widening.missing)
        async with contextlib.aclosing(_rendered(engine, step, rendering, budget)) as found:
            async for piece in found:
                widening.found(piece.rows)
                yield number, piece
        number += 1


async def _every(
    engine: Engine, query: Query, rendering: Rendering, budget: Budget
) -> AsyncGenerator[tuple[int, Piece]]:
    """What the engine finished of a query without a limit: slice by slice."""
    async for window in slices(engine, query, budget.left, newest_first=rendering.newest_first):
        async with contextlib.aclosing(_rendered(engine, within(query, window, 0), rendering, budget)) as found:
            async for piece in found:
                yield 0, piece


async def _rendered(engine: Engine, query: Query, rendering: Rendering, budget: Budget) -> AsyncGenerator[Piece]:
    if query.start_ns >= query.end_ns:
        return
    engine.aside.need(query.start_ns, query.end_ns)
    statement = rendered(compile_query(query), query, rendering)
    async with engine.stream(statement.sql, "ArrowStream", statement.parameters, budget.left()) as chunks:
        async for chunk in chunks:
            for batch in pa.ipc.open_stream(chunk):
                if batch.num_rows:
                    yield _piece(batch.column(0))


def _piece(column: pa.Array) -> Piece:
    """The values of a binary column lie one after another: the piece is where they lie, nothing is copied."""
    _, offsets, data = column.buffers()
    edges = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return Piece(len(column), memoryview(data)[int(edges[0]) : int(edges[-1])])
