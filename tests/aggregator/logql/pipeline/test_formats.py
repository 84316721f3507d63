from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.pipeline import Pipeline
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.tree import (
    Assignment,
    CompareOp,
    Decolorize,
    DropLabels,
    JsonParser,
    KeepLabels,
    LabelFilter,
    LabelFormat,
    LineFormat,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Stage,
)
from tests.aggregator.logql.pipeline.running import STREAM, parsed, ran

# Many were compared with what Go 1.19 gives; the others follow from the documentation of Go,
# Loki and sprig.
WRITTEN = [
    ("{{.a}} {{.nope}}|{{.pod}} {{.detected_level}}", "Val |web-1 info"),
    ("plain }} text", "plain }} text"),
    ("x {{- .a -}} y", "xValy"),
    ("x {{/* no }} action */}} {{- /* nor this */ -}} y", "x y"),
    ("{{ .a | lower | printf `%5s|%-5s|%q` .a .b }}", '  Val|B    |"val"'),
    ("{{if and .a .nope}}y{{else}}n{{end}}", "n"),
    ("{{if .nope}}1{{else if .a}}2{{else}}3{{end}}", "2"),
    ("{{if not (eq .a `x` `Val`)}}1{{else}}2{{end}}", "2"),
    ("{{with .nope}}x{{else}}e{{end}}{{with .a}}{{.}}{{$.b}}{{end}}", "eValB"),
    ("{{$x := .a}}{{$x}}{{$x = `q`}}{{$x}}", "Valq"),
    ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ('{{range $i, $e := fromJson `[1,"b",null]`}}{{$i}}={{$e}},{{end}}', "0=1,1=b,2=<no value>,"),
    ("{{range $i := fromJson `[1,2,3]`}}{{if eq $i 2.0}}{{continue}}{{end}}{{$i}}{{end}}", "13"),
    ("{{range fromJson `[1,2,3]`}}{{if eq . 2.0}}{{break}}{{end}}{{.}}{{end}}", "1"),
    ('{{range fromJson `{"k":1,"a":2}`}}{{.}}{{else}}none{{end}}', "21"),
    ("{{range fromJson `[]`}}x{{else}}none{{end}}", "none"),
    ('{{(fromJson "{\\"x\\":{\\"y\\":1.5}}").x.y}}', "1.5"),
    ("{{fromJson `no`}}", "<no value>"),
    ('{{fromJson `{"b":[1,null],"a":"x"}`}}', "map[a:x b:[1 <nil>]]"),
    ("{{index (fromJson `[5,6]`) 1}} {{len .a}} {{slice .a 1 2}}", "6 3 a"),
    ('{{print 1 2 "a" "b" 3}}|{{println "a" 1}}', "1 2ab3|a 1\n"),
    ("{{html `<a>&'\"`}} {{js `a'b<`}} {{urlquery `a b&c`}}", "&lt;a&gt;&amp;&#39;&#34; a\\'b\\u003C a+b%26c"),
    ("{{1.0}} {{0x1F}} {{1e3}} {{'a'}} {{-5}} {{true}}", "1 31 1000 97 -5 true"),
    (
        "{{lt .a .b}} {{le 1 1}} {{ne 1 2}} {{gt 2 1}} {{ge 1 2}} {{and 1 0}} {{or 0 `z`}}",
        "false true true true false 0 z",
    ),
    (
        '{{printf "%d %s %v %x %05.1f %t %c %U %T %5d|%-5d|%+d %e %g %q" 5 "a" 1.5 "hi" 3.14159 true 65 65 .a 42 42 42 12345.678 12345.678 \'x\'}}',  # noqa: E501 - one template
        "5 a 1.5 6869 003.1 true A U+0041 string    42|42   |+42 1.234568e+04 12345.678 'x'",
    ),
    (
        '{{printf "%v %v %6.2f|%-8v|%+v|%08.3f|%X|% x|%5t|%3c|%#x|%o|%b|%8.3s" 5000000.0 123456.7 3.14159 "ab" 5 3.14159 255 "hi" true \'x\' 255 8 5 "abcdef"}}',  # noqa: E501 - one template
        "5e+06 123456.7   3.14|ab      |5|0003.142|FF|68 69| true|  x|0xff|10|101|     abc",
    ),
    (
        '{{printf "%d %s %z" "a" 5}} {{printf "x" 1}} {{printf "%*d%%" 5 42}} {{printf "%"}}',
        "%!d(string=a) %!s(int=5) %!z(MISSING) x%!(EXTRA int=1)    42% %!(NOVERB)",
    ),
    ("{{__line__ | upper}} {{__timestamp__}}", "A LINE 2023-03-05 07:08:09.123456 +0000 UTC"),
    ("{{__timestamp__ | date `2006-01-02T15:04:05.000Z07:00`}}", "2023-03-05T07:08:09.123Z"),
    (
        "{{date `Mon Jan _2 3:04PM 06 002 Z0700 -07:00 MST January Monday .999` __timestamp__}}",
        "Sun Mar  5 7:08AM 23 064 Z +00:00 UTC March Sunday .123",
    ),
    (
        "{{now | unixEpoch}} {{unixEpochMillis __timestamp__}} {{unixEpochNanos __timestamp__}}",
        "1700000000 1678000089123 1678000089123456000",
    ),
    ("{{toDate `2006-01-02 15:04:05` `2021-11-02 10:00:00.25`}}", "2021-11-02 10:00:00.25 +0000 UTC"),
    (
        "{{toDate `15:04` `10:20`}} {{toDate `2006-01-02` `2021-02-30`}}",
        "0000-01-01 10:20:00 +0000 UTC 0001-01-01 00:00:00 +0000 UTC",
    ),
    ("{{toDate `02 Jan 06 3:04pm` `05 mar 23 9:15pm`}}", "2023-03-05 21:15:00 +0000 UTC"),
    ("{{toDate `2006-01-02T15:04:05Z07:00` `2021-11-02T10:00:00+02:00`}}", "2021-11-02 10:00:00 +0200 +0200"),
    ("{{toDateInZone `2006-01-02 15:04` `America/New_York` `2021-07-02 10:00`}}", "2021-07-02 10:00:00 -0400 EDT"),
    ("{{toDateInZone `2006-01-02` `No/Where` `2021-11-02` | unixEpoch}}", "1635811200"),
    ("{{date `2006-01-02` (unixToTime `1679577215`)}} {{unixToTime `19373` | unixEpoch}}", "2023-03-23 1673827200"),
    ("{{ToLower `AÉ`}} {{ToUpper `ßé`}} {{title `hello wORLD foo-bar x_y`}}", "aé ßÉ Hello WORLD Foo-Bar X_y"),
    ("{{Replace `aaa` `a` `b` 2}} {{.a | replace `V` `v`}}", "bba val"),
    (
        "{{Trim `xax` `x`}} {{TrimLeft `xax` `x`}} {{TrimRight `xax` `x`}} {{TrimPrefix `xax` `x`}} {{TrimSuffix `xax` `x`}}",  # noqa: E501 - one template
        "a ax xa ax xa",
    ),
    (
        "[{{TrimSpace ` a `}}] [{{trim ` a `}}] {{trimAll `$` `$5$`}} {{trimPrefix `-` `-h`}} {{trimSuffix `-` `h-`}}",
        "[a] [a] 5 h h",
    ),
    ("{{contains `he` `hello`}} {{hasPrefix `he` `hello`}} {{hasSuffix `he` `hello`}}", "true true false"),
    ("{{indent 2 `a\nb`}}{{nindent 1 `c`}} {{repeat 3 `ab`}}", "  a\n  b\n c ababab"),
    (
        "{{substr 0 5 `hello world`}} {{substr 6 -1 `hello world`}} {{substr -1 2 `hello`}} {{trunc 2 `hello`}} {{trunc -2 `hello`}}",  # noqa: E501 - one template
        "hello world he he lo",
    ),
    (
        "[{{alignLeft 5 `hi`}}] [{{alignLeft 2 `hello`}}] [{{alignRight 5 `hi`}}] [{{alignRight 2 `hello`}}]",
        "[hi   ] [he] [   hi] [lo]",
    ),
    ("{{default `-` ``}} {{default `-` `foo`}} {{.nope | default 0}}", "- foo 0"),
    (
        "{{add 3 2 5}} {{sub 5 2}} {{mul 5 2 3}} {{div -7 2}} {{mod 10 3}} {{mod -7 2}} {{add `0x10` `010` `1.00` `x`}}",  # noqa: E501 - one template
        "10 3 30 -3 1 -1 25",
    ),
    (
        "{{addf 0.1 0.2}} {{subf 5.5 2 1.5}} {{mulf 5.5 2 2.5}} {{divf 10 2 4}} {{divf 1 3}}",
        "0.3 2 27.5 1.25 0.3333333333333333",
    ),
    (
        "{{max 1 2 3}} {{min 1 2 3}} {{maxf 1 2.5 3}} {{minf 1.5 3}} {{ceil 123.001}} {{floor 123.9}} {{floor -1.5}}",
        "3 1 3 1.5 124 123 -2",
    ),
    (
        "{{round 123.555555 3}} {{round 123.88571428571 5 .2}} {{int `3`}} {{int 3.9}} {{float64 `3.5`}}",
        "123.556 123.88572 3 3 3.5",
    ),
    ("{{mul 9223372036854775807 2}}", "-2"),
    (
        "{{count `a|b` `abab`}} {{regexReplaceAll `a*` `baac` `x`}} {{regexReplaceAll `(a)(?P<n>b)?` `abab` `[${1}x|$n|$$|$9]`}}",  # noqa: E501 - one template
        "4 xbxcx [ax|b|$|][ax|b|$|]",
    ),
    ("{{regexReplaceAllLiteral `b` `abc` `$1`}}", "a$1c"),
    ("{{b64enc `hi`}} {{b64dec `aGk=`}} {{urlencode `a b&ü`}} {{urldecode `a+b%26`}}", "aGk= hi a+b%26%C3%BC a b&"),
    ("{{bytes `5MB`}} {{duration `1m30s`}} {{duration_seconds `1500ms`}}", "5e+06 90 1.5"),
]


