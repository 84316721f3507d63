"""What Loki refuses though its grammar reads it; in Loki's words where it has some, with the remedy where not.

Every check takes where in the query's text it is made, and raises SyntaxProblem.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from aggregator.logql import regex
from aggregator.logql.lexer import SyntaxProblem
from aggregator.logql.metric import RangeOp, VectorOp
from aggregator.logql.tree import (
    ERROR,
    ERROR_DETAILS,
    And,
    LabelFilter,
    LineFilter,
    LineOp,
    LineValue,
    Matcher,
    MatchOp,
    Or,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aggregator.logql.tree import Condition, Stage

EMPTY_COMPATIBLE: Final = (
    "queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
    'For instance, app=~".*" does not meet this requirement, but app=~".+" will'
)

LABEL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CAPTURE: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
_UNNAMED: Final = "_"

# Tests of a pipeline (line filters, each value of those that do not look for texts, comparisons of label filters,
# other stages), matchers of a selector, labels of a list. Loki bounds a query's length alone; the engine takes time and
# memory to understand each, which no limit of its own ends, and refuses statements that grow too long: at these it
# takes a few seconds at most.
TESTS_MAX: Final = 500
# Texts that the line filters of a pipeline look for. They are looked for together: to compile so many takes the engine
# one or two seconds, which no limit of its own ends.
TEXTS_MAX: Final = 5000
MATCHERS_MAX: Final = 100
LABELS_MAX: Final = 100

GROUPED_RANGES: Final = frozenset(
    {
        RangeOp.AVG,
        RangeOp.STDDEV,
        RangeOp.STDVAR,
        RangeOp.QUANTILE,
        RangeOp.MAX,
        RangeOp.MIN,
        RangeOp.FIRST,
        RangeOp.LAST,
    }
)
LINE_RANGES: Final = frozenset({RangeOp.BYTES, RangeOp.BYTES_RATE, RangeOp.COUNT, RangeOp.RATE, RangeOp.ABSENT})
UNWRAPPED_RANGES: Final = frozenset(RangeOp) - {RangeOp.BYTES, RangeOp.BYTES_RATE, RangeOp.COUNT}
PICKING: Final = frozenset({VectorOp.TOPK, VectorOp.BOTTOMK, VectorOp.APPROX_TOPK})
SORTING: Final = frozenset({VectorOp.SORT, VectorOp.SORT_DESC})


def matches_empty(matcher: Matcher) -> bool:
    """Whether the matcher, its expression already checked, holds for a stream without the label."""
    if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
        return (matcher.value == "") is not matcher.op.negative
    return regex.anchored(matcher.value).matches("") is not matcher.op.negative


def pipeline(stages: Sequence[Stage]) -> None:
    """The stages of a pipeline together."""
    tests = sum(map(_tests, stages))
    if tests > TESTS_MAX:
        remedy = "put alternatives into one regular expression"
        raise SyntaxProblem(f"{tests} tests in one pipeline, at most {TESTS_MAX}: {remedy}", 0)
    texts = sum(len(stage.values) for stage in stages if isinstance(stage, LineFilter) and _looks_for_texts(stage))
    if texts > TEXTS_MAX:
        raise SyntaxProblem(f"{texts} texts in the line filters of one pipeline, at most {TEXTS_MAX}: ask twice", 0)


def _looks_for_texts(stage: LineFilter) -> bool:
    return stage.op in {LineOp.CONTAINS, LineOp.LACKS} and not any(value.ip for value in stage.values)


def _tests(of: Stage | Condition) -> int:
    match of:
        case LineFilter(_, values):
            return 1 if _looks_for_texts(of) else len(values)
        case LabelFilter(condition):
            return _tests(condition)
        case And(left, right) | Or(left, right):
            return _tests(left) + _tests(right)
    return 1


def count(what: str, found: int, most: int, offset: int) -> None:
    """How many of something there may be."""
    if found > most:
        raise SyntaxProblem(f"{found} {what}, at most {most}: name fewer", offset)


def label_expression(expression: str, offset: int) -> None:
    """An expression that a label's value must match."""
    try:
        regex.anchored(expression)
    except regex.RegexError as error:
        raise SyntaxProblem(f"invalid regular expression: {error.reason}", offset) from None


