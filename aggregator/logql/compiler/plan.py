"""A log query as one statement, and what of its pipeline is left for Python.

How the statement finds its rows: the time prunes partitions, ``namespace`` and ``stream_id`` lead the sort order, the
streams' labels are looked up in the days concerned. The stages up to the first that SQL cannot say exactly, or that
makes labels or lines (the answer needs them), are conditions. Of the stages after it, whatever a record must meet in
order to come through is a condition as well, so that Python sees few records in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.conditions import meets, together
from aggregator.logql.compiler.extraction import extracted
from aggregator.logql.compiler.fields import NEVER, Fields, InexpressibleError, either
from aggregator.logql.compiler.lines import merged, passes
from aggregator.logql.compiler.selection import selection
from aggregator.logql.compiler.statement import Parameters, Statement
from aggregator.logql.compiler.texts import contains_any
from aggregator.logql.patterns import literals
from aggregator.logql.tree import (
    And,
    Decolorize,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineFormat,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
    PatternParser,
    Query,
    RegexpParser,
    Stage,
    UnpackParser,
)
from aggregator.store.schema import IS_RECORD, LOGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.tree import Committed, Condition, Parser, Place

# The total order of records: two of them never tie, for positions of a source are unique.
ORDER: Final = ("ts", "stream_id", "source", "position")
COLUMNS: Final = ("namespace", "stream_id", "ts", "source", "position", "level", "flags", "body")
# What Python needs of a record to go on with it.
ENTRY_COLUMNS: Final = ("namespace", "stream_id", "ts", "source", "position", "level", "flags", "meta", "body")
# When a record was committed: the same for all records of an insert, and rising from insert to insert.
COMMITTED: Final = "committed_at"


class Plan(msgspec.Struct, frozen=True):
    """``statement``: the SELECT of records; ``rest``: the stages that they have to go through after it.

    With a rest the statement gives every record that may come through it.
    """

    statement: Statement
    rest: tuple[Stage, ...]


def compile_query(query: Query) -> Statement:
    """The SELECT of `COLUMNS` of the query's records; in the direction's order if it has a limit, else in none.

    Raises ValueError if there is no SQL for all of it.
    """
    found = plan(query)
    if found.rest:
        raise ValueError(f"no SQL for {found.rest[0]}")
    return found.statement


def plan(query: Query) -> Plan:
    """The statement as `compile_query` makes it; with a rest it gives `ENTRY_COLUMNS`, without limit or order."""
    parameters = Parameters()
    where, rest = _records(query, parameters)
    columns = ENTRY_COLUMNS if rest else COLUMNS
    limit = 0 if rest else query.limit
    return Plan(_select(columns, where, query, limit, parameters), rest)


def candidates(query: Query, most: int, after: Place | None = None) -> Statement:
    """The SELECT of `ENTRY_COLUMNS` of the first ``most`` records (0: all), in the direction's order.

    They are those that may come through the query's pipeline and stand behind ``after``.
    """
    parameters = Parameters()
    where, _ = _records(query, parameters)
    if after is not None:
        where += f" AND {_stands('<' if query.backward else '>', after, parameters)}"
    return _select(ENTRY_COLUMNS, where, query, most, parameters, ordered=True)


def replay(query: Query) -> Statement:
    """The SELECT of `ENTRY_COLUMNS` and ``committed_at`` of the records that may come through the query's pipeline.

    They are in the order in which they were committed, those of one commit in that of all records; without limit.
    """
    parameters = Parameters()
    where, _ = _records(query, parameters)
    return Statement(
        f"{parameters.given}SELECT {', '.join(ENTRY_COLUMNS)}, {COMMITTED} FROM {LOGS} WHERE {where} "  # noqa: S608 - own words
        f"ORDER BY {', '.join((COMMITTED, *ORDER))}",
        parameters.values,
    )


def commits(query: Query) -> Statement:
    """The SELECT of ``committed_at`` of every record of the query's streams, whatever its stages say."""
    parameters = Parameters()
    where, _ = _records(msgspec.structs.replace(query, stages=()), parameters)
    return Statement(f"SELECT {COMMITTED} FROM {LOGS} WHERE {where}", parameters.values)  # noqa: S608 - own words


def _select(
    columns: tuple[str, ...], where: str, query: Query, limit: int, parameters: Parameters, *, ordered: bool = False
) -> Statement:
    # Of lines that are looked for, the other columns are read where one was found. Left to itself the engine reads
    # those that it sorts by everywhere.
    looks = "PREWHERE" if (limit or ordered) and "body" in where else "WHERE"
    sql = f"{parameters.given}SELECT {', '.join(columns)} FROM {LOGS} {looks} {where}"  # noqa: S608 - own words
    if limit or ordered:
        down = " DESC" if query.backward else ""
        sql += f" ORDER BY {', '.join(column + down for column in ORDER)}"
    if limit:
        sql += f" LIMIT {parameters.bind(limit, 'UInt64')}"
    return Statement(sql, parameters.values)


def _records(query: Query, parameters: Parameters) -> tuple[str, tuple[Stage, ...]]:
    conditions = [
        *span(query.start_ns, query.end_ns, parameters),
        *_bounds(query, parameters),
        *selection(query.selector, query.start_ns, query.end_ns, parameters),
    ]
    fields = Fields(query.start_ns, query.end_ns, parameters)
    stages = merged(query.stages)
    for number, stage in enumerate(stages):
        condition = _exactly(stage, fields)
        if condition is None:
            prefilter = _Prefilter(stages[number:], fields)
            for later in stages[number:]:
                prefilter.take(later)
            return " AND ".join([*conditions, *prefilter.conditions]), stages[number:]
        conditions.append(condition)
    return " AND ".join(conditions), ()


