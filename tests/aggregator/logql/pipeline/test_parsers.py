from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql.pipeline import json_parser, jsontext, logfmt, pattern
from aggregator.logql.pipeline.labels import Labels, label_name
from aggregator.logql.pipeline.pipeline import Pipeline
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.tree import (
    DropLabels,
    Extraction,
    JsonParser,
    LogfmtParser,
    PatternParser,
    RegexpParser,
    Stage,
    UnpackParser,
)
from tests.aggregator.logql.pipeline.running import parsed, ran

JSON_ERROR = {"__error__": "JSONParserErr"}
NO_OBJECT = {**JSON_ERROR, "__error_details__": jsontext.NO_OBJECT}


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        (
            '{"a":"x","b":1,"c":1.50,"d":1e3,"e":true,"f":false}',
            {"a": "x", "b": "1", "c": "1.50", "d": "1e3", "e": "true", "f": "false"},
        ),
        ('{"a":null,"b":[1,{"c":2}],"d":"kept"}', {"d": "kept"}),
        ('{"a":{"b":{"c":"deep"},"d":2},"e":{}}', {"a_b_c": "deep", "a_d": "2"}),
        (
            '{"a-b":1,"1a":2," c ":3,"é":4,"d":{"1":5,"":6}}',
            {"a_b": "1", "_1a": "2", "c": "3", "_": "4", "d_1": "5", "d": "6"},
        ),
        (
            '{"pod":"other","detected_level":"warn","namespace":{"x":1}}',
            {"pod_extracted": "other", "detected_level_extracted": "warn", "namespace_x": "1"},
        ),
        ('{"a":1,"a":2,"a_b":3,"a":{"b":4}}', {"a": "1", "a_b": "3"}),
        (r'{"a":"q\"u\\o\/te\n\t\u00e9\ud83d\ude00"}', {"a": 'q"u\\o/te\n\té😀'}),
        ('{"a":"tab\there"}', {"a": "tab\there"}),
        (r'{"a":"\ud800","b":1}', {"a": "", "b": "1"}),
        ('{"a":"bad\ufffdbyte","b":"\\ufffd"}', {"a": "bad byte", "b": " "}),
        ('{"a":123456789012345678901234567890,"b":-0.0}', {"a": "123456789012345678901234567890", "b": "-0.0"}),
        ('  {"a":1} trailing', {"a": "1"}),
        ('{"a":1abc}', {"a": "1abc"}),
        ("{}", {}),
        ("", NO_OBJECT),
        ("plain text", NO_OBJECT),
        ("[1,2]", NO_OBJECT),
        ('{"a":1,"b":', {"a": "1", **JSON_ERROR, "__error_details__": jsontext.NO_JSON}),
        ('{"a":1,"b":tru}', {"a": "1", **JSON_ERROR, "__error_details__": jsontext.NO_TYPE}),
        ('{"a":"open', {**JSON_ERROR, "__error_details__": jsontext.NO_STRING}),
        ('{"a":{"b":1}', {"a_b": "1", **JSON_ERROR, "__error_details__": jsontext.NO_ARRAY}),
        ('{"a":{"b":1', {**JSON_ERROR, "__error_details__": jsontext.NO_OBJECT}),
        ('{"a":[1', {**JSON_ERROR, "__error_details__": jsontext.NO_ARRAY}),
        ('{"a":1 "b":2}', {"a": "1", **NO_OBJECT}),
        ('{"x":1,"a":' * 100 + "1" + "}" * 100, None),
    ],
)
def test_json_takes_scalars_flattens_objects_and_says_what_is_wrong(line: str, labels: dict[str, str] | None) -> None:
    got = parsed(line, JsonParser())
    if labels is None:
        assert got["__error_details__"] == jsontext.TOO_DEEP
        assert got["x"] == "1"
    else:
        assert got == labels


@pytest.mark.parametrize(
    ("expression", "line", "value"),
    [
        ("a", '{"a":"x"}', "x"),
        ("a.b", '{"a":{"b":1}}', "1"),
        ('a.b[0]["c d"]', '{"a":{"b":[{"c d":true}]}}', "true"),
        ('["a-b"]', '{"a-b":"x"}', "x"),
        ("a[1]", '{"a":["x","y\\n"]}', "y\n"),
        ("[1]", '["x","y"]', "y"),
        ("a", '{"a":{"b": [1, 2]}}', '{"b": [1, 2]}'),
        ("a", '{"a":[1, 2]}', "[1, 2]"),
        ("a", '{"a":null}', ""),
        ("a.b", '{"a":1}', ""),
        ("a.b", '{"a":{"c":1},"a":{"b":2}}', "2"),
        ("a[7]", '{"a":[1]}', ""),
        ("a", "{}", ""),
        ("a", '{"a":"x","b":', "x"),
    ],
)
def test_json_expressions_take_anything(expression: str, line: str, value: str) -> None:
    assert parsed(line, JsonParser((Extraction("got", expression),))) == {"got": value}


