"""A container's log files with Docker: the kubelet's tree has symlinks, Docker keeps and rotates the files.

    <pods>/<namespace>_<pod>_<uid>/<container>/<restart>.log  ->  <docker>/<id>/<id>-json.log      being written
                                                                  <docker>/<id>/<id>-json.log.1    rotated last
                                                                  <docker>/<id>/<id>-json.log.2.gz rotated before

A rotation: the file is closed, the numbers shift, the file becomes ``.1``, a new one is opened. A restarted container
is another one for Docker, with an id and a directory of its own.
https://github.com/moby/moby/blob/master/daemon/logger/loggerutils/logfile.go
"""

from __future__ import annotations

import hashlib
import os
import shutil
from itertools import count
from typing import TYPE_CHECKING

from simulator.kubelet import Rotation, compress, open_log, remove_if_empty, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulator.lines import Container


class DockerLog:
    """A `Log` (see `kubelet`) of ``container``, a symlink in ``directory``, the files below ``docker_dir``."""

    def __init__(self, directory: Path, docker_dir: Path, container: Container, rotation: Rotation) -> None:
        self._directory = directory
        self._docker_dir = docker_dir.resolve()  # symlinks lead there from elsewhere
        self._container = container
        self._rotation = rotation
        self.restart = 0
        directory.mkdir(parents=True)
        self._file = self._begin()

    @property
    def size(self) -> int:
        """Bytes in the file being written."""
        return os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Append whole lines."""
        write_all(self._file, data)

    def rotate(self, gap: Callable[[], bytes]) -> None:
        """Begin a new file; Docker closes the old one before it is renamed, so ``gap`` goes into it as well."""
        self.write(gap())
        self.close()
        log = self._target(self.restart)
        newest_first = list(_rotated(log))
        if len(newest_first) >= self._rotation.files - 1:
            newest_first.pop().unlink()
        for number, path in reversed(list(enumerate(newest_first, 1))):
            shifted = log.with_name(f"{log.name}.{number + 1}{'.gz' if path.suffix == '.gz' else ''}")
            path.rename(shifted)
            if number + 1 > self._rotation.plain and shifted.suffix != ".gz":
                compress(shifted)
        log.rename(log.with_name(f"{log.name}.1"))
        self._file = open_log(log)

    def begin_again(self) -> None:
        """The container is restarted."""
        self.close()
        self.restart += 1
        self._file = self._begin()
        for restart in range(self.restart - self._rotation.runs):
            self._remove_run(restart)

    def remove(self) -> None:
        """The pod is deleted."""
        self.close()
        for restart in range(self.restart + 1):
            self._remove_run(restart)
        self._directory.rmdir()
        remove_if_empty(self._directory.parent)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _target(self, restart: int) -> Path:
        of = self._container
        identity = hashlib.sha256(f"{of.uid}/{of.name}/{restart}".encode()).hexdigest()
        return self._docker_dir / identity / f"{identity}-json.log"

    def _begin(self) -> int:
        target = self._target(self.restart)
        target.parent.mkdir(parents=True)
        file = open_log(target)
        (self._directory / f"{self.restart}.log").symlink_to(target)
        return file

    def _remove_run(self, restart: int) -> None:
        link = self._directory / f"{restart}.log"
        if link.is_symlink():
            link.unlink()
            shutil.rmtree(self._target(restart).parent)


def _rotated(log: Path) -> Iterator[Path]:
    """The rotated files, the newest first."""
    for number in count(1):
        plain = log.with_name(f"{log.name}.{number}")
        packed = log.with_name(f"{log.name}.{number}.gz")
        if plain.exists():
            yield plain
        elif packed.exists():
            yield packed
        else:
            return
