"""Queries by chance over the data of `tests.logql.generated`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from aggregator.logql import metric
from aggregator.logql.tree import (
    And,
    Assignment,
    BytesCondition,
    CompareOp,
    Condition,
    Decolorize,
    Direction,
    DropLabels,
    DurationCondition,
    Extraction,
    IpCondition,
    JsonParser,
    KeepLabels,
    LabelFilter,
    LabelFormat,
    LineFilter,
    LineFormat,
    LineOp,
    LineValue,
    LogExpression,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
    PatternParser,
    Query,
    RegexpParser,
    Selector,
    Stage,
    UnpackParser,
)
from tests.logql.datasets import SECOND_NS, START_NS
from tests.logql.generated import DATASETS, SPAN_S, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

_LABELS: Final = st.sampled_from(
    (
        "pod",
        "stream",
        "detected_level",
        "level",
        "msg",
        "value",
        "took",
        "size",
        "kind",
        "ip",
        "user_name",
        "user_id",
        "pod_extracted",
        "nothing",
        "method",
    )
)
_TEXTS: Final = st.sampled_from((*WORDS, "p-0", "stdout", "a", "info", "inner", "4", "%", "_", "\\"))
_EXPRESSIONS: Final = st.sampled_from(
    (
        "error|ok",
        "^GET",
        "err.r",
        "(?i)ERROR",
        "\\d+",
        "^$",
        "",
        ".*",
        ".+",
        "a|b",
        "p-.",
        "stdout",
        "info|warn",
        "Gr.ße",
        "\\bok\\b",
        "first.*Caused",
        "(?s)first.*Caused",
        "[[:alpha:]]+",
        "^\\S+ ",
        "timeout$",
        "100%",
        "a_b",
        "\\p{Cyrillic}",
    )
)
_MATCH_OPS: Final = st.sampled_from(MatchOp)
_COMPARE_OPS: Final = st.sampled_from(CompareOp)
_NETWORKS: Final = st.sampled_from(("10.0.0.0/24", "10.0.0.1", "192.168.1.1-192.168.1.20", "2001:db8::/32"))


@st.composite
def matchers(draw: Callable[..., Any], labels: st.SearchStrategy[str] = _LABELS) -> Matcher:
    op = draw(_MATCH_OPS)
    value = draw(_EXPRESSIONS if op in {MatchOp.MATCHES, MatchOp.NOT_MATCHES} else _TEXTS)
    return Matcher(draw(labels), op, value)


@st.composite
def line_filters(draw: Callable[..., Any]) -> LineFilter:
    op = draw(st.sampled_from(LineOp))
    if op in {LineOp.CONTAINS, LineOp.LACKS}:
        value = st.builds(LineValue, _TEXTS) | st.builds(LineValue, _NETWORKS, st.just(value=True))
    elif op in {LineOp.MATCHES, LineOp.NOT_MATCHES}:
        value = st.builds(LineValue, _EXPRESSIONS)
    else:
        value = st.builds(
            LineValue, st.sampled_from(("<_>error<_>", "<_>", "", "GET <_>", "<_> ok", "<_>level=<_> <_>"))
        )
    return LineFilter(op, tuple(draw(st.lists(value, min_size=1, max_size=2))))


_SIMPLE: Final = st.one_of(
    matchers(),
    matchers(st.just("__error__")),
    st.builds(NumberCondition, _LABELS, _COMPARE_OPS, st.sampled_from((0.0, 1.0, 2.5, -3.0, 100.0))),
    st.builds(DurationCondition, _LABELS, _COMPARE_OPS, st.sampled_from((0, 100_000_000, 1_500_000_000))),
    st.builds(BytesCondition, _LABELS, _COMPARE_OPS, st.sampled_from((0, 500, 1000, 1536))),
    st.builds(IpCondition, st.sampled_from(("ip", "nothing", "msg")), st.booleans(), _NETWORKS),
)
CONDITIONS: Final[st.SearchStrategy[Condition]] = st.recursive(
    _SIMPLE, lambda inner: st.builds(And, inner, inner) | st.builds(Or, inner, inner), max_leaves=3
)

_JSON_PATHS: Final = st.sampled_from(
    ("msg", "value", "user.name", "user", 'user["id"]', "value[1]", "user.deep.kind", "no")
)
_EXTRACTED: Final = st.sampled_from(("kind", "x", "pod", "msg", "value"))
PARSERS: Final[st.SearchStrategy[Stage]] = st.one_of(
    st.just(JsonParser()),
    st.just(LogfmtParser()),
    st.builds(
        JsonParser,
        st.lists(
            st.builds(Extraction, _EXTRACTED, _JSON_PATHS), min_size=1, max_size=2, unique_by=lambda one: one.label
        ).map(tuple),
    ),
    st.builds(LogfmtParser, strict=st.booleans(), keep_empty=st.booleans()),
    st.builds(
        LogfmtParser,
        st.lists(
            st.builds(Extraction, _EXTRACTED, st.sampled_from(("msg", "value", "kind", "pod", "no"))),
            min_size=1,
            max_size=2,
            unique_by=(lambda one: one.label, lambda one: one.expression),
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(
        RegexpParser,
        st.sampled_from(
            (
                '"(?P<method>[A-Z]+) (?P<path>\\S+)',
                "(?P<pod>error)|(?P<kind>ok)",
                "value=(?P<value>[^ ]+)",
                "(?P<msg>.*)",
            )
        ),
    ),
    st.builds(
        PatternParser,
        st.sampled_from(('<ip> - <_> "<method> <path> <_>', "<_>kind=<kind> <_>", "<pod> <msg>", "<_>")).filter(
            lambda one: one != "<_>"
        ),
    ),
    st.just(UnpackParser()),
)
_TEMPLATES: Final = st.sampled_from(
    (
        "{{.msg}}",
        "{{.kind}}-{{.nothing}}|",
        "plain",
        "",
        "{{__line__}}!",
        '{{.msg | upper | replace "O" "0"}}',
        '{{if eq .kind "a"}}A{{else}}{{.level}}{{end}}',
        "{{.value}}",
        "value={{.value}} kind=z",
        "{{trunc 3 __line__}}",
        '{"msg":"again","value":7}',
        "{{ .took | duration }}",
        "{{ add 1 2 }}",
    )
)
# Filters that much comes through: a pipeline of those above alone soon lets nothing through.
_OPEN: Final = st.sampled_from(
    (
        LineFilter.of(LineOp.LACKS, "404"),
        LineFilter.of(LineOp.CONTAINS, "e"),
        LineFilter.of(LineOp.NOT_MATCHES, "^GET|zzz"),
        LabelFilter(Matcher("kind", MatchOp.NOT_EQUAL, "a")),
        LabelFilter(Matcher("pod", MatchOp.MATCHES, "p-.")),
        LabelFilter(Or(NumberCondition("value", CompareOp.GREATER, 0.0), Matcher("kind", MatchOp.MATCHES, "a|b"))),
    )
)
_NAMED: Final = st.lists(_LABELS | matchers(), min_size=1, max_size=2).map(tuple)
STAGES: Final[st.SearchStrategy[Stage]] = st.one_of(
    _OPEN,
    _OPEN,
    line_filters(),
    PARSERS,
    PARSERS,
    st.builds(LabelFilter, CONDITIONS),
    st.builds(LineFormat, _TEMPLATES),
    st.builds(
        LabelFormat,
        st.lists(
            st.builds(Assignment, _LABELS, _TEMPLATES) | st.builds(Assignment, _LABELS, st.none(), _LABELS),
            min_size=1,
            max_size=2,
            unique_by=lambda one: one.label,
        ).map(tuple),
    ),
    st.just(Decolorize()),
    st.builds(DropLabels, _NAMED | st.just(("__error__", "__error_details__"))),
    st.builds(KeepLabels, _NAMED),
)


@st.composite
def selectors(draw: Callable[..., Any]) -> Selector:
    namespace = Matcher("namespace", MatchOp.EQUAL, f"g{draw(st.integers(0, DATASETS - 1))}")
    names = st.sampled_from(("pod", "stream", "container", "nothing", "namespace"))
    return Selector((namespace, *([draw(matchers(names))] if draw(st.integers(0, 3)) == 0 else [])))


@st.composite
def log_expressions(draw: Callable[..., Any], most: int = 4) -> LogExpression:
    return LogExpression(draw(selectors()), tuple(draw(st.lists(STAGES, max_size=most))))


_TIMES: Final = st.integers(-2, SPAN_S + 2).map(lambda second: START_NS + second * SECOND_NS) | st.integers(
    0, SPAN_S // 15
).map(lambda number: START_NS + number * 15 * SECOND_NS)


@st.composite
def log_queries(draw: Callable[..., Any]) -> Query:
    logs = draw(log_expressions())
    start, end = sorted((draw(_TIMES), draw(_TIMES)))
    if draw(st.booleans()):
        start, end = START_NS, START_NS + SPAN_S * SECOND_NS
    limit = draw(st.sampled_from((0, 1, 3, 100)))
    return Query(logs.selector, logs.stages, start, end + 1, limit, draw(st.sampled_from(Direction)))


_GROUPINGS: Final = st.builds(
    metric.Grouping,
    st.lists(
        st.sampled_from(("pod", "kind", "stream", "detected_level", "level", "nothing", "value")),
        max_size=2,
        unique=True,
    ).map(tuple),
    st.booleans(),
)
_LINES: Final = (
    metric.RangeOp.RATE,
    metric.RangeOp.COUNT,
    metric.RangeOp.BYTES_RATE,
    metric.RangeOp.BYTES,
    metric.RangeOp.ABSENT,
)
_UNGROUPED: Final = {*_LINES, metric.RangeOp.SUM, metric.RangeOp.RATE_COUNTER}
_NO_UNWRAP: Final = {metric.RangeOp.COUNT, metric.RangeOp.BYTES, metric.RangeOp.BYTES_RATE}
_NO_ERRORS: Final = LabelFilter(Matcher("__error__", MatchOp.EQUAL, ""))
_SECONDS: Final = st.sampled_from((1, 10, 15, 30, 60, 120)).map(lambda second: second * SECOND_NS)


@st.composite
def range_aggregations(draw: Callable[..., Any]) -> metric.RangeAggregation:
    logs = draw(log_expressions(2))
    op = draw(st.sampled_from(metric.RangeOp))
    clean = draw(st.integers(0, 4)) > 0
    unwrap = None
    if op not in _LINES or (op not in _NO_UNWRAP and draw(st.booleans())):
        filters = (_NO_ERRORS,) if clean else draw(st.lists(st.builds(LabelFilter, CONDITIONS), max_size=1).map(tuple))
        label, conversion = draw(
            st.sampled_from(
                (
                    ("value", metric.Conversion.NUMBER),
                    ("value", metric.Conversion.NUMBER),
                    ("user_id", metric.Conversion.NUMBER),
                    ("took", metric.Conversion.DURATION),
                    ("took", metric.Conversion.DURATION_SECONDS),
                    ("size", metric.Conversion.BYTES),
                )
            )
        )
        unwrap = metric.Unwrap(label, conversion, filters)
        parser = draw(st.sampled_from((JsonParser(), LogfmtParser())) | PARSERS)
        logs = LogExpression(logs.selector, (parser, *logs.stages))
    if clean:
        logs = LogExpression(logs.selector, (*logs.stages, _NO_ERRORS))
    return metric.RangeAggregation(
        op,
        logs,
        draw(st.sampled_from((1, 15, 30, 60, 120, 180))) * SECOND_NS,
        draw(st.sampled_from((0, 0, 15 * SECOND_NS, -10 * SECOND_NS))),
        unwrap,
        draw(st.sampled_from((0.0, 0.5, 0.9, 1.0, -0.5))) if op is metric.RangeOp.QUANTILE else None,
        draw(st.none() | _GROUPINGS) if op not in _UNGROUPED else None,
    )


_COUNTED: Final = {metric.VectorOp.TOPK, metric.VectorOp.BOTTOMK, metric.VectorOp.APPROX_TOPK}
_SORTED: Final = {metric.VectorOp.SORT, metric.VectorOp.SORT_DESC}


@st.composite
def vector_aggregations(draw: Callable[..., Any], inner: st.SearchStrategy[Any]) -> metric.VectorAggregation:
    op = draw(st.sampled_from(metric.VectorOp))
    return metric.VectorAggregation(
        op,
        draw(inner),
        draw(st.integers(1, 3)) if op in _COUNTED else None,
        draw(st.none() | _GROUPINGS) if op not in _SORTED else None,
    )


_SETS: Final = {metric.BinaryOp.AND, metric.BinaryOp.OR, metric.BinaryOp.UNLESS}
_COMPARISONS: Final = {
    metric.BinaryOp.EQUAL,
    metric.BinaryOp.NOT_EQUAL,
    metric.BinaryOp.GREATER,
    metric.BinaryOp.GREATER_OR_EQUAL,
    metric.BinaryOp.LESS,
    metric.BinaryOp.LESS_OR_EQUAL,
}


@st.composite
def binary_operations(draw: Callable[..., Any], inner: st.SearchStrategy[Any]) -> metric.BinaryOperation:
    op = draw(st.sampled_from(metric.BinaryOp))
    number = st.builds(metric.Literal, st.sampled_from((0.0, 1.0, 2.0, -1.5, 10.0)))
    left, right = draw(inner), draw(inner)
    if op not in _SETS:
        left, right = draw(st.sampled_from(((left, right), (left, draw(number)), (draw(number), right))))
    matching = metric.Matching()
    if not isinstance(left, metric.Literal) and not isinstance(right, metric.Literal) and draw(st.booleans()):
        group = draw(st.sampled_from(metric.Group)) if op not in _SETS else metric.Group.NONE
        matching = metric.Matching(
            draw(st.booleans()),
            draw(st.lists(st.sampled_from(("pod", "kind", "stream")), max_size=2, unique=True).map(tuple)),
            group,
        )
    returns_bool = op in _COMPARISONS and draw(st.booleans())
    return metric.BinaryOperation(op, left, right, matching, returns_bool)


_REPLACED: Final = st.sampled_from(
    (
        ("pod", "p$1", "pod", "p-(.)"),
        ("new", "${1}x", "stream", "std(.*)"),
        ("new", "y", "nothing", ""),
        ("kind", "", "kind", "a"),
    )
)
METRICS: Final[st.SearchStrategy[metric.MetricExpression]] = st.recursive(
    range_aggregations() | vector_aggregations(range_aggregations()),
    lambda inner: st.one_of(
        vector_aggregations(inner),
        binary_operations(inner | st.builds(metric.Vector, st.sampled_from((0.0, 1.0, 5.0)))),
        st.builds(lambda one, how: metric.LabelReplace(one, *how), inner, _REPLACED),
    ),
    max_leaves=2,
)


@st.composite
def metric_queries(draw: Callable[..., Any]) -> metric.MetricQuery:
    start = draw(_TIMES)
    steps = draw(st.integers(0, 6))
    step = draw(_SECONDS)
    return metric.MetricQuery(draw(METRICS), start, start + steps * step + draw(st.sampled_from((0, 0, 1))), step)
