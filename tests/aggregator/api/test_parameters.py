from __future__ import annotations

from urllib.parse import urlencode

import pytest

from aggregator.api.parameters import AHEAD_NS, CATALOGUE, QUERY, VALUES_MAX, Given, asked, scope
from aggregator.logql.tree import (
    LEVEL,
    TIME_MAX_NS,
    LabelFilter,
    LineFilter,
    LineOp,
    Matcher,
    MatchOp,
    Query,
    Selector,
)
from aggregator.store.rendering import Format, Rendering
from service.web import RefusedError

NOW_NS = 1_769_860_800_000_000_000
HOUR_NS = 3_600_000_000_000
ROWS_MAX = 5000


def query_of(text: str) -> Query:
    query = asked(text, "", NOW_NS, ROWS_MAX).query
    assert isinstance(query, Query)
    return query


def test_without_parameters_the_newest_thousand_of_the_last_hour() -> None:
    found = asked("", "", NOW_NS, ROWS_MAX)
    assert found.query == Query(Selector(), (), NOW_NS - HOUR_NS, NOW_NS + AHEAD_NS, 1000)
    assert found.rendering == Rendering()


def test_parameters_become_a_tree() -> None:
    text = urlencode(
        [
            ("pod", "web-*"),
            ("namespace", "shop"),
            ("pod", "api"),
            ("level", "WARNING"),
            ("grep", "a b"),
            ("grep", "100%"),
            ("word", "ts-42"),
            ("word", "x"),
            ("not", "ünï"),
            ("regex", r"\d+"),
        ]
    )
    query = query_of(text)
    assert query.selector == Selector(
        (Matcher("namespace", MatchOp.EQUAL, "shop"), Matcher("pod", MatchOp.MATCHES, r"web\-.*|api"))
    )
    assert query.stages == (
        LabelFilter(Matcher(LEVEL, MatchOp.EQUAL, "warn")),
        LineFilter.of(LineOp.CONTAINS, "a b"),
        LineFilter.of(LineOp.CONTAINS, "100%"),
        LineFilter.of(LineOp.MATCHES, r"\bts\-42\b"),
        LineFilter.of(LineOp.MATCHES, r"\bx\b"),
        LineFilter.of(LineOp.LACKS, "ünï"),
        LineFilter.of(LineOp.MATCHES, r"(?s)\d+"),
    )


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("since=15m", NOW_NS - HOUR_NS // 4, NOW_NS + AHEAD_NS),
        ("since=2h&end=1769860800", NOW_NS - 2 * HOUR_NS, NOW_NS),
        ("end=1769860800", NOW_NS - HOUR_NS, NOW_NS),
        ("start=2026-01-31T11:00:00Z&end=2026-01-31T12:00:00%2B00:00", NOW_NS - HOUR_NS, NOW_NS),
        ("start=0", 0, NOW_NS + AHEAD_NS),
        ("start=0&end=9223372036854775807", 0, TIME_MAX_NS),
        ("since=9999w", 0, NOW_NS + AHEAD_NS),
    ],
)
def test_ranges(text: str, start: int, end: int) -> None:
    assert (query_of(text).start_ns, query_of(text).end_ns) == (start, end)
    assert (scope(text, NOW_NS).window.start_ns, scope(text, NOW_NS).window.end_ns) == (start, end)


