"""The pods directory as it lies there: every file of every container, and what stands in the way of others.

Unlike `agent.follow.discovery`, which has to be quick and passes by what it cannot use, this says of everything what it
is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, TypeVar

import msgspec

from agent.doctor.report import Obstacle, Owner
from agent.follow.generations import Container, Generation, container_of, generation_of, shifted_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_T = TypeVar("_T")


class Found(msgspec.Struct, frozen=True):
    """A log file: ``size`` bytes on disk, ``modified_s`` since the epoch; ``is_collected``: as the options say."""

    path: str
    container: Container
    generation: Generation
    size: int
    modified_s: float
    is_collected: bool = True


class Survey:
    """What `look` found: ``files`` in the order of their names, ``obstacles``, and ``directories`` to be watched.

    ``collects`` says of which containers the agent reads the files.
    """

    def __init__(self, pods_dir: str, collects: Callable[[Container], bool]) -> None:
        self.files: list[Found] = []
        self.obstacles: list[Obstacle] = []
        self.directories: set[str] = set()
        self._pods_dir = pods_dir
        self._collects = collects
        self._seen: set[tuple[int, int]] = set()

    def look(self) -> None:
        """Look at everything; blocks."""
        if not os.path.isdir(self._pods_dir) and _is_absent(self._pods_dir):
            self.obstacles.append(Obstacle(self._pods_dir, "absent", exists=existing_part(self._pods_dir)))
            return
        for pod in self._names(self._pods_dir):
            self._look_at_pod(pod)

    def _look_at_pod(self, pod: str) -> None:
        directory = f"{self._pods_dir}/{pod}"
        if container_of(pod, "-") is None:
            if not os.path.isdir(directory) and not os.path.islink(directory):
                return  # no directory: nobody expects it to be read
            self.obstacles.append(Obstacle(directory, "name", logs=_has_logs(directory)))
            return
        for name in self._names(directory):
            path = f"{directory}/{name}"
            container = container_of(pod, name)
            if container is None:
                self.obstacles.append(Obstacle(path, "name", logs=_has_logs(path)))
            elif not self._collects(container):
                self._pass_by(path, container)
            elif os.path.isdir(path) or not self._is_file(path):
                self._look_at_container(path, container)

    def _pass_by(self, directory: str, container: Container) -> None:
        """List the files of a container that is excluded; what stands in the way of reading them does not matter."""
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return
        for name in names:
            generation = generation_of(name)
            path = f"{directory}/{name}"
            if generation is None or not os.path.isfile(path):
                continue
            with contextlib.suppress(OSError):  # gone meanwhile
                found = os.stat(path)
                self.files.append(Found(path, container, generation, found.st_size, found.st_mtime, is_collected=False))

    def _look_at_container(self, directory: str, container: Container) -> None:
        for name in self._names(directory):
            generation = generation_of(name)
            if generation is None:
                continue
            path = f"{directory}/{name}"
            self._add(path, container, generation)
            if os.path.islink(path):
                target_directory, target = os.path.split(os.path.realpath(path))
                if not os.path.isdir(target_directory):
                    continue  # the link itself is the obstacle
                for other in self._names(target_directory):
                    shifted = shifted_of(target, other, generation.restart)
                    if shifted is not None:
                        self._add(f"{target_directory}/{other}", container, shifted)

    def _add(self, path: str, container: Container, generation: Generation) -> None:
        found = self._checked(path, lambda: os.stat(path))
        if found is None:
            return
        if not stat.S_ISREG(found.st_mode):
            self.obstacles.append(Obstacle(path, "kind", error=stat.filemode(found.st_mode)))
            return
        if (found.st_dev, found.st_ino) in self._seen:
            return  # renamed meanwhile, or linked twice
        self._seen.add((found.st_dev, found.st_ino))
        self._checked(path, lambda: os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)))
        self.files.append(Found(path, container, generation, found.st_size, found.st_mtime))

    def _names(self, directory: str) -> list[str]:
        names = self._checked(directory, lambda: sorted(os.listdir(directory)))
        if names is not None:
            self.directories.add(directory)
        return names or []

    def _is_file(self, path: str) -> bool:
        """Whether a file lies where a container's directory might: nothing in it to be read."""
        try:
            return not stat.S_ISDIR(os.stat(path).st_mode)
        except OSError:
            return False  # listing it says why

    def _checked(self, path: str, call: Callable[[], _T]) -> _T | None:
        """What ``call`` gives; None, with an obstacle noted, where it fails for another reason than ``path``'s end."""
        try:
            return call()
        except FileNotFoundError:
            if os.path.islink(path):
                target = os.path.realpath(path)
                self.obstacles.append(
                    Obstacle(path, "dangling", target=target, exists=existing_part(target), error="No such file")
                )
        except OSError as error:
            self.obstacles.append(obstacle_of(path, error))
        return None


def obstacle_of(path: str, error: OSError) -> Obstacle:
    """``path`` cannot be used for ``error``; names who refuses, if that is a matter of permissions."""
    owner = _refusing(path) if isinstance(error, PermissionError) else None
    return Obstacle(path, "unreadable", error=error.strerror or str(error), owner=owner)


def existing_part(path: str) -> str:
    """The longest part of ``path`` that is there."""
    while path not in {"", "/"} and not os.path.lexists(path):
        path = os.path.dirname(path)
    return path or "/"


def _refusing(path: str) -> Owner | None:
    """The first directory on the way to ``path`` that must not be entered, else what ``path`` is."""
    real = os.path.realpath(path)
    for part in (*_ancestors(real), real):
        try:
            found = os.stat(part)
        except OSError:
            return None
        if stat.S_ISDIR(found.st_mode) and part != real and os.access(part, os.X_OK, effective_ids=True):
            continue
        return Owner(part, found.st_uid, found.st_gid, stat.filemode(found.st_mode))
    return None


def _ancestors(path: str) -> Iterator[str]:
    """The directories on the way to ``path``, the root first."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) or "/"


def _is_absent(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it is there, and listing it says what is wrong
    return False


def _has_logs(directory: str) -> bool:
    """Whether ``directory``, or one in it, has a file that is named as a log; true where that cannot be seen."""
    try:
        names = sorted(os.listdir(directory))
        if any(map(generation_of, names)):
            return True
        inner = (f"{directory}/{name}" for name in names)
        return any(generation_of(name) for each in inner if os.path.isdir(each) for name in os.listdir(each))
    except NotADirectoryError:
        return False
    except OSError:
        return True