def written(template: str) -> tuple[str, dict[str, str]]:
    labels = Labels(STREAM, {"detected_level": "info"})
    labels.set("a", "Val")
    labels.set("b", "B")
    result = Pipeline([LineFormat(template)], now_ns=1_700_000_000_000_000_000).process(
        1_678_000_089_123_456_000, "a line", labels
    )
    assert result is not None
    return result[0], result[1].parsed_labels()


@pytest.mark.parametrize(("template", "text"), WRITTEN)
def test_templates_write_what_gos_do(template: str, text: str) -> None:
    assert written(template) == (text, {"a": "Val", "b": "B"})


PLACE = 'template: line:1:{}: executing "line" at <{}>: {}'


@pytest.mark.parametrize(
    ("template", "column", "node", "reason"),
    [
        ("{{.a.b}}", 4, ".a.b", "can't evaluate field b in type string"),
        ("{{lower 5}}", 8, "5", "expected string; found 5"),
        ("{{repeat .a .a}}", 9, ".a", "wrong type for value; expected int; got string"),
        ("{{repeat (add 1) .a}}", 9, "(add 1)", "wrong type for value; expected int; got int64"),
        ("{{lower .a .a}}", 2, "lower", "wrong number of args for lower: want 1 got 2"),
        ("{{div 1 0}}", 2, "div 1 0", "error calling div: runtime error: integer divide by zero"),
        ("{{lt 1 2.0}}", 2, "lt 1 2.0", "error calling lt: incompatible types for comparison"),
        ('{{"a" .b}}', 2, '"a"', 'can\'t give argument to non-function "a"'),
        ("{{nil}}", 2, "nil", "nil is not a command"),
        ("{{lower nil}}", 8, "nil", "cannot assign nil to string"),
        ("{{len 3}}", 2, "len 3", "error calling len: len of type int"),
        (
            "{{substr 7 3 `ab`}}",
            2,
            "substr 7 3 `ab`",
            "error calling substr: runtime error: slice bounds out of range [7:2]",
        ),
        (
            "{{repeat 9999999 `x`}}",
            2,
            "repeat 9999999 `x`",
            "error calling repeat: the text would be longer than 1048576 characters",
        ),
        ("{{printf `%99999d` 1}}", 2, "printf `%99999d` 1", "error calling printf: width or precision above 10000"),
        ("{{unixToTime `12`}}", 2, "unixToTime `12`", "error calling unixToTime: unable to parse time '12'"),
    ],
)
def test_what_cannot_be_written_keeps_the_line_and_says_where(
    template: str, column: int, node: str, reason: str
) -> None:
    details = PLACE.format(column, node, reason)
    errors = {"__error__": "TemplateFormatErr", "__error_details__": details}
    assert written(template) == ("a line", {"a": "Val", "b": "B", **errors})


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.a", "unclosed action"),
        ("{{if}}", "missing value for if"),
        ("{{if true}}a", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{foo}}", 'function "foo" not defined'),
        ("{{$y}}", 'undefined variable "$y"'),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{.a | }}", "missing value for command"),
        ("{{(.a}}", "unclosed left paren"),
        ("{{/* x", "unclosed comment"),
        ("{{`x}}", "unterminated raw quoted string"),
        ("{{define `x`}}{{end}}", "{{define}} is not supported"),
        ("{{" + "(" * 60 + "}}", "nested deeper than 50"),
    ],
)
def test_templates_that_are_none_are_refused(template: str, reason: str) -> None:
    with pytest.raises(StageError) as refused:
        Pipeline([LineFormat(template)])
    assert str(refused.value) == f"line_format: template: line:1: {reason}"


