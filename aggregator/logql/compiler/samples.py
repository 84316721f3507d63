"""A range aggregation as one statement that reads its records once, however many steps there are.

What it answers is laid down in `aggregator.logql.vector.partials`. Three SELECTs, one inside the other: records into
buckets of a series' keys, buckets into arrays, keys into labels. Should a record leave doubt about what Loki would make
of it, the statement fails with `aggregator.errors.QueryDoubtError`: then Python has to go through the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.conditions import meets
from aggregator.logql.compiler.extraction import extracted
from aggregator.logql.compiler.fields import DUPLICATE, NEVER, Fields, InexpressibleError, Metadata, either
from aggregator.logql.compiler.lines import merged, passes
from aggregator.logql.compiler.plan import asked_of, span
from aggregator.logql.compiler.selection import NAMESPACE, OWN_LABELS, days, known_streams, selection
from aggregator.logql.compiler.statement import Parameters, Statement
from aggregator.logql.metric import Conversion, RangeOp
from aggregator.logql.tree import (
    LEVEL,
    LEVEL_UNKNOWN,
    JsonParser,
    LabelFilter,
    LineFilter,
    LogfmtParser,
    PatternParser,
    RegexpParser,
)
from aggregator.store.schema import LOGS
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.metric import RangeAggregation
    from aggregator.logql.tree import Condition
    from aggregator.logql.vector.leaves import Leaf
    from aggregator.logql.vector.ranges import Buckets

_ORDER: Final = "(ts, stream_id, source, position)"
# The name of the unwrapped number.
_VALUE: Final = "value"
# The name of the condition that a record has one.
_SAMPLED: Final = "sampled"
_NS: Final = "toUnixTimestamp64Nano(ts)"
_IN_ORDER: Final = f"arraySort(groupArrayIf(({_ORDER}, {_NS}, value), sampled))"

# What is kept of the records of a bucket: name of the column and SQL, over the unwrapped `value`.
_COUNTS: Final = (("counts", "count()"),)
_KEPT: Final = {
    RangeOp.COUNT: _COUNTS,
    RangeOp.ABSENT: _COUNTS,
    RangeOp.RATE: _COUNTS,
    RangeOp.BYTES: (("sums", "sum(length(body))"),),
    RangeOp.BYTES_RATE: (("sums", "sum(length(body))"),),
}
_COUNTS_UNWRAPPED: Final = (("counts", "countIf(sampled)"),)
_KEPT_UNWRAPPED: Final = {
    RangeOp.ABSENT: _COUNTS_UNWRAPPED,
    RangeOp.SUM: (("sums", "sumIf(value, sampled)"),),
    RangeOp.RATE: (("sums", "sumIf(value, sampled)"),),
    RangeOp.AVG: (*_COUNTS_UNWRAPPED, ("sums", "sumIf(value, sampled)")),
    RangeOp.MIN: (("values", "minIf(value, sampled)"),),
    RangeOp.MAX: (("values", "maxIf(value, sampled)"),),
    RangeOp.FIRST: (("times", f"toInt64(minIf({_NS}, sampled))"), ("values", f"argMinIf(value, {_ORDER}, sampled)")),
    RangeOp.LAST: (("times", f"toInt64(maxIf({_NS}, sampled))"), ("values", f"argMaxIf(value, {_ORDER}, sampled)")),
    RangeOp.STDDEV: (
        *_COUNTS_UNWRAPPED,
        ("means", "avgIf(value, sampled)"),
        ("squares", "varPopStableIf(value, sampled) * countIf(sampled)"),
    ),
    RangeOp.STDVAR: (
        *_COUNTS_UNWRAPPED,
        ("means", "avgIf(value, sampled)"),
        ("squares", "varPopStableIf(value, sampled) * countIf(sampled)"),
    ),
    RangeOp.QUANTILE: (("samples", "groupArrayIf(value, sampled)"),),
    RangeOp.RATE_COUNTER: (
        ("moments", f"arrayMap(one -> toInt64(one.2), {_IN_ORDER})"),
        ("samples", f"arrayMap(one -> one.3, {_IN_ORDER})"),
    ),
}
# What depends on the order of records of one instant: what is kept of a bucket has to be made of all of them at once.
_IN_ORDER_OF_RECORDS: Final = frozenset({RangeOp.FIRST, RangeOp.LAST, RangeOp.RATE_COUNTER})
# Labels that are columns of their own: the column, and their text made of it.
_STORED: Final = {
    LEVEL: ("level", f"if({{0}} = '', '{LEVEL_UNKNOWN}', toString({{0}}))"),
    NAMESPACE: ("namespace", "toString({0})"),
}


class _Key(msgspec.Struct, frozen=True):
    """What records of one series have in common: the column's name, and its SQL over a row of ``logs``."""

    column: str
    sql: str


