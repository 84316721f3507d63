"""What would be done for a query: its tree, its statements with what the engine says of each, what Python does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aggregator.logql.compiler.plan import candidates, plan
from aggregator.logql.printer import formatted, printed
from aggregator.logql.tree import LogExpression, Query, Selector
from aggregator.query import metrics
from aggregator.store.explain import Estimate, estimates, indexes

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Statement
    from aggregator.logql.metric import MetricQuery
    from aggregator.query.budget import Budget
    from aggregator.store.engine import Engine


class Explained(msgspec.Struct, frozen=True):
    """A statement: for what part of the query, its text and bound values, the engine's estimate and plan.

    ``python``: the stages that Python runs on what the statement gives, as LogQL; empty if none. Where a metric query's
    statement might meet a record of which SQL cannot say what it means, Python goes through all records instead.
    """

    part: str
    sql: str
    parameters: dict[str, str | int | tuple[str, ...] | tuple[int, ...]]
    estimate: tuple[Estimate, ...]
    plan: str
    python: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """``query``: in LogQL, over several lines; ``tree``: as the parser gave it."""

    query: str
    tree: str
    statements: tuple[Explained, ...]


async def explain_logs(engine: Engine, query: Query, budget: Budget) -> Explanation:
    """How a log query would be run: the statement of its whole range, of which windows are asked for one by one."""
    expression = LogExpression(query.selector, query.stages)
    planned = plan(query)
    statement = candidates(query, query.limit) if planned.rest else planned.statement
    text = printed(expression)
    rest = _stages(LogExpression(Selector(), planned.rest))
    statements = (await _explained(engine, text, statement, budget, rest),)
    return Explanation(formatted(expression), repr(expression), statements)


async def explain_metrics(engine: Engine, query: MetricQuery, budget: Budget) -> Explanation:
    """How a metric query would be run: a statement for each range aggregation."""
    statements = []
    for part in metrics.plan(query):
        aggregation = part.leaf.aggregation
        statement, rest = part.statement, ""
        if statement is None:
            logs = aggregation.logs
            records = Query(logs.selector, logs.stages, part.buckets.start_ns, part.buckets.end_ns)
            statement = candidates(records, 0)
            rest = _stages(LogExpression(Selector(), plan(records).rest)) or printed(aggregation)
        statements.append(await _explained(engine, printed(aggregation), statement, budget, rest))
    return Explanation(formatted(query.expression), repr(query.expression), tuple(statements))


def told(explanation: Explanation) -> str:
    """The explanation for people."""
    parts = [f"query\n{explanation.query}\n\ntree\n{explanation.tree}\n"]
    for one in explanation.statements:
        read = "".join(f"{each}\n" for each in one.estimate)
        parts.append(
            f"statement for {one.part}\n{one.sql}\n\nvalues\n{one.parameters}\n\nestimate\n{read}\n{one.plan}\n"
        )
        if one.python:
            parts.append(f"in Python\n{one.python}\n")
    return "\n".join(parts)


def _stages(expression: LogExpression) -> str:
    """Stages alone, as they are written behind a selector."""
    return printed(expression).removeprefix("{}").strip()


async def _explained(engine: Engine, part: str, statement: Statement, budget: Budget, python: str) -> Explained:
    return Explained(
        part,
        statement.sql,
        statement.parameters,
        tuple(await estimates(engine, statement, budget.left())),
        await indexes(engine, statement, budget.left()),
        python,
    )