def line_value(op: LineOp, value: LineValue, offset: int) -> None:
    """What a line filter tests for."""
    if value.ip:
        if op not in {LineOp.CONTAINS, LineOp.LACKS}:
            raise SyntaxProblem(f"ip: invalid operation {op.value}: ip() goes with |= and != only", offset)
        address(value.text, offset)
    elif op in {LineOp.MATCHES, LineOp.NOT_MATCHES}:
        try:
            regex.compiled(value.text)
        except regex.RegexError as error:
            raise SyntaxProblem(f"invalid regular expression: {error.reason}", offset) from None
    elif op in {LineOp.PATTERN, LineOp.NOT_PATTERN}:
        captures = _captures(value.text, offset)
        if set(captures) - {_UNNAMED}:
            raise SyntaxProblem("named captures are not allowed in a line filter's pattern: write <_>", offset)


def address(text: str, offset: int) -> None:
    """What ``ip("…")`` may hold."""
    if _is_address(text) or _is_network(text) or _is_address_range(text):
        return
    raise SyntaxProblem(
        f'ip: invalid pattern: "{text}" is no address, no range (10.0.0.1-10.0.0.9), no network (10.0.0.0/8)',
        offset,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    prefix, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()) or (bits != "0" and bits.startswith("0")) or "%" in prefix:
        return False
    return _is_address(prefix) and int(bits[:4]) <= ipaddress.ip_address(prefix).max_prefixlen


def _is_address_range(text: str) -> bool:
    first, dash, last = text.partition("-")
    if not dash or not _is_address(first) or not _is_address(last) or "%" in text:
        return False
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    return low.version == high.version and int(low) <= int(high)


def regexp_parser(expression: str, offset: int) -> None:
    """The expression of ``| regexp``."""
    try:
        groups = regex.compiled(expression).groups
    except regex.RegexError as error:
        raise SyntaxProblem(f"invalid regexp parser: {error.reason}", offset) from None
    if not groups:
        raise SyntaxProblem("invalid regexp parser: at least one named capture must be supplied: (?P<label>…)", offset)
    if repeated := regex.repeated_group(expression):
        raise SyntaxProblem(f"invalid regexp parser: duplicate extracted label name '{repeated}'", offset)
    for name in groups:
        if not LABEL_NAME.fullmatch(name):
            raise SyntaxProblem(f"invalid regexp parser: invalid extracted label name '{name}'", offset)


def pattern_parser(expression: str, offset: int) -> None:
    """The expression of ``| pattern``."""
    names = [name for name in _captures(expression, offset) if name != _UNNAMED]
    if not names:
        raise SyntaxProblem("invalid pattern parser: at least one capture is required: <label>", offset)
    times = Counter(names)
    for name in names:
        if times[name] > 1:
            raise SyntaxProblem(f"invalid pattern parser: duplicate capture name ({name})", offset)


def _captures(pattern: str, offset: int) -> list[str]:
    names = []
    end = -1
    for capture in _CAPTURE.finditer(pattern):
        if capture.start() == end:
            raise SyntaxProblem("invalid pattern: found consecutive capture: text must stand between them", offset)
        names.append(capture[1])
        end = capture.end()
    return names


def distinct(what: str, names: Iterable[tuple[str, int]]) -> None:
    """Each of ``names`` (with where it stands) stands once."""
    seen: set[str] = set()
    for name, offset in names:
        if name in seen:
            raise SyntaxProblem(f"duplicate {what} '{name}'", offset)
        seen.add(name)


def formatted_label(name: str, offset: int) -> None:
    """A label that ``label_format`` sets."""
    if name in {ERROR, ERROR_DETAILS}:
        raise SyntaxProblem(f"{name} cannot be formatted", offset)


def label_name(name: str, offset: int) -> None:
    """A label's name that stands in quotes."""
    if not LABEL_NAME.fullmatch(name):
        raise SyntaxProblem(f'invalid label name "{name}": letters A-Z, a-z, digits and _ alone', offset)


def range_function(op: RangeOp, *, unwrapped: bool, grouped: bool, offset: int) -> None:
    """What a range function may be of, and whether it may group."""
    if grouped and op not in GROUPED_RANGES:
        raise SyntaxProblem(
            f"grouping not allowed for {op.value} aggregation: write sum by (…) ({op.value}(…))", offset
        )
    if unwrapped and op not in UNWRAPPED_RANGES:
        raise SyntaxProblem(f"invalid aggregation {op.value} with unwrap: it is of lines", offset)
    if not unwrapped and op not in LINE_RANGES:
        raise SyntaxProblem(
            f"invalid aggregation {op.value} without unwrap: end the pipeline with | unwrap <label>", offset
        )
