"""What SQL says of a line's labels, against what Python says: the same, or SQL is in doubt."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aggregator.logql import units
from aggregator.logql.compiler.extraction import extracted
from aggregator.logql.compiler.fields import Fields, InexpressibleError
from aggregator.logql.compiler.properties import cuts
from aggregator.logql.compiler.statement import Parameters
from aggregator.logql.pipeline import json_parser, pattern, regexp
from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.tree import ERROR, TIME_MAX_NS, JsonParser, PatternParser, RegexpParser
from aggregator.store.schema import LOGS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aggregator.logql.tree import Parser
    from aggregator.store.engine import Engine

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

NOW_NS = 1_769_860_800_123_456_789


class Told(msgspec.Struct):
    text: str
    text_doubt: bool
    number: float | None
    number_doubt: bool
    error: str
    error_doubt: bool


async def told(engine: Engine, parser: Parser, name: str) -> list[Told]:
    """What SQL says of every record, in order."""
    parameters = Parameters()
    fields = Fields(0, TIME_MAX_NS, parameters).after(extracted(parser, parameters, (name,), (name,)))
    field, error = fields.field(name), fields.field(ERROR).text
    return await engine.rows(
        f"{parameters.given}SELECT toValidUTF8({field.text.sql}) AS text, toBool({field.text.doubt}) AS text_doubt, "  # noqa: S608 - own words
        f"{field.number.sql} AS number, toBool({field.number.doubt}) AS number_doubt, "
        f"{error.sql} AS error, toBool({error.doubt}) AS error_doubt FROM {LOGS} ORDER BY position",
        Told,
        parameters.values,
    )


def parsed(parser: Parser, body: bytes) -> Labels:
    labels = Labels({"namespace": "shop", "pod": "cart-0"})
    match parser:
        case JsonParser():
            step = json_parser.parser(None)
        case RegexpParser(expression):
            step = regexp.parser(expression)
        case PatternParser(expression):
            step = pattern.parser(expression)
        case _:
            raise ValueError(parser)
    step(NOW_NS, body.decode(errors="replace"), labels)
    return labels


def disagreements(parser: Parser, name: str, bodies: Sequence[bytes], found: Sequence[Told]) -> list[Any]:
    wrong: list[Any] = []
    for body, one in zip(bodies, found, strict=True):
        labels = parsed(parser, body)
        text = labels.get(name)
        if not one.text_doubt and one.text != (text or ""):
            wrong.append((name, body, "text", one.text, text))
        if not one.error_doubt and one.error != labels.error:
            wrong.append((name, body, "error", one.error, labels.error))
        if one.number_doubt:
            continue
        try:
            number = None if text is None else units.parse_float(text)
        except ValueError:
            wrong.append((name, body, "a number that is none", one.number, text))
            continue
        if one.number != number:
            wrong.append((name, body, "number", one.number, number))
    return wrong


KEYS = (
    "a",
    "b",
    "a_b",
    "a-b",
    "a.b",
    " a",
    "a ",
    "a\\t",
    "\\u0061",
    "ab",
    "a_b_c",
    "b_c",
    "",
    " ",
    "é",
    "a\\u002db",
    "1a",
    "namespace",
)
VALUES = (
    '"x"',
    '""',
    '"1"',
    '"1.50"',
    '" 1"',
    '"true"',
    '"[x"',
    '"{y}"',
    '"q\\"q"',
    '"\\u00e9"',
    '"\\ud83d\\ude00"',
    '"\\ufffd"',
    "1",
    "0",
    "-0",
    "-1",
    "1.0",
    "1.5",
    "0.1",
    "1e3",
    "-2.50",
    "123456789012345678901234567890",
    "18446744073709551615",
    "true",
    "false",
    "null",
    "[]",
    "[1,2]",
    '{"b":2}',
    '{"b":"z"}',
    '{"a":1}',
    '{"":5}',
    '{" b":6}',
    '{"b":{"c":7}}',
    '{"b_c":8}',
    '{"x":[{"b":1}]}',
    '"a":',
    '"1_0"',
    '"0x10"',
    '"inf"',
    '"NaN"',
    '"5s"',
    '"+5"',
    '"a_b"',
)
ODD = (
    b"",
    b" ",
    b"plain text",
    b"{",
    b"{}",
    b"[1]",
    b'"a"',
    b"null",
    b"1",
    b'{"a":1} tail',
    b'{"a":1',
    b'{"a":"1}',
    b'{"a":1,}',
    b"{'a':1}",
    b'{"a":1}{"a":2}',
    b' \t{"a":1} ',
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":"\xff"}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":1e999}',
    b'{"a":"x\ny"}',
    b'{"a":nope}',
    b'{"a" : "x" }',
    b'{"x":"\\"a\\":1"}',
    b'time=1 {"a":1}',
    b'{"a":"\\ud800"}',
    b'{"a":tru}',
)


def bodies_of_json() -> list[bytes]:
    chosen = random.Random(7)
    made = [f'{{"{key}":{value}}}'.encode() for key, value in itertools.product(KEYS, VALUES)]
    for _ in range(800):
        pairs = [f'"{chosen.choice(KEYS)}":{chosen.choice(VALUES)}' for _ in range(chosen.randint(2, 4))]
        made.append(("{" + ",".join(pairs) + "}").encode())
    return [*ODD, *(body for body in made if not makes_a_label_twice(body))]


def makes_a_label_twice(body: bytes) -> bool:
    """Whether two properties of a line have the same label: which of them counts is a deviation."""
    names: list[str] = []

    def walk(pairs: Any, prefix: str) -> None:
        for key, value in pairs:
            name = json_parser.joined(prefix, key)
            names.append(name)
            if isinstance(value, tuple):
                walk(value, name)

    try:
        walk(json.loads(body, object_pairs_hook=tuple), "")
    except (ValueError, TypeError):
        return False
    return len(set(names)) < len(names)


async def stored(put: Put, bodies: Sequence[bytes]) -> None:
    await put([{"body": body, "ts": NOW_NS, "position": number + 1} for number, body in enumerate(bodies)])


async def test_properties_are_what_python_finds_or_in_doubt(engine: Engine, put: Put) -> None:
    bodies = bodies_of_json()
    await stored(put, bodies)
    wrong: list[Any] = []
    for name in ("a", "b", "ab", "a_b", "a_b_c", "b_c"):
        wrong += disagreements(JsonParser(), name, bodies, await told(engine, JsonParser(), name))
    assert not wrong, wrong[:60]


PLAIN = (
    b'{"status":200,"path":"/a/b","took":1.25,"user_id":"u-1","request":{"method":"GET"},"ok":true}',
    b'{"path":"/x y","status":500,"took":0,"user_id":7,"request":{"method":"PUT"},"msg":"a_b: the user id"}',
    b'{"path":"","status":404,"took":2,"user_id":"","request":{},"msg":"with \\"quotes\\" and \\u00e9"}',
    b"not JSON at all",
)


@pytest.mark.parametrize("name", ["status", "path", "user_id", "request_method", "missing", "ok"])
async def test_plain_lines_leave_no_doubt(engine: Engine, put: Put, name: str) -> None:
    await stored(put, PLAIN)
    found = await told(engine, JsonParser(), name)
    assert [one.text_doubt for one in found] == [False] * len(PLAIN)
    assert disagreements(JsonParser(), name, PLAIN, found) == []


async def test_plain_numbers_leave_no_doubt(engine: Engine, put: Put) -> None:
    await stored(put, PLAIN)
    for name in ("status", "took", "missing"):
        found = await told(engine, JsonParser(), name)
        assert [one.number_doubt for one in found] == [False] * len(PLAIN), name


LINES = (
    b'10.0.0.1 - - [31/Jan/2026] "GET /a/b?c=1 HTTP/1.1" 200 512',
    b'10.0.0.2 - - [31/Jan/2026] "POST / HTTP/1.1" 500 0',
    b"",
    b" ",
    b"GET",
    b"a=1 b=2",
    b"a= b=",
    b"a=1",
    b"b=2 a=1",
    "é=ü a=ß b=😀".encode(),
    b"a=\xff b=2",
    b"two\nlines a=1\nb=2",
    b"a=1.5 b=-3",
    b"a=1e3 b=x",
    b"[x] [y] [z]",
    b"[] []",
    b"aa bb cc",
    b"ab",
    b"a=a=a b= ",
)
CAPTURES = (
    RegexpParser(r"a=(?P<a>\S*) b=(?P<b>\S*)"),
    RegexpParser(r"(?P<a>.*) (?P<b>.*)"),
    RegexpParser(r"(?P<a>x)?(?P<b>\d+)"),
    RegexpParser(r"^(?P<a>[^ ]+).* (?P<b>\d+)$"),
    RegexpParser(r"(?s)(?P<a>t.*)b(?P<b>=.)"),
    PatternParser("a=<a> b=<b>"),
    PatternParser("<a> <b>"),
    PatternParser("<a>=<_>=<b>"),
    PatternParser('<a> - - <_> "<_> <b> <_>" <_>'),
    PatternParser("[<a>] [<b>]"),
    PatternParser("[<a>] <b>x"),
)


@pytest.mark.parametrize("parser", CAPTURES, ids=lambda parser: parser.expression)
async def test_captures_are_what_python_finds_or_in_doubt(engine: Engine, put: Put, parser: Parser) -> None:
    await stored(put, LINES)
    wrong: list[Any] = []
    for name in ("a", "b", "c"):
        wrong += disagreements(parser, name, LINES, await told(engine, parser, name))
    assert not wrong, wrong[:60]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", [("a",)]),
        ("a_b", [("a_b",), ("a", "b")]),
        ("a_b_c", [("a_b_c",), ("a", "b_c"), ("a_b", "c"), ("a", "b", "c")]),
    ],
)
def test_a_name_is_looked_for_in_every_nesting(name: str, expected: list[tuple[str, ...]]) -> None:
    assert cuts(name) == expected


@pytest.mark.parametrize("name", ["_a", "a__b", "a_", "a_extracted", "a_b_c_d_e", "é"])
def test_of_other_names_there_is_no_sql(name: str) -> None:
    parameters = Parameters()
    fields = Fields(0, TIME_MAX_NS, parameters).after(extracted(JsonParser(), parameters))
    with pytest.raises(InexpressibleError):
        fields.field(name)
