"""Which files are asked for their size, when: those that grow, quiet ones, those that sleep until someone writes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from agent.follow.asking import IDLE_AFTER_S, TURNS
from agent.follow.bell import Bell
from agent.follow.inotify import Inotify
from agent.follow.looking import MANY, THOROUGH_EVERY_S
from agent.follow.tail import Tail
from tests.agent.tailing import Clock, TailedNode, cri, pack

if TYPE_CHECKING:
    from pathlib import Path

WEB, DB = "a_b_c/web/0.log", "a_b_d/db/0.log"
ASKED = "inotify does not tell of every write, quiet files are asked"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def tailed(tmp_path: Path, clock: Clock) -> TailedNode:
    """Two files, read, committed, and quiet for long."""
    tailed = TailedNode(tmp_path)
    settle(tailed, clock)
    return tailed


def settle(tailed: TailedNode, clock: Clock) -> None:
    for path in (WEB, DB):
        tailed.write(path, cri(1))
    tailed.settle()
    clock.forward(IDLE_AFTER_S + 1)
    for _ in range(2):
        clock.forward(THOROUGH_EVERY_S)
        tailed.tail.look()


def found(tailed: TailedNode, clock: Clock, looks: int) -> bool:
    """Whether something was read after so many looks, a quarter of a second apart."""
    before = len(tailed.bodies)
    for _ in range(looks):
        clock.forward(0.25)
        tailed.tail.look()
        tailed.ship()
    return len(tailed.bodies) > before


def test_a_file_that_sleeps_is_found_at_the_next_look_after_it_was_written_to(tailed: TailedNode, clock: Clock) -> None:
    for number in range(2, 5):
        tailed.write(WEB, cri(number))
        assert found(tailed, clock, 2)  # what is little waits for one look more, quiet or not
        clock.forward(IDLE_AFTER_S + 1)
        assert not found(tailed, clock, 4)
    assert tailed.bodies[2:] == [b"line 2", b"line 3", b"line 4"]


def test_a_file_that_sleeps_is_not_asked_and_still_found_in_its_turn(
    monkeypatch: pytest.MonkeyPatch, tailed: TailedNode, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Inotify, "written", lambda _: ([], False))  # as on a file system that tells nothing
    tailed.write(WEB, cri(2))
    tailed.tail.look()
    assert not tailed.tail.readable
    clock.forward(THOROUGH_EVERY_S * TURNS)
    looks = 0
    while not found(tailed, clock, 1):
        clock.forward(THOROUGH_EVERY_S)
        looks += 1
        assert looks <= TURNS
    found(tailed, clock, 1)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [ASKED]
    # From then on nobody sleeps: everyone is asked every other time.
    tailed.write(DB, cri(2))
    assert found(tailed, clock, 3)


def test_who_was_written_to_while_events_were_dropped_is_found(
    monkeypatch: pytest.MonkeyPatch, tailed: TailedNode, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    real = Inotify.written
    with monkeypatch.context() as overflowing:
        overflowing.setattr(Inotify, "written", lambda inotify: ([], bool(real(inotify))))
        tailed.write(WEB, cri(2))
        assert found(tailed, clock, 2)
    tailed.write(DB, cri(2))
    assert found(tailed, clock, 2)
    assert not [record for record in caplog.records if record.message == ASKED]


def test_without_inotify_quiet_files_are_asked_every_other_time(tmp_path: Path, clock: Clock) -> None:
    tailed = TailedNode(tmp_path)
    tailed.tail = Tail("test", 1 << 20, tailed.metrics, inotify=False)
    settle(tailed, clock)
    for number in range(2, 5):
        tailed.write(WEB, cri(number))
        assert found(tailed, clock, 3)
        clock.forward(IDLE_AFTER_S + 1)


def test_a_file_for_which_there_is_no_watch_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> None:
    monkeypatch.setattr("agent.follow.bell._most", lambda: 1)
    tailed = TailedNode(tmp_path)
    settle(tailed, clock)
    for number, path in enumerate((WEB, DB, WEB, DB), 2):
        tailed.write(path, cri(number))
        assert found(tailed, clock, 3)
        clock.forward(IDLE_AFTER_S + 1)
        found(tailed, clock, 2)


def test_what_grew_a_little_since_it_was_read_waits_for_the_look_after(tailed: TailedNode, clock: Clock) -> None:
    for number in range(2, 6):
        tailed.write(WEB, cri(number))
        clock.forward(0.25)
        assert not tailed.tail.look()
        clock.forward(0.25)
        assert tailed.tail.look()
        tailed.ship()


@pytest.mark.parametrize(("files", "are_many"), [(MANY - 1, False), (MANY, True)])
def test_where_many_files_grew_a_little_they_are_read_at_once(
    tmp_path: Path, clock: Clock, files: int, *, are_many: bool
) -> None:
    tailed = TailedNode(tmp_path)
    paths = [f"a_b_{number}/web/0.log" for number in range(files)]
    for number, path in enumerate(paths):
        tailed.write(path, cri(number))
    tailed.settle()
    tailed.bodies.clear()
    for number, path in enumerate(paths):
        tailed.write(path, cri(files + number))
    assert found(tailed, clock, 1) == are_many == tailed.tail.are_many
    assert found(tailed, clock, 1) != are_many
    assert len(tailed.bodies) == files


def test_a_rotated_file_that_slept_is_read_to_its_end_and_let_go(tailed: TailedNode, clock: Clock) -> None:
    rotated = tailed.write(WEB, cri(2)).rename(tailed.root / f"{WEB}.20230405-022934")
    tailed.write(WEB, cri(3))
    tailed.settle()
    pack(rotated)
    tailed.settle()
    clock.forward(60.0)
    tailed.settle()
    assert tailed.bodies[2:] == [b"line 2", b"line 3"]
    assert (tailed.gaps, len(list(tailed.tail.files()))) == ([], 3)


def test_a_file_that_slept_and_is_truncated_is_read_from_its_start(tailed: TailedNode, clock: Clock) -> None:
    (tailed.root / WEB).write_bytes(cri(7, "longer line"))
    (tailed.root / DB).write_bytes(cri(8, "x"))
    found(tailed, clock, 2)
    tailed.settle()
    assert sorted(tailed.bodies[2:]) == [b"longer line 7", b"x 8"]


def test_lag_is_counted_from_when_a_file_that_slept_was_seen_to_grow(tailed: TailedNode, clock: Clock) -> None:
    clock.forward(1000.0)
    found(tailed, clock, 1)
    tailed.write(WEB, cri(2))
    clock.forward(0.25)
    tailed.tail.look()
    clock.forward(1.5)
    tailed.tail.measure()
    assert (tailed.metric("lag_bytes"), tailed.metric("lag_seconds")) == (len(cri(2)), 1.5)
    found(tailed, clock, 2)
    tailed.tail.measure()
    assert tailed.metric("lag_bytes") == 0


def test_the_rate_of_who_rested_is_that_of_the_time_since(tailed: TailedNode, clock: Clock) -> None:
    for _ in range(60):
        clock.forward(2.0)
        tailed.tail.measure()
    tailed.write(WEB, *[cri(number) for number in range(2, 102)])
    clock.forward(2.0)
    tailed.tail.look()
    tailed.tail.measure()
    rates = {files[0].entry.path: account.rate.per_s or 0.0 for account, files in tailed.tail.containers()}
    size = sum(len(cri(number)) for number in range(2, 102))
    # Smoothed over half a minute: two seconds weigh a sixteenth. Over the two minutes before it would be all of a 60th.
    assert rates[str(tailed.root / WEB)] == pytest.approx(size / 2.0 * (1 - 2.718281828 ** (-2 / 30)), rel=1e-6)
    assert rates[str(tailed.root / DB)] == 0.0


def test_files_that_are_gone_give_their_watches_back(tailed: TailedNode, clock: Clock) -> None:
    bell = tailed.tail._looking._asking._bell
    assert len(bell._files) == 2
    (tailed.root / WEB).unlink()
    (tailed.root / WEB).parent.rmdir()
    tailed.settle()
    for _ in range(2 * TURNS):
        clock.forward(THOROUGH_EVERY_S)
        tailed.tail.look()
    assert (len(bell._files), len(bell._watches)) == (1, 1)


def test_the_bell_rings_once_for_a_write(tailed: TailedNode) -> None:
    web, db = (tailed.file(name) for name in (WEB, DB))
    bell = Bell()
    assert bell.add(web)
    assert bell.add(db)
    assert bell.rung() == []
    for number in range(2, 5):
        tailed.write(WEB, cri(number))
    assert bell.rung() == [web]
    tailed.write(WEB, cri(5))
    assert bell.rung() == []
    assert bell.add(web)
    bell.remove(web)
    tailed.write(WEB, cri(6))
    assert bell.rung() == []
    bell.close()
    bell.close()
    assert not bell.add(web)


def test_the_bell_rings_for_a_file_that_was_renamed_or_deleted(tailed: TailedNode) -> None:
    bell = Bell()
    with (tailed.root / WEB).open("ab") as stream:
        assert bell.add(tailed.file(WEB))
        (tailed.root / WEB).rename(tailed.root / f"{WEB}.1").unlink()
        stream.write(cri(2))
        stream.flush()
        assert bell.rung() == [tailed.file(WEB)]
    bell.close()


def test_the_bell_takes_no_more_watches_than_it_may(tailed: TailedNode) -> None:
    bell = Bell(1)
    assert bell.add(tailed.file(WEB))
    assert not bell.add(tailed.file(DB))
    bell.remove(tailed.file(WEB))
    assert bell.add(tailed.file(DB))
    bell.close()
