"""Which containers the node has, and the files of each.

A scan looks at the modification time of every directory and lists those that changed: 7 µs a directory. It is cheap
enough to be made every second without any help, so inotify is only ever a reason to make one sooner.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING, Final

import msgspec

from agent.follow.generations import Container, Generation, container_of, generation_of, shifted_of
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

# A directory changed twice within one tick of the file system's clock has the same time both times. Below this age a
# modification time says nothing about what comes next, and the directory is listed again.
_SETTLED_NS: Final = 2_000_000_000
# Container directories followed at most: many times what the largest nodes run. Beyond it they are left out, which is
# said.
DIRECTORIES_MAX: Final = 10_000
# Files of one container: restarts kept, times generations kept, many times over. The oldest are left out, which is
# said.
FILES_MAX: Final = 1_000


class Entry(msgspec.Struct, frozen=True):
    """A log file as found: ``size`` bytes, ``modified_ns`` since the epoch."""

    path: str
    generation: Generation
    device: int
    inode: int
    size: int
    modified_ns: int


class Listing(msgspec.Struct, frozen=True):
    """The files of one container, oldest first; none if its directory is gone."""

    directory: str
    container: Container
    entries: tuple[Entry, ...]


class _Known(msgspec.Struct):
    """What the last scan saw of a container's directory; ``beside``: directories that Docker's files lie in.

    ``modified``: modification time, ns, and inode of each: a directory made anew has another one.
    ``ignored``: how many files look like logs and are named like none. ``is_watched``: changes of all of them are told.
    """

    container: Container
    modified: tuple[tuple[int, int], ...]
    beside: tuple[str, ...] = ()
    ignored: int = 0
    is_watched: bool = False


class _Pod(msgspec.Struct):
    """The same of a pod's directory: the ``containers`` in it, with their directories."""

    modified: tuple[int, int]
    containers: tuple[tuple[str, Container], ...]
    is_watched: bool


class Discovery:
    """Finds what changed below the pods directory. `scan` blocks; call it from a thread, one call at a time.

    ``watch`` is asked to tell of changes of a directory, before it is listed, and says whether that can be had; if not,
    it is asked again by the next scan.
    """

    def __init__(
        self,
        pods_dir: str,
        watch: Callable[[str], bool],
        clock_ns: Callable[[], int] = time.time_ns,
        collects: Callable[[Container], bool] = lambda _: True,
    ) -> None:
        self._pods_dir = pods_dir
        self._watch = watch
        self._clock_ns = clock_ns
        self._collects = collects
        self._known: dict[str, _Known] = {}
        self._pods: dict[str, _Pod] = {}
        # Directories of the containers that are not to be collected, as of the last scan: neither listed nor watched.
        self.excluded: frozenset[str] = frozenset()
        # Files that look like logs, but are not named as kubelet or Docker name them: after the last scan.
        self.ignored = 0

    def scan(self) -> list[Listing]:
        """Listings of the containers whose files may have changed since the last scan.

        A pods directory that is not there has no containers; it may come. Raises `OSError` where it cannot be read.
        """
        found: dict[str, Container] = {}
        excluded: set[str] = set()
        for directory, container in self._directories():
            if not self._is_collected(directory, container):
                excluded.add(directory)
                continue
            if len(found) >= DIRECTORIES_MAX:
                _log.error("too many containers, the rest is not read", extra=fields(directories_max=DIRECTORIES_MAX))
                break
            found[directory] = container
        self.excluded = frozenset(excluded)
        changed = [listing for name, container in found.items() if (listing := self._list_if_changed(name, container))]
        gone = self._known.keys() - found.keys()
        self.ignored = sum(known.ignored for name, known in self._known.items() if name in found)
        return changed + [Listing(directory, self._known.pop(directory).container, ()) for directory in gone]

    def _directories(self) -> Iterator[tuple[str, Container]]:
        """Every container's directory."""
        self._watch(self._pods_dir)
        names = _names(self._pods_dir)
        for gone in self._pods.keys() - set(names):
            del self._pods[gone]
        for name in names:
            pod = self._pods.get(name)
            if pod is None and container_of(name, "-") is None:
                _log.debug("not a pod's directory", extra=fields(name=name))
                continue
            directory = f"{self._pods_dir}/{name}"
            modified = _modified(directory)
            if pod is None or pod.modified != modified or not self._is_settled(modified):
                pod = self._listed(name, directory, modified) or pod
            elif not pod.is_watched:
                pod.is_watched = self._watch(directory)
            if pod is not None:
                self._pods[name] = pod
                yield from pod.containers

    def _listed(self, name: str, directory: str, modified: tuple[int, int]) -> _Pod | None:
        """The pod as it is now; None, which is said, where it cannot be read: the next scan tries again."""
        is_watched = self._watch(directory)
        try:
            names = _names(directory)
        except OSError as error:
            _log.warning("directory cannot be read", extra=fields(directory=directory, reason=error))
            return None
        found = ((f"{directory}/{each}", container_of(name, each)) for each in names)
        return _Pod(modified, tuple((path, container) for path, container in found if container), is_watched)

    def _is_settled(self, modified: tuple[int, int]) -> bool:
        return modified[0] < self._clock_ns() - _SETTLED_NS

    def _is_collected(self, directory: str, container: Container) -> bool:
        if directory in self.excluded:
            return False
        if directory in self._known or self._collects(container):
            return True
        _log.debug("container is not to be collected", extra=fields(directory=directory))
        return False

    def _list_if_changed(self, directory: str, container: Container) -> Listing | None:
        known = self._known.get(directory)
        beside = known.beside if known else ()
        modified = tuple(map(_modified, (directory, *beside)))
        if known is not None and known.modified == modified and self._is_settled(max(modified)):
            if not known.is_watched:
                known.is_watched = self._watch_all(directory, *beside)
            return None
        is_watched = self._watch_all(directory, *beside)
        try:
            entries, beside_now, ignored = _entries(directory)
        except OSError as error:
            # Not known, so that the next scan tries again: to become readable changes no modification time.
            _log.warning("directory cannot be read", extra=fields(directory=directory, reason=error))
            return None
        if beside_now != beside:
            # Watched from now on; listed once more by the next scan, so that nothing falls between list and watch.
            is_watched = self._watch_all(directory, *beside_now)
            modified = ()
        if ignored and not (known and known.ignored):
            _log.info(
                "files that are not named like a container's logs are not read",
                extra=fields(directory=directory, files=len(ignored), for_example=ignored[0]),
            )
        self._known[directory] = _Known(container, modified, beside_now, len(ignored), is_watched)
        return Listing(directory, container, entries)

    def _watch_all(self, *directories: str) -> bool:
        told = [self._watch(each) for each in directories]
        return all(told)