class _Series(msgspec.Struct, frozen=True):
    """How series are told apart: by ``keys``.

    ``labels``: their labels, SQL over the keys and the streams' ``known_labels``; ``doubts``: about the keys;
    ``needs_pods``: whether a label may be a pod's.
    """

    keys: tuple[_Key, ...]
    labels: str
    doubts: tuple[str, ...]
    needs_pods: bool


def samples(leaf: Leaf, buckets: Buckets) -> Statement | None:
    """The statement of a leaf; None if there is no SQL for it."""
    parameters = Parameters()
    try:
        return _samples(leaf, buckets, parameters)
    except InexpressibleError:
        return None


def _samples(leaf: Leaf, buckets: Buckets, parameters: Parameters) -> Statement:
    day = days(buckets.start_ns, buckets.end_ns, parameters)
    metadata = Metadata()
    records, series = _records(leaf, buckets, parameters, metadata)
    if metadata.is_asked and leaf.aggregation.op not in _IN_ORDER_OF_RECORDS:
        # Most records have none, and reading it costs as much as counting them: where its size is enough, only that
        # is read.
        rest, _ = _records(leaf, buckets, parameters, Metadata(exists=False))
        parts = [records.select(parameters, before="notEmpty(meta)"), rest.select(parameters, also="empty(meta)")]
    else:
        parts = [records.select(parameters)]
    return Statement(_statement(" UNION ALL ".join(parts), records, series, day), parameters.values)


class _Conditions:
    """What a record must meet: of its row, and of the labels that are made of its line."""

    def __init__(self, rows: Iterable[str]) -> None:
        self.rows = list(rows)
        self.labels: list[str] = []

    def clause(self, before: str, also: str) -> str:
        """PREWHERE and WHERE.

        Left to itself the engine tries conditions on lines before it has read the rest of a row, and copies the lines
        of those that pass; most pass one on labels.
        """
        rows = " AND ".join((*self.rows, *((also,) if also else ())))
        labels = " AND ".join(self.labels)
        if before:
            return f"PREWHERE {before} WHERE {rows}{f' AND {labels}' if labels else ''}"
        return f"PREWHERE {rows} WHERE {labels}" if labels else f"WHERE {rows}"


class _Records(msgspec.Struct, frozen=True):
    """What is asked of records, bucket by bucket.

    ``keys``: what tells the series apart; ``bucket``: SQL; ``kept``: what is kept of each bucket; ``doubt``: the
    condition that a record is in doubt; ``having``: one on buckets.
    """

    keys: tuple[_Key, ...]
    bucket: str
    kept: tuple[tuple[str, str], ...]
    doubt: str
    conditions: _Conditions
    having: str

    def select(self, parameters: Parameters, before: str = "", also: str = "") -> str:
        """The SELECT; ``before``: a condition that is looked at before all others; ``also``: one more."""
        checked = NEVER if self.doubt == NEVER else f"throwIf({self.doubt}, 'doubt')"
        columns = [
            *(key.column if key.sql == key.column else f"{key.sql} AS {key.column}" for key in self.keys),
            f"{self.bucket} AS bucket",
            *(f"{sql} AS n{number}" for number, (_, sql) in enumerate(self.kept)),
            f"max({checked}) AS in_doubt",
        ]
        return (
            f"{parameters.given}SELECT {', '.join(columns)} FROM {LOGS} {self.conditions.clause(before, also)} "  # noqa: S608 - own words
            f"GROUP BY {', '.join([*(key.column for key in self.keys), 'bucket'])}{self.having}"
        )


