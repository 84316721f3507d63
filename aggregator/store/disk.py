"""How much the store takes on disk, and how much is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aggregator.store.moved import IS_LOCAL, is_cold
from aggregator.store.schema import IS_RECORD, LOGS

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
    layout, cold = engine.layout, is_cold(engine)
    local = IS_LOCAL if engine.has_tier else "1"
    markers = f"(SELECT count() FROM {LOGS} WHERE NOT {IS_RECORD} AND {local})"  # noqa: S608 - own words
    return await engine.rows(
        f"SELECT if(table = '{layout.logs}', '{LOGS}', table) AS name, count() AS parts, "  # noqa: S608 - own words
        f"toUInt64(sum(rows) - if(name = '{LOGS}', {markers}, 0)) AS rows, "
        f"sumIf(bytes_on_disk, NOT {cold}) AS bytes, sumIf(bytes_on_disk, {cold}) AS cold_bytes "
        f"FROM {layout.parts} GROUP BY table",
        Table,
    )