def _names(directory: str) -> list[str]:
    """Names in ``directory``; none if there is no such directory. Raises `OSError` where it cannot be read."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names_if_readable(directory: str) -> list[str]:
    """Names in ``directory``; none, which is said, where it cannot be read: others can."""
    try:
        return _names(directory)
    except OSError as error:
        _log.warning("directory cannot be read", extra=fields(directory=directory, reason=error))
        return []


def _modified(directory: str) -> tuple[int, int]:
    """Modification time and inode; zeros of one that is gone."""
    try:
        found = os.stat(directory)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _entries(directory: str) -> tuple[tuple[Entry, ...], tuple[str, ...], list[str]]:
    """The log files in ``directory``, and beside those that are symlinks; the directories the symlinks lead to; names.

    The names are those in ``directory`` of files that look like logs and are named like none.
    """
    entries: list[Entry] = []
    beside: list[str] = []
    ignored: list[str] = []
    for name in _names(directory):
        generation = generation_of(name)
        if generation is None:
            if ".log" in name and not name.endswith(".tmp"):
                ignored.append(name)
            continue
        path = f"{directory}/{name}"
        _append(entries, path, generation)
        if os.path.islink(path):
            target_directory, target = os.path.split(os.path.realpath(path))
            beside.append(target_directory)
            for other in _names_if_readable(target_directory):
                shifted = shifted_of(target, other, generation.restart)
                if shifted is not None:
                    _append(entries, f"{target_directory}/{other}", shifted)
    entries.sort(key=lambda entry: entry.generation)
    # A file that is renamed meanwhile may be found under both names; it only ever becomes an older generation.
    once: dict[tuple[int, int], Entry] = {}
    for entry in entries:
        once.setdefault((entry.device, entry.inode), entry)
    if len(once) > FILES_MAX:
        _log.error("too many files, the oldest are not read", extra=fields(directory=directory, files_max=FILES_MAX))
    return tuple(once.values())[-FILES_MAX:], tuple(beside), ignored


def _append(entries: list[Entry], path: str, generation: Generation) -> None:
    try:
        found = os.stat(path)
    except OSError:
        return  # a symlink to nowhere, or gone since it was listed
    if stat.S_ISREG(found.st_mode):
        entries.append(Entry(path, generation, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
