"""How much the store takes on disk, and how much is left."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from aggregator.store.moved import IS_LOCAL
from aggregator.store.schema import DATABASE, IS_RECORD, LOGS
from aggregator.store.tier import DISK

if TYPE_CHECKING:
    from aggregator.store.engine import Engine


class Table(msgspec.Struct):
    """A table's active parts; ``rows`` are records, or sets of labels.

    ``bytes``: of the local disk, ``cold_bytes`` of the cold tier. There, what is no record counts among the rows: no
    figure is worth asking the tier for.
    """

    name: str
    parts: int
    rows: int
    bytes: int
    cold_bytes: int


async def tables(engine: Engine) -> list[Table]:
    """Every table that has parts. Raises `StoreError`."""
    markers = f"(SELECT count() FROM {LOGS} WHERE NOT {IS_RECORD} AND {IS_LOCAL})"  # noqa: S608 - own words
    return await engine.rows(
        "SELECT table AS name, count() AS parts, "  # noqa: S608 - own words
        f"toUInt64(sum(rows) - if(concat(database, '.', table) = '{LOGS}', {markers}, 0)) AS rows, "
        f"sumIf(bytes_on_disk, disk_name != '{DISK}') AS bytes, "
        f"sumIf(bytes_on_disk, disk_name = '{DISK}') AS cold_bytes "
        f"FROM system.parts WHERE database = '{DATABASE}' AND active GROUP BY database, table",
        Table,
    )


async def free_bytes(engine: Engine) -> int:
    """Bytes left to the store on its disk."""
    found = await asyncio.to_thread(os.statvfs, engine.path)
    return found.f_bavail * found.f_frsize
