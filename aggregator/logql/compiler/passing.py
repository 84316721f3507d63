"""Records as they are committed, and of many pipelines at once which of them they pass: one statement.

What the stages in front of a pipeline ask of the stored line and its level becomes a column of the statement; the rest
is left for Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.fields import LEVEL_SQL
from aggregator.logql.compiler.lines import passes
from aggregator.logql.compiler.plan import COMMITTED, ENTRY_COLUMNS, ORDER
from aggregator.logql.compiler.selection import holds
from aggregator.logql.compiler.statement import Parameters, Statement
from aggregator.logql.tree import LEVEL, LabelFilter, LineFilter, Matcher
from aggregator.store.schema import IS_RECORD, LOGS
from aggregator.store.schema import LEVEL as LEVEL_FOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.logql.tree import Committed, Stage

# Of all conditions together: half of what the engine takes as a statement, and as many values as it understands in a
# few tenths of a second. Pipelines beyond it are Python's.
_CONDITIONS_BYTES_MAX: Final = 128 << 10
_VALUES_MAX: Final = 500


class Passing(msgspec.Struct, frozen=True):
    """``statement``: the SELECT of `ENTRY_COLUMNS`, `COMMITTED` and the columns of ``tests``, in order of commits.

    ``tests``: of each pipeline the name of the UInt8 column that says which records pass its leading stages; None: all
    of its stages are still to be run.
    """

    statement: Statement
    tests: tuple[str | None, ...]


def leading(stages: Sequence[Stage]) -> int:
    """How many stages in front of a pipeline a column can stand for."""
    for number, stage in enumerate(stages):
        if _condition(stage, Parameters()) is None:
            return number
    return len(stages)


def passing(records: Statement, pipelines: Sequence[Sequence[Stage]]) -> Passing:
    """``records``: what `inserted` or `committed` gave. ``pipelines``: of each the stages that `leading` counts.

    Records that pass none are left out.
    """
    parameters = Parameters(records.parameters)
    tests: list[str | None] = []
    found: dict[str, str] = {}
    size = 0
    for stages in pipelines:
        # Tried apart first: what is bound and defined for a pipeline that has no room must not take any.
        alone = Parameters()
        size_alone = len(_conditions(stages, alone)) + len(alone.given)
        has_bytes = size + size_alone + len(parameters.given) <= _CONDITIONS_BYTES_MAX
        if not size_alone or not has_bytes or _count(parameters) + _count(alone) > _VALUES_MAX:
            tests.append(None)
            continue
        together = _conditions(stages, parameters)
        if together not in found:
            size += len(together)
            found[together] = f"passes{len(found)}"
        tests.append(found[together])
    columns = "".join(f", ({condition}) AS {name}" for condition, name in found.items())
    where = "" if None in tests else f" WHERE {' OR '.join(found.values())}"
    sql = (
        f"{parameters.given}SELECT {', '.join((*ENTRY_COLUMNS, COMMITTED))}{columns} FROM ({records.sql}){where} "  # noqa: S608 - own words
        f"ORDER BY {', '.join((COMMITTED, *ORDER))}"
    )
    return Passing(Statement(sql, parameters.values), tuple(tests))


def _count(parameters: Parameters) -> int:
    """How many values are bound, those of lists one by one."""
    return sum(len(value) if isinstance(value, tuple) else 1 for value in parameters.values.values())


def _conditions(stages: Sequence[Stage], parameters: Parameters) -> str:
    """The condition that a record passes all of ``stages``; empty if there is none."""
    return " AND ".join(condition for stage in stages if (condition := _condition(stage, parameters)) is not None)


def inserted(place: str, names: Sequence[str]) -> Statement:
    """The SELECT of rows that stand in ``place`` (SQL) as they were inserted, with the columns ``names``."""
    made = {"level": f"{LEVEL_FOUND} AS level", "meta": "CAST(map() AS Map(LowCardinality(String), String)) AS meta"}
    columns = [name if name in names else made[name] for name in (*ENTRY_COLUMNS, COMMITTED)]
    return Statement(f"SELECT {', '.join(columns)} FROM {place} WHERE {IS_RECORD}", {})  # noqa: S608 - own words


def committed(commits: Committed, streams: Sequence[int]) -> Statement:
    """The SELECT of what is stored of some commits and streams."""
    parameters = Parameters()
    where = _among(commits, parameters)
    ids = parameters.bind(tuple(streams), "Array(UInt64)")
    sql = f"SELECT {', '.join((*ENTRY_COLUMNS, COMMITTED))} FROM {LOGS} WHERE {where} AND stream_id IN {ids}"  # noqa: S608 - own words
    return Statement(sql, parameters.values)


def streams_of(commits: Committed) -> Statement:
    """The SELECT of ``number``, as text: the ids of the streams that have records of some commits."""
    parameters = Parameters()
    where = _among(commits, parameters)
    return Statement(f"SELECT DISTINCT toString(stream_id) AS number FROM {LOGS} WHERE {where}", parameters.values)  # noqa: S608 - own words


def _among(commits: Committed, parameters: Parameters) -> str:
    edges = [
        f"fromUnixTimestamp64Milli({parameters.bind(edge, 'Int64')}, 'UTC')"
        for edge in (commits.after_ms, commits.to_ms)
    ]
    return f"{IS_RECORD} AND {COMMITTED} > {edges[0]} AND {COMMITTED} <= {edges[1]}"


def _condition(stage: Stage, parameters: Parameters) -> str | None:
    """The condition on a record's own columns that it passes ``stage``; None if there is none."""
    match stage:
        case LineFilter():
            return passes(stage, parameters)
        case LabelFilter(Matcher(label) as matcher) if label == LEVEL:
            return holds(LEVEL_SQL, matcher, parameters)
    return None
