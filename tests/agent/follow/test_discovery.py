from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from pathlib import Path

import pytest

from agent.follow.discovery import Discovery, Listing


class Pods:
    """A pods tree, and a discovery whose clock is far ahead so that every directory counts as settled."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.watched: set[str] = set()
        self.has_watches = True
        self.ahead_ns = 10_000_000_000
        self.discovery = Discovery(str(root), self.watch, lambda: time.time_ns() + self.ahead_ns)

    def watch(self, directory: str) -> bool:
        self.watched.add(directory)
        return self.has_watches

    def write(self, path: str, content: bytes = b"x\n") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def names(self) -> dict[str, list[str]]:
        """What a scan says changed: file names by directory, relative to the tree."""
        return {
            os.path.relpath(listing.directory, self.root): [Path(entry.path).name for entry in listing.entries]
            for listing in self.discovery.scan()
        }


@pytest.fixture
def pods(tmp_path: Path) -> Pods:
    return Pods(tmp_path / "pods")


def test_a_pods_directory_that_is_not_there_has_no_containers_until_it_comes(pods: Pods) -> None:
    assert pods.discovery.scan() == []
    pods.write("a_b_c/web/0.log")
    assert pods.names() == {"a_b_c/web": ["0.log"]}


def test_files_are_listed_oldest_first_and_others_left_out(pods: Pods) -> None:
    for name in ("1.log", "0.log", "1.log.20230405-022934", "1.log.20230405-022924.gz", "x.log", "1.log.tmp"):
        pods.write(f"a_b_c/web/{name}")
    assert pods.names() == {"a_b_c/web": ["0.log", "1.log.20230405-022924.gz", "1.log.20230405-022934", "1.log"]}


def test_only_what_changed_is_listed_again(pods: Pods) -> None:
    pods.write("a_b_c/web/0.log")
    pods.write("a_b_c/db/0.log")
    assert pods.names().keys() == {"a_b_c/web", "a_b_c/db"}
    assert pods.names() == {}
    pods.write("a_b_c/db/1.log")
    assert pods.names() == {"a_b_c/db": ["0.log", "1.log"]}


def test_a_directory_that_changed_just_now_is_listed_again(pods: Pods) -> None:
    pods.ahead_ns = 0
    pods.write("a_b_c/web/0.log")
    assert pods.names() == {"a_b_c/web": ["0.log"]}
    assert pods.names() == {"a_b_c/web": ["0.log"]}


def test_a_container_that_is_gone_is_listed_empty_once(pods: Pods) -> None:
    file = pods.write("a_b_c/web/0.log")
    assert pods.names() == {"a_b_c/web": ["0.log"]}
    file.unlink()
    file.parent.rmdir()
    assert pods.names() == {"a_b_c/web": []}
    assert pods.names() == {}


def test_a_directory_made_anew_under_the_same_name_is_listed(pods: Pods) -> None:
    file = pods.write("a_b_c/web/0.log")
    stamp = file.parent.stat().st_mtime_ns
    pods.names()
    file.parent.rename(pods.root / "aside")
    new = pods.write("a_b_c/web/0.log", b"other\n").parent
    os.utime(new, ns=(stamp, stamp))
    assert pods.names() == {"a_b_c/web": ["0.log"]}


def test_dockers_symlinks_are_followed_to_the_rotated_files_beside_the_target(pods: Pods, tmp_path: Path) -> None:
    target = tmp_path / "docker" / "c1" / "c1-json.log"
    target.parent.mkdir(parents=True)
    for path in (target, target.with_name("c1-json.log.1"), target.with_name("c1-json.log.2")):
        path.write_bytes(b"{}\n")
    link = pods.root / "a_b_c" / "web" / "0.log"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    assert pods.names() == {"a_b_c/web": ["c1-json.log.2", "c1-json.log.1", "0.log"]}
    assert str(target.parent) in pods.watched
    pods.names()  # once more, because its directory has only been watched since
    assert pods.names() == {}
    target.rename(target.with_name("c1-json.log.3"))
    assert pods.names() == {"a_b_c/web": ["c1-json.log.3", "c1-json.log.2", "c1-json.log.1"]}


def test_an_entry_says_what_the_file_is(pods: Pods) -> None:
    file = pods.write("a_b_c/web/0.log", b"12345\n")
    (listing,) = pods.discovery.scan()
    assert isinstance(listing, Listing)
    found = file.stat()
    entry = listing.entries[0]
    assert (entry.device, entry.inode, entry.size) == (found.st_dev, found.st_ino, 6)
    assert entry.modified_ns == found.st_mtime_ns


def test_every_directory_is_watched_before_it_is_listed(pods: Pods) -> None:
    pods.write("a_b_c/web/0.log")
    pods.discovery.scan()
    assert pods.watched == {str(pods.root), str(pods.root / "a_b_c"), str(pods.root / "a_b_c" / "web")}


@pytest.mark.parametrize("has_watches", [True, False])
def test_a_directory_is_watched_again_only_if_that_was_not_to_be_had(pods: Pods, *, has_watches: bool) -> None:
    pods.write("a_b_c/web/0.log")
    pods.has_watches = has_watches
    pods.discovery.scan()
    every = set(pods.watched)
    for has, asked in (
        (has_watches, {str(pods.root)} if has_watches else every),
        (True, None),
        (True, {str(pods.root)}),
    ):
        pods.watched.clear()
        pods.has_watches = has
        assert pods.discovery.scan() == []
        assert asked is None or pods.watched == asked


def test_containers_that_come_to_a_known_pod_or_leave_it_are_found(pods: Pods) -> None:
    pods.write("a_b_c/web/0.log")
    assert pods.names() == {"a_b_c/web": ["0.log"]}
    pods.write("a_b_c/db/0.log")
    assert pods.names() == {"a_b_c/db": ["0.log"]}
    shutil.rmtree(pods.root / "a_b_c/web")
    assert pods.names() == {"a_b_c/web": []}
    shutil.rmtree(pods.root / "a_b_c")
    assert pods.names() == {"a_b_c/db": []}
    pods.write("a_b_c/web/1.log")
    assert pods.names() == {"a_b_c/web": ["1.log"]}


def test_what_is_no_pods_directory_is_left_alone(pods: Pods) -> None:
    pods.write("stray/web/0.log")
    pods.write("file-among-pods")
    pods.write("a_b_c/file-among-containers")
    assert pods.names() == {"a_b_c/file-among-containers": []}


def test_a_file_that_is_found_under_two_names_is_listed_once_as_the_older(pods: Pods) -> None:
    # As when Docker shifts its files while they are listed.
    older = pods.write("a_b_c/web/0.log.20230405-022934")
    (older.parent / "0.log").hardlink_to(older)
    assert pods.names() == {"a_b_c/web": ["0.log.20230405-022934"]}


def test_of_too_many_files_the_newest_are_listed(
    pods: Pods, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.follow.discovery.FILES_MAX", 2)
    for restart in (2, 9, 10, 11):
        pods.write(f"a_b_c/web/{restart}.log")
    assert pods.names() == {"a_b_c/web": ["10.log", "11.log"]}
    assert "too many files" in caplog.text


class Unreadable:
    """Directories that cannot be listed, for root either."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directories: set[str] = set()
        real = os.listdir

        def listdir(directory: str) -> list[str]:
            if directory in self.directories:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)
            return real(directory)

        monkeypatch.setattr(os, "listdir", listdir)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Unreadable:
    return Unreadable(monkeypatch)