def _bounds(query: Query, parameters: Parameters) -> list[str]:
    """The conditions on a record's place and commit."""
    conditions = [_stands(">", query.after, parameters)] if query.after else []
    conditions += [_stands("<", query.before, parameters)] if query.before else []
    return conditions + (_committed(query.committed, parameters) if query.committed else [])


def _stands(compared: str, place: Place, parameters: Parameters) -> str:
    """The condition that a record stands in front of (``<``) or behind (``>``) a place."""
    return (
        f"({', '.join(ORDER)}) {compared} (fromUnixTimestamp64Nano({parameters.bind(place.ts_ns, 'Int64')}, 'UTC'), "
        f"{parameters.bind(place.stream_id, 'UInt64')}, "
        f"{parameters.bind(str(int.from_bytes(place.source, 'little')), 'UInt128')}, "
        f"{parameters.bind(place.position, 'UInt64')})"
    )


def _committed(commits: Committed, parameters: Parameters) -> list[str]:
    """The conditions on a record's commit; each by itself is one that the index on it prunes by."""
    after = f"fromUnixTimestamp64Milli({parameters.bind(commits.after_ms, 'Int64')}, 'UTC')"
    to = f"fromUnixTimestamp64Milli({parameters.bind(commits.to_ms, 'Int64')}, 'UTC')"
    conditions = [f"{COMMITTED} <= {to}"]
    if commits.place is not None:
        behind = _stands(">", commits.place, parameters)
        conditions += [f"{COMMITTED} >= {after}", f"({COMMITTED} > {after} OR {behind})"]
    elif commits.after_ms >= 0:
        conditions.append(f"{COMMITTED} > {after}")
    return conditions


def span(start_ns: int, end_ns: int, parameters: Parameters) -> list[str]:
    """The conditions on a row of ``logs`` to be a record, and on its time."""
    return [
        IS_RECORD,
        f"ts >= fromUnixTimestamp64Nano({parameters.bind(start_ns, 'Int64')}, 'UTC')",
        f"ts < fromUnixTimestamp64Nano({parameters.bind(end_ns, 'Int64')}, 'UTC')",
    ]


def _exactly(stage: Stage, fields: Fields) -> str | None:
    """The condition that a stored record passes a stage that leaves it as it is; None if there is none."""
    match stage:
        case LineFilter():
            return passes(stage, fields.parameters)
        case LabelFilter(condition):
            try:
                met = meets(condition, fields)
            except InexpressibleError:
                return None
            return met.sql if met.doubt == NEVER else None
    return None


class _Prefilter:
    """Conditions that every record meets which comes through a pipeline; of stages taken one after the other.

    ``labels``: what is known of them, None once that is nothing.
    """

    def __init__(self, stages: tuple[Stage, ...], fields: Fields) -> None:
        self.conditions: list[str] = []
        self._stages = stages
        self._fields = fields
        self._labels: Fields | None = fields
        self._is_stored_line = True
        self._doubts: list[str] = []

    def take(self, stage: Stage) -> None:
        """Go through one stage."""
        match stage:
            case LineFilter():
                passed = passes(stage, self._fields.parameters) if self._is_stored_line else None
                self.conditions += [passed] if passed is not None else []
            case LabelFilter(condition):
                # What cannot be said may put an error into a record's labels.
                self._labels = self._labels and self._filtered(condition, self._labels)
            case JsonParser() | LogfmtParser() | RegexpParser() | PatternParser():
                self._labels = self._labels and self._parsed(stage, self._labels)
            case LineFormat() | Decolorize() | UnpackParser():
                self._is_stored_line, self._labels = False, None
            case _:
                self._labels = None

    def _filtered(self, condition: Condition, labels: Fields) -> Fields | None:
        try:
            met = meets(condition, labels)
        except InexpressibleError:
            return None
        self._doubts.append(met.doubt)
        quick = _quickly(condition, self._stages, labels)
        self.conditions += [quick] if quick is not None else []
        doubt = either(self._doubts[:-1])
        self.conditions.append(met.kept if doubt == NEVER else f"({doubt} OR {met.kept})")
        return labels

    def _parsed(self, parser: Parser, labels: Fields) -> Fields | None:
        try:
            return labels.after(extracted(parser, labels.parameters, *asked_of(self._stages)))
        except InexpressibleError:
            return None


def _quickly(condition: Condition, stages: tuple[Stage, ...], labels: Fields) -> str | None:
    """A plain search that spares most records the JSON parser: a text asked for stands in the line, or escaped."""
    match together(condition):
        case Matcher(label, op, value) if any(isinstance(stage, JsonParser) for stage in stages) and not labels.is_own(
            label
        ):
            texts = {MatchOp.EQUAL: (value,), MatchOp.MATCHES: literals(value)}.get(op)
            if not texts or "" in texts:
                return None
            found = contains_any(texts, labels.parameters)
            return f"({found} OR position(body, '\\\\') > 0 OR {labels.taken(label)})"
    return None


def asked_of(stages: Iterable[Stage]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels that filters among ``stages`` ask for: as texts, and as numbers."""
    texts: list[str] = []
    numbers: list[str] = []

    def walk(condition: Condition) -> None:
        match condition:
            case And(left, right) | Or(left, right):
                walk(left)
                walk(right)
            case Matcher(label):
                texts.append(label)
            case NumberCondition(label):
                numbers.append(label)

    for stage in stages:
        if isinstance(stage, LabelFilter):
            walk(stage.condition)
    return tuple(dict.fromkeys(texts)), tuple(dict.fromkeys(numbers))
