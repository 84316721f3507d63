"""Expressions of queries are RE2's, in bounded memory and time."""

from __future__ import annotations

import pytest

from aggregator.logql import regex


@pytest.mark.parametrize(
    ("expression", "value", "matches"),
    [
        ("a|b", "a", True),
        ("a|b", "ab", False),
        ("a|b", "xa", False),
        ("a.c", "a\nc", True),
        ("a", "a\n", False),
        ("", "", True),
        ("é+", "éé", True),
        ("(?i)ab", "AB", True),
    ],
)
def test_a_label_s_value_matches_whole(expression: str, value: str, *, matches: bool) -> None:
    assert regex.anchored(expression).matches(value) is matches
    assert regex.anchored(expression).matches(value.encode()) is matches


@pytest.mark.parametrize(
    ("expression", "line", "found"),
    [
        ("b+", b"abbc", True),
        ("a.c", b"a\nc", False),
        ("^b", b"a\nb", False),
        ("\u00e9", "caf\u00e9".encode(), True),
        ("a.b", b"a\xffb", False),
        (r"a\Cb", b"a\xffb", True),
    ],
)
def test_a_line_matches_anywhere(expression: str, line: bytes, *, found: bool) -> None:
    assert regex.compiled(expression).found(line) is found


def test_groups_are_named() -> None:
    expression = regex.compiled(r"(?P<verb>\w+) (/\S*) (?P<status>\d+)")
    assert expression.groups == {"verb": 1, "status": 3}
    assert expression.group_count == 3
    match = expression.search("GET /x 200 ok")
    assert match is not None
    assert match["verb"] == "GET"
    assert match.span(3) == (7, 10)


def test_matches_are_replaced() -> None:
    assert regex.compiled("[0-9]+").sub(lambda match: f"<{match[0]}>", "a1b22") == "a<1>b<22>"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(", "missing ): ("),
        ("a)(b", "unexpected ): a)(b"),
        (r"\Qa", "missing ): "),
        ("(?=a)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a{1001}", "invalid repetition size: {1001}"),
        (r"((\pL{10}){10}){10}", "pattern too large"),
        ("\ud800", "not Unicode text"),
        ("a" * 20_000, "longer than 16384 characters"),
    ],
)
def test_what_is_no_expression_says_why(expression: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(regex.RegexError) as caught:
        regex.anchored(expression)
    assert reason in str(caught.value)
    assert capfd.readouterr() == ("", "")  # RE2 itself would write to stderr


def test_backtracking_is_no_way_to_stall() -> None:
    assert not regex.compiled("(a*)*(a*)*b").found(b"a" * 100_000)


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("(?P<x>a)(?P<y>b)", None),
        ("(?P<x>a)(?:(?P<y>b)|(?<x>c))", "x"),
        (r"(?P<x>a)[(?P<x>]+", None),
        (r"(?P<x>a)[^](?P<x>]+", None),
        (r"(?P<x>a)\(?P<x>", None),
        (r"(?P<x>a)\Q(?P<x>\E", None),
        (r"(?P<x>a)[[:alpha:](?P<x>]", None),
        (r"\\(?P<x>a)\\(?P<x>b)", "x"),
    ],
)
def test_two_groups_of_one_name_are_found(expression: str, name: str | None) -> None:
    regex.compiled(expression)
    assert regex.repeated_group(expression) == name
