"""What the engine would read for a statement, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Statement
    from aggregator.store.engine import Engine, Limits


class Estimate(msgspec.Struct, frozen=True):
    """What is left of a table once partitions, sort order and skip indexes are looked at."""

    database: str
    table: str
    parts: int
    rows: int
    marks: int


class _Line(msgspec.Struct):
    explain: str


async def estimates(engine: Engine, statement: Statement, limits: Limits) -> list[Estimate]:
    """What ``statement`` would read of each table; costs a few milliseconds. Raises `StoreError`."""
    sql = f"SELECT * FROM (EXPLAIN ESTIMATE {statement.sql})"  # noqa: S608 - a statement of our own
    return await engine.rows(sql, Estimate, statement.parameters, limits)


async def indexes(engine: Engine, statement: Statement, limits: Limits) -> str:
    """The engine's plan with the indexes it uses, as it words it. Raises `StoreError`."""
    sql = f"SELECT explain FROM (EXPLAIN indexes = 1 {statement.sql})"  # noqa: S608 - a statement of our own
    rows = await engine.rows(sql, _Line, statement.parameters, limits)
    return "\n".join(row.explain for row in rows)
