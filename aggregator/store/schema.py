"""The tables, and what stands in them.

``logs``: one row a record, one partition a day of ``ts``, sorted so that one stream's hour lies together. A row's
``source`` holds the 16 bytes of `wire.batch.Chunk.source` as a little-endian UInt128. ``level`` is found by the engine
when a row is inserted. ``meta`` is the structured metadata of records that were pushed with some; empty for pod logs.

A row of the namespace `MARKER_NAMESPACE` is no record: it says that the store stands at its position of its source,
where the chunk that says so has no record there. It lies in the part of the chunk's records, and lives and dies with
them. Whatever reads records leaves it out (`IS_RECORD`).

The projection ``positions`` keeps, part by part, what is asked per source: the committed position first of all. It is
atomic with the rows because it is written and dropped with their part; and because it is grouped by source *and*
stream, the engine also answers per-container ledgers and volumes from it.

``committed_at`` is the same for all rows of an insert and rises from insert to insert (`aggregator.store.commits`). It
is in no order that rows are stored in; the index ``commits`` finds the parts, and pieces of merged ones, that have rows
of some commits.

A row stands for the stretch of its source's file between the row before it and its own ``position``, of
``length(body) + framing`` bytes. ``framing`` is what of them is not in the body: what stands in front of a message,
line ends, lines that were dropped; negative where a record began in the file before. It hardly ever changes from row to
row, so it takes no room; and by it `aggregator.check` finds what is missing, or there twice.

``streams``: labels by stream id, one row for each day the stream has records on; partitioned by day like ``logs``, so
that what a day's queries look through, and what retention drops, is that day's streams. Days are Date32 in both: a
Date ends in 2149, and a wrong clock's rows would wrap around into some other day.

``pods``: the labels of pods by their uid, as Kubernetes has them; of several rows of a pod the one seen last counts. A
stream's pod is the one that its label ``uid`` names. Both are joined when a query is run, so labels that come to be
known late are there for records that came before.

``floors``: the moment before which nothing is kept for want of room (`aggregator.store.floor`); the highest counts.
``deletions``: what was asked to be deleted (`aggregator.store.deletions`), as JSON; of several rows of an id the one
with the highest version counts. A job is forgotten 90 days after it was last written.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from aggregator.errors import StoreError
from aggregator.store.engine import Slot

if TYPE_CHECKING:
    from pathlib import Path

    from aggregator.store.engine import Engine
    from aggregator.store.layout import Layout

# Counted up with every change to the tables; `aggregator.store.migrations` brings older ones up to it.
VERSION: Final = 2
# How the comment of ``logs`` says it. Tables of version 1 have none.
COMMENT: Final = "logboom schema {}"
DATABASE: Final = "logboom"
# Of the database that a connection uses.
LOGS: Final = "logs"
STREAMS: Final = "streams"
PODS: Final = "pods"
IDENTITIES: Final = "identities"
FLOORS: Final = "floors"
DELETIONS: Final = "deletions"

# No record's namespace: names have no NUL (`wire.codec`). Sorted before all others, so leaving it out costs nothing.
MARKER_NAMESPACE: Final = "\0"
MARKER_STREAM: Final = 0
# The stream of markers that are links (`aggregator.store.chains`).
LINK_STREAM: Final = 1
# Of rows that were stored before there was `framing`.
FRAMING_UNKNOWN: Final = -(1 << 63)
# The condition on a row of ``logs`` for it to be a record.
IS_RECORD: Final = "namespace != '\\0'"

# fsync before an insert or a merge is acknowledged; else a power cut takes back what agents were told is committed.
_DURABLE: Final = (
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1"
)

# What makes room has to be written where there is none: the reserve (`aggregator.store.settings`) is for that as well.
_INTO_RESERVE: Final = "min_free_disk_bytes_to_perform_insert = 1"

# A merge takes at least so many parts: every record is rewritten less often. Measured with one part every 0.2 s,
# merging then costs 40 % of the CPU it does by default; a day has some fifty parts instead of ten, which queries hardly
# notice. Merged parts are fsynced, so what they replaced need not stay for minutes.
_MERGES: Final = "min_parts_to_merge_at_once = 16, old_parts_lifetime = 60"

# How many inserts, and for how long, a server remembers the slots of (`aggregator.store.engine.Slot`): longer than an
# insert can be under way, at ten inserts a second. Each is a small node in Keeper.
SLOTS_KEPT: Final = 20_000
SLOTS_KEPT_S: Final = 3_600
_SLOTS: Final = (
    f"non_replicated_deduplication_window = {SLOTS_KEPT}, replicated_deduplication_window = {SLOTS_KEPT}, "
    f"replicated_deduplication_window_seconds = {SLOTS_KEPT_S}"
)
# Where replicas find each other, and how they are called there: those of a shard, and those of a table that is whole on
# every server. The servers know what stands for {shard} and {replica} (macros).
_REPLICAS: Final = {
    True: ("'/clickhouse/tables/{shard}/{database}/{table}'", "'{replica}'"),
    False: ("'/clickhouse/tables/all/{database}/{table}'", "'{shard}-{replica}'"),
}

# Looked for in the record's beginning only: a level stands in front, and reading on costs more than it finds.
LEVEL_HEAD_BYTES: Final = 160

# One pass of one regular expression over the head; its single capture decides. It knows `level=warn`,
# `"level":"error"`, `ERROR`, `[warn]`, `<info>`; beside it stands klog's `E0405 12:00:00`. The word must stand alone.
_LEVEL_WORD: Final = (
    r"(?i)(?:^|[^a-z0-9_./-])(trace|debug|info|notice|warn|warning|error|err|crit|critical|fatal|panic|emerg|alert)"
    r"(?:$|[^a-z0-9_./-])"
)
_KLOG: Final = r"^([IWEF])\d{4} \d\d:\d\d:\d\d"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


LEVEL: Final = f"""multiIf(
    bitAnd(flags, 8) != 0, '',
    substring(body, 1, 1) IN ('I', 'W', 'E', 'F') AND match(substring(body, 1, 20), {_literal(_KLOG)}),
        transform(substring(body, 1, 1), ['I', 'W', 'E', 'F'], ['info', 'warn', 'error', 'fatal'], ''),
    transform(
        lower(extract(substring(body, 1, {LEVEL_HEAD_BYTES}), {_literal(_LEVEL_WORD)})),
        ['trace', 'debug', 'info', 'notice', 'warn', 'warning', 'error', 'err', 'crit', 'critical', 'fatal', 'panic',
         'emerg', 'alert'],
        ['trace', 'debug', 'info', 'info', 'warn', 'warn', 'error', 'error', 'fatal', 'fatal', 'fatal', 'fatal',
         'fatal', 'fatal'],
        ''))"""

_LOGS: Final = f"""(
    namespace LowCardinality(String),
    stream_id UInt64 CODEC(ZSTD(1)),
    ts DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    source UInt128 CODEC(ZSTD(1)),
    position UInt64 CODEC(Delta, ZSTD(1)),
    framing Int64 DEFAULT {FRAMING_UNKNOWN} CODEC(ZSTD(1)),
    level LowCardinality(String) DEFAULT {LEVEL},
    flags UInt8 CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    meta Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    committed_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1)),
    INDEX body_tokens body TYPE tokenbf_v1(8192, 3, 0) GRANULARITY 1,
    INDEX commits committed_at TYPE minmax GRANULARITY 1,
    PROJECTION positions (
        SELECT source, namespace, stream_id,
            max(position), count(), sum(length(body)), min(ts), max(ts), max(committed_at)
        GROUP BY source, namespace, stream_id
    )
)"""
_STREAMS: Final = """(
    day Date32,
    stream_id UInt64,
    labels Map(LowCardinality(String), String)
)"""
_PODS: Final = """(
    uid String,
    labels Map(LowCardinality(String), String),
    seen_at DateTime64(3, 'UTC')
)"""
_IDENTITIES: Final = "(identity String)"
_FLOORS: Final = """(
    name String,
    floor_ns Int64
)"""
_DELETIONS: Final = """(
    id String,
    version UInt64,
    document String,
    written_at DateTime DEFAULT now()
)"""


def statements(layout: Layout) -> tuple[str, ...]:
    """What makes the tables of a new store; leaves those of an existing one alone."""
    made = [
        _table(
            layout,
            layout.logs,
            _LOGS,
            "PARTITION BY toDate32(ts) ORDER BY (namespace, stream_id, ts, position)",
            _MERGES,
        ),
        _table(layout, STREAMS, _STREAMS, "PARTITION BY day ORDER BY stream_id", kind="Replacing"),
        _table(layout, PODS, _PODS, "ORDER BY uid", kind="Replacing", version="seen_at"),
    ]
    if layout.shared:
        made.append(_table(layout, IDENTITIES, _IDENTITIES, "ORDER BY identity"))
    else:
        made += [
            _table(layout, FLOORS, _FLOORS, "ORDER BY name", _INTO_RESERVE, kind="Replacing", version="floor_ns"),
            _table(
                layout,
                DELETIONS,
                _DELETIONS,
                "ORDER BY id TTL written_at + INTERVAL 90 DAY",
                _INTO_RESERVE,
                kind="Replacing",
                version="version",
            ),
            # Of tables that were made before they had it.
            *(f"ALTER TABLE {name} MODIFY SETTING {_INTO_RESERVE}" for name in (FLOORS, DELETIONS)),
        ]
    if layout.cluster:
        made.append(
            f"CREATE TABLE IF NOT EXISTS {LOGS}{layout.on_cluster} AS {layout.logs} "
            f"ENGINE = Distributed('{layout.cluster}', '{layout.database}', '{layout.logs}')"
        )
    return tuple(made)


def _table(
    layout: Layout, name: str, columns: str, order: str, *settings: str, kind: str = "", version: str = ""
) -> str:
    arguments = [version] if version else []
    if layout.cluster:
        arguments = [*_REPLICAS[name == layout.logs], *arguments]
        kind = f"Replicated{kind}"
    if layout.shared:
        settings = (*settings, _SLOTS)
    engine = f"{kind}MergeTree({', '.join(arguments)})"
    return (
        f"CREATE TABLE IF NOT EXISTS {name}{layout.on_cluster} {columns} ENGINE = {engine} {order} "
        f"SETTINGS {', '.join([_DURABLE, *settings])}"
        + (f" COMMENT '{COMMENT.format(VERSION)}'" if name == layout.logs else "")
    )


class _Identity(msgspec.Struct):
    identity: str


async def create(engine: Engine) -> None:
    """Make the tables that are missing; those of older versions are left to `migrations.migrate`."""
    for statement in statements(engine.layout):
        await engine.execute(statement)
    if engine.layout.shared:
        engine.identity = await _identify(engine)


async def _identify(engine: Engine) -> str:
    """The store's random id, kept in it; of several aggregators that make one at once, one does."""
    asked = f"SELECT identity FROM {IDENTITIES} ORDER BY identity LIMIT 1"  # noqa: S608 - a table name
    found = await engine.rows(asked, _Identity)
    if not found:
        await engine.insert(IDENTITIES, pa.record_batch({"identity": pa.array([uuid.uuid4().hex])}), Slot("identity"))
        found = await engine.rows(asked, _Identity)
    if not found:
        raise StoreError("the store's identity was written and is not found yet; its replicas may be behind")
    return found[0].identity


def identity(directory: Path) -> str:
    """The store's random id, made with it and kept in its directory: another id means another store."""
    path = directory / "store-id"
    if not path.exists():
        written = path.with_suffix(".new")
        with written.open("w", encoding="ascii") as file:
            file.write(uuid.uuid4().hex + "\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    return path.read_text("ascii").strip()
