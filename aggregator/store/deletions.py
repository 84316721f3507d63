"""What was asked to be deleted, durable: one job a request, written anew at each step.

A job is ``queued``, then ``running`` day by day; once its records are in no answer any more it is ``deleted``, and
``gone`` once no file on the disk has them. ``cancelled`` is one that was stopped before: what it had deleted by then
stays deleted.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.errors import DeletionsFullError
from aggregator.store import columns
from aggregator.store.schema import DELETIONS, LOGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.store.engine import Engine

# Jobs that are not over: more of them are a mistake, and each may rewrite the whole store.
OPEN_MAX: Final = 100
# Jobs that are listed and remembered, the newest ones; about 500 bytes each.
LISTED_MAX: Final = 1_000
# A part's directory, also while it is being removed: partition, first and last insert, level, mutation.
_PART: Final = re.compile(r"(?:delete_tmp_)?([0-9-]+_\d+_\d+_\d+(?:_\d+)?)")


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DELETED = "deleted"
    GONE = "gone"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether records are still to be deleted."""
        return self in {State.QUEUED, State.RUNNING}


class Deletion(msgspec.Struct, frozen=True):
    """One job. Times in ms since 1970-01-01, 0 for what has not been.

    ``query``: LogQL, a selector and line filters, of records from ``start_ns`` to before ``end_ns``. ``barrier_ms``:
    the last commit whose records it is about. ``last_day``: the last day that it is done with. ``days``: how many there
    are, ``days_done`` of them done. ``records``: found so far, those of ``counted_day`` among them, which is the day
    at hand. ``parts``: directories that still have some of them. ``problem``: why it does not go on.
    """

    id: str
    query: str
    start_ns: int
    end_ns: int
    requested_ms: int
    state: State = State.QUEUED
    version: int = 0
    barrier_ms: int = 0
    ended_ms: int = 0
    last_day: int = -1
    days: int = 0
    days_done: int = 0
    records: int = 0
    counted_day: int = -1
    parts: tuple[str, ...] = ()
    problem: str = ""


class _Row(msgspec.Struct):
    document: str


class _Part(msgspec.Struct):
    name: str


class _Paths(msgspec.Struct):
    data_paths: list[str]


class Deletions:
    """Every job, the durable ones as this process has written them last. The only writer of ``deletions``."""

    def __init__(self, engine: Engine, known: list[Deletion]) -> None:
        self._engine = engine
        self._jobs = {job.id: job for job in known}
        self._writing = asyncio.Lock()
        self.changed = asyncio.Event()

    @classmethod
    async def read(cls, engine: Engine) -> Deletions:
        """The jobs as the store has them. Raises `StoreError`."""
        rows = await engine.rows(f"SELECT document FROM {DELETIONS} FINAL", _Row)  # noqa: S608 - a table name
        jobs = [msgspec.json.decode(row.document, type=Deletion) for row in rows]
        deletions = cls(engine, sorted(jobs, key=lambda job: (job.requested_ms, job.id)))
        deletions._forget()
        return deletions

    def all(self) -> list[Deletion]:
        """Every job, the newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, name: str) -> Deletion | None:
        """The job with this id."""
        return self._jobs.get(name)

    async def ask(self, query: str, start_ns: int, end_ns: int, now_s: float) -> Deletion:
        """Have a new job, durable. Raises `StoreError`; `DeletionsFullError` if too many are open."""
        if sum(job.state.is_open for job in self._jobs.values()) >= OPEN_MAX:
            raise DeletionsFullError(OPEN_MAX)
        job = Deletion(uuid.uuid4().hex, query, start_ns, end_ns, int(now_s * 1000))
        await self._write(job)
        return job

    async def change(self, name: str, make: Callable[[Deletion], Deletion]) -> Deletion:
        """Write the job anew as ``make`` has it, durable; nothing if that is the same. Raises `StoreError`."""
        async with self._writing:
            old = self._jobs[name]
            new = make(old)
            if new == old:
                return old
            return await self._insert(msgspec.structs.replace(new, version=old.version + 1))

    async def keep(self, job: Deletion) -> None:
        """Have a job of another store, durable, as it is. Raises `StoreError`."""
        async with self._writing:
            await self._insert(job)

    async def _write(self, job: Deletion) -> None:
        async with self._writing:
            await self._insert(job)
            self._forget()

    def _forget(self) -> None:
        """Keep no more than are listed; those with which there is something left to do stay."""
        over = [each.id for each in self._jobs.values() if each.state in {State.GONE, State.CANCELLED}]
        for name in over[: max(0, len(self._jobs) - LISTED_MAX)]:
            del self._jobs[name]

    async def _insert(self, job: Deletion) -> Deletion:
        arrays = {
            "id": columns.strings([job.id]),
            "version": columns.fixed(np.array([job.version], np.uint64), pa.uint64()),
            "document": columns.strings([msgspec.json.encode(job).decode()]),
        }
        await self._engine.insert(DELETIONS, pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays)))
        self._jobs[job.id] = job
        self.changed.set()
        return job


async def replaced_parts(engine: Engine) -> tuple[str, ...]:
    """Directories of ``logs`` that the engine has replaced by others, and not removed yet. Raises `StoreError`."""
    on_disk = await _on_disk(engine)
    active = await engine.rows(
        f"SELECT name FROM {engine.layout.parts} WHERE table = '{LOGS}'",  # noqa: S608 - own words
        _Part,
    )
    return tuple(sorted(on_disk - {part.name for part in active}))


async def remaining(engine: Engine, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``parts`` that are still on the disk. Raises `StoreError`."""
    return tuple(sorted(set(parts) & await _on_disk(engine)))


async def _on_disk(engine: Engine) -> set[str]:
    (found,) = await engine.rows(
        f"SELECT data_paths FROM system.tables WHERE database = '{engine.layout.database}' AND name = '{LOGS}'",  # noqa: S608 - own words
        _Paths,
    )

    def listed() -> set[str]:
        names = (each.name for path in found.data_paths for each in Path(path).iterdir())
        return {match[1] for name in names if (match := _PART.fullmatch(name))}

    return await asyncio.to_thread(listed)
