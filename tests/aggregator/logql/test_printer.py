"""Trees into text, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from aggregator.logql.parser import parse
from aggregator.logql.printer import LINE_CHARACTERS_MAX, formatted, printed
from aggregator.logql.quoting import EscapeError, quoted, unquoted
from tests.aggregator.logql import trees

if TYPE_CHECKING:
    from aggregator.logql.metric import Expression


@given(trees.expressions)
def test_what_is_printed_is_read_back(expression: Expression) -> None:
    assert parse(printed(expression)) == expression
    assert "\n" not in printed(expression)


@given(trees.expressions)
def test_what_is_formatted_is_read_back(expression: Expression) -> None:
    assert parse(formatted(expression)) == expression


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{a=`b`,c!~`d`}", '{a="b", c!~"d"}'),
        ('{a="b"}|="x"or"y"|json', '{a="b"} |= "x" or "y" | json'),
        (
            '{a="b"}|json b,c="d"|logfmt --keep-empty --strict',
            '{a="b"} | json b="b",c="d" | logfmt --strict --keep-empty',
        ),
        ('{a="b"}|c=5,d>90s or e=ip("::1")', '{a="b"} | ( c==5 , ( d>1m30s or e=ip("::1") ) )'),
        ('{a="b"}|c>1.5MiB', '{a="b"} | c>1536KiB'),
        ('{a="b"} | drop a, b="c"', '{a="b"} | drop a,b="c"'),
        ('rate({a="b"}[90s]offset 24h)', 'rate({a="b"}[1m30s] offset 1d)'),
        ('rate({a="b"}[5m]|json)', 'rate({a="b"} | json[5m])'),
        (
            'avg_over_time({a="b"}|unwrap duration(x)|y="z"[5m])by(a)',
            'avg_over_time({a="b"} | unwrap duration(x) | y="z"[5m]) by (a)',
        ),
        ('sum(rate({a="b"}[5m]))by(a,b)', 'sum by (a,b)(rate({a="b"}[5m]))'),
        ('topk(3,rate({a="b"}[5m]))', 'topk(3,rate({a="b"}[5m]))'),
        ("1+2*3", "(1 + (2 * 3))"),
        ("vector(1)>bool on(a)group_left vector(2)", "(vector(1) > bool on (a) group_left () vector(2))"),
    ],
)
def test_a_tree_on_one_line(text: str, line: str) -> None:
    assert printed(parse(text)) == line
    assert formatted(parse(text)) == line


@pytest.mark.parametrize(
    ("text", "laid_out"),
    [
        (
            '''{namespace="prod", container="api"} |= "error" | json | status >= 500
            | line_format "{{.method}} {{.path}}"''',
            """\
{namespace="prod", container="api"}
  |= "error"
  | json
  | status>=500
  | line_format "{{.method}} {{.path}}\"""",
        ),
        (
            """sum by (container, status) (sum_over_time({namespace="prod", container="api"} | json
            | unwrap bytes(size) | __error__="" [5m] offset 1h))""",
            """\
sum by (container, status)(
  sum_over_time(
    {namespace="prod", container="api"} | json
      | unwrap bytes(size)
      | __error__="" [5m] offset 1h
  )
)""",
        ),
        (
            """topk(5, sum by (pod) (count_over_time({namespace="production"} |= "error" [5m])))
            / on (pod) group_left (node) sum by (pod) (count_over_time({namespace="production"}[5m]))""",
            """\
  topk(5,sum by (pod)(count_over_time({namespace="production"} |= "error"[5m])))
/ on (pod) group_left (node)
  sum by (pod)(count_over_time({namespace="production"}[5m]))""",
        ),
    ],
)
def test_a_tree_over_several_lines(text: str, laid_out: str) -> None:
    assert formatted(parse(text)) == laid_out
    assert all(len(line) <= LINE_CHARACTERS_MAX for line in laid_out.splitlines())


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", '"plain"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("\u00e9\u4e16", '"\u00e9\u4e16"'),
        ("\u00a0\u200b\U000e0001", r'"\u00a0\u200b\U000e0001"'),
    ],
)
def test_texts_are_quoted_as_go_does(text: str, literal: str) -> None:
    assert quoted(text) == literal
    assert unquoted(literal) == text


@pytest.mark.parametrize("literal", [r'"\z"', r'"\400"', r'"\x4"', r'"\U00110000"', r'"\'"'])
def test_escapes_that_go_does_not_know(literal: str) -> None:
    with pytest.raises(EscapeError):
        unquoted(literal)
