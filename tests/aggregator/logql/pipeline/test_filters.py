from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql.metric import Conversion, Unwrap
from aggregator.logql.pipeline import unwrap
from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.pipeline import Pipeline
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.tree import (
    And,
    BytesCondition,
    CompareOp,
    Condition,
    DurationCondition,
    IpCondition,
    LabelFilter,
    LineFilter,
    LineOp,
    LineValue,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
)
from tests.aggregator.logql.pipeline.running import METADATA, STREAM, ran

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("op", "text", "kept", "dropped"),
    [
        (LineOp.CONTAINS, "err", ["an error", "err"], ["ERR", ""]),
        (LineOp.CONTAINS, "", ["", "x"], []),
        (LineOp.LACKS, "err", ["ok", ""], ["an error"]),
        (LineOp.LACKS, "", [], ["", "x"]),
        (LineOp.MATCHES, "e.r", ["xexr"], ["er", "e\nr"]),
        (LineOp.MATCHES, "(?i)É$", ["é"], ["éa"]),
        (LineOp.NOT_MATCHES, "^a", ["ba"], ["ab"]),
        (LineOp.PATTERN, "<_>level=debug<_>", ["x level=debug y"], ["level=debug", "level=debug y", "x level=info y"]),
        (LineOp.PATTERN, "foo <_>", ["foo bar", "xfoo bar"], ["foo ", "fo bar"]),
        (LineOp.PATTERN, "<_> baz", ["foo bar baz"], ["foo bar baz!", " baz"]),
        (LineOp.PATTERN, "", [""], ["x"]),
        (LineOp.PATTERN, "<_>", ["x"], [""]),
        (LineOp.NOT_PATTERN, "a<_>", ["b", ""], ["ab"]),
    ],
)
def test_line_filters(op: LineOp, text: str, kept: list[str], dropped: list[str]) -> None:
    stage = LineFilter.of(op, text)
    assert [line for line in kept + dropped if ran(line, stage) is not None] == kept


def test_any_value_of_a_chain_passes_and_none_of_a_negative_one_may() -> None:
    values = (LineValue("a"), LineValue("b"))
    lines = ["a", "b", "c", "ab"]
    assert [line for line in lines if ran(line, LineFilter(LineOp.CONTAINS, values))] == ["a", "b", "ab"]
    assert [line for line in lines if ran(line, LineFilter(LineOp.LACKS, values))] == ["c"]


IP_CASES = [
    ("192.168.0.1", ["to 192.168.0.1", "192.168.0.1:80", "1192.168.0.1"], ["192.168.0.10", "192.168.0.1.", ""]),
    ("192.168.4.5/16", ["x 192.168.255.1 y"], ["192.169.0.1", "::ffff:192.168.0.1"]),
    ("10.0.0.2-10.0.0.9", ["10.0.0.2", "10.0.0.9"], ["10.0.0.10", "10.0.0.1"]),
    ("2001:db8::/32", ["from [2001:db8::1]:443"], ["2001:db9::1"]),
    ("::1", ["x ::1 y"], ["::1", "::2 and more"]),
]


@pytest.mark.parametrize(("text", "kept", "dropped"), IP_CASES)
def test_addresses_in_lines(text: str, kept: list[str], dropped: list[str]) -> None:
    stage = LineFilter(LineOp.CONTAINS, (LineValue(text, ip=True),))
    assert [line for line in kept + dropped if ran(line, stage) is not None] == kept
    negative = LineFilter(LineOp.LACKS, (LineValue(text, ip=True),))
    assert [line for line in kept + dropped if ran(line, negative) is not None] == dropped


@pytest.mark.parametrize(
    "stage",
    [
        LineFilter.of(LineOp.MATCHES, "("),
        LineFilter.of(LineOp.PATTERN, "<a>"),
        LineFilter.of(LineOp.PATTERN, "<_><_>"),
        LineFilter(LineOp.MATCHES, (LineValue("1.2.3.4", ip=True),)),
        *(
            LineFilter(LineOp.CONTAINS, (LineValue(text, ip=True),))
            for text in [
                "",
                "x",
                "1.2.3.4/33",
                "1.2.3.4/255.0.0.0",
                "1.2.3.9-1.2.3.4",
                "1.2.3.4-::1",
                "1.2.3",
                "01.2.3.4",
                "1.2.3.4/08",
            ]
        ),
        LabelFilter(Matcher("a", MatchOp.MATCHES, "(")),
        LabelFilter(IpCondition("a", negative=False, text="x")),
    ],
)
def test_filters_that_are_none_are_refused(stage: LineFilter | LabelFilter) -> None:
    with pytest.raises(StageError):
        Pipeline([stage])