@pytest.mark.parametrize(
    ("text", "parameter", "hint"),
    [
        ("sinse=1h", "sinse", "did you mean 'since'?"),
        ("xyz=1", "xyz", "there are namespace"),
        ("since=1h&start=0", "since", "give one of them"),
        ("since=soon", "since", "a duration is"),
        ("start=soon", "start", "a time is"),
        ("end=2026-13-01", "end", "a time is"),
        ("start=5&end=5", "start", ""),
        ("start=5&end=4", "start", ""),
        ("end=0", "end", ""),
        ("start=2026-02-01", "start", "without end that is 5 minutes from now"),
        ("limit=-1", "limit", "it is 0"),
        ("limit=1e3", "limit", "it is 0"),
        ("limit=٣", "limit", "it is 0"),
        ("limit=" + "9" * 5000, "limit", "it is 0"),
        ("limit=5001", "limit", "limit=0 streams"),
        ("limit=1&limit=2", "limit", "give it once"),
        ("regex=a&regex=b", "regex", "give it once"),
        ("word=-x", "word", "grep looks for any text"),
        ("word=tür%C3%A9", "word", "grep looks for any text"),
        ("order=up", "order", "asc, desc"),
        ("format=xml", "format", "text, json, csv"),
        ("color=auto", "color", "always, never"),
        ("color=always&format=json", "color", "format=text"),
        ("grep=", "grep", "leave it out"),
        ("pod", "pod", "leave it out"),
        ("grep=%ff", "grep", "UTF-8"),
        ("grep=50%", "grep", "write % as %25"),
        ("grep=%zz", "grep", "write % as %25"),
        ("grep=a&pod=%2", "pod", "write % as %25"),
        ("pod%=a", "pod%", "write % as %25"),
        ("regex=(", "regex", "RE2"),
        ("regex=(%3F%3Da)", "regex", "RE2"),
        ("%ff=1", "%ff", "UTF-8"),
        ("level=wran", "level", "did you mean 'warn'?"),
        ("&".join(["grep=a"] * (VALUES_MAX + 1)), "grep", "use *"),
        ("stream=foo", "stream", "stdout, stderr"),
        ("stream=stdout&stream=STDERR", "stream", "stdout, stderr"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text: str, parameter: str, hint: str) -> None:
    with pytest.raises(RefusedError) as caught:
        query_of(text)
    assert caught.value.status == 400
    assert caught.value.refusal.parameter == parameter
    assert caught.value.refusal.error
    assert hint in caught.value.refusal.hint


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(", "missing ): ("),
        ("a(b", "missing ): a(b"),
        (")", "unexpected ): )"),
        ("*a", "no argument for repetition operator: *"),
        ("(?-s)(", "missing ): (?-s)("),
        ("a" * 20_000, "longer than 16384 characters"),
    ],
)
def test_what_is_wrong_with_a_regex_is_said_of_what_was_written(expression: str, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        query_of(urlencode({"regex": expression}))
    assert caught.value.refusal.error == reason


def test_every_label_can_be_asked_for() -> None:
    text = "cluster=east&uid=8d2*&stream=std*&stream=stdout"
    assert query_of(text).selector == scope(text, NOW_NS).selector
    assert [(one.label, one.value) for one in query_of(text).selector.matchers] == [
        ("stream", "std.*|stdout"),
        ("cluster", "east"),
        ("uid", "8d2.*"),
    ]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        ("application/json", Format.JSON),
        ("Application/X-NDJSON", Format.JSON),
        ("text/csv;q=0.5, application/json;q=0.9", Format.JSON),
        ("application/json;q=0, text/csv", Format.CSV),
    ],
)
def test_accept_decides_where_format_does_not(accept: str, expected: Format) -> None:
    assert asked("", accept, NOW_NS, ROWS_MAX).rendering.format is expected
    assert asked("format=csv", accept, NOW_NS, ROWS_MAX).rendering.format is Format.CSV


def test_what_cannot_be_accepted_is_406() -> None:
    with pytest.raises(RefusedError) as caught:
        asked("", "image/png", NOW_NS, ROWS_MAX)
    assert caught.value.status == 406


@pytest.mark.parametrize("known", [QUERY, CATALOGUE])
def test_only_what_is_in_the_table_is_accepted(known: tuple[object, ...]) -> None:
    names = {parameter.name for parameter in known if parameter in QUERY}
    for parameter in QUERY:
        value = parameter.choices[0] if parameter.choices else "1"
        if parameter.name in names:
            assert Given(f"{parameter.name}={value}", tuple(p for p in QUERY if p in known)).one(parameter.name)
        else:
            with pytest.raises(RefusedError):
                Given(f"{parameter.name}={value}", CATALOGUE)
