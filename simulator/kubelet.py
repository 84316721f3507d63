"""A container's log files with containerd or CRI-O, as kubelet and runtime keep them together.

    <pods>/<namespace>_<pod>_<uid>/<container>/<restart>.log                      being written, mode 0640
                                               <restart>.log.20230405-022934      rotated, the newest plain
                                               <restart>.log.20230405-022801.gz   rotated before; .tmp while being made

A rotation: what is rotated and not compressed yet is compressed (to ``.tmp``, renamed, the plain one removed), the log
is renamed, the runtime opens a new one; until it has, it writes to the renamed file.
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/logs/container_log_manager.go
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from simulator.lines import Container

_FILE_MODE: Final = 0o640
_STAMP: Final = "%Y%m%d-%H%M%S"


class Rotation(msgspec.Struct, frozen=True):
    """When a log is rotated, and what is kept of it; a kubelet's defaults.

    ``files``: files of one run, the one being written included. ``plain``: how many of the rotated ones are left
    uncompressed. ``runs``: runs before the present one whose logs are kept.
    """

    size: int = 10 << 20
    files: int = 5
    plain: int = 1
    runs: int = 1


class Log(Protocol):
    """The log files of one container; owns the descriptor of the one being written, until `close` (idempotent)."""

    restart: int

    @property
    def size(self) -> int:
        """Bytes in the file being written."""

    def write(self, data: bytes) -> None:
        """Append whole lines."""

    def rotate(self, gap: Callable[[], bytes]) -> None:
        """Begin a new file; ``gap`` gives what the container writes after the old one was renamed, before that."""

    def begin_again(self) -> None:
        """The container is restarted."""

    def remove(self) -> None:
        """The pod is deleted."""

    def close(self) -> None:
        """Give the descriptor back."""


class CriLog:
    """A `Log` in ``directory``, written by containerd or CRI-O."""

    def __init__(self, directory: Path, rotation: Rotation, clock_s: Callable[[], float]) -> None:
        self._directory = directory
        self._rotation = rotation
        self._clock_s = clock_s
        self.restart = 0
        directory.mkdir(parents=True)
        self._file = open_log(directory / "0.log")

    @property
    def size(self) -> int:
        """Bytes in the file being written."""
        return os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Append whole lines."""
        write_all(self._file, data)

    def rotate(self, gap: Callable[[], bytes]) -> None:
        """Begin a new file; ``gap`` gives what the container writes after the old one was renamed, before that."""
        name = f"{self.restart}.log"
        rotated = sorted(path for path in self._directory.iterdir() if path.name.startswith(f"{name}."))
        # One place is for the file being written, one for that which is about to be rotated.
        thin_out(rotated, self._rotation.files - 2)
        plain = [path for path in rotated if path.suffix != ".gz" and path.exists()]
        # The one that is about to be rotated will be a plain one too.
        for path in plain[: max(0, len(plain) + 1 - self._rotation.plain)]:
            compress(path)
        (self._directory / name).rename(self._directory / f"{name}.{self._stamp(rotated)}")
        self.write(gap())
        self.close()
        self._file = open_log(self._directory / name)

    def begin_again(self) -> None:
        """The container is restarted."""
        self.close()
        self.restart += 1
        self._file = open_log(self._directory / f"{self.restart}.log")
        for path in self._directory.iterdir():
            if int(path.name.partition(".")[0]) < self.restart - self._rotation.runs:
                path.unlink()

    def remove(self) -> None:
        """The pod is deleted."""
        self.close()
        shutil.rmtree(self._directory)
        remove_if_empty(self._directory.parent)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _stamp(self, rotated: Iterable[Path]) -> str:
        """The time, to the second; a later one if this second has had its rotation, which no kubelet does."""
        now = datetime.fromtimestamp(self._clock_s(), UTC)
        used = max((match[0] for path in rotated if (match := re.search(r"\d{8}-\d{6}", path.name))), default="")
        if used < (stamp := now.strftime(_STAMP)):
            return stamp
        return (datetime.strptime(used, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)).strftime(_STAMP)


def pod_directory(pods_dir: Path, container: Container) -> Path:
    """Where the logs of the container's pod are."""
    return pods_dir / f"{container.namespace}_{container.pod}_{container.uid}"


def open_log(path: Path) -> int:
    """A descriptor that appends to a new file."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)


def write_all(file: int, data: bytes) -> None:
    """Append ``data``, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def compress(path: Path) -> None:
    """Put ``path.gz`` in the place of ``path``; for a moment both are there."""
    made = path.with_name(f"{path.name}.tmp")
    with path.open("rb") as plain, gzip.open(made, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed)
    made.chmod(_FILE_MODE)
    made.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()


def thin_out(oldest_first: list[Path], keep: int) -> None:
    """Remove all but the newest ``keep`` files."""
    for path in oldest_first[: max(0, len(oldest_first) - keep)]:
        path.unlink()


def remove_if_empty(directory: Path) -> None:
    """Remove a directory that has nothing in it any more."""
    if not any(directory.iterdir()):
        directory.rmdir()
