"""Which file is which: whatever happens to names, inodes, sizes and content, each line once, or a gap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.follow.generations import generation_of
from tests.agent.tailing import cri, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.follow.discovery import Entry
    from tests.agent.tailing import Clock, TailedNode

LIVE = "a_b_c/web/0.log"
ROTATED = "a_b_c/web/0.log.20230405-022934"


def docker(number: int, text: str = "line") -> bytes:
    return b'{"log":"%s %d\\n","stream":"stdout","time":"2023-04-05T02:29:34.%09dZ"}\n' % (
        text.encode(),
        number,
        number,
    )


def same_inode(entry: Entry, inode: int) -> Entry:
    return type(entry)(entry.path, entry.generation, entry.device, inode, entry.size, entry.modified_ns)


def test_the_inode_of_a_closed_file_used_again_is_another_file(
    tailed: TailedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a file system that gives the number of the file just deleted to the next one.
    tailed.write(ROTATED, *map(cri, range(10)))
    tailed.write(LIVE, cri(10))
    tailed.settle()
    clock.forward(100)
    tailed.look()
    old = tailed.file("022934")
    assert old.fd is None
    (tailed.root / ROTATED).unlink()
    new = tailed.write("a_b_c/web/1.log", cri(11), cri(12))
    (listing,) = tailed.discovery.scan()
    entries = tuple(
        same_inode(entry, old.entry.inode) if entry.path == str(new) else entry for entry in listing.entries
    )
    fstat = os.fstat

    def number(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if found.st_ino != new.stat().st_ino:
            return found
        return os.stat_result((found[0], old.entry.inode, *found[2:]))

    monkeypatch.setattr(os, "fstat", number)
    tailed.tail.update(type(listing)(listing.directory, listing.container, entries))
    # No further scan: that one would see the real number.
    tailed.look()
    tailed.place()
    tailed.ship()
    assert tailed.bodies == [b"line %d" % number for number in range(13)]
    assert tailed.gaps == []


def test_files_equal_but_for_the_first_time_are_two(tailed: TailedNode) -> None:
    lines = [cri(1), cri(2)]
    tailed.write(ROTATED, b"2023-04-05T02:29:34.000000001Z stdout F same\n", *lines)
    tailed.write(LIVE, b"2023-04-05T02:29:34.000000002Z stdout F same\n", *lines)
    tailed.settle()
    assert len(tailed.committed) == 2
    assert tailed.bodies == [b"same", b"line 1", b"line 2"] * 2


@pytest.mark.parametrize("make", [cri, docker], ids=["cri", "docker"])
@pytest.mark.parametrize(
    "rows", [0, 1, 5, 10, 11, 30], ids=["to nothing", "shorter", "half", "as long", "longer", "much longer"]
)
@pytest.mark.parametrize("looked_between", [False, True])
def test_a_truncated_file_is_another_one_whatever_its_size(
    tailed: TailedNode, make: Callable[[int], bytes], rows: int, *, looked_between: bool
) -> None:
    path = tailed.write(LIVE, *(make(number) for number in range(10, 20)))
    tailed.settle()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.truncate(path, 0)
    os.write(descriptor, b"".join(make(number) for number in range(20, 20 + rows)))
    if looked_between:
        tailed.look()
    os.write(descriptor, b"".join(make(number) for number in range(20 + rows, 60)))
    os.close(descriptor)
    tailed.settle()
    assert tailed.bodies == [b"line %d" % number for number in range(10, 60)]
    assert len(tailed.committed) == 2
    assert tailed.metrics.registry.get_sample_value("logboom_agent_truncations_total") == 1


def test_a_file_truncated_between_look_and_read_gives_none_of_its_new_bytes_to_the_old(tailed: TailedNode) -> None:
    path = tailed.write(LIVE, *map(cri, range(10)))
    tailed.settle()
    tailed.write(LIVE, cri(10))
    tailed.tail.look()
    path.write_bytes(b"".join(cri(number, "new") for number in range(100, 140)))
    tailed.ship()
    assert tailed.bodies == [b"line %d" % number for number in range(10)]
    tailed.settle()
    assert tailed.bodies[10:] == [b"new %d" % number for number in range(100, 140)]


def test_what_was_seen_of_a_truncated_file_and_not_read_is_a_gap(tailed: TailedNode, clock: Clock) -> None:
    path = tailed.write(LIVE, *map(cri, range(10)))
    tailed.settle()
    lost = [cri(number) for number in range(10, 15)]
    tailed.write(LIVE, *lost)
    for _ in range(2):  # the first one leaves it to the read, which does not come
        tailed.look()
    path.write_bytes(b"".join(cri(number, "new") for number in range(100, 140)))
    tailed.settle()
    clock.forward(10)
    tailed.settle()
    assert tailed.gaps == [(sum(map(len, lost)), "truncated")]
    assert tailed.bodies[10:] == [b"new %d" % number for number in range(100, 140)]


def test_nothing_is_lost_where_the_copy_of_a_truncated_file_is_found(tailed: TailedNode, clock: Clock) -> None:
    lines = [cri(number) for number in range(20)]
    path = tailed.write(LIVE, *lines[:10])
    tailed.settle()
    tailed.write(LIVE, *lines[10:])
    tailed.look()
    (tailed.root / ROTATED).write_bytes(path.read_bytes())
    os.truncate(path, 0)
    tailed.write(LIVE, cri(99))
    tailed.look()
    tailed.settle()
    clock.forward(10)
    tailed.settle()
    assert sorted(tailed.bodies) == sorted(b"line %d" % number for number in [*range(20), 99])
    assert tailed.gaps == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([cri(0, "x" * (3 << 20)), cri(1), cri(2)], id="a very long first line"),
        pytest.param([b"2023-04-05T02:29Z a\n"], id="one line of 20 bytes"),
        pytest.param([b"\n"], id="one empty line"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_odd_files_are_read_whole_and_once(tailed: TailedNode, lines: list[bytes], *, packed: bool) -> None:
    path = tailed.write(ROTATED, *lines)
    if packed:
        pack(path)
    tailed.settle()
    assert len(tailed.bodies) == len(lines)
    tailed.restart()
    tailed.settle()
    assert len(tailed.bodies) == len(lines)


@pytest.mark.parametrize("content", [b"", b"2023-04-05T02:29:34.5Z stdo"], ids=["empty", "half a line"])
def test_a_file_without_a_line_is_nothing_until_it_has_one(tailed: TailedNode, content: bytes) -> None:
    path = tailed.write(LIVE, content)
    tailed.settle()
    assert (tailed.committed, tailed.tail.unplaced()) == ({}, [])
    path.write_bytes(cri(1))
    tailed.settle()
    assert tailed.bodies == [b"line 1"]


def test_a_container_directory_replaced_by_a_symlink_is_read_on(tailed: TailedNode) -> None:
    path = tailed.write(LIVE, cri(1))
    tailed.settle()
    elsewhere = path.parent.rename(tailed.root / "elsewhere")
    path.parent.symlink_to(elsewhere)
    tailed.write(LIVE, cri(2))
    tailed.write(ROTATED, cri(3))
    tailed.settle()
    assert sorted(tailed.bodies) == [b"line 1", b"line 2", b"line 3"]
    assert len(tailed.committed) == 2


def test_a_pod_made_again_under_its_name_is_another_one(tailed: TailedNode, clock: Clock) -> None:
    path = tailed.write("shop_cart-0_uid1/web/0.log", cri(1))
    tailed.settle()
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    tailed.write("shop_cart-0_uid2/web/0.log", cri(1), cri(2))
    tailed.settle()
    clock.forward(100)
    tailed.settle()
    assert tailed.bodies == [b"line 1", b"line 1", b"line 2"]
    assert len(tailed.committed) == 2
    assert {file.container.uid for file in tailed.tail.files()} == {"uid2"}
    assert tailed.gaps == []


def test_the_names_used_here_are_those_of_generations() -> None:
    assert generation_of(ROTATED.rpartition("/")[2]) is not None


@pytest.mark.parametrize("is_used_again", [False, True], ids=["gone", "used again"])
def test_a_file_compressed_before_it_was_opened_is_not_lost(
    tailed: TailedNode, clock: Clock, *, is_used_again: bool
) -> None:
    live = tailed.write(LIVE, *map(cri, range(10)))
    for listing in tailed.discovery.scan():
        tailed.tail.update(listing)  # listed, but not opened
    rotated = tailed.write(ROTATED, live.read_bytes())
    pack(rotated)
    if is_used_again:
        live.write_bytes(cri(10))  # as a new file that gets the inode of the one that is gone
    else:
        live.unlink()
        tailed.write(LIVE, cri(10))
    tailed.settle()
    clock.forward(100)  # a gap is not told before others may have had the file
    tailed.settle()
    assert tailed.bodies == [f"line {number}".encode() for number in range(11)]
    assert (tailed.gaps, tailed.lost_bytes()) == ([], 0)
