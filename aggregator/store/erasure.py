"""Deleting records out of a day: markers first, then one mutation that rewrites the parts that have some of them.

The store is the agents' checkpoint, and each row stands for a stretch of its file (`aggregator.store.schema`): without
it, its source would have a hole, or end before it, and agents would send again what was deleted. So what goes leaves
markers, one for each run of rows of a source that follow each other: it stands where their last one ends, for all that
they stood for, in their day and at the time of the newest of them. Hence a marker goes itself only when retention has
made that time refused anyway.

Only what was committed when the deletion began is deleted (``barrier_ms``): a row that came later could go without a
marker. Whoever is killed between the two leaves markers beside the rows, which are not marked once more by who resumes;
or a mutation, which the engine takes up again when it is opened.

Measured on 2 million rows of 230 bytes, a tenth of them to go, from every part: rewriting took 3.2 CPU seconds; marking
rows as deleted (the engine's lightweight delete, with the projection rebuilt) 1.0, but freed no byte and left the rows
on disk until some merge. Parts of which all or nothing goes cost next to nothing either way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.store import columns
from aggregator.store.engine import INSERT_ROWS_MAX, Limits
from aggregator.store.schema import FRAMING_UNKNOWN, IS_RECORD, LOGS, MARKER_NAMESPACE, MARKER_STREAM
from aggregator.store.terms import day_name
from wire.batch import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aggregator.store.engine import Engine

    Values = Mapping[str, str | int | Sequence[str] | Sequence[int]]

# Looking through a day for what is to go may take as long as reading all of it.
LIMITS: Final = Limits(time_s=3600.0)
# Rows that are put in order at once, and sources that are named in a statement: tens of megabytes.
_ROWS_MAX: Final = 1_000_000
_SOURCES_MAX: Final = 5_000
# How often a mutation is asked how far it is: it takes from milliseconds to hours.
_POLL_S: Final = 0.25
_MARKING: Final[WeakKeyDictionary[Engine, asyncio.Lock]] = WeakKeyDictionary()
_BEGIN: Final = (
    f"if(framing = {FRAMING_UNKNOWN}, position, toUInt64(toInt64(position) - toInt64(length(body)) - framing))"
)


class Going(msgspec.Struct, frozen=True):
    """Rows of ``day`` (counted from 1970-01-01) for which ``condition``, SQL, holds, committed by ``barrier_ms``.

    ``values``: of the condition's parameters. ``mark``: what the mutation is known by, letters and digits.
    """

    day: int
    condition: str
    values: Values
    barrier_ms: int
    mark: str

    @property
    def where(self) -> str:
        """The condition on a row of ``logs`` to go, within the partition of its day."""
        return f"({self.condition}) AND {IS_RECORD} AND toUnixTimestamp64Milli(committed_at) <= {self.barrier_ms}"

    @property
    def of_day(self) -> str:
        """The same, for a statement that is not bound to a partition."""
        return f"toDate32(ts) = '{day_name(self.day)}' AND {self.where}"


class Mutation(msgspec.Struct, frozen=True):
    """How far mutations are: how many are ``open``, parts to be rewritten, why the last try failed, if it did."""

    open: int
    parts_left: int
    problem: str


class _Command(msgspec.Struct):
    command: str


class _Source(msgspec.Struct):
    number: str
    rows: int


class _Run(msgspec.Struct):
    """Rows that follow each other; ``framing``: of the row that stands for all of them."""

    source_hex: str
    ended: int
    framing: str
    newest_ns: int


def alone(engine: Engine) -> asyncio.Lock:
    """What to hold from `mark` to `begin`: of two who mark at once, neither sees the other's markers.

    Not until `finish`, which may take hours: rows that have markers are not marked once more while they wait to go.
    """
    return _MARKING.setdefault(engine, asyncio.Lock())


async def mark(engine: Engine, going: Going) -> int:
    """Leave markers for the rows ``going``; how many rows those are. Raises `StoreError`."""
    sources = await engine.rows(
        f"SELECT toString(source) AS number, toUInt64(count()) AS rows FROM {LOGS} "  # noqa: S608 - own words
        f"WHERE {going.of_day} GROUP BY number",
        _Source,
        going.values,
        LIMITS,
    )
    for some in _chunks(sources):
        runs = await engine.rows(
            _RUNS.format(going=going.of_day),
            _Run,
            {**going.values, "sources": [int(each.number) for each in some]},
            LIMITS,
        )
        for first in range(0, len(runs), INSERT_ROWS_MAX):
            rows = await asyncio.to_thread(_markers, runs[first : first + INSERT_ROWS_MAX], going.barrier_ms)
            await engine.insert(LOGS, rows)
    return sum(each.rows for each in sources)


def _chunks(sources: Sequence[_Source]) -> Iterator[list[_Source]]:
    chunk: list[_Source] = []
    rows = 0
    for each in sources:
        if chunk and (rows + each.rows > _ROWS_MAX or len(chunk) == _SOURCES_MAX):
            yield chunk
            chunk, rows = [], 0
        chunk.append(each)
        rows += each.rows
    if chunk:
        yield chunk


# Rows that a marker stands for already are those of a deletion that was killed. Where a row does not say where its
# stretch begins, as those of before schema 2, all such rows that follow each other have one marker, which does not
# either.
_RUNS: Final = f"""
SELECT lower(hex(reinterpretAsFixedString(source))) AS source_hex, max(position) AS ended,
    toString(if(max(is_unframed), {FRAMING_UNKNOWN}, toInt64(ended) - toInt64(min(begun)))) AS framing,
    max(at_ns) AS newest_ns
