"""Looks at the files: which have grown; which are to be opened, known, closed or given up.

Files that have grown are asked for at every look. A container is looked over, file by file, when something about it has
come or gone, every few seconds while one of its files is not at rest, and rarely when all are: see
`agent.follow.asking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.follow.asking import Asking
from agent.follow.holding import is_young
from agent.parse.unfinished import PATIENCE_S, is_over

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from agent.follow.following import Following
    from agent.follow.logfile import LogFile

# Containers with a file that is not at rest are looked over this often.
THOROUGH_EVERY_S: Final = 3.0
# Where so many files have grown between two looks, it is better to have more of them in a round: a round costs as much
# as to read so many.
MANY: Final = 64


class Looking:
    """Finds what has happened to the files of ``following``. Owns what `Asking` does, until `close` (idempotent).

    ``waiting``: whether some file waits to be placed. ``are_many``: whether the last look found many files grown, so
    that the next one may be later. ``written``: directories with files that have changed their size, to be cleared by
    who takes note of it.
    """

    def __init__(self, following: Following, *, inotify: bool) -> None:
        self._following = following
        self._asking = Asking(inotify=inotify)
        # Those that have grown a little since the look before the last.
        self._young: dict[LogFile, None] = {}
        self._thorough_s = 0.0
        self.waiting = False
        self.are_many = False
        self.written: dict[str, None] = {}

    def look(self, now_s: float) -> list[LogFile]:
        """Files of which there may be something to read that is not to wait for the next look."""
        unsettled = self._following.take_unsettled()
        grown = self._asking.grown(now_s)
        for file in grown:
            self._following.look_at(file, now_s)
            self.written[file.directory] = None
            self.waiting = self.waiting or file.awaits_place(now_s)
        self.are_many = len(grown) >= MANY
        ripe, self._young = self._young, {}
        if not self.are_many:  # else nearly half a second would pass before the next look
            self._young = {
                file: None for file in grown if is_young(file) and file not in ripe and file.directory not in unsettled
            }
        found = [*grown, *ripe]
        is_due = now_s >= self._thorough_s
        if unsettled or is_due:
            turn = self._asking.turn(self._following.directories) if is_due else ()
            found += self._look_over(dict.fromkeys((*self._asking.restless, *unsettled, *turn)), now_s)
        if is_due:
            self._asking.settle(now_s)
            self._thorough_s = now_s + THOROUGH_EVERY_S
        return [file for file in found if file not in self._young] if self._young else found

    def restless(self) -> Iterator[list[LogFile]]:
        """The files of each container of which some file is not at rest: all that have something left to do."""
        for directory in self._asking.restless:
            yield self._following.directories.get(directory, [])

    def close(self) -> None:
        """Look no more."""
        self._asking.close()
        self._young.clear()

    def _look_over(self, directories: Collection[str], now_s: float) -> list[LogFile]:
        """Open, identify, close and give up files in ``directories`` where it is time; gives all that are in them."""
        following = self._following
        following.let_go_beyond_hold(directories, now_s)
        self.waiting = following.gaps.waiting
        looked: list[LogFile] = []
        for directory in directories:
            files = following.directories.get(directory, [])
            given_up = False
            for file in files:
                size = file.size
                following.look_at(file, now_s)
                if file.size != size:
                    self.written[directory] = None
                if now_s - file.grown_s > PATIENCE_S and is_over(file, files):
                    following.identify_as_it_is(file)
                following.let_go(file, now_s, is_current=file is files[-1])
                file.note_lag(now_s)
                self.waiting = self.waiting or file.awaits_place(now_s)
                given_up = given_up or (file.fd is None and not file.listed)
            looked += files
            if given_up:
                files = [file for file in files if file.fd is not None or file.listed]
                following.keep(directory, files)
            self._asking.note(directory, files, now_s)
        following.gaps.settle(now_s)
        return looked
