from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING

import pytest

from simulator.kubelet import CriLog, Rotation, compress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# 2023-11-14T22:13:20Z
NOW_S = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[CriLog]:
    made = CriLog(tmp_path / "pod" / "app", Rotation(files=5, plain=1, runs=1), clock)
    yield made
    made.close()


def files(log: CriLog) -> list[str]:
    return sorted(path.name for path in log._directory.iterdir())


def rotate(log: CriLog, clock: Clock, after_s: float = 10.0) -> None:
    clock.now_s += after_s
    log.rotate(lambda: b"")


def test_a_log_begins_with_run_0(log: CriLog) -> None:
    log.write(b"one\n")
    log.write(b"two\n")
    assert files(log) == ["0.log"]
    assert (log._directory / "0.log").read_bytes() == b"one\ntwo\n"
    assert log.size == 8
    assert (log._directory / "0.log").stat().st_mode & 0o777 == 0o640


def test_the_runtime_writes_to_the_renamed_file_until_it_has_a_new_one(log: CriLog) -> None:
    log.write(b"before\n")
    seen: list[list[str]] = []

    def gap() -> bytes:
        seen.append(files(log))
        return b"in the gap\n"

    log.rotate(gap)
    log.write(b"after\n")
    assert seen == [["0.log.20231114-221320"]]
    assert (log._directory / "0.log.20231114-221320").read_bytes() == b"before\nin the gap\n"
    assert (log._directory / "0.log").read_bytes() == b"after\n"


def test_the_generation_before_is_compressed_at_the_next_rotation(log: CriLog, clock: Clock) -> None:
    log.write(b"one\n")
    rotate(log, clock)
    log.write(b"two\n")
    rotate(log, clock)
    assert files(log) == ["0.log", "0.log.20231114-221330.gz", "0.log.20231114-221340"]
    packed = log._directory / "0.log.20231114-221330.gz"
    assert gzip.decompress(packed.read_bytes()) == b"one\n"


def test_five_files_are_kept(log: CriLog, clock: Clock) -> None:
    for _ in range(9):
        rotate(log, clock)
    assert [name.partition("-")[2] for name in files(log)] == ["", "221420.gz", "221430.gz", "221440.gz", "221450"]


def test_rotations_in_one_second_get_names_that_sort(log: CriLog, clock: Clock) -> None:
    for _ in range(4):
        rotate(log, clock, 0.1)
    stamps = [name.split(".")[2] for name in files(log)[1:]]
    assert stamps == ["20231114-221320", "20231114-221321", "20231114-221322", "20231114-221323"]


PLAIN = [(1, 1), (2, 2), (3, 3), (10, 4)]


@pytest.mark.parametrize(("kept_plain", "found_plain"), PLAIN)
def test_as_many_are_left_plain_as_asked(tmp_path: Path, clock: Clock, kept_plain: int, found_plain: int) -> None:
    log = CriLog(tmp_path / "more" / "app", Rotation(files=5, plain=kept_plain), clock)
    for _ in range(8):
        rotate(log, clock)
    log.close()
    assert sum(not name.endswith(".gz") for name in files(log)) == 1 + found_plain
    assert len(files(log)) == 5


def test_a_restart_keeps_the_last_run(log: CriLog, clock: Clock) -> None:
    log.write(b"run 0\n")
    rotate(log, clock)
    log.begin_again()
    assert files(log) == ["0.log", "0.log.20231114-221330", "1.log"]
    log.write(b"run 1\n")
    log.begin_again()
    assert files(log) == ["1.log", "2.log"]
    assert (log._directory / "1.log").read_bytes() == b"run 1\n"
    rotate(log, clock)
    assert files(log) == ["1.log", "2.log", "2.log.20231114-221340"]


def test_a_deleted_pod_leaves_nothing(log: CriLog, tmp_path: Path) -> None:
    log.remove()
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_compression_leaves_only_the_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"x" * 100_000)
    compress(tmp_path / "a.log")
    assert [path.name for path in tmp_path.iterdir()] == ["a.log.gz"]
    assert gzip.decompress((tmp_path / "a.log.gz").read_bytes()) == b"x" * 100_000


def test_a_log_that_could_not_be_opened_again_can_be_closed(log: CriLog) -> None:
    shutil.rmtree(log._directory)
    with pytest.raises(FileNotFoundError):
        log.begin_again()
    log.close()
