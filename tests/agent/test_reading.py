"""The tail in situations that need to be brought about: what cannot be read, is there twice, shrinks, or goes away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.stretch import READ_BYTES_MAX
from tests.agent.tailing import TailedNode, cri, make_unreadable

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
