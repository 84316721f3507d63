"""Expressions over many records find what they find in each alone."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.select.expression import EXPRESSION_BYTES_MAX, POSSESSIVE_IS_SOUND, SEPARATORS, Expression, ExpressionError

Spans = list[tuple[int, int, int]]


def alone(expression: Expression, records: list[bytes]) -> Spans:
    """What it finds: record, begin, end."""
    return [
        (number, *match.span()) for number, record in enumerate(records) for match in expression.alone.finditer(record)
    ]


def together(expression: Expression, records: list[bytes], separator: int) -> Spans:
    text = b"".join(record + bytes([separator]) for record in records)
    starts = [0]
    for record in records:
        starts.append(starts[-1] + len(record) + 1)
    found = []
    for match in expression.over(separator).finditer(text):
        if match.start() < len(text):
            number = max(i for i, start in enumerate(starts[:-1]) if start <= match.start())
            found.append((number, match.start() - starts[number], match.end() - starts[number]))
    return found


RECORDS = [b"", b"ab", b"b\nab", b"\n", b"aab\n", b"-a b-", b"", b"\xc3\xa9b", b"\x80", b"b"]


@pytest.mark.parametrize(
    "text",
    [
        "a", "a*", "", ".", ".*", "(?s).*", "(?s:.)+.", "^", "$", "^a", "b$", "(?m)^", "(?m)$", "(?m:^)a|^b", r"\A",
        r"\Z", r"\b", r"\B", r"\bb", r"\D", r"\W*", r"\S+", "[^a]", "[^a]*", "[^]a]+", "[^-a]+", "[^--b]+", "[^^]",
        "[^a-]", r"[^\n]+", "(?i)A",
        r"[\s\S]", r"[\x80-\xff]+", r"[\D]", "[]a]", r"(?<=b)\n", "(?<!a)b", "(?<!.)b", "(?<=^)a", "(?<!^)b", "b(?=$)",
        "b(?!.)", "b(?![^a])", "(?=a)", "(?!a)", r"(a)?\1b", r"(?P<x>a)(?P=x)b", r"(a)?(?(1)b|\n)", "(?>a*)b",
        "(?x) a  b # either ) (\n | - ", r"(?x) [ #] | \ # no", "(?x: . ) $", "(?#.^)b", r"\xe9", r"\351", r"\0", "é",
        "[é]", "(?-i:B)|b", "(?ms)^.*$", "(?:a|b){2,}?", r"\012",
    ],
)  # fmt: skip
@pytest.mark.parametrize("separator", [SEPARATORS[1], SEPARATORS[2]])
def test_records_together_give_what_each_gives_alone(text: str, separator: int) -> None:
    expression = Expression(text)
    assert separator in expression.separators
    assert together(expression, RECORDS, separator) == alone(expression, RECORDS)
    assert together(expression, [], separator) == []


@pytest.mark.parametrize("text", [r"(?:\B)?+", "(?:a(?!b))*+", r"(?:a|(?:[\Sa]))++"])
def test_possessive_quantifiers_are_right_or_refused(text: str) -> None:
    """Some Pythons get them wrong around a negative lookahead, of which one is made here of what looks like none."""
    if POSSESSIVE_IS_SOUND:
        expression = Expression(text)
        assert together(expression, RECORDS, SEPARATORS[1]) == alone(expression, RECORDS)
    else:
        with pytest.raises(ExpressionError, match="possessive"):
            Expression(text)


@pytest.mark.parametrize("text", ["a*+b", r"(?!a)[^b]++", r"(?:[^a]++|b)++(?!a)"])
def test_other_possessive_quantifiers_are_taken(text: str) -> None:
    expression = Expression(text)
    assert together(expression, RECORDS, SEPARATORS[1]) == alone(expression, RECORDS)


ATOMS = st.sampled_from([
    "a", "b", ".", "[^a]", "[^]b]", r"[\x00-\xff]", r"[\Sa]", r"\W", r"\D", r"\s", r"\n", "^", "$", r"\A", r"\Z", r"\b",
    r"\B", "-",
])  # fmt: skip


def _more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    around = st.sampled_from(
        [
            "(%s)",
            "(?:%s)",
            "(?=%s)",
            "(?!%s)",
            "(?<=%s)",
            "(?<!%s)",
            "(?>%s)",
            "(?s:%s)",
            "(?m:%s)",
            "(?x: %s )",
            "(?i:%s)",
        ]
    )
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(around, inner).map(lambda pair: pair[0] % pair[1]),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{1,2}", "?+", r"\1"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    )


FLAGS = st.sampled_from(["", "(?m)", "(?s)", "(?ms)", "(?x)", "(?i)"])
TEXTS = st.tuples(FLAGS, st.recursive(ATOMS, _more, max_leaves=6)).map("".join)


@settings(max_examples=600, deadline=None)
@given(TEXTS, st.lists(st.text("ab-\n B", max_size=6).map(str.encode), max_size=6))
def test_whatever_the_expression(text: str, records: list[bytes]) -> None:
    try:
        expression = Expression(text)
    except ExpressionError:
        assume(condition=False)
    assert together(expression, records, expression.separators[0]) == alone(expression, records)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a(b", "is not a regular expression: missing ), unterminated subpattern at position 1: 'a(b'"),
        ("éé(", "at position 2"),
        ("a**", "multiple repeat at position 2"),
        (r"\p{L}", r"bad escape \p at position 0"),
        ("[[a]", "Possible nested set at position"),
        (r"(?L)\w", "depends on the locale"),
        ("a" * (EXPRESSION_BYTES_MAX + 1), f"at most {EXPRESSION_BYTES_MAX}"),
        ("\udcff", "is not UTF-8"),
        ("".join(f"\\x{byte:02x}" for byte in SEPARATORS), "names every byte that UTF-8 never has"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(said)):
        Expression(text)


@pytest.mark.parametrize("text", [r"\xff", r"\xFF+", r"[^\xff]", r"\377"])
def test_a_byte_that_is_named_separates_nothing(text: str) -> None:
    expression = Expression(text)
    assert 0xFF not in expression.separators
    assert together(expression, [b"\xff", b"a\xff\xff"], 0xFE) == alone(expression, [b"\xff", b"a\xff\xff"])


def test_compiling_leaves_the_filters_of_warnings_alone() -> None:
    before = list(warnings.filters)
    Expression("a")
    assert list(warnings.filters) == before
