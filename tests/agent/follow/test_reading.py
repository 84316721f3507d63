"""The tail in situations that need to be brought about: what cannot be read, is there twice, shrinks, or goes away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.parse.overlong import note
from agent.parse.stretch import READ_BYTES_MAX
from agent.parse.unfinished import OPEN_BYTES_MAX
from tests.agent.tailing import TailedNode, cri, make_unreadable
from wire.batch import Flag

if TYPE_CHECKING:
    from tests.agent.tailing import Clock


@pytest.fixture
def node(tailed: TailedNode) -> TailedNode:
    return tailed


def test_after_a_failed_read_reading_goes_on_where_it_stands(node: TailedNode, clock: Clock) -> None:
    node.write("a_b_c/web/0.log", *map(cri, range(10)))
    node.settle()
    node.write("a_b_c/web/0.log", *map(cri, range(10, 20)))
    node.look()
    file = node.file("0.log")
    read = file.read
    make_unreadable(file)
    assert node.tail.read_round() == []
    assert (file.fd, file.read, file.placed, node.read_errors()) == (None, read, True, 1)
    clock.forward(10)
    node.settle()
    assert node.bodies == [b"line %d" % number for number in range(20)]


def test_a_file_that_failed_to_be_read_and_is_gone_is_forgotten_and_said_to_be_lost(
    node: TailedNode, clock: Clock
) -> None:
    path = node.write("a_b_c/web/0.log", cri(1))
    node.scan()
    node.place()
    path.unlink()
    node.scan()
    make_unreadable(node.file("0.log"))
    assert node.tail.read_round() == []
    clock.forward(10)
    node.look()
    assert list(node.tail.files()) == []
    assert node.tail.unplaced() == []
    assert node.tail._sources == {}
    clock.forward(10)
    node.settle()
    assert node.gaps == [(len(cri(1)), "unreadable")]
    assert node.lost_bytes() == len(cri(1))


def test_a_file_that_goes_away_before_it_could_be_opened_is_said_to_be_lost(
    node: TailedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = node.write("a_b_c/web/0.log", cri(1))

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        node.scan()
    assert (node.file("0.log").fd, node.file("0.log").lag_bytes, node.read_errors()) == (None, len(cri(1)), 1)
    path.unlink()
    node.scan()
    clock.forward(10)
    node.settle()
    assert node.gaps == [(len(cri(1)), "unreadable")]
    assert node.gap_bytes() == {"unreadable": len(cri(1))}


def test_a_file_that_was_committed_is_not_said_to_be_lost(node: TailedNode, clock: Clock) -> None:
    rotated = node.write("a_b_c/web/0.log.20230405-022934", cri(1))
    node.write("a_b_c/web/0.log", cri(2))
    node.settle()
    clock.forward(100)
    node.look()
    assert node.file("022934").fd is None
    rotated.unlink()
    node.scan()
    assert node.lost_bytes() == 0


def test_a_partial_line_waits_for_its_end_where_that_is_still_to_be_read(node: TailedNode, clock: Clock) -> None:
    begun = b"2023-04-05T02:29:34.5Z stdout P begun,\n"
    fill = cri(1, "x" * 1000)
    count = (READ_BYTES_MAX - len(begun)) // len(fill)
    rest = READ_BYTES_MAX - len(begun) - count * len(fill)
    node.write("a_b_c/web/0.log", *[fill] * count, b"\n" * rest, begun, b"2023-04-05T02:29:34.6Z stdout F ended\n")
    node.scan()
    node.place()
    node.ship()
    assert node.file("0.log").assembly.open_start == READ_BYTES_MAX - len(begun)
    clock.forward(100)
    node.look()
    assert node.tail.overdue() == []
    node.settle()
    assert node.bodies[-1] == b"begun,ended"


def test_a_partial_line_whose_end_does_not_come_is_overdue(node: TailedNode, clock: Clock) -> None:
    node.write("a_b_c/web/0.log", b"2023-04-05T02:29:34.5Z stdout P begun\n")
    node.settle()
    clock.forward(100)
    (overdue,) = node.tail.overdue()
    assert bytes(overdue.records.body) == b"begun"


PIECE = b"2023-04-05T02:29:34.5Z stdout P begun,\n"
OTHER = b"2023-04-05T02:29:34.6Z stderr F other"
ENDS = [
    # what the file ends with, and what becomes of that
    (b"2023-04-05T02:29:34.5Z stdout F half a li", [b"half a li"]),
    (b"2023-04-05T02:29:34.5Z stderr P half", [b"half"]),
    (b"2023-04-05T02:2", [b"2023-04-05T02:2"]),
    (PIECE + b"2023-04-05T02:29:34.6Z stdout F ended", [b"begun,ended"]),
    (PIECE + OTHER, [b"other", b"begun,"]),
    (PIECE + b"2023-04-05T0", [b"begun,", b"2023-04-05T0"]),
    (PIECE + PIECE.replace(b"stdout", b"stderr") + b"x", [b"begun,", b"begun,", b"x"]),
    (b"2023-04-05T02:29:34.5Z stdout F " + b"x" * (3 << 20), [b"x" * (1 << 20) + note(2 << 20)]),
]


@pytest.mark.parametrize("deleted", [False, True], ids=["rotated", "deleted"])
@pytest.mark.parametrize("before", [[cri(1)], []], ids=["", "only line"])
@pytest.mark.parametrize(("end", "bodies"), ENDS)
def test_the_last_line_of_a_file_that_is_over_is_delivered_without_its_end(
    node: TailedNode, clock: Clock, end: bytes, bodies: list[bytes], before: list[bytes], *, deleted: bool
) -> None:
    path = node.write("a_b_c/web/0.log", *before, end)
    node.settle()
    complete = [b"line 1"] * len(before)
    if deleted:
        path.unlink()
    node.write("a_b_c/web/1.log", cri(2))
    node.settle()
    assert node.bodies == [*complete, b"line 2"]
    (file,) = (file for file in node.tail.files() if file.entry.path.endswith("0.log"))
    clock.forward(100)
    node.settle()
    node.overdue()
    assert node.bodies == [*complete, b"line 2", *bodies]
    assert all(flags & Flag.UNFINISHED for flags in node.flags[-len(bodies) :])
    assert (file.lag_bytes, node.lost_bytes()) == (0, 0)
    assert file.source is not None
    assert node.committed[file.source] == len(b"".join(before)) + len(end)


def test_the_last_line_of_a_docker_file_that_is_over_is_kept_raw(node: TailedNode, clock: Clock) -> None:
    line = b'{"log":"whole\\n","stream":"stdout","time":"2023-04-05T02:29:34Z"}'
    node.write("a_b_c/web/0.log", line + b"\n", line[:20])
    node.write("a_b_c/web/1.log", line + b"\n", line)
    node.write("a_b_c/web/2.log", line + b"\n")
    node.settle()
    clock.forward(100)
    node.settle()
    node.overdue()
    assert node.bodies == [b"whole"] * 3 + [line[:20], b"whole"]
    assert node.flags[3:] == [Flag.MALFORMED | Flag.UNFINISHED, Flag.UNFINISHED]


def test_the_last_line_of_the_file_that_is_written_to_waits_for_its_end(node: TailedNode, clock: Clock) -> None:
    node.write("a_b_c/web/0.log", cri(1), b"2023-04-05T02:29:34.5Z stdout F half")
    node.settle()
    clock.forward(100)
    node.settle()
    node.overdue()
    assert node.bodies == [b"line 1"]
    node.write("a_b_c/web/0.log", b" a line\n")
    node.settle()
    assert node.bodies == [b"line 1", b"half a line"]


def test_a_line_that_ends_after_it_was_given_up_is_delivered_again_whole_by_a_new_agent(
    node: TailedNode, clock: Clock
) -> None:
    node.write("a_b_c/web/0.log", cri(1), b"2023-04-05T02:29:34.5Z stdout F half")
    node.write("a_b_c/web/1.log", cri(2))
    node.settle()
    clock.forward(100)
    node.settle()
    node.overdue()
    assert node.bodies[-1:] == [b"half"]
    node.write("a_b_c/web/0.log", b" a line\n")
    node.tail.displace()
    node.settle()
    assert node.bodies[-1:] == [b"half a line"]


def open_bytes(node: TailedNode) -> int:
    return sum(file.assembly.open_bytes for file in node.tail.files())


@pytest.mark.parametrize("streams", [["stdout"], ["stdout", "stderr"]])
def test_what_is_held_of_open_lines_is_bounded_in_all(node: TailedNode, clock: Clock, streams: list[str]) -> None:
    text = "x" * ((1 << 20) - 64)
    pods = 2 * OPEN_BYTES_MAX >> 20
    for pod in range(pods):
        clock.forward(0.1)
        begun = [f"2023-04-05T02:29:34.5Z {stream} P {pod:03} {text}\n".encode() for stream in streams]
        node.write(f"a_b_{pod:03}/web/0.log", *begun)
        node.scan()
        node.place()
        while node.tail.look():
            node.ship()
            assert open_bytes(node) <= OPEN_BYTES_MAX
    delivered = pods * len(streams) - (OPEN_BYTES_MAX >> 20)
    # The ones that have waited longest; what is delivered of a file is all of it.
    assert [int(body[:3]) for body in node.bodies] == sorted([*range(pods)] * len(streams))[:delivered]
    assert set(node.flags) == {Flag.UNFINISHED | Flag.STDERR * (stream == "stderr") for stream in streams}
    assert node.metric("unfinished_records_total", reason="memory") == delivered
    node.tail.measure()
    assert node.metric("open_line_bytes") == open_bytes(node)
    for pod in range(pods):
        node.write(f"a_b_{pod:03}/web/0.log", b"2023-04-05T02:29:34.6Z stdout F end\n")
    node.bodies.clear()
    node.settle()
    assert sorted(body[-3:] for body in node.bodies if body.endswith(b"end")) == [b"end"] * pods


def test_nothing_is_held_of_lines_that_are_to_be_read_again(node: TailedNode) -> None:
    node.write("a_b_c/web/0.log", b"2023-04-05T02:29:34.5Z stdout P begun\n")
    path = node.write("a_b_d/web/0.log", cri(1), b"2023-04-05T02:29:34.5Z stdout P begun\n")
    node.settle()
    assert open_bytes(node) == 10
    os.truncate(path, 10)
    node.look()
    assert open_bytes(node) == 5
    node.tail.displace()
    assert open_bytes(node) == 0


def test_containers_with_several_generations_do_not_keep_others_waiting(node: TailedNode) -> None:
    lines = [cri(number, "x" * 200) for number in range(8 * READ_BYTES_MAX // 250)]
    for pod in ("a", "b", "c"):
        for name in ("0.log.20230405-022934", "0.log"):
            node.write(f"a_b_{pod}/web/{name}", cri(0, name), *lines)
    node.write("a_b_z/web/0.log", cri(1, "quiet"))
    node.scan()
    node.place()
    for _ in range(3):
        node.ship()
        node.tail.look()
    assert b"quiet 1" in node.bodies


def test_a_copy_lags_behind_nothing_and_is_closed(node: TailedNode, clock: Clock) -> None:
    node.write("a_b_c/web/0.log.20230405-022934", cri(1))
    copy = node.write("a_b_c/web/0.log.20230405-022935", cri(1))
    node.write("a_b_c/web/0.log", cri(2))
    node.settle()
    assert node.bodies == [b"line 1", b"line 2"]
    file = node.file("022935")
    assert (file.is_copy, file.lag_bytes) == (True, 0)
    clock.forward(100)
    node.look()
    assert file.fd is None
    copy.unlink()
    node.scan()
    assert node.lost_bytes() == 0


@pytest.mark.parametrize("closed", [False, True])
def test_a_copy_is_read_on_where_the_original_is_gone(node: TailedNode, clock: Clock, *, closed: bool) -> None:
    # As when a file is copied and then truncated: what was not read of it is in the copy.
    live = node.write("a_b_c/web/0.log", cri(1))
    node.settle()
    content = [*map(cri, range(2, 5))]
    node.write("a_b_c/web/0.log.20230405-022934", cri(1), *content)
    node.scan()
    assert node.file("022934").is_copy
    if closed:
        clock.forward(100)
        node.look()
        assert node.file("022934").fd is None
    live.write_bytes(b"")
    node.settle()
    node.write("a_b_c/web/0.log", cri(5))
    node.settle()
    assert node.bodies == [b"line %d" % number for number in range(1, 6)]


def test_a_first_line_that_is_taken_back_does_not_hide_a_shorter_one(node: TailedNode) -> None:
    path = node.write("a_b_c/web/0.log", b"x" * 500)
    node.scan()
    path.write_bytes(cri(1))
    node.settle()
    assert node.bodies == [b"line 1"]


def test_half_a_line_that_is_taken_back_does_not_hide_a_shorter_one(node: TailedNode) -> None:
    path = node.write("a_b_c/web/0.log", cri(1), b"x" * 500)
    node.settle()
    os.truncate(path, len(cri(1)))
    node.look()
    node.write("a_b_c/web/0.log", cri(2))
    node.settle()
    assert node.bodies == [b"line 1", b"line 2"]


def test_a_position_beyond_what_was_seen_of_a_file_is_taken_for_what_it_is(node: TailedNode) -> None:
    # Another agent, which is just stopping, has read on since this one looked.
    begun = b"2023-04-05T02:29:34.5Z stdout P begun,\n"
    node.write("a_b_c/web/0.log", cri(1))
    node.scan()
    node.write("a_b_c/web/0.log", begun, b"2023-04-05T02:29:34.5Z stderr F whole\n")
    (source,) = node.tail.unplaced()
    inside = len(cri(1)) + 1 + 1  # where "whole" is, while "begun," is open
    node.committed[source] = inside
    node.place()
    node.write("a_b_c/web/0.log", b"2023-04-05T02:29:34.6Z stdout F ended\n")
    node.settle()
    assert node.bodies == [b"begun,ended"]


def test_the_lag_of_a_file_that_is_always_written_to_is_that_of_its_oldest_byte(node: TailedNode, clock: Clock) -> None:
    node.write("a_b_c/web/0.log", cri(0))
    node.scan()
    node.place()
    file = node.file("0.log")
    for number in range(1, 60):
        clock.forward(1)
        node.ship()
        node.write("a_b_c/web/0.log", cri(number))
        node.look()
        assert file.lag_bytes == len(cri(number))
        assert clock.now_s - file.behind_since_s <= 1
    for _ in range(60):
        clock.forward(1)
        node.look()
    assert clock.now_s - file.behind_since_s >= 60
