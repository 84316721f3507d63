"""Lists are looked for at once, and mean what a chain of ``or`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.logql.compiler.conditions import together
from aggregator.logql.compiler.lines import merged, passes
from aggregator.logql.compiler.statement import Parameters
from aggregator.logql.compiler.texts import TOGETHER_MAX, contains_any
from aggregator.logql.parser import parse_log
from aggregator.logql.tree import LabelFilter, LineFilter, LineOp, LineValue, Matcher, MatchOp
from aggregator.store.schema import LOGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.logql.tree import Condition
    from aggregator.store.engine import Engine

# What expressions and patterns give a meaning to, and what is more than one byte.
pieces = st.sampled_from(
    [*"ab%_\\.*+?^$|(){}[]-# \n\t\0K", "é", "日", "😀", "\u0131", "{1000}", "\\Q", "\\x", ".{500}", "ab cd ef"]
)
texts = st.lists(pieces, min_size=1, max_size=4).map("".join)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(texts, min_size=1, max_size=12))
async def test_a_list_holds_where_one_of_its_texts_stands(
    engine: Engine, data: st.DataObject, looked_for: list[str]
) -> None:
    whole = st.sampled_from(looked_for).map(str.encode)
    part = whole.flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[at:]))
    lines = data.draw(
        st.lists(st.lists(whole | part | st.binary(max_size=2), max_size=4).map(b"".join), min_size=1, max_size=30)
    )
    assert await lines_with(engine, looked_for, lines) == [
        any(text.encode() in line for text in looked_for) for line in lines
    ]


async def test_a_list_of_several_searches(engine: Engine) -> None:
    looked_for = [*(f"text {n}é" for n in range(TOGETHER_MAX)), *(f"<{n}>" for n in range(3 * TOGETHER_MAX))]
    lines = [f"a {text} b".encode() for text in looked_for] + [b"<none>", b"text", b""]
    assert await lines_with(engine, looked_for, lines) == [True] * len(looked_for) + [False] * 3


async def test_a_list_with_nothing_in_it_is_in_every_line(engine: Engine) -> None:
    assert await lines_with(engine, ["", *"abcd"], [b"x", b""]) == [True, True]


async def lines_with(engine: Engine, looked_for: Sequence[str], lines: Sequence[bytes]) -> list[bool]:
    parameters = Parameters()
    condition = contains_any(looked_for, parameters)
    rows = pa.record_batch({"body": pa.array(lines, pa.binary())})
    async with engine.inserted(LOGS, rows) as place:
        found = await engine.rows(
            f"SELECT toUInt8({condition}) AS found FROM {place}",  # noqa: S608 - a condition of ours
            dict[str, int],
            parameters.values,
        )
    return [bool(row["found"]) for row in found]


@pytest.mark.parametrize(
    ("written", "condition", "values"),
    [
        ('|= "a_b"', "(body LIKE {p0:String})", ["%a\\_b%"]),
        ('|= "a" or "b"', "(body LIKE {p0:String} OR body LIKE {p1:String})", ["%a%", "%b%"]),
        ('|= "a" or "b" or "a"', "(body LIKE {p0:String} OR body LIKE {p1:String})", ["%a%", "%b%"]),
        ('|= "a" or "b" or "c" or "."', "(multiMatchAny(body, {p0:Array(String)}))", [("a", "b", "c", "\\.")]),
        ('!= "a" or "b" or "c" or "d"', "NOT (multiMatchAny(body, {p0:Array(String)}))", [("a", "b", "c", "d")]),
        ('|~ "a|b|c|d"', "(multiMatchAny(body, {p0:Array(String)}))", [("a", "b", "c", "d")]),
        ('|~ "(a|b)" or "(?:c|d)"', "(multiMatchAny(body, {p0:Array(String)}))", [("a", "b", "c", "d")]),
        ('|~ "a\\\\.b"', "(body LIKE {p0:String})", ["%a.b%"]),
        ('|~ "a.b" or "c"', "(body LIKE {p0:String} OR match(body, {p1:String}))", ["%c%", "(?-s)a.b"]),
        ('|~ "(?i)(a|b)"', "(match(body, {p0:String}))", ["(?-s)(?i)(a|b)"]),
        ('!~ "(a|b)(c|d)"', "NOT (match(body, {p0:String}))", ["(?-s)(a|b)(c|d)"]),
        ('|~ "a|"', "(1)", []),
        ('|= "a" or ""', "(1)", []),
    ],
)
def test_filters_that_look_for_texts(written: str, condition: str, values: list[str | tuple[str, ...]]) -> None:
    (stage,) = parse_log('{a="b"} ' + written).stages
    assert isinstance(stage, LineFilter)
    parameters = Parameters()
    assert (passes(stage, parameters), list(parameters.values.values())) == (condition, values)


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ('!= "a" != "b" or "c" != "d"', '!= "a" or "b" or "c" or "d"'),
        ('!= "a" |= "b" != "c"', '!= "a" |= "b" != "c"'),
        ('!= "a" != ip("::1") != "b"', '!= "a" != ip("::1") != "b"'),
        ('!~ "a" !~ "b"', '!~ "a" !~ "b"'),
        ('|= "a" |= "b"', '|= "a" |= "b"'),
        ('!= "a" | json != "b"', '!= "a" | json != "b"'),
        ("", ""),
    ],
)
def test_filters_that_lack_texts_are_one(written: str, becomes: str) -> None:
    assert merged(parse_log('{a="b"} ' + written).stages) == parse_log('{a="b"} ' + becomes).stages


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ('a="x" or a="y" or a="x"', Matcher("a", MatchOp.MATCHES, "x|y")),
        ('a="x.y" or a=~"b|c" or a=""', Matcher("a", MatchOp.MATCHES, "x\\.y|b|c|")),
        ('a!="x" and a!="y", a!~"z"', Matcher("a", MatchOp.NOT_MATCHES, "x|y|z")),
        ('a="x"', Matcher("a", MatchOp.EQUAL, "x")),
    ],
)
def test_comparisons_of_a_label_are_one(written: str, becomes: Condition) -> None:
    assert together(condition(written)) == becomes


@pytest.mark.parametrize(
    "written", ['a="x" or b="x"', 'a="x" and a="y"', 'a!="x" or a!="y"', 'a="x" or a!="y"', 'a="x" or a=~"y.*"', "a>1"]
)
def test_other_conditions_stay_as_they_are(written: str) -> None:
    assert together(condition(written)) == condition(written)


def condition(written: str) -> Condition:
    (stage,) = parse_log('{a="b"} | ' + written).stages
    assert isinstance(stage, LabelFilter)
    return stage.condition


def test_a_value_of_a_filter_that_is_an_address_is_left_for_python() -> None:
    stage = LineFilter(LineOp.CONTAINS, (LineValue("a"), LineValue("::1", ip=True)))
    assert passes(stage, Parameters()) is None
