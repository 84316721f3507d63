"""What is committed, for all tails: one statement a commit, however many of them there are.

The rows of a commit come from memory, as they were inserted. Those of streams that nobody follows are left out; of
the rest one statement finds levels, tries the leading stages of every pipeline, and sorts. What is left of a pipeline
is run once for all tails that ask the same, and what comes through is written once for all that want it alike. Labels
of streams are looked up when a stream is new, and every half a minute.

Commits never wait for any of this. When it falls behind, what waits is forgotten and read from the store instead, as
one stretch of commits. So is a stretch in which an insert may have failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.errors import StoreError
from aggregator.logql.compiler.passing import committed, inserted, passing, streams_of
from aggregator.logql.tree import TIME_MAX_NS, Committed
from aggregator.query.cursor import Cursor, Cursors
from aggregator.query.followed import Followed, written_in_pieces
from aggregator.query.reading import commits_in, fixed, records_of
from aggregator.query.tail import WAITING_BYTES_MAX, Tail
from aggregator.store import columns, schema
from aggregator.store.catalogue import labels_of
from aggregator.store.commits import Commit
from aggregator.store.engine import Engine, Limits
from aggregator.store.scanned import Scanned
from aggregator.store.windows import Window
from service.logs import fields
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aggregator.logql.compiler.statement import Statement
    from aggregator.logql.tree import LogExpression
    from aggregator.query.events import Form
    from aggregator.query.reading import Record
    from aggregator.query.tail import Piece
    from aggregator.store.commits import Commits

_log = logging.getLogger(__name__)

# Tails at a time: as many browsers and terminals as look at one cluster, and a bound for their memory.
TAILS_MAX: Final = 1000
# Rows of commits that wait: two of the largest groups.
QUEUE_BYTES_MAX: Final = 64 << 20
# How long a stream's labels are remembered: labels of pods that come late are seen by then.
_LABELS_S: Final = 30.0
# Streams remembered, about a kilobyte each.
_STREAMS_MAX: Final = 20_000
_LIMITS: Final = Limits(time_s=30.0, memory_bytes=512 << 20, threads=1)


class TooManyTailsError(Exception):
    """There are as many tails as there may be."""


class _Stream(msgspec.Struct):
    number: str


class _Work(msgspec.Struct, frozen=True, eq=False):
    """A query, its tails, and the ids of the streams of a commit that match it."""

    query: Followed
    tails: tuple[Tail, ...]
    streams: np.ndarray[tuple[int], np.dtype[np.uint64]]


class Live:
    """Owns what waits between commits and tails; `run` is its task."""

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        *,
        tails_max: int = TAILS_MAX,
        queue_bytes: int = QUEUE_BYTES_MAX,
        waiting_bytes: int = WAITING_BYTES_MAX,
    ) -> None:
        """``waiting_bytes``: what waits for one reader."""
        self.cursors = Cursors(engine.identity)
        self.scanned = Scanned()
        self._engine = engine
        self._commits = commits
        self._tails_max = tails_max
        self._queue_bytes = queue_bytes
        self._tail_bytes = waiting_bytes
        self._tails: set[Tail] = set()
        self._queries: dict[LogExpression, Followed] = {}
        self._queue: deque[Commit] = deque()
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._labels: dict[int, Mapping[str, str]] = {}
        self._labels_until = 0.0
        self._reached_ms = commits.last_ms
        self._closed = False
        commits.listen(self._hear)

    def __len__(self) -> int:
        return len(self._tails)

    @property
    def last_ms(self) -> int:
        """The last commit: what a tail that is made now begins behind."""
        return self._commits.last_ms

    @contextlib.contextmanager
    def tail(self, expression: LogExpression, form: Form) -> Iterator[Tail]:
        """A tail of all commits from now on, until the context ends.

        Raises `TooManyTailsError`, and `aggregator.logql.pipeline.stages.StageError` for a query that makes no sense.
        """
        if len(self._tails) >= self._tails_max:
            raise TooManyTailsError
        query = self._queries.get(expression) or Followed(expression)
        tail = Tail(expression, form, self._commits.last_ms, self._tail_bytes)
        self._queries[expression] = query
        query.tails.add(tail)
        self._tails.add(tail)
        if self._closed:
            tail.close()
        try:
            yield tail
        finally:
            self._tails.discard(tail)
            query.tails.discard(tail)
            if not query.tails:
                self._queries.pop(expression, None)

    def reached(self, tail: Tail) -> Cursor | None:
        """Where a tail stands that has nothing to take; None if it has."""
        return Cursor(max(tail.since_ms, self._reached_ms)) if tail.is_empty else None

    def close(self) -> None:
        """End every tail, once it has what there is for it."""
        self._closed = True
        for tail in self._tails:
            tail.close()

    def _hear(self, commit: Commit) -> None:
        if not self._tails:
            self._forget()
            self._reached_ms = commit.at_ms
            return
        size = commit.rows.nbytes if commit.rows is not None else 0
        if self._held_bytes + size > self._queue_bytes:
            first = self._queue[0] if self._queue else commit
            self._forget()
            commit, size = Commit(first.after_ms, commit.at_ms), 0
        self._queue.append(commit)
        self._held_bytes += size
        self._arrived.set()

    def _forget(self) -> None:
        self._queue.clear()
        self._held_bytes = 0

    async def run(self) -> None:
        """Give every commit to the tails, one after the other."""
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            commit = self._queue.popleft()
            self._held_bytes -= commit.rows.nbytes if commit.rows is not None else 0
            try:
                await self._deliver(commit)
            except Exception as error:  # noqa: BLE001 - a query that brings out a bug must not end everybody's tails
                if not isinstance(error, StoreError):
                    _log.exception("a commit could not be given to the tails for a bug")
                _log.warning("tails missed a commit", extra=fields(reason=error, tails=len(self._tails)))
                for tail in self._tails:
                    tail.miss(commit.at_ms)
            self._reached_ms = max(self._reached_ms, commit.at_ms)

    async def _deliver(self, commit: Commit) -> None:
        work = await self._work(commit)
        if not work:
            return
        followed = np.unique(np.concatenate([one.streams for one in work]))
        if commit.rows is None:
            await self._read(committed(Committed(commit.at_ms, commit.after_ms), followed.tolist()), work)
            return
        chosen = np.isin(fixed(commit.rows.column("stream_id"), np.uint64), followed)
        rows = commit.rows if chosen.all() else commit.rows.filter(columns.mask(chosen))
        async with self._engine.inserted(schema.LOGS, rows) as place:
            await self._read(inserted(place, rows.schema.names), work)

    async def _work(self, commit: Commit) -> list[_Work]:
        """Which queries some stream of the commit matches."""
        if commit.rows is not None:
            ids = np.unique(fixed(commit.rows.column("stream_id"), np.uint64))
            numbers = ids[ids != schema.MARKER_STREAM].tolist()
            window = Window(commit.day * DAY_NS, min((commit.day + 1) * DAY_NS, TIME_MAX_NS))
        else:
            wanted = streams_of(Committed(commit.at_ms, commit.after_ms))
            rows = await self._engine.rows(wanted.sql, _Stream, wanted.parameters, self._limits())
            numbers = sorted(int(row.number) for row in rows)
            window = Window(0, TIME_MAX_NS)
        await self._meet(numbers, window)
        work = []
        for query in self._queries.values():
            matched = [number for number in numbers if query.matches(number, self._labels[number])]
            if matched:
                work.append(_Work(query, tuple(query.tails), np.array(matched, np.uint64)))
        return work

    async def _meet(self, numbers: Sequence[int], window: Window) -> None:
        """Know the labels of these streams, each by looking them up at most every `_LABELS_S`."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._labels_until or len(self._labels) > _STREAMS_MAX:
            self._labels.clear()
            self._labels_until = now_s + _LABELS_S
            for query in self._queries.values():
                query.forget_streams()
        unknown = [number for number in numbers if number not in self._labels]
        if unknown:
            found = await labels_of(self._engine, unknown, window, self._limits)
            self._labels.update({number: found.get(number, {}) for number in unknown})

    def _limits(self) -> Limits:
        return msgspec.structs.replace(_LIMITS, scanned=self.scanned)

    async def _read(self, records: Statement, work: list[_Work]) -> None:
        found = passing(records, [one.query.leading for one in work])
        async with self._engine.stream(
            found.statement.sql, "ArrowStream", found.statement.parameters, self._limits()
        ) as chunks:
            async for chunk in chunks:
                for rows in pa.ipc.open_stream(chunk):
                    for at_ms, run in commits_in(rows):
                        written = await asyncio.to_thread(self._written, at_ms, run, work, found.tests)
                        for tail, pieces in written:
                            for piece in pieces:
                                tail.offer(piece)

    def _written(
        self, at_ms: int, rows: pa.RecordBatch, work: Sequence[_Work], tests: Sequence[str | None]
    ) -> list[tuple[Tail, list[Piece]]]:
        """What each tail gets of records of one commit."""
        numbers = fixed(rows.column("stream_id"), np.uint64)
        masks = []
        for one, test in zip(work, tests, strict=True):
            mask = np.isin(numbers, one.streams)
            masks.append(mask if test is None else mask & (fixed(rows.column(test), np.uint8) != 0))
        chosen = np.logical_or.reduce(masks)
        if not chosen.any():
            return []
        records = records_of(rows.filter(columns.mask(chosen)), self._labels)
        places = np.cumsum(chosen) - 1
        written = []
        for one, test, mask in zip(work, tests, masks, strict=True):
            some = [records[place] for place in places[mask].tolist()]
            if some:
                written += _pieces(one, some, at_ms, has_led=test is not None)
        return written


def _pieces(work: _Work, records: list[Record], at_ms: int, *, has_led: bool) -> list[tuple[Tail, list[Piece]]]:
    """What the tails of one query get."""
    entries = work.query.finish(records, at_ms, has_led=has_led)
    by_form: dict[Form, list[Piece]] = {}
    for tail in work.tails:
        if tail.form not in by_form:
            by_form[tail.form] = written_in_pieces(tail.form, entries, at_ms)
    return [(tail, by_form[tail.form]) for tail in work.tails]
