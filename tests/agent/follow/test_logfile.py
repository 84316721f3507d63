from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from agent.follow.discovery import Discovery, Listing
from agent.follow.logfile import LogFile
from agent.follow.tail import Tail
from agent.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path


def listing(root: Path) -> Listing:
    [found] = Discovery(str(root), lambda _: True).scan()
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "shop_cart-1_u1" / "app" / "0.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"2023-04-05T02:29:34.1Z stdout F one\n")
    return path


def rotate(log: Path) -> None:
    log.rename(log.with_name("0.log.20230405-022934"))
    log.write_bytes(b"2023-04-05T02:29:34.2Z stdout F two\n")


def test_a_file_rotated_since_it_was_listed_is_not_taken_for_the_next_one(tmp_path: Path, log: Path) -> None:
    found = listing(tmp_path)
    file = LogFile(found.directory, found.container, found.entries[0])
    rotate(log)
    with pytest.raises(FileNotFoundError):
        file.open()
    assert file.fd is None
    file.entry = listing(tmp_path).entries[0]
    file.open()
    file.close()


def test_both_generations_are_followed_when_a_rotation_came_between_list_and_open(tmp_path: Path, log: Path) -> None:
    tail = Tail("test", 1 << 20, Metrics())
    tail.update(listing(tmp_path))
    rotate(log)
    tail.look()
    tail.update(listing(tmp_path))
    tail.look()
    sources = tail.unplaced()
    assert len(sources) == 2
    tail.place(dict.fromkeys(sources, 0))
    read: list[bytes] = []
    until_s = time.monotonic() + 10.0
    while len(read) < 2 and time.monotonic() < until_s:  # what goes on in the next file is waited for
        tail.look()
        read += [body for one in tail.read_round() if (body := bytes(one.records.body))]
    assert sorted(read) == [b"one", b"two"]
    tail.close()


@pytest.mark.usefixtures("log")
def test_a_file_that_a_listing_missed_is_there_again(tmp_path: Path) -> None:
    tail = Tail("test", 1 << 20, Metrics())
    full = listing(tmp_path)
    tail.update(full)
    tail.look()
    tail.update(Listing(full.directory, full.container, ()))
    assert [file.listed for file in tail.files()] == [False]
    tail.update(full)
    assert [file.listed for file in tail.files()] == [True]
    tail.close()
