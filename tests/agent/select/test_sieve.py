"""Dropping and redacting all records of a round at once is what it would be to each by itself."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.metrics import Metrics
from agent.parse.assemble import Records
from agent.parse.overlong import note
from agent.select.expression import SEPARATORS, Expression
from agent.select.readymade import READY_MADE
from agent.select.redaction import GROWTH_BYTES_MAX, Redaction
from agent.select.rules import PLAIN, Replacement, Treatment, redaction_of
from agent.select.sieve import SAY_AGAIN_AFTER_S, SLOW_ROUND_S, Sieve
from wire.batch import Flag

Row = tuple[int, Flag, bytes]  # position, flags, body


def records_of(segments: list[list[Row]]) -> Records:
    rows = [row for segment in segments for row in segment]
    return Records(
        np.array([1000 + position for position, _, _ in rows], np.int64),
        np.array([position for position, _, _ in rows], np.uint64),
        np.array([flags for _, flags, _ in rows], np.uint8),
        np.array([len(body) for _, _, body in rows], np.uint32),
        memoryview(b"".join(body for _, _, body in rows)),
        np.array([position - 1 for position, _, _ in rows], np.int64),
        np.array([position for position, _, _ in rows], np.int64),
        np.array([len(segment) for segment in segments], np.int64),
        np.array([77 + len(segment) for segment in segments], np.int64),
    )


def rows_of(records: Records) -> list[list[Row]]:
    segments: list[list[Row]] = []
    row = offset = 0
    assert records.lengths.dtype == np.uint32
    assert len(records.times) == len(records.positions) == len(records.flags) == len(records.lengths)
    assert records.times.tolist() == [1000 + position for position in records.positions.tolist()]
    for count in records.rows.tolist():
        segments.append([])
        for _ in range(count):
            length = int(records.lengths[row])
            body = bytes(records.body[offset : offset + length])
            segments[-1].append((int(records.positions[row]), Flag(int(records.flags[row])), body))
            row += 1
            offset += length
    assert (row, offset) == (len(records.times), len(records.body))
    return segments


def one_by_one(
    segments: list[list[Row]], treatments: list[Treatment], bytes_max: int
) -> tuple[list[list[Row]], int, Counter[str]]:
    """The obvious way, and what it counted."""
    dropped, redacted = 0, Counter[str]()
    left: list[list[Row]] = []
    for segment, treatment in zip(segments, treatments, strict=True):
        left.append([])
        for position, flags, text in segment:
            body = text
            if not flags & Flag.GAP:
                if any(expression.alone.search(body) for expression in treatment.drop):
                    dropped += 1
                    continue
                for redaction in treatment.redact:
                    body, places = redaction.replace(body)
                    redacted[redaction.name] += places > 0
                if len(body) > bytes_max and body != text:
                    body, flags = body[:bytes_max] + note(len(body) - bytes_max), flags | Flag.TRUNCATED  # noqa: PLW2901 - as the sieve does
            left[-1].append((position, flags, body))
    return left, dropped, +redacted


def counted(metrics: Metrics) -> tuple[int, Counter[str]]:
    get = metrics.registry.get_sample_value
    names = [*READY_MADE, "custom"]
    redacted = {name: int(get("logboom_agent_redacted_records_total", {"pattern": name}) or 0) for name in names}
    return int(get("logboom_agent_dropped_records_total") or 0), +Counter(redacted)


DROPS = ["b", "^a", "a$", "^$", r"\Aab\Z", r"(?<!a)b", r"\bab\b", "a.b", r"(?m)^b$", "[^a]{3}", "a@", "x"]
REDACTS = [
    "a",
    "^",
    "$",
    "a*",
    r"\b",
    "(?s)a.",
    "(?<=a)b",
    "[^ab]+",
    "bba",
    r"(?P<x>a)(b)?",
    "[redacted]",
    "email",
    "card",
    "secret",
]
TREATMENTS = st.builds(
    lambda drop, redact: Treatment(
        drop=tuple(Expression(text) for text in drop),
        redact=tuple(
            READY_MADE.get(text) or redaction_of(Replacement(text, r"<\g<0>>" if text == "a" else "<>"))
            for text in redact
        ),
    ),
    st.lists(st.sampled_from(DROPS), max_size=2),
    st.lists(st.sampled_from(REDACTS), max_size=3),
)
BODIES = st.one_of(
    st.text("ab\n @.4", max_size=6).map(str.encode),
    st.sampled_from([b"a@b.de", b"4111111111111111", b"password=ab", b"b", b"", b"ab" * 30]),
    st.sampled_from([bytes(SEPARATORS), bytes(SEPARATORS[:1]) + b"ab", b"a\xc3\xa9"]),
)
SEGMENTS = st.lists(
    st.lists(st.tuples(st.sampled_from([Flag(0), Flag.STDERR, Flag.GAP, Flag.JOINED]), BODIES), max_size=5), max_size=4
).map(lambda segments: [[(i, flags, body) for i, (flags, body) in enumerate(segment, 1)] for segment in segments])


@settings(max_examples=500, deadline=None)
@given(SEGMENTS, st.lists(TREATMENTS, min_size=1, max_size=3), st.integers(0, 5))
def test_all_at_once_is_one_by_one(segments: list[list[Row]], treatments: list[Treatment], shift: int) -> None:
    each = [(treatments * 4 + [PLAIN])[(i + shift) % (len(treatments) + 1)] for i in range(len(segments))]
    metrics = Metrics()
    left = Sieve(100, metrics).sift(records_of(segments), each)
    expected, dropped, redacted = one_by_one(segments, each, 100)
    assert rows_of(left) == expected
    assert counted(metrics) == (dropped, redacted)
    assert left.ends.tolist() == [77 + len(segment) for segment in segments]


def sifted(bodies: list[bytes], treatment: Treatment, bytes_max: int = 1 << 20) -> list[bytes]:
    segment = [(number, Flag(0), body) for number, body in enumerate(bodies, 1)]
    return [body for _, _, body in rows_of(Sieve(bytes_max, Metrics()).sift(records_of([segment]), [treatment]))[0]]


def redacting(*patterns: str) -> Treatment:
    return Treatment(redact=tuple(redaction_of(Replacement(pattern, "<>")) for pattern in patterns))


@pytest.mark.parametrize(
    ("bodies", "pattern", "expected"),
    [
        ([b"pass", b"word"], "password", [b"pass", b"word"]),
        ([b"xpass", b"wordx", b"password"], "pass|word|password", [b"x<>", b"<>x", b"<><>"]),
        ([b"a", b"a"], "^a$", [b"<>", b"<>"]),
        ([b"ab", b"b"], "(?<!a)b", [b"ab", b"<>"]),
        ([b"a", b"b"], r"a(?!b)", [b"<>", b"b"]),
        ([b"a", b"b"], r"\bb", [b"a", b"<>"]),
        ([b"a(", b")b"], r"\(.*\)", [b"a(", b")b"]),
        ([b"a\nb", b"c"], r"(?s)a.*", [b"<>", b"c"]),
    ],
)
def test_a_match_never_crosses_the_border_of_a_record(bodies: list[bytes], pattern: str, expected: list[bytes]) -> None:
    assert sifted(bodies, redacting(pattern)) == expected


def test_a_gap_record_is_never_touched() -> None:
    segment = [(1, Flag.GAP, b"abc"), (2, Flag(0), b"abc"), (3, Flag.GAP | Flag.STDERR, b"abc")]
    for treatment, expected in (
        (Treatment(drop=(Expression("b"),)), [segment[0], segment[2]]),
        (redacting("b"), [segment[0], (2, Flag(0), b"a<>c"), segment[2]]),
    ):
        assert rows_of(Sieve(100, Metrics()).sift(records_of([segment]), [treatment])) == [expected]


def test_what_is_not_touched_is_not_copied() -> None:
    records = records_of([[(1, Flag(0), b"abc")], [(1, Flag(0), b"a@b")]])
    sieve = Sieve(100, Metrics())
    assert sieve.sift(records, [PLAIN, PLAIN]) is records
    assert sieve.sift(records, [Treatment(drop=(Expression("x"),)), redacting("x")]) is records
    assert sieve.sift(records, [Treatment(redact=tuple(READY_MADE.values()))] * 2) is records


def test_a_record_that_grows_is_cut_and_says_so() -> None:
    segment = [(1, Flag(0), b"aaaa"), (2, Flag(0), b"b" * 10), (3, Flag.STDERR, b"a")]
    left = rows_of(Sieve(5, Metrics()).sift(records_of([segment]), [redacting("a")]))
    assert left == [[(1, Flag.TRUNCATED, b"<><><" + note(3)), (2, Flag(0), b"b" * 10), (3, Flag.STDERR, b"<>")]]


def test_replacements_add_no_more_than_a_limit() -> None:
    wide = Redaction("custom", Expression("a"), b"x" * 256)
    [body] = sifted([b"a" * (1 << 16)], Treatment(redact=(wide,)), 1 << 30)
    assert GROWTH_BYTES_MAX - 256 < len(body) < GROWTH_BYTES_MAX + (1 << 16)
    assert b"a" not in body


def test_a_slow_round_is_said_now_and_then_with_its_expression(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    used = [0.0]
    step = [SLOW_ROUND_S / 4]

    def cpu_clock() -> float:
        used[0] += step[0]
        return used[0]

    sieve = Sieve(100, Metrics(), lambda: now[0], cpu_clock)
    records = records_of([[(1, Flag(0), b"abc")]])
    with caplog.at_level(logging.WARNING):
        sieve.sift(records, [Treatment(drop=(Expression("x"),))])
        assert not caplog.records
        step[0] = SLOW_ROUND_S * 1.5
        for _ in range(3):
            sieve.sift(records, [Treatment(drop=(Expression("x+"),))])
        assert len(caplog.records) == 1
        assert vars(caplog.records[0])["fields"]["slowest"] == "x+"
        now[0] += SAY_AGAIN_AFTER_S + 1
        sieve.sift(records, [Treatment(drop=(Expression("x+"),))])
        assert len(caplog.records) == 2