@pytest.mark.parametrize(
    "template",
    [
        "{{$x := `xxxxxxxxxx`}}{{range fromJson __line__}}{{$x = print $x $x}}{{end}}",
        "{{range fromJson __line__}}{{range fromJson __line__}}{{range fromJson __line__}}x{{end}}{{end}}{{end}}",
        "{{$x := `a`}}{{range fromJson __line__}}{{$x = replace `a` `aaaaaaaaaa` $x}}{{end}}",
        "{{$x := `a`}}{{range fromJson __line__}}{{$x = regexReplaceAll `` $x `aaaaaaaaaaaaaaaa`}}{{end}}",
    ],
)
def test_a_template_cannot_eat_memory_or_time(template: str) -> None:
    began = time.monotonic()
    line = str([1] * 100)
    result = ran(line, LineFormat(template))
    assert result is not None
    assert result[1]["__error__"] == "TemplateFormatErr"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("stages", "line", "result"),
    [
        ([Assignment("x", "{{.a}}-{{.b}}"), Assignment("y", source="b")], "a=1 b=2", {"a": "1", "x": "1-2", "y": "2"}),
        ([Assignment("a", "{{.b}}"), Assignment("b", "{{.a}}")], "a=1 b=2", {"a": "2", "b": "1"}),
        ([Assignment("p", source="pod"), Assignment("n", source="none")], "a=1", {"a": "1", "p": "web-1"}),
        ([Assignment("pod", "{{.pod}}!")], "", {"pod": "web-1!"}),
    ],
)
def test_label_format(stages: list[Assignment], line: str, result: dict[str, str]) -> None:
    assert parsed(line, LogfmtParser(), LabelFormat(tuple(stages))) == result


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (
            [Assignment("a", "x"), Assignment("a", source="b")],
            "multiple label name 'a' not allowed in a single format operation",
        ),
        ([Assignment("__error__", "x")], "__error__ cannot be formatted"),
    ],
)
def test_label_formats_that_are_none_are_refused(assignments: list[Assignment], reason: str) -> None:
    with pytest.raises(StageError) as refused:
        Pipeline([LabelFormat(tuple(assignments))])
    assert str(refused.value) == f"label_format: {reason}"


