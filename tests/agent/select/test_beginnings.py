"""What expressions match at the beginning of records: of all of them at once as of each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.select.beginnings import Beginning
from agent.select.expression import Expression, ExpressionError
from tests.agent.select.test_expression import TEXTS

RECORDS = [
    b"", b"2026-11-24T12:00:00 a", b"2026-11-24 b", b"[12:00:00] INFO c", b"INFO: d", b"info e", b"\tat f", b"  g",
    b"h", b"\xc3\xa9 i", b"\n", b"\nj", b"2026", b"aab", b"ab", b"a", b"b", b"{", b"-1", b"  - k",
]  # fmt: skip


def of(beginning: Beginning, records: list[bytes]) -> list[bool]:
    """What it says of ``records``, each of which has a byte before it that could be anything."""
    text = b"".join(b"\xff" + record for record in records) + b"INFO 2026"
    lengths = np.array([len(record) for record in records], np.int64)
    begins = np.arange(1, len(records) + 1) + lengths.cumsum() - lengths
    return [bool(each) for each in beginning.of(np.frombuffer(text, np.uint8), begins, lengths)]


def alone(expression: Expression, records: list[bytes]) -> list[bool]:
    return [expression.alone.match(record) is not None for record in records]


@pytest.mark.parametrize(
    "text",
    [
        r"\d{4}-\d\d-\d\d", r"^\d{4}-\d{1,2}", r"\d+", r"\d+-", r"\d+$", r"^\[?\d\d", r"\[", "^", "", "$", r"\S",
        "[^ ]", r"[^\s]", "(INFO|WARN)", "(?:INFO|WARN|[a-c]+):", "(?i)info", "(?i:INFO):?", "(?i)[^I]", "(?i)[H-J]",
        ".", "(?s).", "(?s)..", r"\w", r"\W", r"\D", "a*", "a*b", "a{2}b", "a{2}", "(a|b){2}", "(?:a?b)+", "a??b",
        "(a)(?:b)?", r"(a)\1b", "(?>a*)b", "a*+b", "(?=a)", "(?!a)", "(?<!a)b", "(?<=\xff)a", r"\ba", r"\Ba",
        "(?m)^a", r"\n^j", "(?m)\n^j", r"\Aa", "(a|^)b", "(?x) [0-9]{4} - # year", "é", "(|a)b", "(?:){9}a",
        "[0-9]{1,40}-", "x{1000}", "[]-]", "a{0}b", "(?:ab){0,2}$",
    ],
)  # fmt: skip
def test_a_beginning_is_what_the_expression_matches_there(text: str) -> None:
    expression = Expression(text)
    assert of(Beginning(expression), RECORDS) == alone(expression, RECORDS)
    assert of(Beginning(expression), []) == []


@pytest.mark.parametrize("text", ["a.", "a+b"])
def test_records_with_every_byte_are_told_too(text: str) -> None:
    records = [bytes(range(256)), b"a" + bytes(range(256)), b"aab", b"b"]
    expression = Expression(text)
    assert of(Beginning(expression), records) == alone(expression, records)


@settings(max_examples=600, deadline=None)
@given(TEXTS, st.lists(st.text("ab-\n B", max_size=6).map(str.encode), max_size=6))
def test_whatever_the_expression(text: str, records: list[bytes]) -> None:
    try:
        expression = Expression(text)
    except ExpressionError:
        assume(condition=False)
    assert of(Beginning(expression), records) == alone(expression, records)
