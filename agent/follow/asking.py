"""Who is asked for its size, and how often; and whose container is looked over.

Nearly every file of a node is at rest: open, read, committed, and nobody writes to it. With thousands of those, to ask
is what costs. Those that grow are asked every time; those that have not for a while sleep until `agent.follow.bell`
says that they were written to, or, where it cannot, are asked every other time.

To be *looked over* (opened again, closed, given up, its lag noted) is needed by a container with a file that is not at
rest. All others have their turn as well, slowly: so a write that nobody told of is found, and then nobody sleeps.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from agent.follow.bell import Bell
from agent.follow.gzipped import GzippedFile
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.follow.logfile import LogFile

_log = logging.getLogger(__name__)

# Whenever those that are not at rest are looked over, one in so many of all containers is: each in half a minute.
TURNS: Final = 10
# A file that has not grown for this long is not asked every time any more.
IDLE_AFTER_S: Final = 10.0


class Asking:
    """Knows every open file by how it is found to have grown. Owns the bell until `close` (idempotent).

    ``restless``: directories with a file that is not at rest.
    """

    def __init__(self, *, inotify: bool = True) -> None:
        self.restless: dict[str, None] = {}
        self._awake: dict[LogFile, None] = {}
        self._idle: dict[LogFile, None] = {}
        self._asleep: dict[LogFile, None] = {}
        self._is_idle_asked = False
        self._bell = Bell(None if inotify else 0)
        # Asleep, and found to have grown: the bell is late, or does not ring for it.
        self._untold: list[LogFile] = []
        self._turn: list[str] = []

    def grown(self, now_s: float) -> list[LogFile]:
        """Files whose size is not what it was, of those whose turn it is to be asked."""
        for file in self._bell.rung():
            if file in self._asleep:
                del self._asleep[file]
                self._awake[file] = None
        self._check_bell()
        grown = _grown(self._awake)
        if self._is_idle_asked:
            woken = _grown(self._idle)
            for file in woken:
                del self._idle[file]
                self._awake[file] = None
            grown += woken
        self._is_idle_asked = not self._is_idle_asked
        for file in grown:
            if file.directory not in self.restless:
                file.note_lag(now_s)  # up to now all of it was committed, and nobody noted that
                self.restless[file.directory] = None
        return grown

    def turn(self, directories: Mapping[str, object]) -> list[str]:
        """Those of ``directories`` whose turn it is, whether they are at rest or not."""
        if not self._turn:
            self._turn = list(directories)
            self._prune(directories)
        count = len(directories) // TURNS + 1
        turn, self._turn = self._turn[:count], self._turn[count:]
        return turn

    def note(self, directory: str, files: Sequence[LogFile], now_s: float) -> None:
        """Take ``files``, all those of ``directory``, as they are after they were looked over."""
        for file in files:
            # A compressed file does not grow: it is enough that it is looked over.
            if file.fd is None or isinstance(file, GzippedFile):
                self._drop(file)
            elif file in self._asleep:
                if file.grown_s == now_s:
                    self._untold.append(file)
            elif now_s - file.grown_s <= IDLE_AFTER_S:
                self._idle.pop(file, None)
                self._awake[file] = None
            else:
                self._rest(file)
        if all(is_at_rest(file, is_current=file is files[-1]) for file in files):  # also if there is none
            self.restless.pop(directory, None)
        else:
            self.restless[directory] = None

    def settle(self, now_s: float) -> None:
        """Ask those no more every time that have not grown for a while."""
        for file in [file for file in self._awake if now_s - file.grown_s > IDLE_AFTER_S]:
            self._rest(file)

    def _prune(self, directories: Mapping[str, object]) -> None:
        """Forget what is not followed any more: its files are closed."""
        for file in [file for each in (self._awake, self._idle, self._asleep) for file in each if file.fd is None]:
            self._drop(file)
        for directory in self.restless.keys() - directories.keys():
            del self.restless[directory]

    def _drop(self, file: LogFile) -> None:
        """Ask ``file`` no more."""
        self._awake.pop(file, None)
        self._idle.pop(file, None)
        if file in self._asleep:
            del self._asleep[file]
            self._bell.remove(file)

    def close(self) -> None:
        """Ask nobody."""
        self._bell.close()
        for each in (self._awake, self._idle, self._asleep):
            each.clear()

    def _rest(self, file: LogFile) -> None:
        """Let ``file`` sleep; if the bell will not ring for it, ask it every other time."""
        self._awake.pop(file, None)
        self._idle.pop(file, None)
        if not self._bell.add(file):
            self._idle[file] = None
        elif file.fd is not None and os.lseek(file.fd, 0, os.SEEK_END) != file.size:
            self._bell.remove(file)
            self._awake[file] = None  # written to since it was looked at
        else:
            self._asleep[file] = None

    def _check_bell(self) -> None:
        """Let nobody sleep any more if someone was not woken that should have been."""
        untold, self._untold = [file for file in self._untold if file in self._asleep], []
        if untold:
            _log.warning(
                "inotify does not tell of every write, quiet files are asked", extra=fields(path=untold[0].entry.path)
            )
            self._bell.close()
            self._idle |= self._asleep
            self._asleep.clear()


def _grown(files: Iterable[LogFile]) -> list[LogFile]:
    return [file for file in files if file.fd is not None and os.lseek(file.fd, 0, os.SEEK_END) != file.size]


def is_at_rest(file: LogFile, *, is_current: bool) -> bool:
    """Whether nothing is to be done about ``file`` until it grows, or its directory changes.

    ``is_current``: it is the last one of its container, and so is not closed.
    """
    if file.fd is None or not file.listed:
        return file.listed and file.finished
    if not is_current or isinstance(file, GzippedFile) or file.seen != file.size:
        return False
    return file.size == 0 or (file.finished and not file.is_copy and not file.held)