def test_json_expressions_rename_on_a_clash_and_fail_on_other_text() -> None:
    stage = JsonParser((Extraction("pod", "a"), Extraction("b", "b")))
    assert parsed('{"a":1}', stage) == {"pod_extracted": "1", "b": ""}
    assert parsed("text", stage) == JSON_ERROR
    assert parsed("", stage) == {}
    assert parsed('{"a":tru', stage) == {"b": "", **JSON_ERROR, "__error_details__": jsontext.NO_TYPE}


@pytest.mark.parametrize("expression", ["", "a.", ".a", "a..b", "a[", "a[x]", "a b", "[1.5]", 'a["x"', "a-b", "0"])
def test_json_expressions_that_are_none_are_refused(expression: str) -> None:
    with pytest.raises(StageError, match=r"^json: cannot parse expression"):
        json_parser.json_path(expression)


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ('a=1 b="two words" c d= e="" f="q\\"u\\n"', {"a": "1", "b": "two words", "f": 'q"u\n'}),
        (
            "pod=x detected_level=warn a-b=1 1a=2",
            {"pod_extracted": "x", "detected_level_extracted": "warn", "a_b": "1", "_1a": "2"},
        ),
        ("a=1 a=2", {"a": "1"}),
        ('a=1 b"c=2 d=3', {"a": "1", "d": "3"}),
        ("a=1=2 b=3", {"b": "3"}),
        ("=x a=1", {"a": "1"}),
        ('a="open b=2', {}),
        ('a="x"b=2', {"a": "x", "b": "2"}),
        ('a="bad \\q" b=2', {"b": "2"}),
        ("\ufffdk=1 b=x\ufffd", {"b": "x "}),
        ("é=1 b=ü", {"_": "1", "b": "ü"}),
        ("a=\t1  \n b=2\x00c=3", {"b": "2", "c": "3"}),
        ("just words", {}),
        ("", {}),
    ],
)
def test_logfmt_takes_what_it_can(line: str, labels: dict[str, str]) -> None:
    assert parsed(line, LogfmtParser()) == labels


@pytest.mark.parametrize(
    ("line", "labels", "details"),
    [
        ("a=1 b c=", {"a": "1", "b": "", "c": ""}, None),
        ('a=1 b"c d=2', {"a": "1"}, "logfmt syntax error at pos 6 : unexpected '\"'"),
        ("é=1 a==2", {"_": "1"}, "logfmt syntax error at pos 8 : unexpected '='"),
        ('a=1 b="x', {"a": "1"}, "logfmt syntax error at pos 9 : unterminated quoted value"),
        ("\ufffd=1", {}, "logfmt syntax error at pos 4 : invalid key"),
    ],
)
def test_strict_logfmt_stops_at_an_error(line: str, labels: dict[str, str], details: str | None) -> None:
    errors = {} if details is None else {"__error__": "LogfmtParserErr", "__error_details__": details}
    assert parsed(line, LogfmtParser(strict=True, keep_empty=True)) == {**labels, **errors}


def test_logfmt_expressions_rename() -> None:
    stage = LogfmtParser((Extraction("x", "a"), Extraction("pod", "p"), Extraction("none", "n")))
    assert parsed("a=1 a=2 b=3 p=4", stage) == {"x": "2", "pod_extracted": "4", "none": ""}
    with pytest.raises(StageError, match=r"logfmt: cannot parse expression \[a.b\]"):
        logfmt.extraction_parser([Extraction("x", "a.b")], strict=False)


@pytest.mark.parametrize(
    ("expression", "line", "labels"),
    [
        (r"(?P<a>\d+)-(?P<b>x)?", "id 12-", {"a": "12", "b": ""}),
        (r"(?P<a>\d+)", "none", {}),
        (r"(?P<pod>\w+)", "é x", {"pod_extracted": "x"}),
        (r"(?P<a>.)", "é", {"a": "é"}),
    ],
)
def test_regexp_names_groups(expression: str, line: str, labels: dict[str, str]) -> None:
    assert parsed(line, RegexpParser(expression)) == labels


@pytest.mark.parametrize("expression", ["(", "x", "(x)", "(?P<a>x)(?P<a>y)"])
def test_regexp_must_have_named_groups_of_different_names(expression: str) -> None:
    with pytest.raises(StageError, match=r"^regexp: "):
        Pipeline([RegexpParser(expression)])


