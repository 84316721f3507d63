"""The one that deletes what was asked for: one job after the other, day by day, resumed after whatever happens.

A day's streams are found out before anything is marked: the labels of pods change, and a mutation that is taken up
again later must mean the same records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import LogQLError, StoreError
from aggregator.logql.compiler.lines import passes
from aggregator.logql.compiler.selection import selection
from aggregator.logql.compiler.statement import Parameters
from aggregator.logql.parser import parse_log
from aggregator.logql.tree import LineFilter
from aggregator.store import erasure
from aggregator.store.deletions import State, remaining, replaced_parts
from aggregator.store.erasure import Going
from aggregator.store.schema import IS_RECORD, LOGS
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.tree import LogExpression
    from aggregator.metrics import Metrics
    from aggregator.store.commits import Commits
    from aggregator.store.deletions import Deletion, Deletions
    from aggregator.store.engine import Engine
    from aggregator.store.erasure import Mutation

_log = logging.getLogger(__name__)

# Streams in one mutation, 21 bytes of its text each.
_STREAMS_MAX: Final = 10_000
_RETRY_S: Final = 10.0
# Replaced parts stay for a minute or so (`schema`).
_LOOK_AGAIN_S: Final = 2.0
_replace = msgspec.structs.replace


class _Day(msgspec.Struct):
    day: int


class _Stream(msgspec.Struct):
    space: str
    number: str
    rows: int


class _CancelledError(Exception):
    """Somebody cancelled the job."""


def problem_of(logs: LogExpression) -> str | None:
    """Why records that ``logs`` finds cannot be deleted, if so: only what stands in the store may decide."""
    for stage in logs.stages:
        if not isinstance(stage, LineFilter):
            return "only a selector and line filters say what is deleted"
        parameters = Parameters()
        if passes(stage, parameters) is None:
            return "line filters by ip() cannot say what is deleted"
        if parameters.given:  # names of its parts, which a mutation cannot give
            return "line filters by patterns cannot say what is deleted: use a regular expression"
    return None


class Eraser:
    """Works off ``deletions``. `run` is its task; cancelled, it leaves the job where it is, for the next process."""

    def __init__(
        self,
        engine: Engine,
        commits: Commits,
        deletions: Deletions,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._commits = commits
        self._deletions = deletions
        self._metrics = metrics
        self._clock = clock
        # Of the job that is being worked at: how far its mutation is.
        self.progress: dict[str, Mutation] = {}
        # When to try again those that failed, of the monotonic clock.
        self._paused: dict[str, float] = {}
        # The engine takes up again what it was at for a job that was cancelled before the process was killed.
        self._is_kill_due = True

    async def run(self) -> None:
        """Delete what is asked for, for ever; what fails is logged, told in the job, and tried again."""
        while True:
            self._deletions.changed.clear()
            self._count()
            jobs = list(reversed(self._deletions.all()))
            wait_s = await self._kill_cancelled() if self._is_kill_due else None
            for job in jobs:
                if job.state.is_open:
                    wait_s = _sooner(wait_s, await self._attempt(job))
                elif job.state is State.DELETED:
                    wait_s = _sooner(wait_s, await self._watch(job))
            if self._is_kill_due:
                wait_s = _sooner(wait_s, _RETRY_S)
            self._count()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._deletions.changed.wait()

    async def cancel(self, name: str) -> Deletion:
        """End a job that is open; others stay as they are. Raises `StoreError`."""

        def cancelled(job: Deletion) -> Deletion:
            if not job.state.is_open:
                return job
            return _replace(job, state=State.CANCELLED, ended_ms=int(self._clock() * 1000))

        job = await self._deletions.change(name, cancelled)
        if job.state is State.CANCELLED:
            self._paused.pop(job.id, None)
            await erasure.kill(self._engine, job.id)
        return job

    async def _kill_cancelled(self) -> float | None:
        """End what the engine still does for jobs that were cancelled; after how many seconds to try again, if so."""
        try:
            commands = await erasure.unfinished(self._engine)
            for job in self._deletions.all() if commands else ():
                if job.state is State.CANCELLED and any(job.id in command for command in commands):
                    await erasure.kill(self._engine, job.id)
        except StoreError as error:
            _log.error("cancelled deletions could not be looked for", extra=fields(reason=error))
            return _RETRY_S
        self._is_kill_due = False
        return None

    async def _attempt(self, job: Deletion) -> float | None:
        """Delete; after how many seconds to try again, if it failed now or a while ago."""
        # What failed is written into the job, and others are asked for meanwhile: both wake `run`.
        left_s = self._paused.get(job.id, 0.0) - time.monotonic()
        if left_s > 0:
            return left_s
        self._paused.pop(job.id, None)
        try:
            await self._work_off(job)
        except (StoreError, OSError) as error:
            _log.error("records could not be deleted yet", extra=fields(id=job.id, reason=error))
            why = "the store failed; see its log"
            with contextlib.suppress(StoreError):
                await self._deletions.change(
                    job.id, lambda old: _replace(old, problem=why) if old.state.is_open else old
                )
            self._paused[job.id] = time.monotonic() + _RETRY_S
            return _RETRY_S
        finally:
            self.progress.pop(job.id, None)
        return None

    async def _work_off(self, job: Deletion) -> None:
        try:
            await self._delete(job)
        except _CancelledError:
            self._is_kill_due = True  # should the next statement fail: the job is not attempted again
            await erasure.kill(self._engine, job.id)  # one that was begun while it was cancelled
            _log.info("deletion cancelled", extra=fields(id=job.id))
        except LogQLError as error:  # of another version of this program, for queries are read before they are taken
            _log.error("a deletion cannot be read, and is cancelled", extra=fields(id=job.id, reason=error))
            why = f"the query cannot be read: {error}"
            ended_ms = int(self._clock() * 1000)
            await self._deletions.change(
                job.id, lambda old: _replace(old, state=State.CANCELLED, problem=why, ended_ms=ended_ms)
            )

    async def _delete(self, job: Deletion) -> None:
        # What is set aside is not found, and would come back whole.
        self._engine.aside.need(job.start_ns, job.end_ns)
        logs = await asyncio.to_thread(parse_log, job.query)
        # One that a former process began, and the engine has taken up, is of the day that is looked through next.
        await erasure.finish(self._engine, job.id, lambda found: self._tell(job.id, found))
        barrier_ms = job.barrier_ms or self._commits.last_ms
        days = await self._days(job)
        job = await self._step(
            job.id,
            lambda old: _replace(old, state=State.RUNNING, barrier_ms=barrier_ms, days=old.days_done + len(days)),
        )
        for day in days:
            await self._delete_of(job, logs, day)
            job = await self._step(job.id, partial(_done_with, day))
        parts = await replaced_parts(self._engine) if job.records else ()
        ended_ms = int(self._clock() * 1000)
        await self._step(
            job.id, lambda old: _replace(old, state=State.DELETED, ended_ms=ended_ms, parts=parts, problem="")
        )
        told = fields(id=job.id, query=job.query, records=job.records, days=job.days)
        _log.info("records deleted as asked", extra=told)

    async def _step(self, name: str, make: Callable[[Deletion], Deletion]) -> Deletion:
        def unless_cancelled(old: Deletion) -> Deletion:
            return make(old) if old.state.is_open else old

        job = await self._deletions.change(name, unless_cancelled)
        if job.state is State.CANCELLED:
            raise _CancelledError
        return job

    async def _days(self, job: Deletion) -> list[int]:
        """The days that have rows of the job's range, and that it is not done with."""
        parameters = Parameters()
        found = await self._engine.rows(
            "SELECT toInt32(toDate32(ts)) AS day FROM "  # noqa: S608 - own words
            f"{LOGS} WHERE {_times(job, parameters)} AND toDate32(ts) > addDays(toDate32('1970-01-01'), "
            f"{parameters.bind(job.last_day, 'Int32')}) AND {IS_RECORD} GROUP BY day ORDER BY day",
            _Day,
            parameters.values,
            erasure.LIMITS,
        )
        return [row.day for row in found]

    async def _delete_of(self, job: Deletion, logs: LogExpression, day: int) -> None:
        """Delete the records of one day."""
        parameters = Parameters()
        lines = [passes(stage, parameters) or "" for stage in logs.stages if isinstance(stage, LineFilter)]
        row = [_times(job, parameters), *lines]
        of_streams = Parameters(parameters.values)
        chosen = [*row, *selection(logs.selector, job.start_ns, job.end_ns, of_streams)]
        going = Going(day, " AND ".join(chosen), of_streams.values, job.barrier_ms, job.id)
        found = await self._engine.rows(
            "SELECT toString(namespace) AS space, toString(stream_id) AS number, toUInt64(count()) AS rows "  # noqa: S608 - own words
            f"FROM {LOGS} WHERE {going.of_day} GROUP BY space, number",
            _Stream,
            going.values,
            erasure.LIMITS,
        )
        # Once, before any of them go: whoever resumes after a kill finds what is left, and has counted it.
        await self._step(job.id, partial(_counted, day, sum(stream.rows for stream in found)))
        for first in range(0, len(found), _STREAMS_MAX):
            some = found[first : first + _STREAMS_MAX]
            named = Parameters(parameters.values)
            spaces = named.bind(tuple(dict.fromkeys(stream.space for stream in some)), "Array(String)")
            numbers = named.bind(tuple(int(stream.number) for stream in some), "Array(UInt64)")
            condition = " AND ".join([f"namespace IN {spaces}", f"stream_id IN {numbers}", *row])
            await self._erase(job, Going(day, condition, named.values, job.barrier_ms, job.id))

    async def _erase(self, job: Deletion, going: Going) -> None:
        async with erasure.alone(self._engine):
            rows = await erasure.mark(self._engine, going)
            if not rows:
                return
            self._refuse_cancelled(job.id)
            await erasure.begin(self._engine, going)
        await erasure.finish(self._engine, job.id, lambda found: self._tell(job.id, found))
        self._metrics.erased.labels("request").inc(rows)

    def _tell(self, name: str, found: Mutation) -> None:
        self._refuse_cancelled(name)
        before = self.progress.get(name)
        if found.problem and (before is None or found.problem != before.problem):
            _log.error("the engine could not delete yet, and tries again", extra=fields(id=name, reason=found.problem))
        self.progress[name] = found

    def _refuse_cancelled(self, name: str) -> None:
        job = self._deletions.get(name)
        if job is not None and job.state is State.CANCELLED:
            raise _CancelledError

    async def _watch(self, job: Deletion) -> float | None:
        """Look whether the files are gone that had the records; after how many seconds to look again, if not."""
        try:
            left = await remaining(self._engine, job.parts)
            state = State.DELETED if left else State.GONE
            if not left:
                await self._deletions.change(job.id, lambda old: _replace(old, parts=left, state=state))
        except (StoreError, OSError) as error:
            _log.warning("files of deleted records could not be looked for", extra=fields(id=job.id, reason=error))
            return _RETRY_S
        return _LOOK_AGAIN_S if left else None

    def _count(self) -> None:
        counted = Counter(job.state for job in self._deletions.all())
        for state in State:
            self._metrics.deletions.labels(state.value).set(counted[state])


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _counted(day: int, rows: int, job: Deletion) -> Deletion:
    return job if job.counted_day == day else _replace(job, counted_day=day, records=job.records + rows)


def _done_with(day: int, job: Deletion) -> Deletion:
    return _replace(job, last_day=day, days_done=job.days_done + 1, problem="")


def _times(job: Deletion, parameters: Parameters) -> str:
    start, end = (parameters.bind(edge, "Int64") for edge in (job.start_ns, job.end_ns))
    return f"ts >= fromUnixTimestamp64Nano({start}, 'UTC') AND ts < fromUnixTimestamp64Nano({end}, 'UTC')"
