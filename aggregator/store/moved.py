"""Committed positions of days in the cold tier, kept locally.

What is committed of a source must be known at once, and while the tier is away. So before a part goes there, what it
says of every source is written into ``moved``; from then on positions are those of the local parts and of ``moved``.
Its days are dropped with those of ``logs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.store.schema import LOGS
from aggregator.store.tier import DISK, MERGE_TREE, POLICY

if TYPE_CHECKING:
    from aggregator.store.embedded import Embedded
    from aggregator.store.engine import Engine

MOVED: Final = "moved"
# The condition on a row of ``logs`` to lie on the local disk: such parts are not even looked into.
IS_LOCAL: Final = f"_disk_name != '{DISK}'"

_STATEMENTS: Final = (
    f"""CREATE TABLE IF NOT EXISTS {MOVED} (
    day Date32,
    source UInt128,
    position UInt64 CODEC(Delta, ZSTD(1)),
    committed_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(position)
PARTITION BY day
ORDER BY source
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1""",
    f"ALTER TABLE {LOGS} MODIFY SETTING storage_policy = '{POLICY}', {MERGE_TREE}",
)


def is_cold(engine: Engine) -> str:
    """The condition on a part in ``system.parts`` to lie in the tier; a server may have any disk of that name."""
    return f"(disk_name = '{DISK}')" if engine.has_tier else "false"


async def prepare(engine: Engine) -> None:
    """Give the tables of an open store what they need for the tier. Raises `StoreError`."""
    for statement in _STATEMENTS:
        await engine.execute(statement)


async def note(engine: Embedded, day: int) -> None:
    """Write down what the local parts of ``day`` (days since 1970-01-01) say of their sources. Raises `StoreError`."""
    await engine.apart(
        f"INSERT INTO {MOVED} SELECT toDate32({day}), source, max(position), max(committed_at) FROM {LOGS} "  # noqa: S608 - own words
        f"WHERE {IS_LOCAL} AND _partition_id = '{day}' GROUP BY source"
    )


def positions(engine: Engine, condition: str) -> str:
    """The SELECT of ``source`` and ``reached``, the highest position, of all sources for which ``condition`` holds.

    The local parts come first: what was moved since they were looked at was written down before.
    """
    if not engine.has_tier:
        return f"SELECT source, max(position) AS reached FROM {LOGS} WHERE {condition} GROUP BY source"  # noqa: S608 - own words
    return (
        "SELECT source, max(reached) AS reached FROM ("  # noqa: S608 - own words
        f"SELECT source, max(position) AS reached FROM {LOGS} WHERE {condition} AND {IS_LOCAL} GROUP BY source "
        f"UNION ALL SELECT source, max(position) AS reached FROM {MOVED} WHERE {condition} GROUP BY source"
        ") GROUP BY source"
    )


def last_commit(engine: Engine) -> str:
    """The SELECT of ``at``, when the last insert was."""
    if not engine.has_tier:
        return f"SELECT max(committed_at) AS at FROM {LOGS}"  # noqa: S608 - a table name
    return (
        f"SELECT max(at) AS at FROM (SELECT max(committed_at) AS at FROM {LOGS} WHERE {IS_LOCAL} "  # noqa: S608 - own words
        f"UNION ALL SELECT max(committed_at) AS at FROM {MOVED})"
    )