def _records(leaf: Leaf, buckets: Buckets, parameters: Parameters, metadata: Metadata) -> tuple[_Records, _Series]:
    aggregation = leaf.aggregation
    kept = (_KEPT if aggregation.unwrap is None else _KEPT_UNWRAPPED).get(aggregation.op)
    if kept is None:
        raise InexpressibleError
    conditions = _Conditions(
        (
            *span(buckets.start_ns, buckets.end_ns, parameters),
            f"bitAnd(flags, {Flag.GAP:d}) = 0",
            *selection(aggregation.logs.selector, buckets.start_ns, buckets.end_ns, parameters),
        )
    )
    fields, doubts = _pipeline(leaf, buckets, parameters, conditions, metadata)
    number_doubt = NEVER
    if aggregation.unwrap is not None:
        number_doubt, doubt = _unwrapped(aggregation, fields, conditions)
        doubts.append(doubt)
    if not leaf.allows_errors:
        error = fields.extracted.error
        doubts += [error.doubt, NEVER if error.sql == "''" else f"{error.sql} != ''"]
    series = _series(leaf, fields)
    doubts += series.doubts
    bucket, inside = _bucket(buckets)
    conditions.rows += inside
    doubt, having = either(doubts), ""
    if aggregation.unwrap is not None:
        # What is no sample cannot be a wrong one.
        doubt = either((number_doubt, NEVER if doubt == NEVER else f"({_SAMPLED} AND {doubt})"))
        having = f" HAVING countIf({_SAMPLED}) > 0"
    return _Records(series.keys, bucket, kept, doubt, conditions, having), series


def _pipeline(
    leaf: Leaf, buckets: Buckets, parameters: Parameters, conditions: _Conditions, metadata: Metadata
) -> tuple[Fields, list[str]]:
    """Adds what a record must meet to ``conditions``; gives the labels at the end of the pipeline, and the doubts."""
    aggregation = leaf.aggregation
    texts, numbers = asked_of(aggregation.logs.stages)
    texts = tuple(name for name in dict.fromkeys((*texts, *(leaf.by or ()))) if name not in OWN_LABELS | {LEVEL})
    if aggregation.unwrap is not None:
        numbers += (aggregation.unwrap.label,)
        # Looked at anyway, and of few lines not a number.
        texts = ()
    fields = Fields(buckets.start_ns, buckets.end_ns, parameters, metadata=metadata)
    doubts: list[str] = []
    for stage in merged(aggregation.logs.stages):
        match stage:
            case LineFilter():
                passed = passes(stage, parameters)
                if passed is None:
                    raise InexpressibleError
                conditions.rows.append(passed)
            case LabelFilter(condition):
                doubts.append(_met(condition, fields, conditions))
            case JsonParser() | LogfmtParser() | RegexpParser() | PatternParser():
                fields = fields.after(extracted(stage, parameters, texts, numbers))
            case _:
                raise InexpressibleError
    return fields, doubts


def _met(condition: Condition, fields: Fields, conditions: _Conditions) -> str:
    met = meets(condition, fields)
    (conditions.labels if "body" in met.kept else conditions.rows).append(met.kept)
    return met.doubt


def _unwrapped(aggregation: RangeAggregation, fields: Fields, conditions: _Conditions) -> tuple[str, str]:
    """Defines `_VALUE`, the sample that a record is, and `_SAMPLED`, whether it is one.

    Gives the doubt about that, and the doubts about samples. Where they are no conditions on rows, lines are parsed
    once and not twice.
    """
    unwrap = aggregation.unwrap
    if unwrap is None or unwrap.conversion is not Conversion.NUMBER:
        raise InexpressibleError
    number = fields.field(unwrap.label).number
    doubts = [_met(one.condition, fields, conditions) for one in unwrap.filters]
    fields.parameters.define(f"assumeNotNull({number.sql})", _VALUE)
    fields.parameters.define(f"isNotNull({number.sql})", _SAMPLED)
    return number.doubt, either(doubts)


def _series(leaf: Leaf, fields: Fields) -> _Series:
    return _every_label(leaf, fields) if leaf.by is None else _some_labels(leaf.by, fields)


