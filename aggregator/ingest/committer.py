"""The only writer: groups requests, commits each group, answers every request of it.

A group starts as soon as there is a request and the commit before it is over, but not sooner than `INTERVAL_S` after
that one began, nor, if that one was large, `GATHER_S` after it ended; unless it is full. After a failure whose cause
may lie in a request, everyone in the group is under suspicion: their next requests are committed alone, each until it
succeeds, so that a bad one cannot block others.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import logging
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import (
    QueryMemoryError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreGoneError,
    StoreUnreachableError,
)
from aggregator.ingest.precedence import Precedence
from aggregator.ingest.sharing import Sharing
from aggregator.ingest.storing import Storing
from aggregator.store.terms import moment
from service.logs import fields
from wire.batch import Batch, Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.ingest.plan import Plan
    from aggregator.metrics import Metrics
    from aggregator.store.commits import Commits
    from aggregator.store.engine import Engine
    from aggregator.store.floor import Floor
    from aggregator.store.positions import Positions
    from aggregator.store.streams import Streams
    from aggregator.store.terms import Terms

_log = logging.getLogger(__name__)

# Every commit makes a part and an fsync: five a second keep both cheap, and the delay unnoticed.
INTERVAL_S: Final = 0.2
# After a commit of so many bytes agents are catching up, and their next batches are on the way: waiting for them makes
# larger groups, for which inserting and merging cost a third less a record. Nobody watches a line that waits behind
# megabytes.
BUSY_BYTES: Final = 2 << 20
GATHER_S: Final = 0.1
# Measured: inserts above this size are hardly cheaper per row. A request alone is never larger
# (`wire.codec.BATCH_BYTES_MAX`).
GROUP_BYTES_MAX: Final = 32 << 20
# Below `store.engine.INSERT_ROWS_MAX`, for an insert must become one block, and not below what one request may have
# (`wire.codec.ROWS_MAX`, `CHUNKS_MAX`).
GROUP_ROWS_MAX: Final = (1 << 20) - 1
# Nodes under suspicion that are remembered; forgetting one costs another failed group.
_SUSPECTS_MAX: Final = 10_000

_MAKE_ROOM: Final = "free space, shorten --retention, set --retention-size, or lower --disk-reserve"
RETRY_S: Final = 2
RETRY_FULL_S: Final = 30
# For how long a failure is said to last, if nobody sends anything more: agents that were told to wait for
# `RETRY_FULL_S` have been back by then, so it does not come and go with them.
REFUSED_S: Final = 90.0

# These say nothing about the requests in the group.
_STORE_WIDE: Final = (StoreFullError, StoreGoneError, StoreBusyError, StoreUnreachableError, QueryMemoryError)


class Stored(msgspec.Struct, frozen=True):
    """Committed: the position reached of every source of the request."""

    positions: dict[bytes, int]


class Hole(msgspec.Struct, frozen=True):
    """Refused, nothing stored: the committed position of every source of the request."""

    positions: dict[bytes, int]


class Unavailable(msgspec.Struct, frozen=True):
    """Not committed, as far as is known; the same request is welcome again after ``retry_s`` seconds."""

    reason: str
    hint: str
    retry_s: int


Outcome = Stored | Hole | Unavailable


class Refused(enum.StrEnum):
    """Why no batch is committed at the moment, as metrics name it."""

    FULL = "disk full"
    GONE = "store gone"
    BUSY = "store busy"
    FAILED = "failed"


_STOPPING: Final = Unavailable("the aggregator is stopping", "send again when it is back", RETRY_S)


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    batch: Batch
    size_bytes: int
    answer: asyncio.Future[Outcome]

    @property
    def rows(self) -> int:
        """At most so many rows are inserted for it: each chunk may have a marker."""
        return len(self.batch.flags) + len(self.batch.chunks)

    @property
    def sender(self) -> tuple[str, str]:
        return self.batch.cluster, self.batch.node


class Committer:
    """Owns the queue and every write of records. `run` is its task; when that ends, who waits is told so.

    ``precedence``: keeps queries back while agents catch up; a task of its own.
    """

    def __init__(
        self,
        engine: Engine,
        positions: Positions,
        streams: Streams,
        commits: Commits,
        *,
        terms: Terms,
        floor: Floor,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        storing = Sharing if engine.layout.shared else Storing
        self._storing = storing(
            engine, positions, streams, commits, terms=terms, floor=floor, metrics=metrics, clock=clock
        )
        self._terms = terms
        self._floor = floor
        self._metrics = metrics
        self.precedence = Precedence(engine, metrics)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._waiting_rows = 0
        self._wake = asyncio.Event()
        self._not_before = 0.0
        self._suspects: OrderedDict[tuple[str, str], None] = OrderedDict()
        # The latest group was not committed: since when, why, and in words.
        self._failed: tuple[float, Refused, str] | None = None
        self._stopped = False
        metrics.queued.set_function(lambda: len(self._waiting))
        metrics.positions.set_function(lambda: len(positions))
        for why in Refused:
            metrics.ingest_refused.labels(why).set_function(functools.partial(self._refused_for, why))

    async def commit(self, batch: Batch, size_bytes: int) -> Outcome:
        """Have ``batch``, ``size_bytes`` when decoded, committed with others. Cancelling gives up the answer only.

        What waits is bounded by whoever calls (`ingest.admission`).
        """
        if self._stopped:
            return _STOPPING
        waiting = _Waiting(batch, size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += size_bytes
        self._waiting_rows += waiting.rows
        self._wake.set()
        return await waiting.answer

    def refused(self) -> str | None:
        """Why batches are refused, if the latest commit failed, and that not longer than `REFUSED_S` ago."""
        if self._failed is None or time.monotonic() - self._failed[0] > REFUSED_S:
            return None
        return self._failed[2]

    def _refused_for(self, why: Refused) -> bool:
        return self._failed is not None and self._failed[1] is why and self.refused() is not None

    async def run(self) -> None:
        """Commit group after group. Cancelled, it finishes the group it is at and turns away those who wait."""
        loop = asyncio.get_running_loop()
        ended = took = 0.0
        try:
            while True:
                group = await self._next_group()
                began, is_large = loop.time(), sum(waiting.size_bytes for waiting in group) >= BUSY_BYTES
                if is_large and began - ended < took:
                    self.precedence.hold()
                commit = asyncio.ensure_future(self._commit(group))
                try:
                    await asyncio.shield(commit)
                finally:
                    await commit
                ended = loop.time()
                took = ended - began
                if is_large:
                    self._not_before = max(self._not_before, ended + GATHER_S)
        finally:
            self._stopped = True
            for waiting in self._waiting:
                _answer(waiting, _STOPPING)
            self._waiting.clear()

    async def _next_group(self) -> list[_Waiting]:
        loop = asyncio.get_running_loop()
        while True:
            wait_s = self._not_before - loop.time()
            if self._waiting and (wait_s <= 0 or self._urgent()):
                self._not_before = loop.time() + INTERVAL_S
                return self._take()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s if self._waiting else None):
                    await self._wake.wait()

    def _urgent(self) -> bool:
        """Whether waiting longer would make no larger group."""
        full = self._waiting_bytes >= GROUP_BYTES_MAX or self._waiting_rows >= GROUP_ROWS_MAX
        return full or self._waiting[0].sender in self._suspects

    def _take(self) -> list[_Waiting]:
        """The longest run of requests that fits and has no suspect, or one suspect's request alone."""
        group: list[_Waiting] = []
        size = rows = 0
        while self._waiting:
            first = self._waiting[0]
            size += first.size_bytes
            rows += first.rows
            suspect = first.sender in self._suspects
            if group and (suspect or size > GROUP_BYTES_MAX or rows > GROUP_ROWS_MAX):
                break
            group.append(self._waiting.popleft())
            self._waiting_bytes -= first.size_bytes
            self._waiting_rows -= first.rows
            if suspect:
                break
        return group

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        """Commit ``group`` and answer everyone in it, whatever happens."""
        self._metrics.group_requests.observe(len(group))
        try:
            with self._metrics.commit_seconds.time():
                planned = await self._storing.store([waiting.batch for waiting in group])
        except StoreError as error:
            self._fail(group, error)
        except Exception as error:  # noqa: BLE001 - a bug that some request brings out must not end everyone's commits
            _log.exception("a group could not be committed for a bug", extra=fields(senders=_senders(group)))
            self._fail(group, error)
        else:
            self._succeed(group, planned)

    def _succeed(self, group: Sequence[_Waiting], planned: Plan) -> None:
        if self._failed is not None:
            self._failed = None
            _log.info("commits work again")
        for waiting in group:
            self._suspects.pop(waiting.sender, None)
        self._count(group, planned)
        for request, waiting in enumerate(group):
            sources = [chunk.source for chunk in waiting.batch.chunks]
            positions = {source: planned.reached[source] for source in sources}
            misfit = planned.refused.get(request)
            if misfit is not None:
                found = _misfit(waiting.batch, misfit, positions[misfit.source])
                _log.info("batch refused that does not continue what is committed", extra=found)
                _answer(waiting, Hole(positions))
            else:
                _answer(waiting, Stored(positions))

    def _count(self, group: Sequence[_Waiting], planned: Plan) -> None:
        self._metrics.rows.inc(planned.rows_new)
        self._metrics.bytes.inc(planned.bytes_new)
        self._metrics.trimmed.inc(planned.rows_trimmed)
        self._metrics.expired.labels("age").inc(planned.rows_expired)
        self._metrics.expired.labels("size").inc(planned.rows_below)
        self._metrics.cut.inc(planned.rows_cut)
        if planned.rows_expired:
            found = fields(rows=planned.rows_expired, retention_s=self._terms.retention_s, senders=_senders(group))
            _log.warning("records older than the retention were not stored", extra=found)
        if planned.rows_below:
            found = fields(rows=planned.rows_below, floor=moment(self._floor.at_ns), senders=_senders(group))
            _log.warning("records of a time that was dropped for want of room were not stored", extra=found)
        if planned.rows_cut:
            found = fields(rows=planned.rows_cut, senders=_senders(group))
            _log.warning("records jump between days; some are put off", extra=found)

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        self._storing.forget(chunk.source for waiting in group for chunk in waiting.batch.chunks)
        told = _unavailable(error)
        why = _why(error)
        self._failed = (time.monotonic(), why, str(error) if why is Refused.FAILED else told.reason)
        self._metrics.failures.labels(type(error).__name__).inc()
        found = fields(reason=error, requests=len(group), senders=_senders(group))
        _log.error("a group could not be committed", extra=found)
        if not isinstance(error, _STORE_WIDE):
            for waiting in group:
                self._suspects[waiting.sender] = None
            while len(self._suspects) > _SUSPECTS_MAX:
                self._suspects.popitem(last=False)
        for waiting in group:
            _answer(waiting, told)


