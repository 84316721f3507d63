"""Scans without inotify, or with too little of it."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import pytest

from agent.batch import Builder, Origin
from agent.collect import Collector
from agent.inotify import Inotify
from agent.metrics import Metrics
from agent.tail import Tail
from agent.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
