"""What a store has of what is to be brought into it, and how far that is.

``imports`` has one import, the last one: number 0 is `Begun`, in the newest version of it; the numbers behind it are
where log files stood in the store before, `Stand`, some in each document. All of it is one insert, made before the
first row is brought, so that whoever goes on after a kill knows what had been there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aggregator.logql.compiler.statement import Parameters
from aggregator.store import columns
from aggregator.store.contents import LIMITS, RECORDS, Sum, hashed
from aggregator.store.ranges import Key, Range
from aggregator.store.schema import FRAMING_UNKNOWN, IS_RECORD, LOGS, STREAMS
from wire.batch import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aggregator.logql.compiler.statement import Value
    from aggregator.store.engine import Engine

IMPORTS: Final = "imports"
_CREATE: Final = f"""CREATE TABLE IF NOT EXISTS {IMPORTS} (
    number UInt32,
    version UInt64,
    document String
) ENGINE = ReplacingMergeTree(version)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"""
# Log files in a document, 30 bytes each.
_STANDS_MAX: Final = 100_000
# Where a row's stretch of its file begins (`aggregator.store.schema`). Rows that do not say it have at least a byte.
_BEGIN: Final = (
    f"toUInt64(if(framing = {FRAMING_UNKNOWN}, toInt64(greatest(position, 1)) - 1, "
    "toInt64(position) - toInt64(length(body)) - framing))"
)
# Fixed bytes that numpy can sort and look up.
SOURCE: Final = f"S{SOURCE_BYTES}"


class Begun(msgspec.Struct, frozen=True):
    """An import. ``store``: the id of the store that was exported. ``days``: what there was of the days to be brought.

    ``is_over``: everything is there. ``version``: rises whenever it is written.
    """

    store: str
    days: dict[str, Sum]
    is_over: bool = False
    version: int = 0


class Stand(msgspec.Struct, frozen=True):
    """Log files, by source, rising; of each where its first row begins, and the position of its last one."""

    sources: npt.NDArray[np.bytes_]
    begun: npt.NDArray[np.uint64]
    reached: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, batches: Sequence[pa.RecordBatch]) -> Self:
        """Of rows that have the columns ``source``, ``begun`` and ``reached``."""
        sources = np.concatenate([np.zeros(0, SOURCE), *(sources_of(each) for each in batches)])
        order = np.argsort(sources)
        begun, reached = (
            np.concatenate([np.zeros(0, np.uint64), *(numbers_of(each, name) for each in batches)])[order]
            for name in ("begun", "reached")
        )
        return cls(sources[order], begun, reached)

    def only(self, sources: npt.NDArray[np.bytes_]) -> Stand:
        """Those that are among ``sources``."""
        chosen = np.isin(self.sources, sources)
        return Stand(self.sources[chosen], self.begun[chosen], self.reached[chosen])

    def find(self, sources: npt.NDArray[np.bytes_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """For each of ``sources`` whether it is here, and where."""
        if not len(self.sources):
            return np.zeros(len(sources), np.bool_), np.zeros(len(sources), np.int64)
        place = np.minimum(np.searchsorted(self.sources, sources), len(self.sources) - 1)
        return self.sources[place] == sources, place


class _Document(msgspec.Struct):
    number: int
    document: str


class _Stands(msgspec.Struct, frozen=True):
    sources: bytes
    begun: bytes
    reached: bytes


class _Counted(msgspec.Struct):
    day: str
    rows: int
    hashes: str


class _Number(msgspec.Struct):
    number: str


async def create(engine: Engine) -> None:
    """Make the table of imports, if it is not there. Raises `StoreError`."""
    await engine.execute(_CREATE)


async def begin(engine: Engine, begun: Begun, stand: Stand) -> None:
    """Have it known durably what there was. Raises `StoreError`."""
    documents = [msgspec.json.encode(begun)]
    for at in range(0, len(stand.sources), _STANDS_MAX):
        some = slice(at, at + _STANDS_MAX)
        arrays = (stand.sources[some], stand.begun[some], stand.reached[some])
        documents.append(msgspec.json.encode(_Stands(*(array.tobytes() for array in arrays))))
    await engine.execute(f"TRUNCATE TABLE {IMPORTS}")
    await _write(engine, documents, begun.version)


async def change(engine: Engine, begun: Begun) -> Begun:
    """Have ``begun`` known durably instead of what it was before. Raises `StoreError`."""
    newer = msgspec.structs.replace(begun, version=begun.version + 1)
    await _write(engine, [msgspec.json.encode(newer)], newer.version)
    return newer


async def _write(engine: Engine, documents: Sequence[bytes], version: int) -> None:
    count = len(documents)
    arrays = {
        "number": columns.fixed(np.arange(count, dtype=np.uint32), pa.uint32()),
        "version": columns.fixed(np.full(count, version, np.uint64), pa.uint64()),
        "document": columns.variable(np.array([len(each) for each in documents]), b"".join(documents), pa.binary()),
    }
    await engine.insert(IMPORTS, pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays)))


async def read(engine: Engine) -> tuple[Begun, Stand] | None:
    """The last import into the store, and where log files stood before it; None if there was none.

    Raises `StoreError`.
    """
    rows = await engine.rows(
        f"SELECT number, document FROM {IMPORTS} FINAL ORDER BY number",  # noqa: S608 - a table name
        _Document,
        None,
        LIMITS,
    )
    if not rows:
        return None
    begun = msgspec.json.decode(rows[0].document, type=Begun)
    stands = [msgspec.json.decode(row.document, type=_Stands) for row in rows[1:]]
    return begun, Stand(
        np.frombuffer(b"".join(each.sources for each in stands), SOURCE),
        np.frombuffer(b"".join(each.begun for each in stands), np.uint64),
        np.frombuffer(b"".join(each.reached for each in stands), np.uint64),
    )


async def is_unfinished(engine: Engine) -> bool:
    """Whether an import into the store was begun and is not over. Raises `StoreError`."""
    found = await engine.rows(
        "SELECT name AS number FROM system.tables WHERE database = {database:String} AND name = {name:String}",
        _Number,
        {"database": engine.layout.database, "name": IMPORTS},
    )
    last = await read(engine) if found else None
    return last is not None and not last[0].is_over


async def stand(engine: Engine) -> Stand:
    """Where every log file of the store stands. Reads every row. Raises `StoreError`."""
    return await _stand(engine, f"min({_BEGIN})")


async def reached(engine: Engine) -> Stand:
    """The positions of every log file of the store; as if all began at 0. Raises `StoreError`."""
    return await _stand(engine, "toUInt64(0)")


async def _stand(engine: Engine, begun: str) -> Stand:
    sql = f"SELECT source, {begun} AS begun, max(position) AS reached FROM {LOGS} GROUP BY source"  # noqa: S608 - own words
    return Stand.of([rows async for rows in _arrow(engine, sql, {})])


async def days(engine: Engine, wanted: Sequence[str], names: Sequence[str]) -> dict[str, Sum]:
    """What there is of each of the days ``wanted``, by what stands in the columns ``names``. Raises `StoreError`."""
    if not wanted:
        return {}
    dates = ", ".join(f"toDate32('{day}')" for day in wanted)
    rows = await engine.rows(
        f"SELECT toString({RECORDS.day}) AS day, toUInt64(count()) AS rows, toString({hashed(', '.join(names))}) "  # noqa: S608 - own words
        f"AS hashes FROM {LOGS} WHERE {RECORDS.day} IN ({dates}) GROUP BY day",
        _Counted,
        None,
        LIMITS,
    )
    found = {row.day: Sum(row.rows, int(row.hashes)) for row in rows}
    return {day: found.get(day, Sum()) for day in wanted}


async def present(engine: Engine, day: str, low: Key, high: Key) -> npt.NDArray[np.bytes_]:
    """What tells those rows apart (see `keys_of`) that there are of ``day`` from ``low`` to ``high``, itself included.

    Raises `StoreError`.
    """
    parameters = Parameters()
    where = Range(day, low, msgspec.structs.replace(high, at_ns=high.at_ns + 1)).condition(parameters)
    sql = f"SELECT source, position, toUInt8(NOT ({IS_RECORD})) AS marker FROM {LOGS} WHERE {where}"  # noqa: S608 - own words
    found = [keys_of(rows, bytes_of(rows.column("marker"))) async for rows in _arrow(engine, sql, parameters.values)]
    return np.concatenate([np.zeros(0, f"S{_KEY_BYTES}"), *found])


async def labelled(engine: Engine, day: str) -> npt.NDArray[np.uint64]:
    """The ids of the streams that have labels on ``day``. Raises `StoreError`."""
    rows = await engine.rows(
        f"SELECT toString(stream_id) AS number FROM {STREAMS} WHERE day = '{day}'",  # noqa: S608 - own words
        _Number,
        None,
        LIMITS,
    )
    return np.array([int(row.number) for row in rows], np.uint64)


# A source, a position, and a byte that is never 0, for numpy takes no notice of such at the end.
_KEY_BYTES: Final = SOURCE_BYTES + 9


def keys_of(rows: pa.RecordBatch, markers: npt.NDArray[np.uint8]) -> npt.NDArray[np.bytes_]:
    """What tells rows apart: source, position, and whether it is a marker, which may stand where a record does.

    ``markers``: uint8[n], 1 for what is no record.
    """
    keys = np.empty((rows.num_rows, _KEY_BYTES), np.uint8)
    keys[:, :SOURCE_BYTES] = sources_of(rows).view(np.uint8).reshape(-1, SOURCE_BYTES)
    keys[:, SOURCE_BYTES:-1] = numbers_of(rows, "position").view(np.uint8).reshape(-1, 8)
    keys[:, -1] = markers + 1
    return keys.view(f"S{_KEY_BYTES}").reshape(-1)


def sources_of(rows: pa.RecordBatch) -> npt.NDArray[np.bytes_]:
    """The column ``source``."""
    column = rows.column("source")
    data = np.frombuffer(column.buffers()[1] or b"", SOURCE)
    return data[column.offset : column.offset + len(column)]


def numbers_of(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.uint64]:
    """The column ``name``, of 64-bit numbers."""
    column = rows.column(name)
    data = np.frombuffer(column.buffers()[1] or b"", np.uint64)
    return data[column.offset : column.offset + len(column)]


def bytes_of(column: pa.Array) -> npt.NDArray[np.uint8]:
    """A column of 8-bit numbers."""
    return np.frombuffer(column.buffers()[1] or b"", np.uint8)[column.offset : column.offset + len(column)]


async def _arrow(engine: Engine, sql: str, values: Mapping[str, Value]) -> AsyncIterator[pa.RecordBatch]:
    async with engine.stream(sql, "ArrowStream", values, LIMITS) as chunks:
        async for chunk in chunks:
            for rows in pa.ipc.open_stream(chunk):
                if rows.num_rows:
                    yield rows
