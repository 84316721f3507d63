"""What is left out of lines over the limit: the record says how much, and so do metrics and the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from agent.follow.tail import Tail
from agent.parse.overlong import NOTE_BYTES_MAX, cut_again, note
from agent.parse.unfinished import PATIENCE_S
from agent.select.readymade import READY_MADE
from agent.select.rules import Rule, Rules
from tests.agent.tailing import Clock, TailedNode, cri, pack
from wire.batch import Flag
from wire.codec import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1 << 20
LIVE = "a_pod_u1/web/0.log"
ROTATED = "a_pod_u1/web/0.log.20240101-000000"
END = b"\n"
# What `cri` writes behind a text.
NUMBER_BYTES = 2


@pytest.fixture
def node(tmp_path: Path) -> TailedNode:
    return TailedNode(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def docker(text: str) -> bytes:
    return f'{{"log":"{text}\\n","stream":"stdout","time":"2023-04-05T02:29:34.1Z"}}\n'.encode()


def told(node: TailedNode) -> list[tuple[int, bytes]]:
    """Of each record the number of bytes, if they are all x, and what follows them."""
    return [(len(body) - len(body.lstrip(b"x")), body.lstrip(b"x")) for body in node.bodies]


def counted(node: TailedNode) -> tuple[float, float]:
    return node.metric("truncated_records_total"), node.metric("truncated_bytes_total")


def x(size: int) -> str:
    return "x" * (size - NUMBER_BYTES)


@pytest.mark.parametrize(
    ("lines", "dropped"),
    [
        ([cri(1, x(LIMIT))], 0),
        ([cri(1, x(LIMIT + 1))], 1),
        ([cri(1, x(LIMIT + 2000))], 2000),
        ([cri(1, x(LIMIT + 300_000))], 300_000),
        ([cri(1, x(3 * LIMIT))], 2 * LIMIT),
        ([cri(1, x(LIMIT), tag="P"), cri(2, x(700_000), tag="P"), cri(3, "", tag="F")], 700_002),
        ([cri(1, x(3 * LIMIT), tag="P"), cri(2, x(5), tag="F")], 2 * LIMIT + 5),
        # As it stands in the file, since it is no object without its end.
        ([docker("x" * 10), docker("x" * 2 * LIMIT)], len(docker("x" * 2 * LIMIT)) - 1 - LIMIT),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_record_says_how_many_bytes_of_it_are_left_out(
    node: TailedNode,
    lines: list[bytes],
    dropped: int,
    is_packed: bool,  # noqa: FBT001 - a table's column
) -> None:
    written = node.write(ROTATED if is_packed else LIVE, *lines, cri(9, "after"))
    if is_packed:
        pack(written)
    node.settle()
    assert node.bodies[-1] == (b"after 9" if lines[0].startswith(b"2") else cri(9, "after").rstrip())
    long = node.bodies[-2]
    assert len(long) == LIMIT + (len(note(dropped)) if dropped else 0)
    assert long.endswith(note(dropped)) == bool(dropped)
    assert bool(node.flags[-2] & Flag.TRUNCATED) == bool(dropped)
    assert counted(node) == (float(bool(dropped)), float(dropped))


def test_a_last_line_without_its_end_says_it_as_well(node: TailedNode, clock: Clock) -> None:
    node.write(ROTATED, cri(1), cri(2, x(2 * LIMIT)).rstrip())
    node.write(LIVE, cri(3, "after"))
    node.settle()
    clock.forward(PATIENCE_S + 1)
    node.overdue()
    assert [body for body in told(node) if body[0]] == [(LIMIT, note(LIMIT))]
    assert counted(node) == (1.0, float(LIMIT))


def test_a_record_that_goes_on_in_the_next_file_counts_once(node: TailedNode) -> None:
    node.write(ROTATED, cri(1, x(LIMIT - 10), tag="P"))
    node.write(LIVE, cri(2, x(50), tag="F"), cri(3, "after"))
    node.settle()
    assert told(node)[0][1].endswith(note(40))
    assert counted(node) == (1.0, 40.0)


def test_bytes_are_counted_when_the_record_is_delivered(node: TailedNode) -> None:
    node.write(LIVE, cri(1, x(LIMIT + 70), tag="P"))
    node.settle()
    assert counted(node) == (0.0, 0.0)
    node.restart()
    node.write(LIVE, cri(2, x(5), tag="F"))
    node.settle()
    assert counted(node) == (1.0, 75.0)


def test_records_that_are_held_and_read_again_count_once(node: TailedNode) -> None:
    node.tail.close()
    node.tail = Tail("test", 2000, node.metrics)
    node.write(LIVE, cri(1, "Traceback (most recent call last):"), cri(2, '  File "' + x(3000)), cri(3, "  y"))
    node.settle()
    node.write(LIVE, cri(4, "  z"), cri(5, "after"))
    node.settle()
    node.tail.close_held()
    node.ship()
    kept = sum(len(body) - NOTE_BYTES_MAX < 2000 for body in node.bodies)
    assert kept == len(node.bodies)
    assert node.bodies[-1] == b"after 5"
    assert counted(node) == (1.0, float(len('  File "' + x(3000)) + NUMBER_BYTES - 2000))


def test_the_largest_limit_leaves_room_for_the_note(node: TailedNode) -> None:
    node.tail.close()
    node.tail = Tail("test", RECORD_BYTES_MAX, node.metrics)
    node.write(LIVE, cri(1, x(RECORD_BYTES_MAX + 1)))
    node.settle()
    assert len(node.bodies[0]) <= RECORD_BYTES_MAX
    assert node.bodies[0].endswith(note(NOTE_BYTES_MAX + 1))


def test_cuts_are_warned_of_now_and_then(node: TailedNode, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def warnings() -> list[dict[str, object]]:
        found = [record for record in caplog.records if record.levelno == logging.WARNING]
        return [vars(record)["fields"] for record in found]

    path = str(node.write(LIVE, cri(1, x(LIMIT + 5)), cri(2, x(LIMIT + 6))))
    node.settle()
    said = {"path": path, "limit_bytes": LIMIT}
    assert warnings() == [said | {"records": 1, "bytes": 5}]
    for number in range(3, 6):
        node.write(LIVE, cri(number, x(LIMIT + 1)))
        node.settle()
    assert len(warnings()) == 1
    clock.forward(61)
    node.write(LIVE, cri(6, x(LIMIT + 1)))
    node.settle()
    assert warnings()[1:] == [said | {"records": 5, "bytes": 10}]


def test_a_record_that_a_replacement_makes_too_long_says_it(node: TailedNode) -> None:
    node.rules = Rules((), (), (Rule("*", redact=("email",)),))
    node.restart()
    text = "a@b.de " * (LIMIT // 7)
    node.write(LIVE, cri(1, text))
    node.settle()
    size = len(READY_MADE["email"].replace((text + " 1").encode())[0])
    assert node.bodies[0].endswith(note(size - LIMIT))
    assert counted(node) == (1.0, float(size - LIMIT))


@pytest.mark.parametrize(
    ("record", "is_cut", "found"),
    [
        (b"abcdef", False, (b"abc" + note(3), 3)),
        (b"abcdef" + note(10), True, (b"abc" + note(13), 3)),
        # What a program wrote is no note.
        (b"abc" + note(10), False, (b"abc" + note(len(note(10))), len(note(10)))),
    ],
)
def test_a_note_that_is_there_is_taken_into_the_new_one(
    record: bytes, found: tuple[bytes, int], *, is_cut: bool
) -> None:
    limit = 3 + (len(note(10)) if is_cut else 0)
    assert cut_again(record, limit, is_cut=is_cut) == found


def test_notes_are_short() -> None:
    assert len(note((1 << 63) - 1)) <= NOTE_BYTES_MAX
