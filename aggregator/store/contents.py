"""What a store has, as it is moved: kinds of rows, day by day, and sums by which two stores can be compared.

A sum is that of the hashes of rows, so it is the same whatever order they come in, and however they are cut into parts.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.store import erasure
from aggregator.store.engine import Limits
from aggregator.store.schema import DELETIONS, FLOORS, LOGS, PODS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.logql.compiler.statement import Value
    from aggregator.store.engine import Engine

# Reading all of a large day, on a slow disk.
LIMITS: Final = Limits(time_s=4 * 3_600.0, memory_bytes=2 << 30)
_SETTLE_POLL_S: Final = 0.2


class Kind(msgspec.Struct, frozen=True):
    """Rows that are moved together; all texts are SQL.

    ``source``: what they are selected from. ``day``: an expression of a row's day, empty where there are no days.
    ``order``: how they are sorted. ``mark``: what tells rows apart; as rows never change, it tells all that they say.
    """

    name: str
    source: str
    day: str
    order: str
    mark: str

    def of_day(self, day: str) -> str:
        """The condition on a row to be of ``day``, written as a date; on every row, where there are no days."""
        return f"{self.day} = '{day}'" if self.day else "true"


RECORDS: Final = Kind(
    "logs",
    LOGS,
    "toDate32(ts)",
    "namespace, stream_id, ts, position",
    "namespace, source, position, framing, committed_at",
)
# Not FINAL: that keeps one row of a stream, of whatever day.
LABELS: Final = Kind(
    "streams",
    f"(SELECT day, stream_id, any(labels) AS labels FROM {STREAMS} GROUP BY day, stream_id)",  # noqa: S608 - own words
    "day",
    "stream_id",
    "stream_id, labels",
)
PODS_SEEN: Final = Kind("pods", f"{PODS} FINAL", "", "uid", "uid, labels, seen_at")
FLOOR: Final = Kind("floors", f"{FLOORS} FINAL", "", "name", "name, floor_ns")
ASKED: Final = Kind("deletions", f"{DELETIONS} FINAL", "", "id", "id, version, document")
# Not a table: where every log file stands. By it the new store is asked whether agents go on where the old one was.
POSITIONS: Final = Kind(
    "positions",
    f"(SELECT source, max(position) AS position FROM {LOGS} GROUP BY source)",  # noqa: S608 - own words
    "",
    "source",
    "source, position",
)
KINDS: Final = (LABELS, RECORDS, PODS_SEEN, FLOOR, ASKED, POSITIONS)
_ON_DISK: Final = {RECORDS.name: LOGS, LABELS.name: STREAMS}


class Column(msgspec.Struct, frozen=True):
    """A column, and its type as the engine writes it."""

    name: str
    type: str


class Content(msgspec.Struct, frozen=True):
    """The rows of a kind, of one ``day`` (a date; empty where there are no days): how many, and what marks them."""

    kind: str
    day: str
    rows: int
    mark: str


class Sum(msgspec.Struct, frozen=True):
    """Rows, and the sum of their hashes modulo 2^64."""

    rows: int = 0
    hashes: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, (self.hashes + other.hashes) % (1 << 64))


class _Found(msgspec.Struct):
    day: str
    rows: int
    mark: str


class _Summed(msgspec.Struct):
    rows: int
    hashes: str


class _Size(msgspec.Struct):
    day: str
    bytes: int


async def settle(engine: Engine, tell: Callable[[int], None]) -> None:
    """Wait until nothing is being deleted any more; ``tell`` hears how many deletions there are.

    Raises `StoreError`.
    """
    while open_now := await erasure.unfinished(engine):
        tell(len(open_now))
        await asyncio.sleep(_SETTLE_POLL_S)


async def freeze(engine: Engine) -> None:
    """Have nothing merged as long as the store is open: it is only read. Raises `StoreError`."""
    await engine.execute("SYSTEM STOP MERGES")


async def look(engine: Engine, kind: Kind) -> list[Content]:
    """What there is of ``kind``, the oldest day first. Reads what marks each row. Raises `StoreError`."""
    day = f"toString({kind.day})" if kind.day else "''"
    rows = await engine.rows(
        f"SELECT {day} AS day, toUInt64(count()) AS rows, toString({hashed(kind.mark)}) AS mark "  # noqa: S608 - own words
        f"FROM {kind.source} GROUP BY day HAVING rows > 0 ORDER BY day",
        _Found,
        None,
        LIMITS,
    )
    return [Content(kind.name, row.day, row.rows, row.mark) for row in rows]


def together(kind: Kind, contents: Sequence[Content], rows: int) -> Content:
    """What stands for ``rows`` of a kind that are made of others: it changes when any of ``contents`` does."""
    marks = hashlib.sha256(msgspec.json.encode(contents)).hexdigest()
    return Content(kind.name, "", rows, marks)


async def columns(engine: Engine, kind: Kind) -> tuple[Column, ...]:
    """The columns of ``kind``. Raises `StoreError`."""
    return tuple(await engine.told(f"DESCRIBE (SELECT * FROM {kind.source})", Column))  # noqa: S608 - own words


async def summed(
    engine: Engine, place: str, names: Sequence[str], where: str = "true", values: dict[str, Value] | None = None
) -> Sum:
    """The sum of rows by what stands in the columns ``names``.

    ``place``: what they are selected from; ``where``: a condition on them, ``values``: of its parameters. Raises
    `StoreError`.
    """
    sql = f"SELECT toUInt64(count()) AS rows, toString({hashed(', '.join(names))}) AS hashes FROM {place} WHERE {where}"  # noqa: S608 - own words
    (found,) = await engine.rows(sql, _Summed, values, LIMITS)
    return Sum(found.rows, int(found.hashes))


def hashed(names: str) -> str:
    """The sum of the hashes of what stands in the columns ``names``, as an expression."""
    return f"sumWithOverflow(cityHash64({names}))"


async def sizes(engine: Engine) -> dict[tuple[str, str], int]:
    """About how many bytes the rows of a kind and day take, compressed, by the names of both. Raises `StoreError`."""
    found: dict[tuple[str, str], int] = {}
    for name, table in _ON_DISK.items():
        rows = await engine.rows(
            "SELECT partition AS day, toUInt64(sum(data_compressed_bytes)) AS bytes "  # noqa: S608 - own words
            f"FROM {engine.layout.parts} WHERE table = '{table}' GROUP BY day",
            _Size,
        )
        found |= {(name, row.day): row.bytes for row in rows}
    return found