def test_a_directory_that_cannot_be_read_is_tried_again_and_keeps_no_other_from_being_read(
    pods: Pods, unreadable: Unreadable, caplog: pytest.LogCaptureFixture
) -> None:
    closed = pods.write("a_b_c/closed/0.log").parent
    pods.write("a_b_c/open/0.log")
    unreadable.directories.add(str(closed))
    assert pods.names() == {"a_b_c/open": ["0.log"]}
    assert "directory cannot be read" in caplog.text
    unreadable.directories.clear()  # which changes no modification time
    assert pods.names() == {"a_b_c/closed": ["0.log"]}


def test_files_stay_as_they_were_while_their_directory_cannot_be_read(pods: Pods, unreadable: Unreadable) -> None:
    directory = pods.write("a_b_c/web/0.log").parent
    assert pods.names() == {"a_b_c/web": ["0.log"]}
    unreadable.directories.add(str(directory))
    pods.write("a_b_c/web/1.log")
    assert pods.names() == {}
    unreadable.directories.clear()
    assert pods.names() == {"a_b_c/web": ["0.log", "1.log"]}


def test_containers_of_a_pod_that_cannot_be_read_are_listed_once_it_can(pods: Pods, unreadable: Unreadable) -> None:
    pod = pods.write("a_b_c/web/0.log").parent.parent
    unreadable.directories.add(str(pod))
    assert pods.names() == {}
    unreadable.directories.clear()  # which changes no modification time
    assert pods.names() == {"a_b_c/web": ["0.log"]}


def test_containers_stay_as_they_were_while_their_pod_cannot_be_read(pods: Pods, unreadable: Unreadable) -> None:
    pod = pods.write("a_b_c/web/0.log").parent.parent
    assert pods.names() == {"a_b_c/web": ["0.log"]}
    unreadable.directories.add(str(pod))
    pods.write("a_b_c/db/0.log")
    assert pods.names() == {}
    unreadable.directories.clear()
    assert pods.names() == {"a_b_c/db": ["0.log"]}


def test_a_pods_directory_that_cannot_be_read_is_an_error(pods: Pods, unreadable: Unreadable) -> None:
    unreadable.directories.add(str(pods.root))
    with pytest.raises(PermissionError):
        pods.discovery.scan()


def test_inodes_larger_than_any_time_make_no_directory_look_new(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def stat(path: str) -> os.stat_result:
        found = list(real(path))
        found[1] = 1 << 63
        return os.stat_result(found, {"st_mtime_ns": real(path).st_mtime_ns})

    pods.write("a_b_c/web/0.log")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        found = [pods.names(), pods.names()]
    assert found == [{"a_b_c/web": ["0.log"]}, {}]


def test_what_looks_like_a_log_and_is_named_like_none_is_told_once_and_counted(
    pods: Pods, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("0.log", "app.log", "x.log.1", "0.log.20230405-022924.gz.tmp", "notes.txt"):
        pods.write(f"a_b_c/web/{name}")
    with caplog.at_level(logging.INFO):
        assert pods.names() == {"a_b_c/web": ["0.log"]}
        pods.write("a_b_c/web/1.log")
        assert pods.names() == {"a_b_c/web": ["0.log", "1.log"]}
    assert pods.discovery.ignored == 2
    assert [vars(record)["fields"]["for_example"] for record in caplog.records] == ["app.log"]
    shutil.rmtree(pods.root / "a_b_c")
    pods.names()
    assert pods.discovery.ignored == 0
