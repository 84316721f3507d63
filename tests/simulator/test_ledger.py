from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.ledger import Check, Ledger, Report, Run, Written
from simulator.lines import Container, Manner, Voice, read_mark
from simulator.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTAINERS = [
    Container("shop", "cart-1", "0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app"),
    Container("shop", "cart-2", "1b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app"),
]
LINES = 30
Row = dict[str, str]


def spoken() -> tuple[Ledger, list[Row]]:
    """A ledger, and what a store should answer, stream after stream."""
    written = []
    rows: list[Row] = []
    for container in CONTAINERS:
        voice = Voice(container, Manner(stderr=0.4), Messages(1), exact=True)
        lines = voice.speak(LINES, 1_700_000_000_987_654_321)
        of = (container.namespace, container.pod, container.uid, container.name)
        written += [
            Written(*of, stream, (Run(0, 0, 5), Run(1, 5, count)))
            for stream, count in zip(("stdout", "stderr"), voice.counts, strict=True)
        ]
        for stderr, time, text in zip(lines.stderr.tolist(), lines.times.tolist(), lines.texts, strict=True):
            second = dt.datetime.fromtimestamp(time // 10**9, dt.UTC)
            rows.append(
                {
                    "ts": f"{second:%Y-%m-%dT%H:%M:%S}.{time % 10**9:09d}Z",
                    "namespace": container.namespace,
                    "pod": container.pod,
                    "container": container.name,
                    "stream": "stderr" if stderr else "stdout",
                    "line": text.decode(),
                }
            )
    return Ledger(tuple(written)), rows


LEDGER, ROWS = spoken()


def report(rows: list[Row]) -> Report:
    check = Check(LEDGER)
    check.json([msgspec.json.encode(row) for row in rows])
    return check.report()


def differences(rows: list[Row]) -> dict[str, int]:
    found = report(rows)
    counts = {name: getattr(found, name) for name in ("missing", "twice", "changed", "disordered", "foreign")}
    assert found.exact is not any(counts.values())
    assert bool(found.examples) is any(counts.values())
    return {name: count for name, count in counts.items() if count}


def with_row(at: int, **changes: str) -> list[Row]:
    return [*ROWS[:at], {**ROWS[at], **changes}, *ROWS[at + 1 :]]


def test_what_was_written_is_exact() -> None:
    assert differences(ROWS) == {}
    assert report(ROWS).lines == report(ROWS).written == len(ROWS) == LEDGER.lines


def test_streams_may_come_in_any_order_among_each_other() -> None:
    assert differences(sorted(ROWS, key=lambda row: (row["stream"], row["pod"], row["ts"]))) == {}
    assert differences(sorted(ROWS, key=lambda row: row["ts"])) == {}


def first(stream: str, pod: str = "cart-1") -> int:
    return next(at for at, row in enumerate(ROWS) if row["stream"] == stream and row["pod"] == pod)


FAULTS: list[tuple[str, Callable[[], list[Row]], dict[str, int]]] = [
    ("nothing there", list, {"missing": len(ROWS)}),
    ("first line missing", lambda: ROWS[1:], {"missing": 1}),
    ("last line missing", lambda: ROWS[:-1], {"missing": 1}),
    ("a run of lines missing", lambda: ROWS[:10] + ROWS[20:], {"missing": 10}),
    ("a line twice", lambda: [*ROWS[:7], *ROWS[6:]], {"twice": 1}),
    ("a line three times", lambda: [*ROWS, ROWS[3], ROWS[3]], {"twice": 2}),
    ("all of it twice", lambda: ROWS + ROWS, {"twice": len(ROWS)}),
    ("a changed text", lambda: with_row(5, line=ROWS[5]["line"].replace(" ", "_", 1)), {"changed": 1, "missing": 1}),
    ("a cut text", lambda: with_row(5, line=ROWS[5]["line"][:-1]), {"changed": 1, "missing": 1}),
    ("a line without a mark", lambda: [*ROWS, {**ROWS[0], "line": "hello"}], {"changed": 1}),
    ("another time", lambda: with_row(5, ts=ROWS[5]["ts"].replace(".", ".1")[:29] + "Z"), {"changed": 1}),
    ("no time", lambda: with_row(5, ts="yesterday"), {"changed": 1}),
    ("another pod", lambda: with_row(5, pod="cart-9"), {"changed": 1}),
    ("another stream", lambda: with_row(first("stdout"), stream="stderr"), {"changed": 1}),
    ("a line moved to the end", lambda: [*ROWS[1:], ROWS[0]], {"disordered": 1}),
]


@pytest.mark.parametrize(("rows", "expected"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS])
def test_a_fault_is_found(rows: Callable[[], list[Row]], expected: dict[str, int]) -> None:
    assert differences(rows()) == expected


def test_lines_of_another_node_are_foreign() -> None:
    stranger = Container("shop", "cart-3", "2b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app")
    line = Voice(stranger, Manner(), Messages(1), exact=True).speak(1, 1_700_000_000_987_654_321).texts[0].decode()
    assert differences([*ROWS, {**ROWS[0], "line": line}]) == {"foreign": 1}


def test_text_is_checked_to_the_byte() -> None:
    container = CONTAINERS[0]
    voice = Voice(container, Manner(binary=0.5), Messages(1), exact=True)
    lines = voice.speak(100, 1_700_000_000_000_000_000)
    ledger = Ledger(
        tuple(
            Written(container.namespace, container.pod, container.uid, container.name, stream, (Run(0, 0, count),))
            for stream, count in zip(("stdout", "stderr"), voice.counts, strict=True)
        )
    )
    answer = [
        f"2023-11-14T22:13:20.{time % 10**9:09d}Z shop/cart-1/app ".encode() + text + b"\n"
        for time, text in zip(lines.times.tolist(), lines.texts, strict=True)
    ]
    check = Check(ledger)
    check.text(answer)
    assert check.report().exact
    lossy = Check(ledger)
    lossy.text(line.decode(errors="replace").encode() for line in answer)
    assert lossy.report().changed > 20


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_any_order_and_number_of_lines_is_counted_as_a_plain_model_does(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(ROWS), max_size=80))
    found = report(rows)
    seen: set[tuple[str, bool, int]] = set()
    highest: dict[tuple[str, bool], int] = {}
    twice = disordered = 0
    for row in rows:
        mark = read_mark(row["line"].encode())
        assert mark
        name = (mark.key, mark.stderr, mark.sequence)
        if name in seen:
            twice += 1
        elif mark.sequence < highest.get(name[:2], -1):
            disordered += 1
        seen.add(name)
        highest[name[:2]] = max(mark.sequence, highest.get(name[:2], -1))
    assert (found.missing, found.twice, found.disordered) == (len(ROWS) - len(seen), twice, disordered)
    assert (found.changed, found.foreign, found.lines) == (0, 0, len(rows))


def test_a_ledger_is_saved_and_loaded(tmp_path: Path) -> None:
    LEDGER.save(tmp_path / "ledger.json")
    assert Ledger.load(tmp_path / "ledger.json") == LEDGER
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.json"]