STRICT = LogfmtParser(strict=True)


def all_after(line: str, *stages: Stage) -> dict[str, str]:
    result = Pipeline(stages).process(0, line, Labels(STREAM, {"detected_level": "info"}))
    assert result is not None
    return result[1].all()


def test_drop_and_keep_take_away_labels_of_every_kind() -> None:
    line = "a=1 b=2 =="
    full = all_after(line, STRICT)
    assert set(full) == {"namespace", "pod", "detected_level", "a", "b", "__error__", "__error_details__"}
    assert set(all_after(line, STRICT, DropLabels(("a", "pod", "detected_level", "none")))) == set(full) - {
        "a",
        "pod",
        "detected_level",
    }
    some = DropLabels((Matcher("a", MatchOp.EQUAL, "2"), Matcher("b", MatchOp.MATCHES, "[0-9]")))
    assert set(full) - set(all_after(line, STRICT, some)) == {"b"}
    no_errors = DropLabels(("__error__", "__error_details__"))
    assert set(full) - set(all_after(line, STRICT, no_errors)) == {"__error__", "__error_details__"}
    errors = DropLabels((Matcher("__error__", MatchOp.EQUAL, "x"),))
    assert all_after(line, STRICT, errors) == full
    kept = KeepLabels(("pod", Matcher("a", MatchOp.EQUAL, "1"), Matcher("b", MatchOp.EQUAL, "1")))
    assert set(all_after(line, STRICT, kept)) == {"pod", "a", "__error__", "__error_details__"}


