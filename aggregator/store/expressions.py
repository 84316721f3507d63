"""Whether the engine understands a query's regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql.compiler.words import one_line_dots
from aggregator.logql.tree import LineFilter, LineOp

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.tree import Query
    from aggregator.store.engine import Engine, Limits


async def check_expressions(engine: Engine, query: Query, limits: Callable[[], Limits]) -> None:
    """Raise `QueryRegexError` for a line filter that is no RE2, also if there is no record to try it on."""
    expressions = tuple(
        one_line_dots(value.text)
        for stage in query.stages
        if isinstance(stage, LineFilter) and stage.op in {LineOp.MATCHES, LineOp.NOT_MATCHES}
        for value in stage.values
    )
    if expressions:
        # One after the other: the engine keeps none of them compiled, and looks at all in one statement.
        sql = "SELECT sum(match('', arrayJoin({expressions:Array(String)}))) AS matched"
        await engine.rows(sql, dict[str, int | str], {"expressions": expressions}, limits())
