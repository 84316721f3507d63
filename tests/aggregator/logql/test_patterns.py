from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.logql.patterns import glob, literals, matcher, quoted, word
from aggregator.logql.tree import Matcher, MatchOp


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("web",), Matcher("pod", MatchOp.EQUAL, "web")),
        (("a.b|c",), Matcher("pod", MatchOp.EQUAL, "a.b|c")),
        (("web-*",), Matcher("pod", MatchOp.MATCHES, r"web\-.*")),
        (("*",), Matcher("pod", MatchOp.MATCHES, ".*")),
        (("a", "b"), Matcher("pod", MatchOp.MATCHES, "a|b")),
        (("a|b", "c*"), Matcher("pod", MatchOp.MATCHES, r"a\|b|c.*")),
    ],
)
def test_values_become_one_matcher(values: tuple[str, ...], expected: Matcher) -> None:
    assert matcher("pod", values) == expected


@pytest.mark.parametrize(
    ("text", "found", "not_found"),
    [
        ("panic", ("panic", "a panic: b", "(panic)", "üpanic"), ("panics", "kernel_panic", "Panic")),
        ("a.b", ("a.b", "/a.b/"), ("a.bc", "axb", "ca.b")),
        ("x\ny", ("x\ny",), ("x y",)),
    ],
)
def test_a_word_stands_alone(text: str, found: tuple[str, ...], not_found: tuple[str, ...]) -> None:
    expression = re.compile(word(text), re.ASCII)
    assert [line for line in found + not_found if expression.search(line)] == list(found)


@pytest.mark.parametrize("text", ["", "-a", "a ", "é", "a\n"])
def test_what_does_not_begin_and_end_as_words_do_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="does not begin and end"):
        word(text)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", ("",)),
        ("a", ("a",)),
        ("a|b", ("a", "b")),
        ("a|", ("a", "")),
        (r"a\|b|c\.d", ("a|b", "c.d")),
        (r"a\\|b", ("a\\", "b")),
        ("a.b", None),
        ("a|b*", None),
        (r"\d", None),
        (r"a\x00", None),
        ("(a)", None),
        ("a\\", None),
    ],
)
def test_only_alternatives_of_literals_are_a_list(expression: str, expected: tuple[str, ...] | None) -> None:
    assert literals(expression) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text().filter(lambda text: "\0" not in text), min_size=1, max_size=4))
def test_quoting_and_reading_literals_are_inverse(texts: list[str]) -> None:
    assert literals("|".join(quoted(text) for text in texts)) == tuple(texts)


@settings(deadline=None, max_examples=100)
@given(st.text(), st.text())
def test_a_glob_stands_for_itself_and_any_characters_for_its_stars(text: str, other: str) -> None:
    expression = re.compile(glob(text), re.DOTALL)
    assert expression.fullmatch(text.replace("*", other))
    if "*" not in text and other != text:
        assert not expression.fullmatch(other)
