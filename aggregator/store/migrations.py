"""Tables of older versions into today's, when a store is opened.

The comment of ``logs`` has the version (`schema.COMMENT`); it is written after the step that reaches it. Every step may
be run again from its beginning, for it may end anywhere, and is never changed once it was released.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import StoreError
from aggregator.store.schema import COMMENT, FRAMING_UNKNOWN, LOGS, VERSION
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.store.engine import Engine

_log = logging.getLogger(__name__)

# By the version that they begin from.
_STEPS: Final[Mapping[int, tuple[str, ...]]] = {
    1: (
        f"ALTER TABLE {LOGS} ADD COLUMN IF NOT EXISTS framing Int64 DEFAULT {FRAMING_UNKNOWN} AFTER position",
        f"ALTER TABLE {LOGS} MODIFY COLUMN framing CODEC(ZSTD(1))",
    ),
}


class _Table(msgspec.Struct):
    comment: str


async def migrate(engine: Engine) -> None:
    """Bring the tables of an open store to `schema.VERSION`. Raises `StoreError`, also where they are newer."""
    found = await version(engine)
    if engine.layout.shared and found < VERSION:
        raise StoreError(f"servers have had no schema {found} of ours; the comment of {LOGS} was changed by somebody")
    if found > VERSION:
        raise StoreError(
            f"the store was written by a newer logboom (schema {found}, this one knows up to {VERSION}); "
            "run that version, or name another --store"
        )
    for step in range(found, VERSION):
        _log.info("changing the store's tables", extra=fields(schema=step, to=step + 1))
        for statement in _STEPS[step]:
            await engine.execute(statement)
        await engine.execute(f"ALTER TABLE {LOGS} MODIFY COMMENT '{COMMENT.format(step + 1)}'")
    if found < VERSION:
        _log.info("the store's tables are changed", extra=fields(schema=VERSION))


async def version(engine: Engine) -> int:
    """The version of the tables. Raises `StoreError` where there are none, or where their comment says none."""
    database, name = engine.layout.database, engine.layout.logs
    tables = await engine.rows(
        "SELECT comment FROM system.tables WHERE database = {database:String} AND name = {name:String}",
        _Table,
        {"database": database, "name": name},
    )
    if not tables:
        raise StoreError(f"the store has no table {database}.{name}")
    if not tables[0].comment:
        return 1
    match = re.fullmatch(COMMENT.format(r"(\d{1,9})"), tables[0].comment)
    if match is None:
        raise StoreError(f"the comment of {database}.{name} does not say its version: {tables[0].comment!r}")
    return int(match[1])
