"""Which compressed files are being unpacked: a few at once, the others wait for their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.follow.gzipped import GzippedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.follow.logfile import LogFile

# At once, a megabyte each.
UNPACKING_MAX: Final = 4


class Unpacking:
    """Knows the files that are being unpacked; owns none of them."""

    def __init__(self) -> None:
        self._files: set[GzippedFile] = set()

    def admits(self, file: LogFile, deferred: Iterable[LogFile]) -> bool:
        """Whether ``file`` may be read: at need, in the place of one of the ``deferred`` ones."""
        if not isinstance(file, GzippedFile):
            return True
        self._files = {each for each in self._files if each.is_unpacking and each.readable}
        if file not in self._files and len(self._files) >= UNPACKING_MAX:
            idle = next((each for each in deferred if each in self._files), None)
            if not isinstance(idle, GzippedFile):
                return False
            idle.rest()
            self._files.remove(idle)
        self._files.add(file)
        return True
