"""Pods that write: lines through a runtime into files, and the count of them."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final, Self

from simulator.docker import DockerLog
from simulator.kubelet import CriLog, Log, Rotation, pod_directory
from simulator.ledger import Ledger, Run, Written
from simulator.lines import Manner, Voice
from simulator.messages import Messages
from simulator.runtimes import Runtime, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from simulator.lines import Container

# What the runtime still writes to the renamed file before it has opened the new one.
GAP_LINES: Final = 3


# Marks a directory as the simulator's own, which it may empty.
_MARKER: Final = ".simulated"


class NotOursError(Exception):
    """A directory that has something in it and is not the simulator's."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is not empty and was not made by the simulator; name another one")
        self.directory = directory


def claim(*directories: Path) -> None:
    """Take ``directories`` to write in, emptied of what a former run left. Raises `NotOursError`, `OSError`."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        found = list(directory.iterdir())
        if found and not (directory / _MARKER).exists():
            raise NotOursError(directory)
    for directory in directories:
        (directory / _MARKER).touch()
        for path in directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)


class Writer:
    """One container that writes; owns its `Log` until `close`."""

    def __init__(  # noqa: PLR0917 - one of each part, all different
        self, container: Container, runtime: Runtime, voice: Voice, log: Log, rotation: Rotation, offset_minutes: int
    ) -> None:
        self.container = container
        self.runtime = runtime
        self.log = log
        self._voice = voice
        self._rotation = rotation
        self._offset_minutes = offset_minutes
        self._runs: list[tuple[int, tuple[int, int]]] = [(0, (0, 0))]
        self.rotations = 0

    def write(self, lines: int) -> int:
        """Write that many lines at once; rotate the file if it is large enough then. Gives how many were written."""
        before = sum(self._voice.counts)
        self.log.write(self._lines(lines))
        if self.log.size >= self._rotation.size:
            self.rotate()
        return sum(self._voice.counts) - before

    def rotate(self) -> None:
        """Rotate the file whatever its size."""
        self.log.rotate(lambda: self._lines(GAP_LINES))
        self.rotations += 1

    def restart(self) -> None:
        """Restart the container."""
        self.log.begin_again()
        self._runs.append((self.log.restart, self._voice.counts))

    def written(self) -> list[Written]:
        """What was written so far, to stdout and to stderr."""
        container = self.container
        ends = [counts for _, counts in self._runs[1:]] + [self._voice.counts]
        return [
            Written(
                container.namespace,
                container.pod,
                container.uid,
                container.name,
                stream,
                tuple(
                    Run(restart, counts[index], end[index])
                    for (restart, counts), end in zip(self._runs, ends, strict=True)
                ),
            )
            for index, stream in enumerate(("stdout", "stderr"))
        ]

    def _lines(self, count: int) -> bytes:
        return render(self.runtime, self._voice.speak(count, time.time_ns()), self._offset_minutes)


class Node:
    """The pods of a node; owns every `Writer` until `close` (idempotent). For one thread at a time.

    ``docker_dir`` is where Docker keeps its files, which only containers of its have.
    """

    def __init__(  # noqa: PLR0917 - all different
        self,
        pods_dir: Path,
        docker_dir: Path,
        manner: Manner,
        rotation: Rotation,
        offset_minutes: int = 0,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._pods_dir = pods_dir
        self._docker_dir = docker_dir
        self._manner = manner
        self._rotation = rotation
        self._offset_minutes = offset_minutes
        self._clock_s = clock_s
        self._messages = Messages(manner.seed)
        self.writers: list[Writer] = []
        self._over: list[Written] = []

    def start(self, pod: Sequence[Container], runtime: Runtime) -> list[Writer]:
        """Start a pod: its containers, as writers."""
        started = [self._writer(container, runtime) for container in pod]
        self.writers += started
        return started

    def delete(self, uid: str) -> None:
        """Delete a pod; its files go away at once."""
        for writer in [writer for writer in self.writers if writer.container.uid == uid]:
            self.writers.remove(writer)
            self._over += writer.written()
            writer.log.remove()

    def ledger(self) -> Ledger:
        """What was written so far, by deleted pods too."""
        return Ledger((*self._over, *(written for writer in self.writers for written in writer.written())))

    def close(self) -> None:
        """Give the descriptors back; the files stay."""
        for writer in self.writers:
            writer.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writer(self, container: Container, runtime: Runtime) -> Writer:
        directory = pod_directory(self._pods_dir, container) / container.name
        log: Log
        if runtime is Runtime.DOCKER:
            log = DockerLog(directory, self._docker_dir, container, self._rotation)
        else:
            log = CriLog(directory, self._rotation, self._clock_s)
        voice = Voice(container, self._manner, self._messages, exact=runtime.exact)
        return Writer(container, runtime, voice, log, self._rotation, self._offset_minutes)
