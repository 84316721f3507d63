"""Scans without inotify, or with too little of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.follow.inotify import Inotify
from agent.follow.tail import Tail
from agent.follow.watch import Watch
from agent.metrics import Metrics
from agent.ship.batch import Builder, Origin
from agent.ship.collect import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    metrics = Metrics()
    collector = Collector(Tail("test", 1 << 20, metrics), Builder(Origin("", "node", ""), 1 << 20), 0.1, metrics)
    yield collector
    collector.close()


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    for name in ("a_b_c/web", "a_b_c/db"):
        (tmp_path / "pods" / name).mkdir(parents=True)
        os.utime(tmp_path / "pods" / name, (1, 1))  # long settled: listed once, not in every scan
    return tmp_path / "pods"


@pytest.fixture
def watch(pods: Path, collector: Collector) -> Iterator[Watch]:
    watch = Watch(str(pods), collector, Metrics())
    yield watch
    watch.close()


class Watches:
    """Real watches, but only ``left`` of them, as fs.inotify.max_user_watches would have it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        self.held: set[str] = set()
        self.asked = 0
        real = Inotify.watch

        def watch(inotify: Inotify, directory: str) -> None:
            self.asked += 1
            if directory not in self.held and self.left <= len(self.held):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(inotify, directory)
            self.held.add(directory)

        monkeypatch.setattr(Inotify, "watch", watch)


async def test_every_directory_is_watched(monkeypatch: pytest.MonkeyPatch, pods: Path, watch: Watch) -> None:
    watches = Watches(monkeypatch, 100)
    await watch._scan()
    assert watches.held == {str(pods), f"{pods}/a_b_c", f"{pods}/a_b_c/web", f"{pods}/a_b_c/db"}
    assert (watch.has_inotify, watch.scans) == (True, 1)