CONDITIONS: list[tuple[Condition, list[str], list[str]]] = [
    (Matcher("a", MatchOp.EQUAL, "1"), ["a=1"], ["a=2", "b=1"]),
    (Matcher("a", MatchOp.EQUAL, ""), ["b=1"], ["a=1"]),
    (Matcher("a", MatchOp.NOT_EQUAL, "1"), ["a=2", "b=1"], ["a=1"]),
    (Matcher("a", MatchOp.MATCHES, "x.*"), ["a=xy"], ["a=axy", "b=1"]),
    (Matcher("a", MatchOp.NOT_MATCHES, "x|y"), ["a=xy", "b=1"], ["a=x", "a=y"]),
    (Matcher("pod", MatchOp.EQUAL, "web-1"), ["x=1"], []),
    (Matcher("detected_level", MatchOp.EQUAL, "info"), ["x=1"], []),
    (NumberCondition("a", CompareOp.GREATER, 1.5), ["a=2", "a=1e9", "a=0x1p4", "a=inf"], ["a=1.5", "b=2", "a=nan"]),
    (NumberCondition("a", CompareOp.EQUAL, 2), ["a=2.0"], ["a=3"]),
    (NumberCondition("a", CompareOp.NOT_EQUAL, 2), ["a=3"], ["a=2", "b=1"]),
    (NumberCondition("a", CompareOp.LESS_OR_EQUAL, 2), ["a=2"], ["a=2.1"]),
    (DurationCondition("a", CompareOp.GREATER_OR_EQUAL, SECOND_NS), ["a=1s", "a=1m", "a=1000ms"], ["a=999ms", "b=1s"]),
    (BytesCondition("a", CompareOp.LESS, 1024), ["a=1KB", "a=1000", "a=1023B"], ["a=1KiB", "a=1MB"]),
    (IpCondition("a", negative=False, text="10.0.0.0/8"), ["a=10.1.2.3"], ["a=11.1.2.3", "b=10.1.2.3"]),
    (IpCondition("a", negative=True, text="10.0.0.0/8"), ["a=11.1.2.3"], ["a=10.1.2.3", "b=11.1.2.3"]),
    (
        And(NumberCondition("a", CompareOp.GREATER, 1), Matcher("b", MatchOp.EQUAL, "x")),
        ["a=2 b=x"],
        ["a=2", "a=1 b=x"],
    ),
    (Or(NumberCondition("a", CompareOp.GREATER, 1), Matcher("b", MatchOp.EQUAL, "x")), ["a=2", "b=x"], ["a=1"]),
]


@pytest.mark.parametrize(("condition", "kept", "dropped"), CONDITIONS)
def test_label_filters(condition: Condition, kept: list[str], dropped: list[str]) -> None:
    results = {line: ran(line, LogfmtParser(), LabelFilter(condition)) for line in kept + dropped}
    assert [line for line, result in results.items() if result is not None] == kept
    assert all("__error__" not in result[1] for result in results.values() if result is not None)


@pytest.mark.parametrize(
    ("condition", "details"),
    [
        (NumberCondition("a", CompareOp.EQUAL, 1), 'strconv.ParseFloat: parsing "x": invalid syntax'),
        (DurationCondition("a", CompareOp.EQUAL, 1), 'time: invalid duration "x"'),
        (BytesCondition("a", CompareOp.EQUAL, 1), 'strconv.ParseFloat: parsing "": invalid syntax'),
    ],
)
def test_a_value_that_cannot_be_read_keeps_the_record_and_says_so(condition: Condition, details: str) -> None:
    expected = {"a": "x", "__error__": "LabelFilterErr", "__error_details__": details}
    assert ran("a=x", LogfmtParser(), LabelFilter(condition)) == ("a=x", expected)
    no_error = LabelFilter(Matcher("__error__", MatchOp.EQUAL, ""))
    assert ran("a=x", LogfmtParser(), LabelFilter(condition), no_error) is None


def test_an_earlier_error_stays_and_lets_address_conditions_hold() -> None:
    strict = LogfmtParser(strict=True)
    number = LabelFilter(NumberCondition("a", CompareOp.EQUAL, 1))
    result = ran("a=x ==", strict, number)
    assert result is not None
    assert result[1]["__error__"] == "LogfmtParserErr"
    assert ran("a=x ==", strict, LabelFilter(IpCondition("a", negative=False, text="1.2.3.4"))) is not None


@pytest.mark.parametrize(
    ("conversion", "text", "value", "details"),
    [
        (Conversion.NUMBER, "1.5", 1.5, ""),
        (Conversion.NUMBER, "x", 0.0, 'strconv.ParseFloat: parsing "x": invalid syntax'),
        (Conversion.BYTES, "5KiB", 5120.0, ""),
        (Conversion.DURATION, "1m30.5s", 90.5, ""),
        (Conversion.DURATION_SECONDS, "-1.5ms", -0.0015, ""),
        (Conversion.DURATION, "5", 0.0, 'time: missing unit in duration "5"'),
        (Conversion.NUMBER, "", None, ""),
        (Conversion.NUMBER, None, None, ""),
    ],
)
def test_unwrap(conversion: Conversion, text: str | None, value: float | None, details: str) -> None:
    labels = Labels(STREAM, METADATA)
    if text is not None:
        labels.set("v", text)
    assert unwrap.sample(Unwrap("v", conversion))(labels) == value
    assert (labels.error, labels.error_details) == ("SampleExtractionErr" if details else "", details)


def test_filters_after_unwrap_may_drop_what_could_not_be_read() -> None:
    labels = Labels(STREAM)
    labels.set("v", "x")
    no_error = LabelFilter(Matcher("__error__", MatchOp.EQUAL, ""))
    assert unwrap.sample(Unwrap("v", filters=(no_error,)))(labels) is None
    assert unwrap.unwrap_labels(Unwrap("v", filters=(no_error,))) == {"v", "__error__"}


@given(st.text() | st.text(alphabet="0123456789.:abf-_+eExhmskKiB "))
def test_no_value_makes_a_condition_fail(value: str) -> None:
    for condition, _, _ in CONDITIONS:
        labels = Labels(STREAM, METADATA)
        labels.set("a", value)
        Pipeline([LabelFilter(condition)]).process(0, value, labels)
    for text, _, _ in IP_CASES:
        ran(value, LineFilter(LineOp.CONTAINS, (LineValue(text, ip=True),)))