@pytest.mark.parametrize(
    ("expression", "line", "captures"),
    [
        ("foo <foo> bar", "foo buzz bar", {"foo": "buzz"}),
        ("foo <foo> bar<fuzz>", "foo buzz bar", {"foo": "buzz", "fuzz": ""}),
        ("<foo>foo <bar> bar", "foo buzz bar", {"foo": "", "bar": "buzz"}),
        ("<foo>", " bar ", {"foo": " bar "}),
        ("<path>?<_>", "/api/plugins/status", {"path": "/api/plugins/status"}),
        ("x <foo>", "y x z", {}),
        (
            '<ip> <_> <user> [<_>] "<method> <path> <_>" <status> <size>',
            '127.0.0.1 ident frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326',
            {"ip": "127.0.0.1", "user": "frank", "method": "GET", "path": "/a.gif", "status": "200", "size": "2326"},
        ),
        ("▶ <what>", "▶ é", {"what": "é"}),
        ("<pod>", "x", {"pod_extracted": "x"}),
        ("<1> <a>", "<1> x", {"a": "x"}),
        ("<a>", "", {}),
    ],
)
def test_pattern_captures_up_to_the_next_literal(expression: str, line: str, captures: dict[str, str]) -> None:
    assert parsed(line, PatternParser(expression)) == captures


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "empty"),
        ("<_> x", "at least one capture is required"),
        ("<f> <d><b>", "found consecutive capture '<d><b>'"),
        ("<f> <f>", r"duplicate capture name \(f\)"),
    ],
)
def test_patterns_that_are_none_are_refused(expression: str, reason: str) -> None:
    with pytest.raises(StageError, match=rf"^pattern: .*{reason}"):
        pattern.parser(expression)


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ('{"app":"x","pod":"p","n":1,"_entry":"the \\"line\\""}', ('the "line"', {"app": "x", "pod_extracted": "p"})),
        ('{"app":"x"}', ('{"app":"x"}', {})),
        ("[1]", ("[1]", {**JSON_ERROR, "__error_details__": "expecting json object(6), but it is not"})),
        ('{"_entry":"x"', ('{"_entry":"x"', {**JSON_ERROR, "__error_details__": jsontext.NO_ARRAY})),
        ("", ("", {})),
    ],
)
def test_unpack_makes_the_entry_the_line(line: str, result: tuple[str, dict[str, str]]) -> None:
    assert ran(line, UnpackParser()) == result


def test_the_first_parser_that_finds_a_label_wins_even_after_it_is_dropped() -> None:
    line = '{"a":1} a=2 b=3'
    assert parsed(line, JsonParser(), LogfmtParser()) == {"a": "1", "b": "3"}
    assert parsed(line, JsonParser(), DropLabels(("a",)), LogfmtParser()) == {"b": "3"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), JSON_VALUES))
def test_json_is_read_alike_the_fast_and_the_slow_way(document: dict[str, object]) -> None:
    for ascii_only in (True, False):
        line = json.dumps(document, ensure_ascii=ascii_only)
        # What stands behind the object is no matter, but U+FFFD makes the line one for the slow way.
        fast, slow = parsed(line, JsonParser()), parsed(line + " \ufffd", JsonParser())
        assert slow == fast


LINES = st.text() | st.text(alphabet='{}[]":,\\u= \t\nab01dDfF.<>-\ufffd') | JSON_VALUES.map(json.dumps)


@given(LINES, LINES)
def test_no_line_makes_a_parser_fail_and_names_are_names(first: str, second: str) -> None:
    line = first + second
    stages: list[Stage] = [
        JsonParser(),
        JsonParser((Extraction("x", "a[0].b"), Extraction("y", "b"))),
        LogfmtParser(),
        LogfmtParser(strict=True, keep_empty=True),
        LogfmtParser((Extraction("x", "a"),)),
        RegexpParser("(?P<a>[ab]+)"),
        PatternParser("<a>=<b>,<_>"),
        UnpackParser(),
    ]
    for stage in stages:
        result = ran(line, stage)
        assert result is not None
        for name, value in result[1].items():
            assert name == label_name(name)
            value.encode()


@given(LINES, st.sets(st.sampled_from(["a", "b", "a_b", "pod", "pod_extracted"])))
def test_parsers_told_what_is_wanted_give_it_as_they_would_among_all(line: str, wanted: set[str]) -> None:
    errors = {"__error__", "__error_details__"}
    for stage in (JsonParser(), LogfmtParser(), LogfmtParser(strict=True)):
        full, some = ran(line, stage), ran(line, stage, wanted=wanted)
        assert full is not None
        assert some is not None
        kept = wanted | errors
        assert {n: v for n, v in some[1].items() if n in kept} == {n: v for n, v in full[1].items() if n in kept}


def test_metadata_of_a_streams_name_gets_the_suffix() -> None:
    labels = Labels({"a": "stream"}, {"a": "meta"})
    assert labels.all() == {"a": "stream", "a_extracted": "meta"}