def _why(error: Exception) -> Refused:
    match error:
        case StoreFullError():
            return Refused.FULL
        case StoreGoneError():
            return Refused.GONE
        case StoreBusyError() | QueryMemoryError():
            return Refused.BUSY
        case _:
            return Refused.FAILED


def _unavailable(error: Exception) -> Unavailable:
    match error:
        case StoreFullError():
            return Unavailable("the store's disk is full, but for its reserve", _MAKE_ROOM, RETRY_FULL_S)
        case StoreGoneError():
            return Unavailable(str(error), "send again when it was restarted", RETRY_FULL_S)
        case StoreUnreachableError():
            return Unavailable("the store does not answer", "send again later", RETRY_S)
        case StoreBusyError() | QueryMemoryError():
            return Unavailable("the store is catching up", "send again later", RETRY_S)
        case _:
            return Unavailable("the store could not commit", "send again; the aggregator's log says why", RETRY_S)


def _answer(waiting: _Waiting, outcome: Outcome) -> None:
    if not waiting.answer.done():  # who asked may be gone
        waiting.answer.set_result(outcome)


def _misfit(batch: Batch, chunk: Chunk, committed: int) -> dict[str, dict[str, object]]:
    """What is to be known of a ``chunk`` that does not continue what is ``committed``."""
    return fields(
        node=batch.node,
        namespace=chunk.namespace,
        pod=chunk.pod,
        container=chunk.container,
        source=chunk.source.hex(),
        start=chunk.start,
        end=chunk.end,
        joint=chunk.joint,
        committed=committed,
    )


def _senders(group: Sequence[_Waiting]) -> str:
    """The first few nodes of a group, for a log line."""
    shown: Final = 5
    nodes = list(dict.fromkeys(waiting.batch.node for waiting in group))
    return ",".join(nodes[:shown]) + (f" and {len(nodes) - shown} more" if len(nodes) > shown else "")
