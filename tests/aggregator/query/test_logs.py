"""What a query gives, against a model of a few lines of Python over the same rows."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.errors import QueryAnswerError, QueryMemoryError, QueryRegexError, QueryRowsError, QueryTimeoutError
from aggregator.logql.compiler.plan import compile_query
from aggregator.logql.patterns import matcher, quoted
from aggregator.logql.tree import (
    LEVEL,
    TIME_MAX_NS,
    Direction,
    LabelFilter,
    LineFilter,
    LineOp,
    Matcher,
    MatchOp,
    Query,
    Selector,
)
from aggregator.query.budget import Budget
from aggregator.query.logs import pieces
from aggregator.store import slices
from aggregator.store.engine import Engine, Limits
from aggregator.store.expressions import check_expressions
from aggregator.store.rendering import CSV_HEADER, Format, Rendering
from tests.aggregator.engines import BOTH
from wire.batch import FLAGS_ALL, Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Put = Callable[[Sequence[dict[str, Any]]], Awaitable[None]]

NOW_NS = 1_769_860_800_123_456_789
S = 1_000_000_000
DAY_NS = 86_400 * S
ALL = Query(Selector(), (), 0, TIME_MAX_NS)
# One window of time: one statement.
RECENT = Query(Selector(), (), NOW_NS - 50 * S, TIME_MAX_NS, limit=100)

HOSTILE = (
    "plain",
    "",
    "it's",
    'say "x"',
    "back\\slash \\' \\n",
    "{p0:String} {x:String}",
    "nul\0byte",
    "tab\tline\nend\r",
    "100% sure_thing",
    "%",
    "_",
    "emoji 🪵 ünï",
    "a|b",
    "a*b",
    "(unclosed",
    "$1 ^start$ [a-z]+ (?i)",
    "--; DROP TABLE logs",
    "\x1b[31mred\x1b[0m",
    "`tick`",
    "two words more words here",
)
ROWS: list[dict[str, Any]] = [
    {
        "body": text.encode(),
        "ts": NOW_NS - age * 3000 * S - number,
        "position": number * 100 + age + 1,
        "pod": HOSTILE[(number + age) % len(HOSTILE)],
        "namespace": HOSTILE[number % 7],
    }
    for number, text in enumerate(HOSTILE)
    for age in range(4)
]


def budget(**limits: Any) -> Budget:
    return Budget(Limits(**limits), answer_bytes=1 << 20)


async def answer(engine: Engine, query: Query, rendering: Rendering | None = None) -> bytes:
    shown = rendering or Rendering()
    return b"".join([bytes(piece.data) async for piece in pieces(engine, query, shown, budget(), NOW_NS)])


async def positions(engine: Engine, query: Query, rendering: Rendering | None = None) -> list[int]:
    shown = rendering or Rendering()
    text = await answer(engine, query, msgspec.structs.replace(shown, format=Format.JSON))
    return [row["position"] for row in msgspec.json.Decoder(dict[str, Any]).decode_lines(text)]


texts = st.sampled_from(HOSTILE[2:]) | st.sampled_from([part for text in HOSTILE for part in text.split()])
texts |= st.sampled_from(HOSTILE).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
        lambda edges: text[min(edges) : max(edges)]
    )
)
texts |= st.text(max_size=8)
globs = st.sampled_from(HOSTILE) | texts.map(lambda text: f"*{text}*") | texts | st.just("*")
seldom = st.lists(texts.filter(bool), max_size=2)


@pytest.fixture
async def hostile(engine: Engine, put: Put) -> Engine:
    await put(ROWS)
    return engine


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(globs, max_size=2),
    st.lists(globs, max_size=2),
    seldom,
    seldom,
    st.none() | texts.filter(bool),
    st.integers(0, 30),
)
async def test_hostile_values_select_exactly_what_the_model_selects(
    hostile: Engine,
    namespaces: list[str],
    pods: list[str],
    grep: list[str],
    lacks: list[str],
    literal: str | None,
    limit: int,
) -> None:
    named = {"namespace": namespaces, "pod": pods}
    stages = [LineFilter.of(LineOp.CONTAINS, text) for text in grep]
    stages += [LineFilter.of(LineOp.LACKS, text) for text in lacks]
    if literal:
        stages.append(LineFilter.of(LineOp.MATCHES, quoted(literal)))
    selector = Selector(tuple(matcher(name, values) for name, values in named.items() if values))
    query = Query(selector, tuple(stages), NOW_NS - 10_000 * S, TIME_MAX_NS, limit)

    def holds(row: dict[str, Any]) -> bool:
        return (
            all(not values or any(globbed(row[name], value) for value in values) for name, values in named.items())
            and all(text.encode() in row["body"] for text in grep)
            and not any(text.encode() in row["body"] for text in lacks)
            and (not literal or literal.encode() in row["body"])
        )

    expected = [row["position"] for row in sorted(ROWS, key=lambda row: row["ts"]) if holds(row)]
    assert await positions(hostile, query) == expected[-limit:]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts | st.text(alphabet="ab\\()[]{}|*+?^$.-0123456789,:=!<>PpQExdzZ\0", max_size=12))
async def test_any_expression_is_run_or_refused_as_one(hostile: Engine, expression: str) -> None:
    query = msgspec.structs.replace(RECENT, stages=(LineFilter.of(LineOp.MATCHES, expression),))
    try:
        await check_expressions(hostile, query, budget().left)
    except QueryRegexError:
        return
    await answer(hostile, query)


def globbed(text: str, glob: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in glob.split("*")), text, re.DOTALL) is not None


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(0, 12_000), st.integers(0, 12_000)),
    st.integers(0, 25),
    st.booleans(),
    st.sampled_from(Direction),
)
async def test_any_range_limit_and_order(
    hostile: Engine,
    back_s: tuple[int, int],
    limit: int,
    newest_first: bool,  # noqa: FBT001 - drawn
    direction: Direction,
) -> None:
    start, end = NOW_NS - max(back_s) * S - 5, NOW_NS - min(back_s) * S + 5
    query = msgspec.structs.replace(ALL, start_ns=start, end_ns=end, limit=limit, direction=direction)
    expected = [row["position"] for row in sorted(ROWS, key=lambda row: row["ts"]) if start <= row["ts"] < end]
    if limit:
        expected = expected[-limit:] if direction is Direction.BACKWARD else expected[:limit]
    if newest_first:
        expected.reverse()
    assert await positions(hostile, query, Rendering(newest_first=newest_first)) == expected


@pytest.mark.parametrize("limit", [0, 100])
async def test_records_of_one_instant_are_in_the_order_of_their_file(engine: Engine, put: Put, limit: int) -> None:
    order = [5, 3, 9, 1, 7]
    await put([{"body": b"x", "ts": NOW_NS, "position": position} for position in order])
    query = msgspec.structs.replace(ALL, limit=limit)
    assert await positions(engine, query) == sorted(order)
    assert await positions(engine, query, Rendering(newest_first=True)) == sorted(order, reverse=True)


async def test_start_counts_and_end_does_not(engine: Engine, put: Put) -> None:
    await put([{"body": b"x", "ts": NOW_NS + n, "position": n + 1} for n in range(4)])
    query = msgspec.structs.replace(ALL, start_ns=NOW_NS + 1, end_ns=NOW_NS + 3)
    assert await positions(engine, query) == [2, 3]
    assert await positions(engine, msgspec.structs.replace(query, limit=9)) == [2, 3]


@BOTH
async def test_text_has_the_stored_bytes(engine: Engine, put: Put) -> None:
    bodies = [b"\xff\xfe\x00 raw", b"two\nlines", b"trailing \r", b""]
    await put([{"body": body, "ts": NOW_NS + n} for n, body in enumerate(bodies)])
    expected = b"".join(
        b"2026-01-31T12:00:00.12345678%dZ shop/cart-0/app %s\n" % (9, bodies[0])
        if n == 0
        else b"2026-01-31T12:00:00.12345679%dZ shop/cart-0/app %s\n" % (n - 1, body)
        for n, body in enumerate(bodies)
    )
    assert await answer(engine, ALL) == expected


@BOTH
async def test_json_has_every_key_and_replaces_what_is_not_utf8(engine: Engine, put: Put) -> None:
    source = bytes(range(16))
    await put(
        [{"body": b'\xff\xfe "q" /p \\ \n\x01 level=error', "ts": NOW_NS, "source": source, "position": 2**64 - 1}]
    )
    text = await answer(engine, ALL, Rendering(Format.JSON))
    assert text.count(b"\n") == 1
    assert b'"q\\" /p ' in text
    assert list(msgspec.json.decode(text).items()) == [
        ("ts", "2026-01-31T12:00:00.123456789Z"),
        ("namespace", "shop"),
        ("pod", "cart-0"),
        ("container", "app"),
        ("node", "node-1"),
        ("stream", "stdout"),
        ("cluster", "test"),
        ("uid", "u"),
        ("level", "error"),
        ("line", '\ufffd "q" /p \\ \n\x01 level=error'),
        ("source", source.hex()),
        ("position", 2**64 - 1),
        ("flags", []),
    ]


async def test_csv_has_the_stored_bytes_quoted(engine: Engine, put: Put) -> None:
    await put([{"body": b'\xff "a",\nb', "ts": NOW_NS, "position": 7}])
    assert await answer(engine, ALL, Rendering(Format.CSV)) == (
        b'2026-01-31T12:00:00.123456789Z,"shop","cart-0","app","node-1","stdout","test","u",unknown,'
        b'"\xff ""a"",\nb",00000000000000000000000000000000,7,\n'
    )


COLOURS = (
    (b"level=fatal no", 0, b"\x1b[1;31m"),
    (b"level=error no", 0, b"\x1b[31m"),
    (b"level=warn hm", 0, b"\x1b[33m"),
    (b"level=info hello", 0, b""),
    (b"level=debug hello", 0, b"\x1b[36m"),
    (b"level=trace hello", 0, b"\x1b[2m"),
    (b"hello", 0, b""),
    (b'{"bytes":7,"reason":"error"}', int(Flag.GAP), b"\x1b[35m"),
)


async def test_colours_are_around_time_origin_and_line(engine: Engine, put: Put) -> None:
    await put([{"body": body, "ts": NOW_NS + n, "flags": flags} for n, (body, flags, _) in enumerate(COLOURS)])
    lines = (await answer(engine, ALL, Rendering(colour=True))).splitlines()
    for line, (body, flags, colour) in zip(lines, COLOURS, strict=True):
        time, origin, shown = line.split(b" ", 2)
        assert re.fullmatch(rb"\x1b\[2m2026-01-31T12:00:00\.\d{9}Z\x1b\[0m", time)
        assert origin == b"\x1b[34mshop/cart-0/app\x1b[0m"
        assert shown == colour + (b"[gap: 7 bytes lost: error]" if flags else body) + b"\x1b[0m"


GAPS = (
    (b'{"bytes":1234,"reason":"rotated away"}', "[gap: 1234 bytes lost: rotated away]"),
    (b'{"bytes":null,"reason":"unreadable"}', "[gap: an unknown number of bytes lost: unreadable]"),
)


async def test_a_gap_is_readable_as_text_and_whole_as_data(engine: Engine, put: Put) -> None:
    await put([{"body": body, "ts": NOW_NS + n, "flags": int(Flag.GAP)} for n, (body, _) in enumerate(GAPS)])
    lines = (await answer(engine, ALL)).decode().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [shown for _, shown in GAPS]
    rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(await answer(engine, ALL, Rendering(Format.JSON)))
    assert [(row["line"].encode(), row["flags"]) for row in rows] == [(body, ["gap"]) for body, _ in GAPS]
    table = csv.DictReader(io.StringIO((CSV_HEADER + await answer(engine, ALL, Rendering(Format.CSV))).decode()))
    assert [(row["line"].encode(), row["flags"]) for row in table] == [(body, "gap") for body, _ in GAPS]


FLAGGED: tuple[tuple[Flag, list[str]], ...] = (
    (Flag(0), []),
    (Flag.STDERR, []),
    (Flag.TRUNCATED, ["truncated"]),
    (Flag.MALFORMED | Flag.STDERR, ["malformed"]),
    (Flag.JOINED | Flag.TRUNCATED, ["truncated", "joined"]),
    (Flag.UNFINISHED, ["unfinished"]),
    (Flag(FLAGS_ALL), ["truncated", "malformed", "gap", "joined", "unfinished"]),
)


async def test_flags_are_named(engine: Engine, put: Put) -> None:
    await put([{"body": b"x", "ts": NOW_NS + n, "flags": int(flags)} for n, (flags, _) in enumerate(FLAGGED)])
    rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(await answer(engine, ALL, Rendering(Format.JSON)))
    assert [row["flags"] for row in rows] == [names for _, names in FLAGGED]
    table = csv.DictReader(io.StringIO((CSV_HEADER + await answer(engine, ALL, Rendering(Format.CSV))).decode()))
    assert [row["flags"].split() for row in table] == [names for _, names in FLAGGED]


async def test_a_name_cannot_command_a_terminal_but_is_whole_as_data(engine: Engine, put: Put) -> None:
    name = 'a\x1b[2J\0\n\x7f\x9b b"\\é'
    await put([{"body": b"\x1b[1m", "ts": NOW_NS, **dict.fromkeys(("namespace", "pod", "container"), name)}])
    shown = 'a\ufffd[2J\ufffd\ufffd\ufffd\ufffd b"\\é'
    assert (await answer(engine, ALL)).decode().partition(" ")[2] == f"{shown}/{shown}/{shown} \x1b[1m\n"
    assert f" \x1b[34m{shown}/{shown}/{shown}\x1b[0m ".encode() in await answer(engine, ALL, Rendering(colour=True))
    row = msgspec.json.decode(await answer(engine, ALL, Rendering(Format.JSON)))
    assert [row[key] for key in ("namespace", "pod", "container")] == [name] * 3


UNLABELLED = (
    (Format.TEXT, b"shop/?/? lost labels"),
    (Format.JSON, b'"namespace":"shop","pod":"","container":"","node":"","stream":"stderr","cluster":"","uid":"",'),
    (Format.CSV, b'"shop","","","","stderr","","",'),
)


async def test_a_record_whose_labels_are_missing_is_shown(engine: Engine, put: Put) -> None:
    await put([{"body": b"lost labels", "ts": NOW_NS, "flags": int(Flag.STDERR), "unknown": True}])
    selector = Selector((matcher("namespace", ["shop"]),))
    for shape, expected in UNLABELLED:
        for asked in (RECENT, ALL):
            query = msgspec.structs.replace(asked, selector=selector)
            assert expected in await answer(engine, query, Rendering(shape))


# The bodies of records 1 and 2: a byte that is not UTF-8 between letters; two lines.
EXPRESSIONS: tuple[tuple[str, list[int]], ...] = (
    ("a", [1, 2]),
    ("a.", []),
    ("a.b", []),
    ("(?s)a.", [2]),
    ("(?s)a.b", [2]),
    ("a[^x]b", [2]),
    (r"a\Cb", [1, 2]),
    (r"\xff", []),
    ("b.é", [1]),
    ("^b$", []),
    ("(?m)^b$", [2]),
)


async def test_an_expression_sees_characters_and_bytes_only_where_it_says_so(engine: Engine, put: Put) -> None:
    await put(
        [
            {"body": body, "ts": NOW_NS + n}
            for n, body in enumerate(("a\udcffb é".encode(errors="surrogateescape"), b"a\nb"))
        ]
    )
    for expression, expected in EXPRESSIONS:
        query = msgspec.structs.replace(RECENT, stages=(LineFilter.of(LineOp.MATCHES, expression),))
        assert await positions(engine, query) == expected, expression


LEVELS: tuple[tuple[list[str], list[int]], ...] = (
    (["error"], [2]),
    (["unknown"], [1]),
    (["error", "unknown"], [1, 2]),
    (["*"], [1, 2, 3]),
    (["w*"], [3]),
)


@BOTH
async def test_levels(engine: Engine, put: Put) -> None:
    bodies = [b"nothing", b"level=error a", b"WARN b"]
    await put([{"body": body, "ts": NOW_NS + n} for n, body in enumerate(bodies)])
    for levels, expected in LEVELS:
        query = msgspec.structs.replace(RECENT, stages=(LabelFilter(matcher(LEVEL, levels)),))
        assert await positions(engine, query) == expected, levels


SELECTIONS: tuple[tuple[tuple[Matcher, ...], list[int]], ...] = (
    ((Matcher("node", MatchOp.EQUAL, "b"),), [2]),
    ((Matcher("node", MatchOp.NOT_EQUAL, "b"),), [1, 3]),
    ((Matcher("node", MatchOp.MATCHES, "a|c"),), [1, 3]),
    ((Matcher("node", MatchOp.NOT_MATCHES, "[ab]"),), [3]),
    ((Matcher("node", MatchOp.MATCHES, "A"),), []),
    ((Matcher("node", MatchOp.MATCHES, "(?i)A"),), [1]),
    ((Matcher("absent", MatchOp.EQUAL, ""),), [1, 2, 3]),
    ((Matcher("absent", MatchOp.NOT_EQUAL, ""),), []),
    ((Matcher("namespace", MatchOp.NOT_EQUAL, "shop"), Matcher("node", MatchOp.MATCHES, ".")), [3]),
    ((Matcher("namespace", MatchOp.NOT_MATCHES, "s.*"),), [3]),
    ((Matcher("it's {x:String}", MatchOp.EQUAL, ""),), [1, 2, 3]),
)


@BOTH
async def test_every_operator_of_matchers(engine: Engine, put: Put) -> None:
    await put(
        [
            {"body": b"x", "ts": NOW_NS, "node": "a"},
            {"body": b"x", "ts": NOW_NS + 1, "node": "b"},
            {"body": b"x", "ts": NOW_NS + 2, "node": "c", "namespace": "other"},
        ]
    )
    for matchers, expected in SELECTIONS:
        query = msgspec.structs.replace(RECENT, selector=Selector(matchers))
        assert await positions(engine, query) == expected, matchers


@BOTH
async def test_everything_comes_in_order_over_days_and_slices(
    engine: Engine, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_SLICE_ROWS", 40)
    monkeypatch.setattr(slices, "_SLICE_ROWS_MIN", 1)
    times = [NOW_NS - 2 * DAY_NS + n * 1_700 * S for n in range(150)] + [NOW_NS] * 90
    await put([{"body": b"x", "ts": ts, "position": n + 1, "pod": f"p{n % 3}"} for n, ts in enumerate(times)])
    found = await positions(engine, ALL)
    assert sorted(found) == list(range(1, len(times) + 1))
    assert [times[n - 1] for n in found] == sorted(times)
    assert await positions(engine, ALL, Rendering(newest_first=True)) == found[::-1]


async def test_a_substring_prunes_by_its_whole_words(engine: Engine, put: Put) -> None:
    await put([{"body": b"request word%d done" % n, "ts": NOW_NS + n, "position": n + 1} for n in range(20_000)])
    query = msgspec.structs.replace(ALL, stages=(LineFilter.of(LineOp.CONTAINS, "st word777 do"),))
    assert await positions(engine, query) == [778]
    assert await granules(engine, "st word777 do") < await granules(engine, "word777")


async def granules(engine: Engine, text: str) -> int:
    statement = compile_query(msgspec.structs.replace(ALL, stages=(LineFilter.of(LineOp.CONTAINS, text),)))
    rows = await engine.rows(
        f"SELECT explain FROM (EXPLAIN indexes=1 {statement.sql})",  # noqa: S608 - our own
        dict[str, str],
        statement.parameters,
    )
    (found,) = [row["explain"] for row in rows if "| Granules: " in row["explain"]]
    return int(found.rpartition(" ")[2])


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"time_s": 0.0}, QueryTimeoutError),
        ({"memory_bytes": 1 << 20}, QueryMemoryError),
        ({"read_bytes": 1 << 10}, QueryRowsError),
    ],
)
async def test_a_limit_ends_a_query(engine: Engine, put: Put, limits: dict[str, Any], error: type[Exception]) -> None:
    await put([{"body": b"x" * 100, "ts": NOW_NS + n, "position": n + 1} for n in range(20_000)])
    with pytest.raises(error):
        [piece async for piece in pieces(engine, ALL, Rendering(), budget(**limits), NOW_NS)]


async def test_an_answer_that_must_be_held_has_a_limit(engine: Engine, put: Put) -> None:
    await put([{"body": b"x" * 1000, "ts": NOW_NS + n, "position": n + 1} for n in range(2000)])
    query = msgspec.structs.replace(ALL, limit=2000)
    with pytest.raises(QueryAnswerError, match="1048576 bytes"):
        await answer(engine, query)
    # Newest first, nothing has to be held.
    assert len(await answer(engine, query, Rendering(newest_first=True))) > 1 << 20