async def test_scans_stay_frequent_for_as_long_as_watches_are_missing(
    monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    watches = Watches(monkeypatch, 3)
    for _ in range(3):
        await watch._scan()
        assert not watch.has_inotify
    watches.left = 100
    await watch._scan()
    assert watch.has_inotify
    assert len(watches.held) == 4


async def test_a_scan_that_found_no_watch_left_asks_for_no_more(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    watches = Watches(monkeypatch, 1)
    await watch._scan()
    assert watches.asked == 2


async def test_where_there_is_no_inotify_scans_do_it(
    monkeypatch: pytest.MonkeyPatch, pods: Path, collector: Collector
) -> None:
    def refuse(_: Inotify) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Inotify, "__init__", refuse)
    watch = Watch(str(pods), collector, Metrics())
    (pods / "a_b_c/web/0.log").write_bytes(b"2023-04-05T02:29:34.1Z stdout F one\n")
    await watch._scan()
    assert (watch.has_inotify, watch.scans) == (False, 1)
    assert [file.entry.path for file in collector._tail.files()] == [str(pods / "a_b_c/web/0.log")]


async def test_a_pods_directory_that_is_yet_to_come_is_looked_for_often(tmp_path: Path, collector: Collector) -> None:
    watch = Watch(str(tmp_path / "later"), collector, Metrics())
    found = []
    for exists in (False, True):
        if exists:
            (tmp_path / "later").mkdir()
        await watch._scan()
        found.append(watch.has_inotify)
    assert found == [False, True]
    watch.close()


async def test_a_file_among_the_containers_takes_no_watch_and_costs_none(pods: Path, watch: Watch) -> None:
    (pods / "a_b_c" / "stray").touch()
    await watch._scan()
    assert watch.has_inotify


async def test_a_pods_directory_that_cannot_be_read_is_no_scan(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "loop").symlink_to("loop")
    watch = Watch(str(tmp_path / "loop"), collector, Metrics(), use_inotify=False)
    await watch._scan()
    assert watch.scans == 0


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of inotify."""
    said = [(record.levelname, record.message) for record in caplog.records if record.name == "agent.follow.watch"]
    return [each for each in said if each[1] != "first scan"]


QUEUED_MAX = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
SCANNING = ("WARNING", "scanning every second")
AGAIN = ("INFO", "inotify tells of every change again")


async def test_missing_watches_are_told_once_and_that_there_are_some_again(
    monkeypatch: pytest.MonkeyPatch, pods: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watches = Watches(monkeypatch, 3)
    for _ in range(4):
        await watch._scan()
    assert told(caplog) == [SCANNING]
    assert watch.trouble.startswith(f"{pods}/a_b_c/")
    assert watch.trouble.endswith(" cannot be watched: No space left on device")
    watches.left = 100
    for _ in range(2):
        await watch._scan()
    assert (told(caplog), watch.trouble) == ([SCANNING, AGAIN], "")


@contextlib.asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def paths(collector: Collector) -> set[str]:
    return {file.entry.path for file in collector._tail.files()}


def appear(pods: Path, name: str) -> str:
    """A log file of a new container; gives its path."""
    file = pods / name / "0.log"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"2023-04-05T02:29:34.1Z stdout F one\n")
    return str(file)


async def test_an_instance_that_was_not_to_be_had_is_taken_when_it_is(
    monkeypatch: pytest.MonkeyPatch, pods: Path, collector: Collector, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("agent.follow.watch.SCAN_EVERY_S", 0.02)

    def refuse(_: Inotify) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as refusing:
        refusing.setattr(Inotify, "__init__", refuse)
        watch = Watch(str(pods), collector, Metrics())
        async with running(watch):
            await until(lambda: watch.scans >= 3)
            assert (watch.has_inotify, watch.trouble) == (False, "no inotify instance: Too many open files")
            refusing.undo()
            monkeypatch.setattr("agent.follow.watch.RECONCILE_EVERY_S", 60.0)
            await until(lambda: watch.has_inotify and not watch.trouble)
            scans = watch.scans
            path = appear(pods, "a_b_d/web")
            await until(lambda: path in paths(collector))
            assert watch.scans > scans
    watch.close()
    assert told(caplog) == [SCANNING, AGAIN]


async def test_a_queue_that_was_full_is_told_and_made_up_for_by_scans(
    monkeypatch: pytest.MonkeyPatch, pods: Path, collector: Collector, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("agent.follow.watch.OVERFLOW_S", 0.3)
    monkeypatch.setattr("agent.follow.watch.SCAN_EVERY_S", 0.02)
    metrics = Metrics()
    watch = Watch(str(pods), collector, metrics)
    async with running(watch):
        await until(lambda: watch.scans >= 1 and watch.has_inotify)
        stray, other = pods / "a_b_c" / "stray", pods / "a_b_c" / "other"
        stray.touch()
        # Two events a rename, none of them taken meanwhile: nothing here waits.
        for _ in range(QUEUED_MAX):
            stray, other = stray.rename(other), stray
        path = appear(pods, "a_b_d/web")
        await until(lambda: not watch.has_inotify)
        assert watch.trouble == "the kernel's queue of events was full"
        assert metrics.registry.get_sample_value("logboom_agent_inotify") == 0
        await until(lambda: path in paths(collector))
        await until(lambda: watch.has_inotify and not watch.trouble)
    watch.close()
    assert metrics.registry.get_sample_value("logboom_agent_inotify_overflows_total") == 1
    assert told(caplog) == [SCANNING, AGAIN]


async def test_what_no_event_told_of_is_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch, pods: Path, collector: Collector, until: Until
) -> None:
    monkeypatch.setattr(Inotify, "watch", lambda *_: None)
    monkeypatch.setattr("agent.follow.watch.RECONCILE_EVERY_S", 0.05)
    watch = Watch(str(pods), collector, Metrics())
    async with running(watch):
        await until(lambda: watch.scans >= 1)
        path = appear(pods, "a_b_d/web")
        await until(lambda: path in paths(collector))
    watch.close()


FIRST_SCANS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("pods", "first scan", {"containers": 2, "files": 1}),
    ("none", "there is no pods directory; it may come", {}),
)


@pytest.mark.parametrize(("name", "message", "told"), FIRST_SCANS)
async def test_the_first_scan_tells_what_it_found(
    pods: Path, collector: Collector, caplog: pytest.LogCaptureFixture, name: str, message: str, told: dict[str, int]
) -> None:
    (pods / "a_b_c/web/0.log").touch()
    watch = Watch(str(pods.parent / name), collector, Metrics(), use_inotify=False)
    with caplog.at_level(logging.INFO):
        await watch._scan()
        await watch._scan()
    (record,) = caplog.records
    assert record.message == message
    assert vars(record)["fields"].items() >= {"pods_dir": str(pods.parent / name), **told}.items()
