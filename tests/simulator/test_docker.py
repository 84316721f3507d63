from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING

import pytest

from simulator.docker import DockerLog
from simulator.kubelet import Rotation
from simulator.lines import Container

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTAINER = Container("shop", "cart-1", "0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DockerLog]:
    made = DockerLog(tmp_path / "pods" / "pod" / "app", tmp_path / "docker", CONTAINER, Rotation(files=4, plain=1))
    yield made
    made.close()


def target(log: DockerLog, restart: int = 0) -> Path:
    return (log._directory / f"{restart}.log").readlink()


def numbered(log: DockerLog) -> dict[str, bytes]:
    """What is behind the log's name of each file beside the link's target, and in it."""
    path = target(log)
    return {
        found.name.removeprefix(path.name): gzip.decompress(found.read_bytes())
        if found.suffix == ".gz"
        else found.read_bytes()
        for found in path.parent.iterdir()
    }


def test_the_kubelets_file_is_a_symlink_into_dockers_tree(log: DockerLog, tmp_path: Path) -> None:
    log.write(b"one\n")
    path = target(log)
    assert path.is_absolute()
    assert path.parent.parent == tmp_path / "docker"
    assert path.name == f"{path.parent.name}-json.log"
    assert (log._directory / "0.log").read_bytes() == b"one\n"
    assert log.size == 4


def test_numbers_shift_and_all_but_the_newest_are_compressed(log: DockerLog) -> None:
    for number in range(3):
        log.write(b"%d\n" % number)
        log.rotate(lambda: b"last\n")
    log.write(b"3\n")
    assert numbered(log) == {"": b"3\n", ".1": b"2\nlast\n", ".2.gz": b"1\nlast\n", ".3.gz": b"0\nlast\n"}


def test_the_oldest_goes_when_there_are_enough(log: DockerLog) -> None:
    for number in range(9):
        log.write(b"%d\n" % number)
        log.rotate(lambda: b"")
    assert numbered(log) == {"": b"", ".1": b"8\n", ".2.gz": b"7\n", ".3.gz": b"6\n"}


def test_a_restarted_container_is_another_one_for_docker(log: DockerLog) -> None:
    log.write(b"run 0\n")
    log.begin_again()
    log.write(b"run 1\n")
    assert target(log, 0) != target(log, 1)
    assert (log._directory / "0.log").read_bytes() == b"run 0\n"
    assert (log._directory / "1.log").read_bytes() == b"run 1\n"
    log.begin_again()
    assert sorted(path.name for path in log._directory.iterdir()) == ["1.log", "2.log"]


def test_a_deleted_pod_leaves_nothing(log: DockerLog, tmp_path: Path) -> None:
    log.begin_again()
    log.rotate(lambda: b"")
    log.remove()
    assert list((tmp_path / "pods").iterdir()) == []
    assert list((tmp_path / "docker").iterdir()) == []


def test_a_log_that_could_not_be_opened_again_can_be_closed(log: DockerLog) -> None:
    shutil.rmtree(target(log).parent)
    with pytest.raises(FileNotFoundError):
        log.rotate(lambda: b"")
    log.close()
