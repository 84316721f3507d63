"""Rings when a file is written to: once for each file that was added, by inotify's one-shot watches.

Only files that nobody writes to are added, so writes cost nothing: an event a file, then none until it is quiet again.
Each takes one of the user's watches, which others on the node need as well; so only a share of them is taken.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.follow.inotify import Inotify

if TYPE_CHECKING:
    from agent.follow.logfile import LogFile

# Of the watches the user may have, files take at most one in so many: those of directories matter more.
_SHARE: Final = 8
_LIMIT: Final = Path("/proc/sys/fs/inotify/max_user_watches")


class Bell:
    """Owns an inotify instance, from the first file on until `close` (idempotent)."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._inotify: Inotify | None = None
        self._is_closed = False
        self._files: dict[int, LogFile] = {}
        self._watches: dict[LogFile, int] = {}

    def add(self, file: LogFile) -> bool:
        """Ring once when ``file``, which is open, is written to. Whether that can be had."""
        if self._is_closed or file.fd is None:
            return False
        if self._most is None:
            self._most = _most()
        if len(self._files) >= self._most:
            return False
        try:
            self._inotify = self._inotify or Inotify()
            watch = self._inotify.watch_once(file.fd)
        except OSError:
            return False  # no watch left, or no instance: asked for again with the next file
        if self._files.setdefault(watch, file) is not file:
            return False  # two names of one file
        self._watches[file] = watch
        return True

    def remove(self, file: LogFile) -> None:
        """Do not ring for ``file``."""
        watch = self._watches.pop(file, None)
        if watch is not None and self._inotify is not None:
            del self._files[watch]
            self._inotify.unwatch(watch)

    def rung(self) -> list[LogFile]:
        """The files that were written to since this was asked last; all there are, if some of that was not told."""
        if self._inotify is None:
            return []
        watches, has_overflowed = self._inotify.written()
        if has_overflowed:
            # The watches that rang are gone, whether it was heard or not.
            rung = list(self._watches)
            for file in rung:
                self.remove(file)
            return rung
        rung = [self._files.pop(watch) for watch in watches if watch in self._files]
        for file in rung:
            del self._watches[file]
        return rung

    def close(self) -> None:
        """Ring no more."""
        self._is_closed = True
        self._files.clear()
        self._watches.clear()
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None


def _most() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(_LIMIT.read_text()) // _SHARE
    return 0
