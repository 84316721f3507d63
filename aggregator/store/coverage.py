"""Each log file's records: whether they cover it without a hole, each stretch once.

A row says where its stretch of the file begins (`aggregator.store.schema`). Where the rows of a file follow each other,
all their ends are the beginnings of others, but for the last one, and the other way round; so the sums of the hashes of
both tell with one look at every row, and next to no memory, which files are torn. Of those it is looked up where.

A deletion leaves a marker before the rows go that it stands for (`aggregator.store.erasure`). Where it was cancelled,
or the process killed, in between, both are there: such rows are left out, they are not there twice. Whatever came after
the marker would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from aggregator.store.engine import Limits
from aggregator.store.schema import FRAMING_UNKNOWN, IS_RECORD, LOGS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.store.engine import Engine

# A report that is longer is of no more use.
TEARS_MAX: Final = 1_000
# Sources with holes that are kept in memory, some 300 bytes each.
HOLED_MAX: Final = 100_000
# Files whose rows are put in order at once, to find out where they are torn.
_TORN_MAX: Final = 100
_LIMITS: Final = Limits(time_s=4 * 3_600.0, memory_bytes=4 << 30)

# A row's stretch, where it is known.
_ROWS: Final = (
    f"SELECT source, ts, stream_id, position AS end, framing = {FRAMING_UNKNOWN} AS is_unframed, "  # noqa: S608 - own words
    "if(is_unframed, end, toUInt64(toInt64(end) - toInt64(length(body)) - framing)) AS start "
    f"FROM {LOGS}"
)
_FOR_BOTH: Final = (
    f"SELECT source, position AS end, toUInt64(toInt64(end) - toInt64(length(body)) - framing) AS start, committed_at "  # noqa: S608 - own words
    f"FROM {LOGS} WHERE framing != {FRAMING_UNKNOWN}"
)
# Rows that were to be deleted, and are there beside their markers.
_LEFT: Final = (
    "SELECT record.source, record.end FROM "  # noqa: S608 - own words
    f"({_FOR_BOTH} AND {IS_RECORD} AND source IN (SELECT source FROM {LOGS} WHERE NOT {IS_RECORD})) AS record "
    f"ASOF JOIN ({_FOR_BOTH} AND NOT {IS_RECORD}) AS marker "
    "ON record.source = marker.source AND record.end <= marker.end "
    "WHERE marker.start <= record.start AND record.committed_at <= marker.committed_at"
)
_ONCE: Final = f"{_ROWS} WHERE NOT ({IS_RECORD} AND (source, position) IN ({_LEFT}))"
_FILES: Final = (
    "SELECT source, count() AS held, max(end) AS reached, min(start) AS begun, max(is_unframed) AS some_unframed, "  # noqa: S608 - own words
    "NOT some_unframed AND sumWithOverflow(sipHash64(end)) - sumWithOverflow(sipHash64(start)) "
    f"!= sipHash64(reached) - sipHash64(begun) AS is_torn FROM ({_ONCE}) GROUP BY source"
)


class Tear(msgspec.Struct, frozen=True):
    """Bytes ``start`` to ``end`` of a log file that no record stands for, or more than one.

    ``behind_ns``: the time of the record that follows.
    """

    kind: Literal["missing", "twice"]
    source: str
    start: int
    end: int
    behind_ns: int
    node: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""


class Stretch(msgspec.Struct, frozen=True):
    """What a source with a hole has behind it: bytes ``start`` to ``end`` of its file."""

    start: int
    end: int


class Holed(msgspec.Struct):
    """A source that lacks something in between: where the first hole begins, and what it has behind each."""

    position: int | None
    held: list[Stretch]


class Sources(msgspec.Struct, frozen=True):
    """All log files together.

    ``rows``: records and markers, without records that were to be deleted and have theirs. ``unframed``: files with
    rows of before schema 2, of which holes cannot be told. ``begun_late``: files whose first record is not their
    beginning, ``begun_late_bytes`` in all: what retention dropped is among them. ``torn``: files with holes, or with
    something twice.
    """

    files: int
    rows: int
    bytes: int
    unframed: int
    begun_late: int
    begun_late_bytes: int
    torn: int


class _Holes(msgspec.Struct):
    file: str
    holes: list[tuple[int, int]]
    reached: int


class _Before(msgspec.Struct):
    file: str
    number: int


class _Torn(msgspec.Struct):
    source: str


class _Agreement(msgspec.Struct):
    agree: int | bool


class _Count(msgspec.Struct):
    number: int


async def files(engine: Engine) -> Sources:
    """All log files, counted. Reads every record. Raises `StoreError`."""
    (found,) = await engine.rows(
        "SELECT toUInt64(count()) AS files, toUInt64(sum(held)) AS rows, toUInt64(sum(reached - begun)) AS bytes, "  # noqa: S608 - own words
        "toUInt64(sum(some_unframed)) AS unframed, toUInt64(countIf(begun > 0 AND NOT some_unframed)) AS begun_late, "
        "toUInt64(sumIf(begun, NOT some_unframed)) AS begun_late_bytes, toUInt64(sum(is_torn)) AS torn "
        f"FROM ({_FILES})",
        Sources,
        None,
        _LIMITS,
    )
    return found


async def tears(engine: Engine) -> list[Tear]:
    """Where the first torn files are torn, at most `TEARS_MAX`. Raises `StoreError`."""
    torn = await engine.rows(
        f"SELECT toString(source) AS source FROM ({_FILES}) WHERE is_torn ORDER BY source LIMIT {_TORN_MAX}",  # noqa: S608 - own words
        _Torn,
        None,
        _LIMITS,
    )
    if not torn:
        return []
    return await engine.rows(
        "SELECT kind, file AS source, least(begun, before) AS start, greatest(begun, least(before, ended)) AS end, "  # noqa: S608 - own words
        "behind_ns, labels['node'] AS node, labels['namespace'] AS namespace, labels['pod'] AS pod, "
        "labels['container'] AS container FROM (SELECT lower(hex(reinterpretAsFixedString(source))) AS file, "
        "start AS begun, end AS ended, stream_id, toUnixTimestamp64Nano(ts) AS behind_ns, "
        "lagInFrame(end, 1, start) OVER (PARTITION BY source ORDER BY end, start "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before, "
        f"if(begun > before, 'missing', 'twice') AS kind FROM ({_ONCE}) "
        "WHERE source IN {torn:Array(UInt128)}) AS tear "
        f"LEFT ANY JOIN (SELECT stream_id, any(labels) AS labels FROM {STREAMS} GROUP BY stream_id) AS known "
        f"USING stream_id WHERE begun != before ORDER BY source, start, end LIMIT {TEARS_MAX}",
        Tear,
        {"torn": [int(one.source) for one in torn]},
        _LIMITS,
    )


async def holed(engine: Engine) -> dict[bytes, Holed]:
    """Every source that lacks something before its end, its beginning included. Reads every record.

    What retention dropped is taken for a hole as well: agents offer it again, and it is not stored again for its age.
    Raises `StoreError`.
    """
    rows = await engine.rows(
        "SELECT lower(hex(reinterpretAsFixedString(source))) AS file, "  # noqa: S608 - own words
        "arraySort(groupArrayIf((start, before), start > before)) AS holes, max(end) AS reached FROM ("
        "SELECT source, start, end, lagInFrame(end, 1, 0) OVER (PARTITION BY source ORDER BY end "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before FROM ({_ROWS}) WHERE source IN "
        f"(SELECT source FROM ({_FILES}) WHERE is_torn OR (begun > 0 AND NOT some_unframed))) GROUP BY source "
        f"HAVING notEmpty(holes) LIMIT {HOLED_MAX + 1}",
        _Holes,
        None,
        _LIMITS,
    )
    found = {}
    for row in rows:
        ends = [*(before for _, before in row.holes[1:]), row.reached]
        held = [Stretch(start, end) for (start, _), end in zip(row.holes, ends, strict=True)]
        found[bytes.fromhex(row.file)] = Holed(row.holes[0][1], held)
    return found


async def before(engine: Engine, starts: Mapping[bytes, int]) -> dict[bytes, int]:
    """The position of the last row of each source that does not end behind its start. Looks at every row's position."""
    rows = await engine.rows(
        "SELECT lower(hex(reinterpretAsFixedString(source))) AS file, max(position) AS number "  # noqa: S608 - own words
        f"FROM {LOGS} WHERE source IN {{sources:Array(UInt128)}} AND position <= "
        "arrayElement({starts:Array(UInt64)}, indexOf({sources:Array(UInt128)}, source)) GROUP BY source",
        _Before,
        {"sources": [int.from_bytes(source, "little") for source in starts], "starts": list(starts.values())},
        _LIMITS,
    )
    return dict.fromkeys(starts, 0) | {bytes.fromhex(row.file): row.number for row in rows}


async def positions_agree(engine: Engine) -> bool:
    """Whether the projection that committed positions are read from says the same as the records."""
    each = (
        "(SELECT sumWithOverflow(cityHash64(source, reached)) FROM (SELECT source, max(position) AS reached "
        "FROM {} GROUP BY source SETTINGS optimize_use_projections = {}))"
    )
    sql = f"SELECT {each.format(LOGS, 0)} = {each.format(LOGS, 1)} AS agree"
    (found,) = await engine.rows(sql, _Agreement, None, _LIMITS)
    return bool(found.agree)


async def unlabelled(engine: Engine) -> int:
    """How many records have a stream that has no labels on their day."""
    (found,) = await engine.rows(
        f"SELECT count() AS number FROM {LOGS} WHERE {IS_RECORD} AND (toDate32(ts), stream_id) NOT IN "  # noqa: S608 - own words
        f"(SELECT day, stream_id FROM {STREAMS})",
        _Count,
        None,
        _LIMITS,
    )
    return found.number
