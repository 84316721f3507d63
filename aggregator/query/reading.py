"""Rows of records, as a statement of `aggregator.logql.compiler.plan.candidates` gives them, into Python."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.logql.tree import LEVEL, LEVEL_UNKNOWN, Place
from aggregator.store.catalogue import labels_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from aggregator.logql.compiler.statement import Statement
    from aggregator.query.budget import Budget
    from aggregator.store.engine import Engine
    from aggregator.store.windows import Window

# Streams whose labels a query remembers, about a kilobyte each; of more they are looked up again.
_STREAMS_MAX: Final = 20_000


class Record(msgspec.Struct, frozen=True):
    """A stored record, before its pipeline."""

    place: Place
    body: bytes
    stream: Mapping[str, str]
    metadata: Mapping[str, str]
    flags: int


class Reader:
    """Reads records of one query; remembers the labels of the streams it has met."""

    def __init__(self, engine: Engine, window: Window, budget: Budget) -> None:
        """``window``: the whole query's, whose days say which streams there are."""
        self._engine = engine
        self._window = window
        self._budget = budget
        self._streams: dict[int, Mapping[str, str]] = {}

    async def records(self, statement: Statement) -> AsyncGenerator[list[Record]]:
        """What ``statement`` gives, a block of the engine after the other."""
        limits = self._budget.left()
        async with self._engine.stream(statement.sql, "ArrowStream", statement.parameters, limits) as chunks:
            async for chunk in chunks:
                for rows in pa.ipc.open_stream(chunk):
                    if rows.num_rows:
                        yield await self.read(rows)

    async def read(self, rows: pa.RecordBatch) -> list[Record]:
        """The records of one block of `aggregator.logql.compiler.plan.ENTRY_COLUMNS`."""
        await self._meet(np.unique(fixed(rows.column("stream_id"), np.uint64)).tolist())
        return records_of(rows, self._streams)

    async def _meet(self, numbers: list[int]) -> None:
        """Look up the labels of streams that were not met yet."""
        unknown = [number for number in numbers if number not in self._streams]
        if not unknown:
            return
        if len(self._streams) + len(unknown) > _STREAMS_MAX:
            self._streams.clear()
            unknown = numbers
        found = await labels_of(self._engine, unknown, self._window, self._budget.left)
        self._streams.update({number: found.get(number, {}) for number in unknown})


def records_of(rows: pa.RecordBatch, streams: Mapping[int, Mapping[str, str]]) -> list[Record]:
    """The records of one block, given the labels of their streams."""
    levels: dict[str, Mapping[str, str]] = {}
    columns = zip(
        fixed(rows.column("ts"), np.int64).tolist(),
        fixed(rows.column("stream_id"), np.uint64).tolist(),
        rows.column("source").to_pylist(),
        fixed(rows.column("position"), np.uint64).tolist(),
        fixed(rows.column("flags"), np.uint8).tolist(),
        _texts(rows.column("body")),
        rows.column("level").to_pylist(),
        rows.column("meta").to_pylist(),
        rows.column("namespace").to_pylist(),
        strict=True,
    )
    return [
        Record(
            Place(ts, number, source, position),
            body,
            streams.get(number) or ({"namespace": namespace} if namespace else {}),
            _metadata(level, meta, levels),
            flags,
        )
        for ts, number, source, position, flags, body, level, meta, namespace in columns
    ]


def _metadata(level: str, meta: list[tuple[str, str]], levels: dict[str, Mapping[str, str]]) -> Mapping[str, str]:
    """One mapping for all records of a level that have nothing else: few levels, many records."""
    if meta:
        return {**dict(meta), LEVEL: level or LEVEL_UNKNOWN}
    return levels.setdefault(level, {LEVEL: level or LEVEL_UNKNOWN})


def commits_in(rows: pa.RecordBatch) -> list[tuple[int, pa.RecordBatch]]:
    """``rows``, in order of commits, cut into those of one commit each, with its ms."""
    if not rows.num_rows:
        return []
    times = fixed(rows.column("committed_at"), np.int64)
    edges = [0, *(np.flatnonzero(times[1:] != times[:-1]) + 1).tolist(), rows.num_rows]
    return [(int(times[first]), rows.slice(first, last - first)) for first, last in pairwise(edges)]


def fixed(column: pa.Array, kind: Any) -> np.ndarray[Any, Any]:
    """The values of a column of numbers, where they lie."""
    return np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column)]


def _texts(column: pa.Array) -> Iterator[bytes]:
    """The bytes of a column that the engine says is text, whatever they are."""
    _, offsets, data = column.buffers()
    edges = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].tolist()
    text = memoryview(data if data is not None else b"")
    for start, end in pairwise(edges):
        yield bytes(text[start:end])
