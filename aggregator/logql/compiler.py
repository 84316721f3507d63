"""A tree into SQL.

Whatever a user wrote reaches the engine as a bound parameter; the statement's text is made of this module's own words.

How it finds its rows: the time prunes partitions, ``namespace`` and ``stream_id`` lead the sort order, the streams'
labels are looked up in the days concerned. A substring becomes ``LIKE '%…%'``, which the engine runs as a plain search
and for which it prunes by the token index with those words of it that are surely whole: its first and last may be cut.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.patterns import literals
from aggregator.logql.tree import (
    DAY_NS,
    LEVEL,
    LEVEL_UNKNOWN,
    Direction,
    LabelFilter,
    LineFilter,
    LineOp,
    Matcher,
    MatchOp,
    Query,
    Selector,
    Stage,
)
from aggregator.store.schema import IS_RECORD, LOGS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

# The total order of records: two of them never tie, for positions of a source are unique.
ORDER: Final = ("ts", "stream_id", "source", "position")
COLUMNS: Final = ("namespace", "stream_id", "ts", "source", "position", "level", "flags", "body")
# The level as it is shown and asked for; in the store an unknown one is empty.
LEVEL_SQL: Final = f"if(level = '', '{LEVEL_UNKNOWN}', level)"

_NAMESPACE: Final = "namespace"

Value = str | int | tuple[str, ...]


class Statement(msgspec.Struct, frozen=True):
    """A SELECT, with the values of the ``{name:Type}`` parameters in it."""

    sql: str
    parameters: dict[str, Value]


class Parameters:
    """Collects the values of one statement and names them; those of a statement inside it come first."""

    def __init__(self, inner: Mapping[str, Value] | None = None) -> None:
        self.values: dict[str, Value] = dict(inner or {})

    def bind(self, value: Value, kind: str) -> str:
        """Remember ``value``; gives what stands for it in the statement."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"


def compile_query(query: Query) -> Statement:
    """The SELECT of `COLUMNS` of the query's records; in the direction's order if it has a limit, else in none."""
    parameters = Parameters()
    sql = f"SELECT {', '.join(COLUMNS)} FROM {LOGS} WHERE {_records(query, parameters)}"  # noqa: S608 - own words
    if query.limit:
        down = " DESC" if query.direction is Direction.BACKWARD else ""
        order = ", ".join(column + down for column in ORDER)
        sql += f" ORDER BY {order} LIMIT {parameters.bind(query.limit, 'UInt64')}"
    return Statement(sql, parameters.values)


def _records(query: Query, parameters: Parameters) -> str:
    conditions = [
        IS_RECORD,
        f"ts >= fromUnixTimestamp64Nano({parameters.bind(query.start_ns, 'Int64')}, 'UTC')",
        f"ts < fromUnixTimestamp64Nano({parameters.bind(query.end_ns, 'Int64')}, 'UTC')",
        *_selection(query, parameters),
        *(_passes(stage, parameters) for stage in query.stages),
    ]
    return " AND ".join(conditions)


def days(start_ns: int, end_ns: int, parameters: Parameters) -> str:
    """The condition on ``day`` of the streams that may have records from ``start_ns`` to before ``end_ns``."""
    first = parameters.bind(start_ns // DAY_NS, "Int32")
    last = parameters.bind(max(start_ns, end_ns - 1) // DAY_NS, "Int32")
    return f"day BETWEEN toDate32({first}) AND toDate32({last})"


def streams(selector: Selector, parameters: Parameters) -> str:
    """The condition on a row of ``streams`` for its labels to match; ``1`` if every row does."""
    held = [_holds(_label(matcher.label, parameters), matcher, parameters) for matcher in selector.matchers]
    return " AND ".join(held) or "1"


def _selection(query: Query, parameters: Parameters) -> list[str]:
    """What the selector asks of a row of ``logs``.

    A row whose stream's labels are missing must stay visible to whoever does not ask for labels; therefore what a
    matcher excludes is what is known to be excluded.
    """
    conditions = [
        _holds(_NAMESPACE, matcher, parameters) for matcher in query.selector.matchers if matcher.label == _NAMESPACE
    ]
    others = [matcher for matcher in query.selector.matchers if matcher.label != _NAMESPACE]
    wanted = tuple(matcher for matcher in others if not matcher.op.negative)
    found = f"SELECT stream_id FROM {STREAMS} WHERE "  # noqa: S608 - own words
    if wanted:
        day = days(query.start_ns, query.end_ns, parameters)
        conditions.append(f"stream_id IN ({found}{day} AND {streams(Selector(wanted), parameters)})")
    for matcher in others:
        if matcher.op.negative:
            day = days(query.start_ns, query.end_ns, parameters)
            excluded = f"NOT ({streams(Selector((matcher,)), parameters)})"
            conditions.append(f"stream_id NOT IN ({found}{day} AND {excluded})")
    return conditions


def _label(name: str, parameters: Parameters) -> str:
    return f"labels[{parameters.bind(name, 'String')}]"


def _holds(subject: str, matcher: Matcher, parameters: Parameters) -> str:
    negation = "NOT " if matcher.op.negative else ""
    if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
        return f"{negation}({subject} = {parameters.bind(matcher.value, 'String')})"
    values = literals(matcher.value)
    if values is not None:
        return f"{negation}({subject} IN {parameters.bind(values, 'Array(String)')})"
    return f"{negation}match({subject}, {parameters.bind(f'^(?s:{matcher.value})$', 'String')})"


def _passes(stage: Stage, parameters: Parameters) -> str:
    match stage:
        case LabelFilter(Matcher(label) as matcher) if label == LEVEL:
            return _holds(f"({LEVEL_SQL})", matcher, parameters)
        case LineFilter(op, values) if op in _LINE_TESTS and not any(value.ip for value in values):
            passes = " OR ".join(_LINE_TESTS[op](value.text, parameters) for value in values)
            return f"NOT ({passes})" if op.negative else f"({passes})"
    raise ValueError(f"no SQL for {stage}")


def _contains(text: str, parameters: Parameters) -> str:
    return f"body LIKE {parameters.bind(_containing(text), 'String')}"


def _matches(expression: str, parameters: Parameters) -> str:
    return f"match(body, {parameters.bind(expression, 'String')})"


_LINE_TESTS: Final = {
    LineOp.CONTAINS: _contains,
    LineOp.LACKS: _contains,
    LineOp.MATCHES: _matches,
    LineOp.NOT_MATCHES: _matches,
}


def _containing(text: str) -> str:
    return "%" + re.sub(r"[\\%_]", r"\\\g<0>", text) + "%"
