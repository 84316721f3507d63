"""Reading records: a query and a rendering into the pieces of an answer, as the engine makes them.

`newest` gives as many as the query's limit, `every` all of a range. Both are asynchronous generators; closing one ends
its statement in the engine. Memory: `newest` holds an answer that is shown oldest first until its first record is
known, at most `Budget.answer_bytes`; `every` asks for one slice of time after the other, so that the engine never
sorts more than `_SLICE_ROWS` records.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.errors import QueryAnswerError, QueryTimeoutError
from aggregator.logql.compiler.plan import compile_query
from aggregator.logql.tree import DAY_NS, LineFilter, LineOp, Query
from aggregator.store.rendering import rendered
from aggregator.store.schema import LOGS
from aggregator.store.windows import Window, cut, widening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aggregator.logql.compiler.statement import Statement
    from aggregator.store.engine import Engine, Limits
    from aggregator.store.rendering import Rendering

_SECOND_NS: Final = 1_000_000_000
# What one statement of `every` sorts at once: at most so many records, and about so many bytes by the day's average.
_SLICE_ROWS: Final = 200_000
_SLICE_BYTES: Final = 64 << 20
_SLICE_ROWS_MIN: Final = 1_000


class Piece(msgspec.Struct, frozen=True):
    """Rendered records, one after the other: how many, and their bytes."""

    rows: int
    data: memoryview


class Budget:
    """What one query may use, over all its statements; time runs from when it is made.

    ``answer_bytes``: how much of an answer may be held until its first byte can be sent.
    """

    def __init__(self, limits: Limits, answer_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.answer_bytes = answer_bytes
        self._limits = limits
        self._clock = clock
        self._until = clock() + limits.time_s

    def left(self) -> Limits:
        """What the next statement may use. Raises `QueryTimeoutError` when the time is over."""
        time_s = self._until - self._clock()
        if time_s <= 0:
            raise QueryTimeoutError("the query's time is over")
        return msgspec.structs.replace(self._limits, time_s=time_s)


class _Day(msgspec.Struct):
    """A day that has records, counted from 1970-01-01, and how many of them are sorted at once."""

    day: int
    slice_rows: int


class _Slice(msgspec.Struct):
    start_s: int


async def check_expressions(engine: Engine, query: Query, budget: Budget) -> None:
    """Raise `QueryRegexError` for a line filter that is no RE2, also if there is no record to try it on."""
    for stage in query.stages:
        if isinstance(stage, LineFilter) and stage.op in {LineOp.MATCHES, LineOp.NOT_MATCHES}:
            sql = "SELECT match('', {expression:String}) AS matched"
            for value in stage.values:
                await engine.rows(sql, dict[str, int], {"expression": value.text}, budget.left())


async def newest(
    engine: Engine, query: Query, rendering: Rendering, budget: Budget, now_ns: int
) -> AsyncGenerator[Piece]:
    """The records that the query's limit (not 0) keeps, in the rendering's order.

    Raises `QueryAnswerError` if more than ``budget.answer_bytes`` would have to be held.
    """
    held: list[list[Piece]] = []
    held_bytes = 0
    missing = query.limit
    found_first_is_shown_first = rendering.newest_first == query.backward
    for window in widening(Window(query.start_ns, query.end_ns), query.direction, now_ns):
        step = within(query, window, missing)
        found: list[Piece] = []
        async with contextlib.aclosing(_pieces(engine, step, rendering, budget)) as pieces:
            async for piece in pieces:
                missing -= piece.rows
                if found_first_is_shown_first:
                    yield piece
                    continue
                found.append(piece)
                held_bytes += len(piece.data)
                if held_bytes > budget.answer_bytes:
                    raise QueryAnswerError(f"the answer is larger than {budget.answer_bytes} bytes")
        held.append(found)
        if missing <= 0:
            break
    for step_pieces in reversed(held):
        for piece in step_pieces:
            yield piece


async def every(engine: Engine, query: Query, rendering: Rendering, budget: Budget) -> AsyncGenerator[Piece]:
    """All records of the query (its limit is 0), in the rendering's order."""
    days = await _days(engine, query, budget)
    for day in reversed(days) if rendering.newest_first else days:
        window = Window(max(query.start_ns, day.day * DAY_NS), min(query.end_ns, (day.day + 1) * DAY_NS))
        slices = await _slices(engine, query, window, day.slice_rows, budget)
        for piece_of_day in reversed(slices) if rendering.newest_first else slices:
            async with contextlib.aclosing(
                _pieces(engine, within(query, piece_of_day, 0), rendering, budget)
            ) as pieces:
                async for piece in pieces:
                    yield piece


def within(query: Query, window: Window, limit: int) -> Query:
    """The part of ``query`` that lies in ``window``, with another limit."""
    return msgspec.structs.replace(query, start_ns=window.start_ns, end_ns=window.end_ns, limit=limit)


async def _days(engine: Engine, query: Query, budget: Budget) -> list[_Day]:
    """The days of the query's range that have records, in order, from the partitions there are."""
    return await engine.rows(
        "SELECT toInt32(toDate32(partition)) AS day, "  # noqa: S608 - own words
        f"toUInt64(greatest({_SLICE_ROWS_MIN}, least({_SLICE_ROWS}, "
        f"{_SLICE_BYTES} * sum(rows) / greatest(1, sum(data_uncompressed_bytes))))) AS slice_rows "
        "FROM system.parts WHERE active AND concat(database, '.', table) = {table:String} "
        "GROUP BY partition HAVING day BETWEEN {first:Int32} AND {last:Int32} ORDER BY day",
        _Day,
        {"table": LOGS, "first": query.start_ns // DAY_NS, "last": (query.end_ns - 1) // DAY_NS},
        budget.left(),
    )


async def _slices(engine: Engine, query: Query, window: Window, rows: int, budget: Budget) -> list[Window]:
    """``window`` cut at whole seconds so that a slice has about ``rows`` records of the query's streams at most."""
    streams = msgspec.structs.replace(within(query, window, 0), stages=())
    statement = compile_query(streams)
    found = await engine.rows(
        "SELECT min(second) AS start_s FROM (SELECT second, intDiv(sum(records) OVER (ORDER BY second) - records, "  # noqa: S608 - a statement of our own
        f"{rows}) AS slice FROM (SELECT intDiv(toUnixTimestamp64Nano(ts), {_SECOND_NS}) AS second, count() AS records "
        f"FROM ({statement.sql}) GROUP BY second)) GROUP BY slice ORDER BY start_s",
        _Slice,
        statement.parameters,
        budget.left(),
    )
    return cut(window, [one.start_s * _SECOND_NS for one in found])


async def _pieces(engine: Engine, query: Query, rendering: Rendering, budget: Budget) -> AsyncGenerator[Piece]:
    if query.start_ns >= query.end_ns:
        return
    statement: Statement = rendered(compile_query(query), query, rendering)
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
