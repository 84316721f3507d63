"""Every tree that a text can say, as strategies of hypothesis."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from aggregator.logql.checks import (
    GROUPED_RANGES,
    LINE_RANGES,
    PICKING,
    SORTING,
    UNWRAPPED_RANGES,
)
from aggregator.logql.lexer import WORDS
from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Conversion,
    Group,
    Grouping,
    LabelReplace,
    Literal,
    Matching,
    MetricExpression,
    RangeAggregation,
    RangeOp,
    Unwrap,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.tree import (
    And,
    Assignment,
    BytesCondition,
    CompareOp,
    Condition,
    Decolorize,
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
    RegexpParser,
    Selector,
    Stage,
    UnpackParser,
)
from aggregator.logql.units import DURATION_MAX_NS, MILLISECOND_NS, SECOND_NS, YEAR_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPARING: Final = frozenset(op.value for op in CompareOp)
EXPRESSIONS: Final = ("", ".+", "a|b", "[0-9]+", r"\d{1,3}\s", "(?i)error", "é.", "^x$", 'quoted "text"')
TEMPLATES: Final = ("", "{{.a}}", "{{ .a | ToUpper }}-{{__line__}}", "plain `text`", 'with "quotes"')
# What only Loki's own lexer takes for words: a name of these is none that Loki would read.
_LOKI_WORDS: Final = frozenset({*WORDS, "ip", "label_replace", "variants", "of"})
ADDRESSES: Final = ("10.0.0.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "2001:db8::/32", "::1")

texts = st.one_of(st.sampled_from(("", "error", "a b", '"', "`", "\\", "\n", "é")), st.text(max_size=12))
labels = st.one_of(
    st.sampled_from(("a", "b", "status", "rate", "bytes", "count", "duration", "A1", "_x", "__error__")),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
).filter(lambda name: name.lower() not in _LOKI_WORDS)
formatted_labels = labels.filter(lambda name: not name.startswith("__error"))
addresses = st.sampled_from(ADDRESSES)
numbers = st.one_of(st.integers(-1000, 1000).map(float), st.floats(allow_nan=False, allow_infinity=False))
durations = st.one_of(st.integers(1, 10_000).map(lambda seconds: seconds * SECOND_NS), st.integers(-YEAR_NS, YEAR_NS))
ranges = st.one_of(
    st.sampled_from((SECOND_NS, 60 * SECOND_NS, 90 * SECOND_NS)),
    st.integers(1, DURATION_MAX_NS // MILLISECOND_NS).map(lambda ms: ms * MILLISECOND_NS),
)
# Sizes are read as floats; what no float says, no text says.
sizes = st.one_of(st.integers(0, 1 << 53), st.sampled_from((0, 1000, 1024, 1500, 5 << 20, 1 << 60, 10**18)))


def _matcher(values: st.SearchStrategy[str]) -> st.SearchStrategy[Matcher]:
    return st.one_of(
        st.builds(Matcher, labels, st.sampled_from((MatchOp.EQUAL, MatchOp.NOT_EQUAL)), values),
        st.builds(
            Matcher, labels, st.sampled_from((MatchOp.MATCHES, MatchOp.NOT_MATCHES)), st.sampled_from(EXPRESSIONS)
        ),
    )


matchers = _matcher(texts)
narrowing = st.one_of(
    st.builds(Matcher, labels, st.just(MatchOp.EQUAL), texts.filter(bool)),
    st.builds(Matcher, labels, st.just(MatchOp.NOT_EQUAL), st.just("")),
    st.builds(Matcher, labels, st.just(MatchOp.MATCHES), st.sampled_from((".+", "a|b"))),
)
selectors = st.builds(
    lambda first, others, last: Selector((*first, others, *last)),
    st.lists(matchers, max_size=2),
    narrowing,
    st.lists(matchers, max_size=2),
)


def _line_filters() -> st.SearchStrategy[LineFilter]:
    plain = st.builds(LineValue, texts)
    contains = st.one_of(plain, addresses.map(lambda text: LineValue(text, ip=True)))
    matches = st.builds(LineValue, st.sampled_from(EXPRESSIONS))
    like = st.builds(LineValue, st.sampled_from(("", "a <_> b", "<_>", "<a", "x <_> y <_>")))
    kinds: Sequence[tuple[tuple[LineOp, LineOp], st.SearchStrategy[LineValue]]] = (
        ((LineOp.CONTAINS, LineOp.LACKS), contains),
        ((LineOp.MATCHES, LineOp.NOT_MATCHES), matches),
        ((LineOp.PATTERN, LineOp.NOT_PATTERN), like),
    )
    return st.one_of(
        *(
            st.builds(LineFilter, st.sampled_from(ops), st.lists(values, min_size=1, max_size=3).map(tuple))
            for ops, values in kinds
        )
    )


line_filters = _line_filters()
comparisons = st.sampled_from(CompareOp)
tests = st.one_of(
    matchers,
    st.builds(NumberCondition, labels, comparisons, numbers),
    st.builds(DurationCondition, labels, comparisons, durations),
    st.builds(BytesCondition, labels, comparisons, sizes),
    st.builds(IpCondition, labels, st.booleans(), addresses),
)


def _joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.one_of(st.builds(And, inner, inner), st.builds(Or, inner, inner))


conditions: st.SearchStrategy[Condition] = st.recursive(tests, _joined, max_leaves=5)
label_filters = st.builds(LabelFilter, conditions)


def _extractions() -> st.SearchStrategy[tuple[Extraction, ...]]:
    extraction = st.builds(Extraction, labels, st.sampled_from(("a", "a.b", 'a["b c"][0]')))
    return st.lists(extraction, max_size=3, unique_by=lambda each: each.label).map(tuple)


parsers = st.one_of(
    st.builds(JsonParser, _extractions()),
    st.builds(LogfmtParser, _extractions(), st.booleans(), st.booleans()),
    st.builds(RegexpParser, st.sampled_from((r"(?P<a>\d+)", "(?P<a>x)|(?P<b>`y`)"))),
    st.builds(PatternParser, st.sampled_from(("<a>", '<_> "<a> <b>"', "<a> <_>x<c>"))),
    st.just(UnpackParser()),
)
assignments = st.one_of(
    st.builds(
        lambda label, template: Assignment(label, template=template), formatted_labels, st.sampled_from(TEMPLATES)
    ),
    st.builds(lambda label, source: Assignment(label, source=source), formatted_labels, labels),
)
named = st.lists(st.one_of(labels, matchers), min_size=1, max_size=3).map(tuple)
formats = st.one_of(
    st.builds(LineFormat, st.sampled_from(TEMPLATES)),
    st.builds(LabelFormat, st.lists(assignments, min_size=1, max_size=3, unique_by=lambda each: each.label).map(tuple)),
    st.just(Decolorize()),
    st.builds(DropLabels, named),
    st.builds(KeepLabels, named),
)
stages: st.SearchStrategy[Stage] = st.one_of(line_filters, parsers, label_filters, formats)


def _sayable(pipeline: Sequence[Stage]) -> bool:
    """Whether a text can say the stages: behind ``drop a`` and ``keep a``, ``!= "x"`` is read as part of a matcher."""
    return not any(
        isinstance(stage, DropLabels | KeepLabels)
        and isinstance(stage.labels[-1], str)
        and isinstance(then, LineFilter)
        and then.op in {LineOp.LACKS, LineOp.NOT_MATCHES}
        for stage, then in itertools.pairwise(pipeline)
    )


pipelines = st.lists(stages, max_size=4).filter(_sayable).map(tuple)
log_expressions = st.builds(LogExpression, selectors, pipelines)

label_lists = st.lists(labels, max_size=3).map(tuple)
groupings = st.builds(Grouping, label_lists, st.booleans())
unwraps = st.builds(Unwrap, labels, st.sampled_from(Conversion), st.lists(label_filters, max_size=2).map(tuple))


@st.composite
def range_aggregations(draw: st.DrawFn) -> RangeAggregation:
    """Any range function of any log query."""
    op = draw(st.sampled_from(RangeOp))
    may_unwrap = op in UNWRAPPED_RANGES
    unwrap = draw(unwraps) if op not in LINE_RANGES or (may_unwrap and draw(st.booleans())) else None
    return RangeAggregation(
        op,
        draw(log_expressions),
        draw(ranges),
        draw(st.one_of(st.just(0), durations)),
        unwrap,
        draw(st.floats(0, 1)) if op is RangeOp.QUANTILE else None,
        draw(st.none() | groupings) if op in GROUPED_RANGES else None,
    )


def _series(inner: st.SearchStrategy[MetricExpression]) -> st.SearchStrategy[MetricExpression]:
    return st.one_of(_vector_aggregations(inner), _operations(inner), _label_replaces(inner))


@st.composite
def _vector_aggregations(draw: st.DrawFn, inner: st.SearchStrategy[MetricExpression]) -> VectorAggregation:
    op = draw(st.sampled_from(VectorOp))
    parameter = draw(st.integers(1, 1000)) if op in PICKING else None
    grouping = draw(st.none() | groupings) if op not in SORTING else None
    return VectorAggregation(op, draw(inner), parameter, grouping)


@st.composite
def _operations(draw: st.DrawFn, inner: st.SearchStrategy[MetricExpression]) -> BinaryOperation:
    op = draw(st.sampled_from(BinaryOp))
    left, right = draw(inner), draw(inner)
    if op in {BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS}:
        left, right = (Vector(abs(side.value)) if isinstance(side, Literal) else side for side in (left, right))
    returns_bool = op.value in COMPARING and draw(st.booleans())
    group = draw(st.sampled_from(Group))
    include = draw(label_lists) if group is not Group.NONE else ()
    matching = Matching(draw(st.booleans()), draw(label_lists), group, include)
    return BinaryOperation(op, left, right, matching, returns_bool)


def _label_replaces(inner: st.SearchStrategy[MetricExpression]) -> st.SearchStrategy[MetricExpression]:
    return st.builds(LabelReplace, inner, labels, texts, texts, st.sampled_from(EXPRESSIONS))


metric_expressions: st.SearchStrategy[MetricExpression] = st.recursive(
    st.one_of(
        range_aggregations(),
        st.builds(Literal, numbers),
        st.builds(Vector, st.floats(0, allow_nan=False, allow_infinity=False)),
    ),
    _series,
    max_leaves=4,
)
expressions = st.one_of(log_expressions, metric_expressions)
