"""Texts into trees, and what is said of texts that are none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.errors import LogQLError
from aggregator.logql.checks import EMPTY_COMPATIBLE, LABELS_MAX, MATCHERS_MAX, TESTS_MAX, TEXTS_MAX
from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Conversion,
    Group,
    Grouping,
    LabelReplace,
    Literal,
    Matching,
    RangeAggregation,
    RangeOp,
    Unwrap,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.parser import QUERY_BYTES_MAX, parse, parse_log, parse_selector
from aggregator.logql.parts import DEPTH_MAX
from aggregator.logql.printer import printed
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
from aggregator.logql.units import HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from tests.aggregator.logql import trees

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.metric import Expression

A = Matcher("a", MatchOp.EQUAL, "b")
LOGS = LogExpression(Selector((A,)))
RATE = RangeAggregation(RangeOp.RATE, LOGS, 5 * MINUTE_NS)


def equal(label: str) -> Matcher:
    return Matcher(label, MatchOp.EQUAL, "x")


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ('{a="b"}', (A,)),
        ("{a=`b`}", (A,)),
        ('( ( {a="b"} ) )', (A,)),
        ('{a="b", c!="d"}', (A, Matcher("c", MatchOp.NOT_EQUAL, "d"))),
        ('{a=~".+",c!~"d"}', (Matcher("a", MatchOp.MATCHES, ".+"), Matcher("c", MatchOp.NOT_MATCHES, "d"))),
        ('{a!=""}', (Matcher("a", MatchOp.NOT_EQUAL, ""),)),
        ('{rate="x",Sum="x",ip="x"}', (equal("rate"), equal("Sum"), equal("ip"))),
        ('{by="x",json="x",or="x"}', (equal("by"), equal("json"), equal("or"))),
        (r'{a="\x41\u00e9\101\"\\\n"}', (Matcher("a", MatchOp.EQUAL, 'A\u00e9A"\\\n'),)),
        ("{a=`\\d\n`}", (Matcher("a", MatchOp.EQUAL, "\\d\n"),)),
        ('# first\n{ a = "b" # second\n}', (A,)),
        ('/* first */ {a="b"} // second', (A,)),
    ],
)
def test_selectors(text: str, matchers: tuple[Matcher, ...]) -> None:
    assert parse(text) == LogExpression(Selector(matchers))
    assert parse_selector(text) == Selector(matchers)


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ('|= "x"', (LineFilter.of(LineOp.CONTAINS, "x"),)),
        ('|="x"!="y"', (LineFilter.of(LineOp.CONTAINS, "x"), LineFilter.of(LineOp.LACKS, "y"))),
        ('|~ "x" !~ `\\d`', (LineFilter.of(LineOp.MATCHES, "x"), LineFilter.of(LineOp.NOT_MATCHES, "\\d"))),
        ('|> "<_> x" !> "y"', (LineFilter.of(LineOp.PATTERN, "<_> x"), LineFilter.of(LineOp.NOT_PATTERN, "y"))),
        ('!= "x" or "y" OR "z"', (LineFilter(LineOp.LACKS, tuple(map(LineValue, "xyz"))),)),
        (
            '|= "x" or ip("10.0.0.0/8") or "y"',
            (LineFilter(LineOp.CONTAINS, (LineValue("x"), LineValue("10.0.0.0/8", ip=True), LineValue("y"))),),
        ),
        ("| json", (JsonParser(),)),
        ('| json a="b.c", d', (JsonParser((Extraction("a", "b.c"), Extraction("d", "d"))),)),
        ("| logfmt", (LogfmtParser(),)),
        (
            '| logfmt --strict --keep-empty a="b"',
            (LogfmtParser((Extraction("a", "b"),), strict=True, keep_empty=True),),
        ),
        (r"| regexp `(?P<a>\d)`", (RegexpParser(r"(?P<a>\d)"),)),
        ('| pattern "<a> <_>"', (PatternParser("<a> <_>"),)),
        ("| unpack | decolorize", (UnpackParser(), Decolorize())),
        ('| line_format "{{.a}}"', (LineFormat("{{.a}}"),)),
        ('| label_format a="x",b=c', (LabelFormat((Assignment("a", "x"), Assignment("b", source="c"))),)),
        ('| drop a, b="x"', (DropLabels(("a", equal("b"))),)),
        ('| keep a != "x"', (KeepLabels((Matcher("a", MatchOp.NOT_EQUAL, "x"),)),)),
        ('| JSON | Drop a |= "x"', (JsonParser(), DropLabels(("a",)), LineFilter.of(LineOp.CONTAINS, "x"))),
        ('| json != "x"', (JsonParser(), LineFilter.of(LineOp.LACKS, "x"))),
    ],
)
def test_stages(text: str, stages: tuple[Stage, ...]) -> None:
    assert parse_log('{a="b"} ' + text) == LogExpression(Selector((A,)), stages)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ('a="x"', equal("a")),
        ('rate="x"', equal("rate")),
        ("a=500", NumberCondition("a", CompareOp.EQUAL, 500.0)),
        ("a==-1.5e3", NumberCondition("a", CompareOp.EQUAL, -1500.0)),
        ("a>=+.5", NumberCondition("a", CompareOp.GREATER_OR_EQUAL, 0.5)),
        ("a>5s", DurationCondition("a", CompareOp.GREATER, 5 * SECOND_NS)),
        ("a<1d", DurationCondition("a", CompareOp.LESS, 24 * HOUR_NS)),
        ("a<=1.5h", DurationCondition("a", CompareOp.LESS_OR_EQUAL, 90 * MINUTE_NS)),
        ("a!=-250ms", DurationCondition("a", CompareOp.NOT_EQUAL, -250 * MILLISECOND_NS)),
        ("a>5KB", BytesCondition("a", CompareOp.GREATER, 5000)),
        ("a=1.5MiB", BytesCondition("a", CompareOp.EQUAL, 1_572_864)),
        ("a>20B", BytesCondition("a", CompareOp.GREATER, 20)),
        ('a!=ip("::1")', IpCondition("a", negative=True, text="::1")),
        # Loki's yacc, where nothing else is said, goes on reading: the comma and juxtaposition bind all that follows.
        ('a="x" and b="x" or c="x"', Or(And(equal("a"), equal("b")), equal("c"))),
        ('a="x" or b="x" and c="x"', Or(equal("a"), And(equal("b"), equal("c")))),
        ('a="x", b="x" or c="x"', And(equal("a"), Or(equal("b"), equal("c")))),
        ('a="x" b="x" or c="x"', And(equal("a"), Or(equal("b"), equal("c")))),
        ('a="x" or b="x", c="x"', Or(equal("a"), And(equal("b"), equal("c")))),
        ('a="x" and b="x" and c="x"', And(And(equal("a"), equal("b")), equal("c"))),
        ('a="x", b="x", c="x"', And(equal("a"), And(equal("b"), equal("c")))),
        ('(a="x", b="x") or c="x"', Or(And(equal("a"), equal("b")), equal("c"))),
    ],
)
def test_label_filters(text: str, condition: Condition) -> None:
    assert parse_log('{a="b"} | ' + text) == LogExpression(Selector((A,)), (LabelFilter(condition),))


UNWRAPPED = LogExpression(Selector((A,)), (JsonParser(),))


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ('rate({a="b"}[5m])', RATE),
        ('RATE ( ({a="b"}) [5m] )', RATE),
        ('rate(({a="b"}[300s]))', RATE),
        ('rate({a="b"}[5m] offset -1h)', RangeAggregation(RangeOp.RATE, LOGS, 5 * MINUTE_NS, -HOUR_NS)),
        ('rate({a="b"}[5m] offset 1h | json)', RangeAggregation(RangeOp.RATE, UNWRAPPED, 5 * MINUTE_NS, HOUR_NS)),
        ('rate({a="b"} | json [5m] offset 1h)', RangeAggregation(RangeOp.RATE, UNWRAPPED, 5 * MINUTE_NS, HOUR_NS)),
        (
            'sum_over_time({a="b"}[1m] | unwrap rate)',
            RangeAggregation(RangeOp.SUM, LOGS, MINUTE_NS, unwrap=Unwrap("rate")),
        ),
        (
            'sum_over_time(({a="b"})[1m] offset 1h | unwrap x)',
            RangeAggregation(RangeOp.SUM, LOGS, MINUTE_NS, HOUR_NS, unwrap=Unwrap("x")),
        ),
        (
            'quantile_over_time(0.99, ({a="b"} | json | unwrap bytes(x) | a="x" | b="x")[1m]) without (c)',
            RangeAggregation(
                RangeOp.QUANTILE,
                UNWRAPPED,
                MINUTE_NS,
                unwrap=Unwrap("x", Conversion.BYTES, (LabelFilter(equal("a")), LabelFilter(equal("b")))),
                parameter=0.99,
                grouping=Grouping(("c",), without=True),
            ),
        ),
        ('sum by (a,b) (rate({a="b"}[5m]))', VectorAggregation(VectorOp.SUM, RATE, grouping=Grouping(("a", "b")))),
        ('sum(rate({a="b"}[5m])) by (on)', VectorAggregation(VectorOp.SUM, RATE, grouping=Grouping(("on",)))),
        ('sum by () (rate({a="b"}[5m]))', VectorAggregation(VectorOp.SUM, RATE, grouping=Grouping(()))),
        ('topk by (a) (3, rate({a="b"}[5m]))', VectorAggregation(VectorOp.TOPK, RATE, 3, Grouping(("a",)))),
        ('topk(3, rate({a="b"}[5m]))', VectorAggregation(VectorOp.TOPK, RATE, 3)),
        ('sort_desc(rate({a="b"}[5m]))', VectorAggregation(VectorOp.SORT_DESC, RATE)),
        (
            'label_replace(rate({a="b"}[5m]), "t", "$1", "s", "(.*)")',
            LabelReplace(RATE, "t", "$1", "s", "(.*)"),
        ),
        ("vector(1.5)", Vector(1.5)),
        ("-1", Literal(-1.0)),
        ("+0x1p3", Literal(8.0)),
        ("1 -1", BinaryOperation(BinaryOp.SUBTRACT, Literal(1.0), Literal(1.0))),
        ("1 - -1", BinaryOperation(BinaryOp.SUBTRACT, Literal(1.0), Literal(-1.0))),
        (
            "1 + 2 * 3 ^ 4 ^ 5",
            BinaryOperation(
                BinaryOp.ADD,
                Literal(1.0),
                BinaryOperation(
                    BinaryOp.MULTIPLY,
                    Literal(2.0),
                    BinaryOperation(
                        BinaryOp.POWER, Literal(3.0), BinaryOperation(BinaryOp.POWER, Literal(4.0), Literal(5.0))
                    ),
                ),
            ),
        ),
        (
            "vector(1) or vector(2) and vector(3) unless vector(4)",
            BinaryOperation(
                BinaryOp.OR,
                Vector(1.0),
                BinaryOperation(BinaryOp.UNLESS, BinaryOperation(BinaryOp.AND, Vector(2.0), Vector(3.0)), Vector(4.0)),
            ),
        ),
        (
            "1 - 2 > bool 3",
            BinaryOperation(
                BinaryOp.GREATER,
                BinaryOperation(BinaryOp.SUBTRACT, Literal(1.0), Literal(2.0)),
                Literal(3.0),
                returns_bool=True,
            ),
        ),
        (
            "vector(1) / on (a, b) group_left (c) vector(2)",
            BinaryOperation(
                BinaryOp.DIVIDE,
                Vector(1.0),
                Vector(2.0),
                Matching(on=True, labels=("a", "b"), group=Group.LEFT, include=("c",)),
            ),
        ),
        (
            "vector(1) * ignoring (a) group_right vector(2)",
            BinaryOperation(BinaryOp.MULTIPLY, Vector(1.0), Vector(2.0), Matching(labels=("a",), group=Group.RIGHT)),
        ),
    ],
)
def test_metric_queries(text: str, expression: object) -> None:
    assert parse(text) == expression


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "1:1: expected a query such as {namespace="),
        ('{a="b"', '1:7: expected "}" or ",", found the end of the query'),
        ('{a="b"\n  c', '2:3: expected "}" or ",", found "c"'),
        ("{a=b}", '1:4: expected a string in quotes, found "b"'),
        ("{a='b'}", '1:4: strings stand in "double quotes"'),
        ('{a="b}', '1:4: the string that begins here has no closing "'),
        ('{a="\\d"}', r"1:5: invalid escape \d in a string: write \\"),
        ('{a="\\xff"}', "1:4: the escapes of the string do not make UTF-8 text"),
        ('{a="\\ud800"}', r"1:5: invalid escape \ud800"),
        ('{\u00e9="b"}', "1:2: \u00e9 is no label name"),
        ("{}", "1:1: " + EMPTY_COMPATIBLE),
        ('{a=~".*", b!="c", d=""}', "1:1: " + EMPTY_COMPATIBLE),
        ('rate({a=""}[5m])', "1:6: " + EMPTY_COMPATIBLE),
        ('{a=~"("}', "1:5: invalid regular expression: missing ): ("),
        ('{a="b"} |~ "x" or "("', "1:19: invalid regular expression: missing ): ("),
        ('{a="b"} |> "<x>"', "1:12: named captures are not allowed"),
        ('{a="b"} |> "<_><_>"', "1:12: invalid pattern: found consecutive capture"),
        ('{a="b"} |~ ip("::1")', "1:15: ip: invalid operation |~"),
        ('{a="b"} |= ip("10.0.0.300")', "1:15: ip: invalid pattern"),
        ('{a="b"} | x=ip("10.0.0.9-10.0.0.1")', "1:16: ip: invalid pattern"),
        ('{a="b"} | x=ip("10.0.0.1/33")', "1:16: ip: invalid pattern"),
        ('{a="b"} | x=ip("10.0.0.0/255.0.0.0")', "1:16: ip: invalid pattern"),
        ('{a="b"} |', "1:10: expected a stage such as json"),
        ('{a="b"} | foo bar', "1:15: expected a comparison such as ="),
        ('{a="b"} | x > "5"', 'found "5": a number stands without quotes'),
        ('{a="b"} | x > 5parsecs', "1:15: 5parsecs is no number, no duration"),
        ('{a="b"} | regexp "a"', "1:18: invalid regexp parser: at least one named capture must be supplied"),
        ('{a="b"} | regexp "(?P<x>a)(?P<x>b)"', "1:18: invalid regexp parser: duplicate extracted label name 'x'"),
        ('{a="b"} | regexp "(?P<\u00e9>a)"', "1:18: invalid regexp parser: "),
        ('{a="b"} | pattern "a <_>"', "1:19: invalid pattern parser: at least one capture is required"),
        ('{a="b"} | pattern "<a><b>"', "1:19: invalid pattern: found consecutive capture"),
        ('{a="b"} | pattern "<a> <a>"', "1:19: invalid pattern parser: duplicate capture name (a)"),
        ('{a="b"} | json x="a", x="b"', "1:23: duplicate extracted label 'x'"),
        ('{a="b"} | label_format x="a", x=b', "1:31: duplicate label 'x'"),
        ('{a="b"} | label_format __error__="a"', "1:24: __error__ cannot be formatted"),
        ('{a="b"} + 1', '1:9: expected a line filter such as |=, "|" or the end of the query, found "+": operators'),
        ('{a="b"}[5m]', "a range stands in a range function"),
        ('rate({a="b"})', '1:13: expected a line filter such as |=, "|" or a range such as [5m], found ")"'),
        ('rate({a="b"}[5x])', "1:13: [5x] is no range, such as [5m] or [1h30m]: not a valid duration string"),
        ('rate({a="b"}[$__auto])', "1:13: [$__auto] is no range"),
        ('rate({a="b"}[1h:5m])', "subqueries are not part of the query language"),
        ('rate({a="b"}[0s])', "1:13: a range must be longer than nothing"),
        ('rate({a="b"}[5m', '1:13: the range that begins here has no closing "]"'),
        ('sum_over_time({a="b"}[5m])', "1:1: invalid aggregation sum_over_time without unwrap"),
        ('count_over_time({a="b"} | unwrap x [5m])', "1:1: invalid aggregation count_over_time with unwrap"),
        ('rate({a="b"}[5m]) by (x)', "1:1: grouping not allowed for rate aggregation"),
        ('quantile_over_time({a="b"} | unwrap x [5m])', "1:1: parameter required for operation quantile_over_time"),
        ('quantile_over_time(2, {a="b"} | unwrap x [5m])', "1:20: quantile_over_time takes a number from 0 to 1"),
        ('rate(2, {a="b"}[5m])', "1:6: parameter 2 not supported for operation rate"),
        ("topk(vector(1))", "1:1: parameter required for operation topk"),
        ("topk(1.5, vector(1))", "1:6: invalid parameter topk(1.5,"),
        ("topk(0, vector(1))", "1:6: invalid parameter (must be greater than 0"),
        ("sum(3, vector(1))", "1:5: unsupported parameter for operation sum(3,"),
        ("sort(vector(1)) by (a)", "1:1: sort and sort_desc doesn't allow grouping by"),
        ("1 or vector(1)", "1:1: unexpected literal for left leg of logical/set binary operation (or)"),
        ("vector(1) and (2)", "1:16: unexpected literal for right leg of logical/set binary operation (and)"),
        ("1e400", "1:1: unable to parse literal as a float: strconv.ParseFloat"),
        ('label_replace(vector(1), "1x", "", "", "")', '1:26: invalid label name "1x"'),
        ('label_replace(vector(1), "x", "", "", "(")', "1:39: invalid regular expression"),
        ("sum rate", '1:1: expected a query such as {namespace="default"} or rate('),
        ("\ud800", "1:1: the query is not Unicode text"),
        ("\0", "1:1: unexpected character"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text: str, error: str) -> None:
    with pytest.raises(LogQLError) as caught:
        parse(text)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("text", "pointed"),
    [
        ('{a="b"} |= 5', '{a="b"} |= 5\n           ^'),
        ('{a="b"}\n\t| 5\n|= "x"', "\t| 5\n\t  ^"),
        ('{a="' + "b" * 100 + '"} |= 5 ' + "#" * 100, "…" + "b" * 54 + '"} |= 5 ' + "#" * 58 + "…\n" + " " * 61 + "^"),
    ],
)
def test_errors_point_at_the_place(text: str, pointed: str) -> None:
    with pytest.raises(LogQLError) as caught:
        parse(text)
    assert caught.value.pointed() == f"{caught.value}\n{pointed}"


def test_only_log_queries_and_selectors_where_they_are_asked_for() -> None:
    with pytest.raises(LogQLError, match="only log queries"):
        parse_log("vector(1)")
    for text in ("vector(1)", '{a="b"} | json'):
        with pytest.raises(LogQLError, match="only label matchers"):
            parse_selector(text)


def test_a_query_is_as_long_as_it_may_be() -> None:
    text = '{a="b"} #'
    text += "x" * (QUERY_BYTES_MAX - len(text))
    assert parse(text) == LOGS
    with pytest.raises(LogQLError, match=f"input size too long \\({QUERY_BYTES_MAX + 1} > {QUERY_BYTES_MAX}\\)"):
        parse(text + "x")


@pytest.mark.parametrize(
    ("deepest", "beyond"),
    [
        ("+".join(["1"] * DEPTH_MAX), "+1"),
        ("^".join(["1"] * DEPTH_MAX), "^1"),
        ('{a="b"} | ' + ",".join(['a="b"'] * DEPTH_MAX), ',a="b"'),
        ('{a="b"} | ' + " or ".join(['a="b"'] * DEPTH_MAX), ' or a="b"'),
    ],
)
def test_operations_stand_as_deep_as_they_may(deepest: str, beyond: str) -> None:
    expression = parse(deepest)
    assert parse(printed(expression)) == expression
    with pytest.raises(LogQLError, match="deep in one another"):
        parse(deepest + beyond)


@pytest.mark.parametrize(
    ("query", "most"),
    [
        (lambda count: '{a="b"} |= "x"' + ' or "y"' * (count - 2) + ' != "z"', TEXTS_MAX),
        (lambda count: '{a="b"} |~ "x"' + ' or "y"' * (count - 1), TESTS_MAX),
        (lambda count: '{a="b"} |> "x"' + ' or "y"' * (count - 1), TESTS_MAX),
        (lambda count: '{a="b"} |= ip("::1")' + ' or "y"' * (count - 1), TESTS_MAX),
        (lambda count: '{a="b"}' + ' != "y"' * count, TESTS_MAX),
        (lambda count: '{a="b"}' + ' |= "x" | json' * (count // 2) + " | json" * (count % 2), TESTS_MAX),
        (lambda count: '{a="b"}' + ' | c="d"' * count, TESTS_MAX),
        (
            lambda count: 'rate({a="b"}' + ' | (c="d" or e="f")' * (count // 2) + " | json" * (count % 2) + "[1m])",
            TESTS_MAX,
        ),
        (lambda count: 'sum_over_time({a="b"} | unwrap c' + ' | d="e"' * count + "[1m])", TESTS_MAX),
        (lambda count: "{" + ",".join(['a="b"'] * count) + "}", MATCHERS_MAX),
        (lambda count: f'sum by ({",".join(["a"] * count)}) (rate({{a="b"}}[1m]))', LABELS_MAX),
    ],
)
def test_a_query_has_as_much_as_it_may(query: Callable[[int], str], most: int) -> None:
    parse(query(most))
    with pytest.raises(LogQLError, match=rf"{most + 1} .*, at most {most}: "):
        parse(query(most + 1))


def test_parentheses_alone_are_no_depth() -> None:
    assert parse("(" * 60_000 + "1" + ")" * 60_000) == Literal(1.0)


@pytest.mark.parametrize("text", ["(" * 100_000, "sum(" * 30_000, '{a="b"} |' + "(" * 100_000])
def test_parentheses_without_end_are_no_way_to_break_it(text: str) -> None:
    with pytest.raises(LogQLError, match="found the end of the query"):
        parse(text)


def test_threads_share_the_parser() -> None:
    texts = [f'sum by (a) (rate({{a="{n}"}} | json | b > {n} [5m]))' for n in range(40)]
    found: dict[str, str] = {}

    def parse_all() -> None:
        for text in texts:
            found[text + threading.current_thread().name] = printed(parse(text))

    threads = [threading.Thread(target=parse_all, name=str(n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {text + str(n): printed(parse(text)) for text in texts for n in range(4)}


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "(",
        ")",
        "[5m]",
        "[",
        "|",
        "|=",
        "!=",
        "=~",
        '"x"',
        '"(',
        "`",
        "a",
        "5",
        "5m",
        "5KB",
        "-",
        "--strict",
        "sum",
        "rate",
        "by",
        "or",
        "and",
        "json",
        "unwrap",
        "ip(",
        "offset",
        "bool",
        "on",
        "group_left",
        ",",
        "#",
    ]
)


def said_of(text: str) -> LogQLError | None:
    """The error, if the text is none of the language; anything else that is raised fails the test."""
    try:
        parse(text)
    except LogQLError as error:
        return error
    return None


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=20).map(" ".join), st.lists(PIECES).map("".join)))
@example("\\")
@example('{a="\\')
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    error = said_of(text)
    if error is not None:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.pointed().startswith(str(error))
        assert "Token" not in str(error)


@given(trees.expressions, st.data())
def test_a_query_that_was_mangled_is_a_query_or_an_error(expression: Expression, data: st.DataObject) -> None:
    text = printed(expression)
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 5)))
    mangled = text[:at] + data.draw(st.one_of(PIECES, st.text(max_size=3))) + text[until:]
    error = said_of(mangled)
    assert error is None or error.pointed().startswith(str(error))


def test_a_long_query_is_read_in_time() -> None:
    text = '{a="b"} | keep ' + ", ".join(f'a{n}="b"' for n in range(10_000))
    start = time.process_time()
    parse(text)
    assert time.process_time() - start < 10
