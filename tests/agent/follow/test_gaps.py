"""What is lost: one gap record, with the bytes where they can be known, until the store has it."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from agent.follow.deleted import Hold
from agent.follow.discovery import Entry
from agent.follow.following import GIVE_UP_AFTER_S
from agent.follow.gaps import DUE_AFTER_S, GAPS_MAX, Gaps
from agent.follow.generations import Container, Generation
from agent.follow.logfile import LogFile, Loss
from agent.metrics import Metrics
from agent.report.accounts import Accounts
from agent.report.forecast import Rotation
from tests.agent.tailing import cri, make_unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.tailing import Clock, TailedNode

LIVE = "a_b_c/web/0.log"
ROTATED = "a_b_c/web/0.log.20230405-022934"


def delete(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


def wait(tailed: TailedNode, clock: Clock) -> None:
    """Until what is gone was given up, and said to be."""
    for _ in range(2):
        clock.forward(GIVE_UP_AFTER_S + 1)
        tailed.settle()


def age(path: Path) -> None:
    """Let ``path`` be what nobody writes to any more."""
    os.utime(path, (1, 1))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths that cannot be opened, as 0600 files of another user."""
    paths: set[str] = set()
    really = os.open

    def maybe(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path in paths:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", maybe)
    return paths


def test_a_deleted_file_is_read_to_its_end_half_a_line_too(tailed: TailedNode, clock: Clock) -> None:
    path = tailed.write(LIVE, *map(cri, range(100)), b"2023-04-05T02:29")
    tailed.scan()
    delete(path)
    tailed.settle()
    lines = [b"line %d" % number for number in range(100)]
    assert tailed.bodies == lines
    wait(tailed, clock)
    tailed.overdue()
    assert tailed.bodies == [*lines, b"2023-04-05T02:29"]
    wait(tailed, clock)
    assert (tailed.gaps, list(tailed.tail.files())) == ([], [])


def test_half_a_line_and_nothing_else_is_read_as_well(tailed: TailedNode, clock: Clock) -> None:
    path = tailed.write(LIVE, b"2023-04-05T02:29")
    tailed.scan()
    delete(path)
    wait(tailed, clock)
    tailed.overdue()
    assert (tailed.bodies, tailed.gaps) == ([b"2023-04-05T02:29"], [])


@pytest.mark.parametrize(("vanishes", "reason"), [("file", "rotated away"), ("directory", "deleted")])
def test_a_file_gone_before_it_could_be_opened_is_a_gap(
    tailed: TailedNode, clock: Clock, vanishes: str, reason: str
) -> None:
    path = tailed.write(ROTATED, *map(cri, range(10)))
    tailed.write(LIVE, cri(10))
    size = path.stat().st_size
    listings = tailed.discovery.scan()
    if vanishes == "file":
        path.unlink()
    else:
        delete(path)
    for listing in listings:
        tailed.tail.update(listing)
    tailed.settle()
    wait(tailed, clock)
    expected = {(size, reason)} if vanishes == "file" else {(size, reason), (len(cri(10)), reason)}
    assert set(tailed.gaps) == expected
    assert len(tailed.gaps) == len(expected)


def test_an_unreadable_file_that_goes_away_is_a_gap_of_the_size_it_had_last(
    tailed: TailedNode, clock: Clock, refused: set[str]
) -> None:
    path = tailed.root / LIVE
    refused.add(str(path))
    tailed.write(LIVE, *map(cri, range(10)))
    tailed.settle()
    tailed.write(LIVE, *map(cri, range(10, 20)))
    size = path.stat().st_size
    clock.forward(6)
    tailed.look()
    delete(path)
    tailed.settle()
    wait(tailed, clock)
    assert tailed.gaps == [(size, "unreadable")]
    assert tailed.gap_bytes() == {"unreadable": size}


def test_a_file_that_becomes_readable_is_no_gap(tailed: TailedNode, clock: Clock, refused: set[str]) -> None:
    path = tailed.root / LIVE
    refused.add(str(path))
    tailed.write(LIVE, cri(1))
    tailed.settle()
    refused.clear()
    wait(tailed, clock)
    delete(path)
    tailed.settle()
    wait(tailed, clock)
    assert (tailed.bodies, tailed.gaps) == ([b"line 1"], [])


def test_a_file_that_was_unreadable_when_a_listing_missed_it_is_no_gap(
    tailed: TailedNode, clock: Clock, refused: set[str]
) -> None:
    # It was renamed between the names and the sizes.
    path = tailed.root / LIVE
    refused.add(str(path))
    tailed.write(LIVE, cri(1))
    tailed.settle()
    hidden = path.rename(tailed.root / "hidden")
    tailed.scan()
    hidden.rename(tailed.root / ROTATED)
    tailed.scan()
    wait(tailed, clock)
    assert (tailed.bodies, tailed.gaps) == ([b"line 1"], [])


LINES = [cri(number, os.urandom(60).hex()) for number in range(3000)]
WHOLE = b"".join(LINES)


@pytest.mark.parametrize("damage", ["cut", "corrupt"])
def test_a_damaged_gzip_file_gives_what_can_be_unpacked_and_one_gap(tailed: TailedNode, damage: str) -> None:
    packed = gzip.compress(WHOLE)
    half = len(packed) // 2
    path = tailed.write(
        f"{ROTATED}.gz", packed[:half] + (b"" if damage == "cut" else bytes(100) + packed[half + 100 :])
    )
    age(path)
    for _ in range(3):
        tailed.settle()
        tailed.restart()
    assert tailed.gaps == [(None, "corrupt gzip file")]
    assert len(tailed.bodies) < len(LINES)
    # Nothing but its checksum, at its end, tells what was unpacked behind the damage.
    certain = min(len(tailed.bodies), 1000)
    assert certain > 900
    assert tailed.bodies[:certain] == [line.split(b" ", 3)[3].rstrip() for line in LINES[:certain]]
    # A store that was wiped gets the same again.
    before = (tailed.bodies.copy(), tailed.committed.copy())
    tailed.bodies.clear()
    tailed.committed.clear()
    tailed.gaps.clear()
    tailed.tail.displace()
    tailed.settle()
    assert (tailed.bodies, tailed.committed) == before
    assert len(tailed.gaps) == 1


@pytest.mark.parametrize("content", [b"", b"not gzip", gzip.compress(WHOLE)[:15]], ids=["empty", "not gzip", "header"])
def test_a_gzip_file_without_anything_to_unpack_is_one_gap_however_often_it_is_found(
    tailed: TailedNode, clock: Clock, content: bytes
) -> None:
    age(tailed.write(f"{ROTATED}.gz", content))
    for _ in range(3):
        tailed.settle()
        wait(tailed, clock)
        tailed.restart()
    assert tailed.gaps == [(None, "corrupt gzip file")]
    assert len(tailed.committed) == 1


def test_a_gzip_file_in_the_making_is_waited_for(tailed: TailedNode, clock: Clock) -> None:
    packed = gzip.compress(WHOLE)
    path = tailed.write(f"{ROTATED}.gz", packed[: len(packed) // 2])
    tailed.settle()
    assert tailed.gaps == []
    with path.open("ab") as stream:
        stream.write(packed[len(packed) // 2 :])
    wait(tailed, clock)
    assert (len(tailed.bodies), tailed.gaps) == (len(LINES), [])


def test_a_file_read_in_part_and_not_to_be_read_any_more_is_a_gap_of_the_rest(tailed: TailedNode, clock: Clock) -> None:
    path = tailed.write(LIVE, *LINES[:100])
    tailed.settle()
    tailed.write(LIVE, *LINES[100:120])
    tailed.look()
    delete(path)
    tailed.scan()
    make_unreadable(tailed.file("0.log"))
    tailed.ship()
    wait(tailed, clock)
    assert (len(tailed.bodies), tailed.gaps) == (100, [(sum(map(len, LINES[100:120])), "unreadable")])


@pytest.mark.parametrize(
    ("hold", "after_s"),
    [
        (Hold(seconds=60), 61),
        (Hold(bytes=10_000), 2),
        (Hold(files=0), 2),
    ],
    ids=["seconds", "bytes", "files"],
)
def test_a_deleted_file_is_held_no_longer_than_allowed(
    tailed: TailedNode, clock: Clock, hold: Hold, after_s: float
) -> None:
    tailed.tail.close()
    tailed.begin(hold)
    path = tailed.write(LIVE, *LINES[:100])
    size = path.stat().st_size
    tailed.scan()
    tailed.place()
    delete(path)
    tailed.scan()
    # The aggregator is away: nothing is read.
    clock.forward(after_s)
    tailed.tail.look()
    assert list(tailed.tail.files()) == []
    wait(tailed, clock)
    assert (tailed.bodies, tailed.gaps) == ([], [(size, "held too long")])


def test_a_deleted_file_within_the_limits_is_held_and_read(tailed: TailedNode, clock: Clock) -> None:
    tailed.tail.close()
    tailed.begin(Hold(seconds=60, bytes=1 << 20, files=1))
    path = tailed.write(LIVE, *LINES[:100])
    tailed.scan()
    delete(path)
    tailed.scan()
    clock.forward(59)
    tailed.settle()
    wait(tailed, clock)
    assert (len(tailed.bodies), tailed.gaps) == (100, [])


def test_of_many_deleted_files_those_deleted_last_are_held(tailed: TailedNode, clock: Clock) -> None:
    tailed.tail.close()
    tailed.begin(Hold(files=2))
    for pod in range(4):
        tailed.write(f"a_b_{pod}/web/0.log", cri(pod))
    tailed.scan()
    tailed.place()
    for pod in range(4):
        shutil.rmtree(tailed.root / f"a_b_{pod}")
        tailed.scan()
        clock.forward(1)
    tailed.look()
    assert {file.container.uid for file in tailed.tail.files()} == {"2", "3"}
    tailed.settle()
    wait(tailed, clock)
    assert sorted(tailed.bodies) == [b"line 2", b"line 3"]
    assert tailed.gaps == [(len(cri(0)), "held too long")] * 2


def lost_file(tailed: TailedNode, clock: Clock) -> None:
    """A file of a hundred lines, of which thirty are committed, is lost."""
    path = tailed.write(LIVE, *LINES[:30])
    tailed.settle()
    tailed.write(LIVE, *LINES[30:100])
    tailed.look()
    delete(path)
    tailed.scan()
    tailed.file("0.log").close()
    tailed.look()
    clock.forward(DUE_AFTER_S + 1)


def test_a_gap_is_sent_again_until_it_is_committed_and_counted_once(tailed: TailedNode, clock: Clock) -> None:
    lost_file(tailed, clock)
    (source,) = tailed.committed
    for _ in range(3):
        (sent,) = tailed.tail.lost()
        assert tailed.tail.lost() == []
        (part,) = sent.parts
        assert (part.start, part.end) == (sum(map(len, LINES[:30])), sum(map(len, LINES[:100])))
        tailed.tail.rewind()
    tailed.settle()
    assert tailed.committed == {source: sum(map(len, LINES[:100]))}
    assert tailed.gaps == [(sum(map(len, LINES[30:100])), "deleted")]
    assert tailed.gap_bytes() == {"deleted": sum(map(len, LINES[30:100]))}
    tailed.tail.rewind()
    assert tailed.tail.lost() == []


def test_a_gap_begins_where_the_store_ends_when_that_was_put_back(tailed: TailedNode, clock: Clock) -> None:
    lost_file(tailed, clock)
    (source,) = tailed.committed
    assert tailed.tail.lost() != []
    tailed.tail.displace()
    assert tailed.tail.lost() == []
    assert tailed.tail.unplaced() == [source]
    tailed.committed[source] = sum(map(len, LINES[:10]))
    tailed.settle()
    assert tailed.gaps == [(sum(map(len, LINES[10:100])), "deleted")]
    assert tailed.gap_bytes() == {"deleted": sum(map(len, LINES[10:100]))}


def test_what_is_shipped_of_a_lost_file_and_not_committed_is_a_gap_if_reading_goes_back(
    tailed: TailedNode, clock: Clock
) -> None:
    path = tailed.write(LIVE, *LINES[:100])
    tailed.scan()
    tailed.place()
    (round_,) = tailed.tail.read_round()
    delete(path)
    tailed.scan()
    tailed.file("0.log").close()
    tailed.look()
    clock.forward(DUE_AFTER_S + 1)
    assert tailed.tail.lost() == []
    tailed.tail.rewind()
    tailed.settle()
    assert tailed.gaps == [(round_.parts[0].end, "deleted")]


def gone(number: int) -> LogFile:
    """A file with a source of its own, of which nothing is stored."""
    entry = Entry(f"{number}.log", Generation(0, current=True, stamp="", gzip=False), 1, 2, 10, 0)
    file = LogFile("d", Container("a", "b", "c", "web"), entry)
    file.source = number.to_bytes(16, "big")
    file.placed = True
    return file


def test_a_gap_that_grows_counts_alike_in_metrics_and_for_its_container() -> None:
    metrics, accounts = Metrics(), Accounts(Rotation())
    gaps = Gaps(metrics, accounts)
    file = gone(0)
    file.shipped = 4
    gaps.declare(file, 10, Loss.DELETED, 0.0)
    for start, lost in ((4, 6), (0, 10)):
        (round_,) = gaps.rounds(DUE_AFTER_S)
        assert round_.parts[0].start == start
        counted = metrics.registry.get_sample_value("logboom_agent_gap_bytes_total", {"reason": "deleted"})
        assert counted == accounts.of("d").lost_bytes == lost
        gaps.rewind()


def test_no_more_than_so_many_gaps_are_kept_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    gaps = Gaps(metrics, Accounts(Rotation()))
    with caplog.at_level(logging.ERROR):
        for number in range(GAPS_MAX + 3):
            gaps.declare(gone(number), 10, Loss.DELETED, 0.0)
        gaps.declare(gone(GAPS_MAX), 10, Loss.DELETED, 0.0)  # takes its own place
    (round_,) = gaps.rounds(DUE_AFTER_S)
    assert len(round_.parts) == GAPS_MAX
    untold = [vars(record)["fields"]["path"] for record in caplog.records if record.levelno == logging.ERROR]
    assert untold == ["0.log", "1.log", "2.log"]
    assert metrics.registry.get_sample_value("logboom_agent_gaps_total", {"reason": "deleted"}) == GAPS_MAX + 3


@pytest.mark.parametrize("restarts", [1, 7])
def test_short_lives_and_crash_loops_are_complete(tailed: TailedNode, clock: Clock, restarts: int) -> None:
    directory = tailed.root / "a_b_c" / "web"
    for restart in range(restarts):
        tailed.write(f"a_b_c/web/{restart}.log", *(cri(1000 * restart + number) for number in range(1000)))
        tailed.scan()
        for old in directory.glob(f"{restart - 1}.log"):
            old.unlink()
    shutil.rmtree(directory.parent)
    tailed.scan()
    tailed.settle()
    assert sorted(tailed.bodies) == sorted(b"line %d" % number for number in range(1000 * restarts))
    wait(tailed, clock)
    assert (tailed.gaps, list(tailed.tail.files())) == ([], [])


def test_five_hundred_pods_that_start_at_once_and_end_are_complete(tailed: TailedNode, clock: Clock) -> None:
    for pod in range(500):
        tailed.write(f"a_b_{pod}/web/0.log", *(cri(10 * pod + number) for number in range(10)))
    tailed.scan()
    for pod in range(500):
        shutil.rmtree(tailed.root / f"a_b_{pod}")
    tailed.settle()
    wait(tailed, clock)
    assert sorted(tailed.bodies) == sorted(b"line %d" % number for number in range(5000))
    assert (tailed.gaps, list(tailed.tail.files())) == ([], [])


def now(text: str) -> bytes:
    """A line written now, which is held for a moment."""
    now_ns = time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 10**9))
    return f"{stamp}.{now_ns % 10**9:09}Z stdout F {text}\n".encode()


def test_lines_that_were_read_and_held_when_the_file_was_truncated_are_not_lost(tailed: TailedNode) -> None:
    path = tailed.write(LIVE, now("first"))
    tailed.settle()
    assert tailed.bodies == []
    path.write_bytes(now("another"))
    tailed.look()
    tailed.ship()
    assert (tailed.bodies, tailed.gaps) == ([b"first"], [])


def test_lines_that_are_held_are_delivered_when_the_agent_ends(tailed: TailedNode) -> None:
    tailed.write(LIVE, now("first"))
    tailed.settle()
    tailed.tail.close_held()
    tailed.ship()
    assert tailed.bodies == [b"first"]


def test_what_is_held_in_all_is_bounded(tailed: TailedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.follow.holding.HELD_BYTES_MAX", 300)
    for pod in range(9):
        tailed.write(f"a_b_{pod}/web/0.log", now("held"))
        tailed.settle()
    assert len(tailed.bodies) in range(1, 9)


def test_what_is_held_of_a_file_counts_once(tailed: TailedNode) -> None:
    tailed.write(LIVE, now("held"))
    tailed.settle()
    (file,) = tailed.tail.files()
    for _ in range(3):  # read again, without a look at all files between
        tailed.write(LIVE, now("held"))
        file.look(time.monotonic())
        tailed.tail._ready[file] = None
        tailed.tail.read_round()
        assert tailed.tail._holding.held_bytes == len(file.held) > 0