def test_categories_stay_apart() -> None:
    labels = Labels(STREAM, {"detected_level": "info"})
    stages = (LogfmtParser(), LabelFormat((Assignment("pod", "x"),)), DropLabels(("namespace",)))
    Pipeline(stages).process(0, "a=1", labels)
    assert labels.stream_labels() == {}
    assert labels.metadata == {"detected_level": "info"}
    assert labels.parsed == {"a": "1", "pod": "x"}


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("\x1b[31mred\x1b[0m text", "red text"),
        ("\x1b[1;38;5;196mx\x1b[m", "x"),
        ("\x1b]0;title\x07x", "x"),
        ("no colours", "no colours"),
        ("\x9b32mx", "x"),
    ],
)
def test_decolorize(line: str, plain: str) -> None:
    assert ran(line, Decolorize()) == (plain, {})


def test_only_what_is_looked_at_later_is_parsed() -> None:
    line = '{"a":"1","b":"2","c":"3","pod":"4","d":"5"}'
    stages = (
        JsonParser(),
        LabelFilter(NumberCondition("a", CompareOp.EQUAL, 1)),
        LineFormat("{{.b}}"),
        LabelFormat((Assignment("x", source="c"),)),
    )
    assert ran(line, *stages, wanted={"pod_extracted"}) == (
        "2",
        {"a": "1", "b": "2", "x": "3", "pod_extracted": "4"},
    )
    assert ran(line, JsonParser(), LineFormat("{{len .}}"), wanted=set()) == ran(
        line, JsonParser(), LineFormat("{{len .}}")
    )


PIECES = [
    "{{",
    "}}",
    ".a",
    "$x",
    ":=",
    "|",
    "if",
    "else",
    "end",
    "range",
    "with",
    "lower",
    "printf",
    "(",
    ")",
    " ",
    '"%s"',
    "`",
    "fromJson",
    "__line__",
    "1",
    "-",
    "index",
    "div",
    "substr",
    "toDate",
    "x",
    "repeat",
    "now",
    "date",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join), st.text())
def test_no_template_fails_otherwise_than_it_should(template: str, line: str) -> None:
    try:
        pipeline = Pipeline([LineFormat(template)])
    except StageError:
        return
    result = pipeline.process(0, line, Labels(STREAM))
    assert result is not None


@given(st.sampled_from([template for template, _ in WRITTEN]), st.text(), st.text())
def test_no_record_makes_a_template_fail(template: str, line: str, value: str) -> None:
    labels = Labels({"a": value, "b": line})
    result = Pipeline([LineFormat(template), Decolorize()]).process(0, line, labels)
    assert result is not None
