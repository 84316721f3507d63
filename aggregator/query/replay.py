"""What a tail begins with: the newest lines, the rest of them, or what was committed since it ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from aggregator.errors import QueryAnswerError
from aggregator.logql.compiler.plan import replay
from aggregator.logql.tree import TIME_MAX_NS, Committed, Direction, Query
from aggregator.query import logs
from aggregator.query.cursor import Cursor
from aggregator.query.finish import finisher
from aggregator.query.followed import place_of, written_in_pieces
from aggregator.query.reading import Reader, commits_in
from aggregator.query.tail import Piece
from aggregator.store.slices import commit_slices
from aggregator.store.windows import Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aggregator.logql.tree import LogExpression
    from aggregator.query.budget import Budget
    from aggregator.query.entry import Entry
    from aggregator.query.events import Form
    from aggregator.store.engine import Engine


class Catching:
    """Catches up for one query, up to a commit. Owns nothing."""

    def __init__(self, engine: Engine, expression: LogExpression, form: Form, budget: Budget, now_ns: int) -> None:
        self._engine = engine
        self._expression = expression
        self._form = form
        self._budget = budget
        self._now_ns = now_ns

    async def newest(self, lines: int, window: Window, to_ms: int) -> Piece:
        """The newest records of ``window`` in commits up to ``to_ms``, as many as ``lines`` at most; oldest first.

        Raises a `StoreError`; `QueryAnswerError` if they are larger than ``budget.answer_bytes``.
        """
        found: list[Entry] = []
        size = 0
        if lines:
            query = self._query(window, Committed(to_ms), lines)
            async with contextlib.aclosing(logs.entries(self._engine, query, self._budget, self._now_ns)) as lists:
                async for some in lists:
                    found += some
                    size += sum(len(entry.line) for entry in some)
                    if size > self._budget.answer_bytes:
                        raise QueryAnswerError(f"the last lines are larger than {self._budget.answer_bytes} bytes")
        found.reverse()
        return await asyncio.to_thread(self._as_history, found, to_ms, window.end_ns)

    async def resumed(self, cursor: Cursor, to_ms: int) -> AsyncGenerator[Piece]:
        """Everything behind ``cursor`` in commits up to ``to_ms``: first what was left of the history, if it was that.

        Raises a `StoreError`.
        """
        if cursor.history_end_ns and cursor.place is not None:
            window = Window(cursor.place.ts_ns, cursor.history_end_ns)
            query = self._query(window, Committed(cursor.commit_ms), 0)
            query = msgspec.structs.replace(query, after=cursor.place, direction=Direction.FORWARD)
            async with contextlib.aclosing(logs.entries(self._engine, query, self._budget, self._now_ns)) as lists:
                async for some in lists:
                    yield await asyncio.to_thread(self._as_history, some, cursor.commit_ms, cursor.history_end_ns)
            cursor = Cursor(cursor.commit_ms)
        committed = Committed(to_ms, cursor.commit_ms, cursor.place)
        async with contextlib.aclosing(self._replayed(committed)) as found:
            async for piece in found:
                yield piece

    async def _replayed(self, committed: Committed) -> AsyncGenerator[Piece]:
        """What was committed, in the order in which it was."""
        if committed.after_ms > committed.to_ms:
            return
        window = Window(0, TIME_MAX_NS)
        query = self._query(window, committed, 0)
        reader = Reader(self._engine, window, self._budget)
        finish = finisher(query.stages, self._now_ns)

        for run in await commit_slices(self._engine, query, committed, self._budget.left):
            statement = replay(msgspec.structs.replace(query, committed=run))
            async with self._engine.stream(
                statement.sql, "ArrowStream", statement.parameters, self._budget.left()
            ) as chunks:
                async for chunk in chunks:
                    for rows in pa.ipc.open_stream(chunk):
                        for at_ms, some in commits_in(rows):
                            entries = await asyncio.to_thread(finish, await reader.read(some))
                            for piece in await asyncio.to_thread(written_in_pieces, self._form, entries, at_ms):
                                yield piece

    def _query(self, window: Window, committed: Committed, limit: int) -> Query:
        return Query(
            self._expression.selector,
            self._expression.stages,
            window.start_ns,
            window.end_ns,
            limit,
            committed=committed,
        )

    def _as_history(self, entries: list[Entry], to_ms: int, end_ns: int) -> Piece:
        cursor = Cursor(to_ms)
        lines = []
        for entry in entries:
            cursor = Cursor(to_ms, place_of(entry), end_ns)
            lines.append(self._form(entry, cursor))
        return Piece(len(lines), b"".join(lines), cursor)