def _some_labels(names: tuple[str, ...], fields: Fields) -> _Series:
    keys: list[_Key] = []
    pairs: list[str] = []
    doubts: list[str] = []
    needs_pods = any(fields.is_of_streams(name) and name not in OWN_LABELS for name in names)
    parameters = fields.parameters
    for number, name in enumerate(names):
        bound = parameters.text(name)
        if name in _STORED:
            # As they are stored, words of a dictionary: they are told apart by its numbers.
            column, shown = _STORED[name]
            keys.append(_Key(f"k{number}", column))
            pairs.append(f"{bound}, {shown.format(f'k{number}')}")
            doubts.append(fields.field(name).text.doubt)
            continue
        if not fields.is_of_streams(name):
            text = fields.field(name).text
            keys.append(_Key(f"k{number}", text.sql))
            pairs.append(f"{bound}, k{number}")
            doubts.append(text.doubt)
            continue
        keys += [_Key("stream_id", "stream_id"), _Key(f"k{number}", fields.metadata.text(bound))]
        pairs.append(f"{bound}, if(mapContains(known_labels, {bound}), known_labels[{bound}], k{number})")
        if fields.extracted.names != ():
            # The line may have given it to a stream that has it not.
            doubts.append(f"stream_id NOT IN {fields.having(name)}")
    labels = f"mapFilter((name, text) -> text != '', CAST(map({', '.join(pairs)}) AS Map(String, String)))"
    return _Series(tuple(dict.fromkeys(keys)), labels if pairs else _NO_LABELS, tuple(doubts), needs_pods)


_NO_LABELS: Final = "CAST(map() AS Map(String, String))"


def _every_label(leaf: Leaf, fields: Fields) -> _Series:
    extracted_names = fields.extracted.names
    if extracted_names is None:
        raise InexpressibleError
    found = [(name, fields.field(name).text) for name in extracted_names]
    keys = [
        _Key("stream_id", "stream_id"),
        _Key("found_level", "level"),
        _Key("found_metadata", fields.metadata.all),
        *(_Key(f"k{number}", text.sql) for number, (_, text) in enumerate(found)),
    ]
    parameters = fields.parameters
    pairs = [f"{parameters.text(name)}, k{number}" for number, (name, _) in enumerate(found)]
    merged = f"CAST(map({', '.join(pairs)}) AS Map(String, String))" if pairs else _NO_LABELS
    # Metadata with the name of a label of the stream has another.
    apart = f"if(mapContains(known_labels, name), concat(name, '{DUPLICATE}'), name)"
    apart = f"mapApply((name, text) -> ({apart}, text), found_metadata)"
    for more in (apart, f"map('{LEVEL}', {_STORED[LEVEL][1].format('found_level')})", "known_labels"):
        merged = f"mapUpdate({merged}, CAST({more} AS Map(String, String)))"
    without = parameters.bind(leaf.without, "Array(String)")
    labels = f"mapFilter((name, text) -> text != '' AND NOT has({without}, name), {merged})"
    return _Series(tuple(keys), labels, tuple(text.doubt for _, text in found), needs_pods=True)


def _bucket(buckets: Buckets) -> tuple[str, list[str]]:
    """The bucket of a record, by the formula of `aggregator.logql.vector.ranges`, and conditions to be in one."""
    x = f"({_NS} - {buckets.lo_ns + 1})"
    step = buckets.step_ns
    if buckets.steps == 1:
        return "toUInt32(0)", []
    cell = f"intDiv({x}, {step})"
    if buckets.squeeze:
        cell = f"greatest(least({cell}, {buckets.steps}), {cell} - {buckets.squeeze})"
    inside = [f"modulo({x}, {step}) < {buckets.range_ns}"] if buckets.sparse else []
    if buckets.split:
        cell = f"2 * {cell} + (modulo({x}, {step}) >= {buckets.phase_ns})"
    return f"toUInt32({cell})", inside


def _statement(records: str, kept: _Records, series: _Series, day: str) -> str:
    columns = [key.column for key in series.keys]
    names = [name for name, _ in kept.kept]
    by_key = [
        *columns,
        "groupArray(bucket) AS buckets",
        *(f"groupArray(n{number}) AS {name}" for number, name in enumerate(names)),
        "max(in_doubt) AS doubts",
    ]
    keyed = f"GROUP BY {', '.join(columns)}" if columns else "HAVING count() > 0"
    arrays = f"SELECT {', '.join(by_key)} FROM ({records}) {keyed}"  # noqa: S608 - own words
    joined = ""
    if "stream_id" in columns:
        known = known_streams(day, pods=series.needs_pods)
        joined = f" ANY LEFT JOIN (SELECT stream_id, labels AS known_labels FROM {known}) AS known USING stream_id"  # noqa: S608 - own words
    answer = [f"{series.labels} AS labels", "buckets", *names, "doubts"]
    return f"SELECT {', '.join(answer)} FROM ({arrays}) AS arrays{joined}"  # noqa: S608 - own words