FROM (
    SELECT *, sum(NOT (is_unframed AND unframed_before OR NOT is_unframed AND NOT unframed_before AND begun = before))
        OVER (PARTITION BY source ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
    FROM (
        SELECT *, lagInFrame(position, 1, toUInt64(0)) OVER file AS before,
            lagInFrame(is_unframed, 1, toUInt8(0)) OVER file AS unframed_before
        FROM (
            SELECT row.source AS source, row.position AS position, begun, is_unframed, at_ns
            FROM (
                SELECT source, position, {_BEGIN} AS begun, framing = {FRAMING_UNKNOWN} AS is_unframed,
                    toUnixTimestamp64Nano(ts) AS at_ns
                FROM {LOGS} WHERE {{going}} AND source IN {{{{sources:Array(UInt128)}}}}
            ) AS row
            ASOF LEFT JOIN (
                SELECT source, position, {_BEGIN} AS marked
                FROM {LOGS} WHERE NOT {IS_RECORD} AND source IN {{{{sources:Array(UInt128)}}}}
            ) AS marker ON row.source = marker.source AND row.position <= marker.position
            WHERE NOT (marker.position >= row.position AND marked <= begun)
        )
        WINDOW file AS (PARTITION BY source ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
)
GROUP BY source, run
"""  # noqa: S608 - own words


def _markers(runs: Sequence[_Run], barrier_ms: int) -> pa.RecordBatch:
    """One row a run; its commit is one that had been, so that no tail has it before it."""
    count = len(runs)
    sources = b"".join(bytes.fromhex(run.source_hex) for run in runs)
    spaces = columns.fixed(np.zeros(count, np.int32), pa.int32())
    arrays = {
        "namespace": pa.DictionaryArray.from_arrays(spaces, columns.strings([MARKER_NAMESPACE])),
        "stream_id": columns.fixed(np.full(count, MARKER_STREAM, np.uint64), pa.uint64()),
        "ts": columns.fixed(np.array([run.newest_ns for run in runs], np.int64), pa.timestamp("ns", "UTC")),
        "source": columns.fixed(np.frombuffer(sources, f"V{SOURCE_BYTES}"), pa.binary(SOURCE_BYTES)),
        "position": columns.fixed(np.array([run.ended for run in runs], np.uint64), pa.uint64()),
        "framing": columns.fixed(np.array([int(run.framing) for run in runs], np.int64), pa.int64()),
        "flags": columns.fixed(np.zeros(count, np.uint8), pa.uint8()),
        "body": columns.variable(np.zeros(count, np.uint32), b"", pa.binary()),
        "committed_at": columns.fixed(np.full(count, barrier_ms, np.int64), pa.timestamp("ms", "UTC")),
    }
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


async def begin(engine: Engine, going: Going) -> None:
    """Have the engine delete the rows ``going``, in the background. Raises `StoreError`."""
    await engine.execute(
        f"ALTER TABLE {LOGS} DELETE IN PARTITION '{day_name(going.day)}' "
        f"WHERE {going.where} AND '{going.mark}' != '' SETTINGS mutations_sync = 0",
        going.values,
    )


async def look(engine: Engine, mark: str) -> Mutation:
    """How far the mutations marked ``mark`` are; one that is not known is done, or was never begun."""
    (found,) = await engine.rows(
        "SELECT toUInt64(count()) AS open, toUInt64(sum(parts_to_do)) AS parts_left, "  # noqa: S608 - own words
        "any(latest_fail_reason) AS problem "
        f"FROM system.mutations WHERE database = '{engine.layout.database}' AND position(command, {{mark:String}}) > 0 "
        "AND NOT is_done AND NOT is_killed",
        Mutation,
        {"mark": mark},
    )
    return found


async def unfinished(engine: Engine) -> list[str]:
    """The text of every mutation that is not done. Raises `StoreError`."""
    rows = await engine.rows(
        "SELECT command FROM system.mutations WHERE NOT is_done AND NOT is_killed "  # noqa: S608 - own words
        f"AND database = '{engine.layout.database}'",
        _Command,
    )
    return [row.command for row in rows]


async def kill(engine: Engine, mark: str) -> None:
    """End what is not done of the mutations marked ``mark``; parts that were rewritten stay so. Raises `StoreError`."""
    await engine.execute(f"KILL MUTATION WHERE NOT is_done AND position(command, '{mark}') > 0")


async def finish(engine: Engine, mark: str, tell: Callable[[Mutation], None] = lambda _: None) -> None:
    """Wait until the mutations marked ``mark`` are done; ``tell`` hears how far they are. Raises `StoreError`."""
    while True:
        found = await look(engine, mark)
        tell(found)
        if not found.open:
            return
        await asyncio.sleep(_POLL_S)


async def erase(engine: Engine, going: Going) -> int:
    """Delete the rows ``going``, and wait until they are gone from queries; how many there were."""
    async with alone(engine):
        rows = await mark(engine, going)
        if rows:
            await begin(engine, going)
    if rows:
        await finish(engine, going.mark)
    return rows
