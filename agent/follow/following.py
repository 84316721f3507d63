"""The files of every container as they come, are renamed, copied, truncated, compressed, and go away.

A file is followed from the listing that first shows it: opened, so that it can be read after it was deleted; known by
its first line, so that of a file and its copy only one is read; let go when all of it is committed and it is quiet, or
when nothing more is to be had from it. What is lost then becomes a gap.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from agent.errors import UnpackError
from agent.follow.deleted import Hold, beyond
from agent.follow.gaps import Gaps
from agent.follow.gzipped import GzippedFile
from agent.follow.identity import lost_source_of
from agent.follow.logfile import LogFile, Loss
from agent.follow.succession import in_order, is_compressed_in, part
from service.logs import fields
from wire.codec import POSITION_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.follow.discovery import Entry, Listing
    from agent.metrics import Metrics
    from agent.report.accounts import Accounts
    from agent.select.rules import Rules

_log = logging.getLogger(__name__)

# A file that is gone is given up once it has not grown for this long and nothing of it is awaited.
GIVE_UP_AFTER_S: Final = 30.0
# A rotated file is closed when it is committed and has been quiet for this long: the runtime may write a last line to
# it after the new file is there.
CLOSE_AFTER_S: Final = 10.0
# A file that could not be opened or read is tried again after this long.
RETRY_AFTER_S: Final = 5.0


class Following:
    """Owns every `LogFile`, so every open descriptor, until `close` (idempotent).

    ``directories``: the files of each container, oldest first. ``sources``: the file that is read for each source.
    ``spoilt``: files that were read as far as they can be. ``unsettled``: directories where something has come or gone.
    """

    def __init__(self, cluster: str, metrics: Metrics, hold: Hold, accounts: Accounts, rules: Rules) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._hold = hold
        self._rules = rules
        self.gaps = Gaps(metrics, accounts)
        self.directories: dict[str, list[LogFile]] = {}
        self.sources: dict[bytes, LogFile] = {}
        self.spoilt: list[GzippedFile] = []
        self._left: list[LogFile] = []
        self.unsettled: dict[str, None] = {}

    def files(self) -> Iterator[LogFile]:
        """Every followed file."""
        for files in self.directories.values():
            yield from files

    def update(self, listing: Listing) -> None:
        """Follow what ``listing`` shows of a container: new files, renamed ones, those that went away."""
        now_s = time.monotonic()
        before = self.directories.get(listing.directory, [])
        gone = {(file.entry.device, file.entry.inode): file for file in before}
        fresh = [entry for entry in listing.entries if (entry.device, entry.inode) not in gone]
        files: list[LogFile] = []
        ended: list[LogFile] = []
        replaced: list[LogFile] = []
        for entry in listing.entries:
            file = gone.pop((entry.device, entry.inode), None)
            if file is not None and _is_same(file, entry):
                if file.entry.path != entry.path:
                    file.retry_s = 0.0  # it may have been renamed just before it was to be opened
                file.entry = entry
                file.listed = True  # a listing made while it was renamed may not have had it
            else:
                if file is not None and entry.size < file.entry.size:
                    file.loss = Loss.TRUNCATED
                    ended.append(file)
                elif file is not None:
                    self._drop(file)
                    replaced.append(file)
                file = self._file(listing, entry)
            files.append(file)
        for file in gone.values():
            if file.listed:
                file.listed = False
                file.deleted_s = now_s
                if file.loss is Loss.DELETED and listing.entries:
                    file.loss = Loss.ROTATED
            if file.fd is None or file.finished:
                ended.append(file)
        order = in_order(before, files)
        part(order, [file for file in ended if not self._end(file, fresh, now_s)])
        self.keep(listing.directory, [file for file in order if file not in (*ended, *replaced)])
        self.unsettled[listing.directory] = None

    def _end(self, file: LogFile, fresh: list[Entry], now_s: float) -> bool:
        """Follow ``file``, whose inode is gone or another file's, no more. Whether all of it is to be had, or was."""
        if file.finished or (file.source is None and file.fd is None and is_compressed_in(file, fresh)):
            self._drop(file)
            return True
        self._give_up(file, now_s)
        return file.is_copy

    def keep(self, directory: str, files: list[LogFile]) -> None:
        """Follow ``files`` in ``directory``, and no others."""
        if files:
            self.directories[directory] = files
        else:
            self.directories.pop(directory, None)

    def look_at(self, file: LogFile, now_s: float) -> None:
        """See how ``file`` has changed; open and identify it where that is still to be done."""
        if file.fd is None:
            if file.finished or file.spoilt or not file.listed or now_s < file.retry_s:
                return
            self.attempt(file, file.open)
        try:
            is_another = file.look(now_s)
        except OSError as error:
            self.set_aside(file, error)
            return
        if is_another:
            self.start_over(file)
        if file.source is None and file.fd is not None and file.size > file.searched and not file.spoilt:
            self._identify(file)

    def identify_as_it_is(self, file: LogFile) -> None:
        """Take what ``file``, which is over, has of a first line for the whole of it."""
        if file.source is None and not file.is_copy and not file.spoilt and file.fd is not None and file.size > 0:
            self._identify(file, is_over=True)

    def let_go(self, file: LogFile, now_s: float, *, is_current: bool) -> None:
        """Close ``file`` if nothing more is to be had from it."""
        quiet_s = now_s - file.grown_s
        is_over = file.finished or file.fd is None or (quiet_s > GIVE_UP_AFTER_S and not _awaited(file))
        if not file.listed and is_over:
            if not file.finished and not file.is_copy:
                part(self.directories.get(file.directory, ()), [file])
            self._give_up(file, now_s)
        elif file.finished and not is_current and quiet_s > CLOSE_AFTER_S:
            file.close()

    def let_go_beyond_hold(self, directories: Iterable[str], now_s: float) -> None:
        """Close the deleted files that may not be held open any longer; all there are lie in ``directories``."""
        files = (file for directory in directories for file in self.directories.get(directory, ()))
        deleted = [file for file in files if not file.listed and file.fd is not None and not file.finished]
        for file in beyond(deleted, self._hold, now_s):
            file.loss = Loss.HELD
            file.close()  # `let_go` sees to the rest

    def start_over(self, file: LogFile) -> None:
        """Read ``file``, which was truncated, from its start, as another one."""
        self._metrics.truncations.inc()
        _log.warning("file was truncated, reading it from its start", extra=fields(path=file.entry.path))
        file.size = file.seen  # beyond that, it may be the size of what is there now
        self._declare(file, Loss.TRUNCATED, time.monotonic())
        self.release(file)
        file.forget()
        file.is_parted = True

    def spoil(self, file: LogFile, error: UnpackError) -> None:
        """See to ``file``, which cannot be unpacked any further: later, if it may be in the making; or never."""
        if error.is_cut and self._is_in_the_making(file):
            file.close()
            file.retry_s = time.monotonic() + RETRY_AFTER_S
            self.unsettled[file.directory] = None
            return
        file.loss = Loss.CORRUPT
        _log.warning("file cannot be unpacked", extra=fields(path=file.entry.path, reason=error))
        if file.source is None:
            self._declare(file, Loss.CORRUPT, time.monotonic())
            file.spoilt = True
        elif isinstance(file, GzippedFile):
            self.spoilt.append(file)

    def attempt(self, file: LogFile, call: Callable[[], None]) -> bool:
        """Make a call on ``file``; after one that failed, it is left alone for a while."""
        self.unsettled[file.directory] = None
        try:
            call()
        except FileNotFoundError:
            file.retry_s = time.monotonic() + RETRY_AFTER_S  # the next scan of its directory says where it went
        except OSError as error:
            self.set_aside(file, error)
        else:
            if file.loss is Loss.UNREADABLE:
                file.loss = Loss.DELETED
            return True
        return False

    def set_aside(self, file: LogFile, error: OSError) -> None:
        """Close ``file``, which cannot be read now; it is opened again later, and goes on where it stands."""
        file.retry_s = time.monotonic() + RETRY_AFTER_S
        file.loss = Loss.UNREADABLE
        if file.fd is None:
            file.estimate()
        file.close()
        self.unsettled[file.directory] = None
        self._metrics.read_errors.inc()
        _log.warning("file cannot be read", extra=fields(path=file.entry.path, reason=error.strerror))

    def release(self, file: LogFile) -> None:
        """Let a copy of ``file`` be read in its stead."""
        if file.source is not None and self.sources.get(file.source) is file:
            del self.sources[file.source]
            for other in self.directories.get(file.directory, ()):
                if other.is_copy:
                    other.is_copy = False
                    other.searched = 0
            self.unsettled[file.directory] = None

    def take_unsettled(self) -> dict[str, None]:
        """The directories where something has come or gone, since this was asked last: to be looked over."""
        unsettled, self.unsettled = self.unsettled, {}
        return unsettled

    def take_spoilt(self) -> list[GzippedFile]:
        """The files that were read as far as they can be, since this was asked last."""
        spoilt, self.spoilt = self.spoilt, []
        return spoilt

    def take_left(self) -> list[LogFile]:
        """What stands for files that are gone, of which lines were held: they can still be delivered."""
        left, self._left = self._left, []
        return left

    def close(self) -> None:
        """Close every file."""
        for file in self.files():
            file.close()
        self.directories.clear()
        self.sources.clear()

    def _file(self, listing: Listing, entry: Entry) -> LogFile:
        kind = GzippedFile if entry.generation.gzip else LogFile
        siblings = self.directories.get(listing.directory)
        treatment = siblings[0].treatment if siblings else self._rules.treatment(listing.container)
        file = kind(listing.directory, listing.container, entry, treatment)
        if siblings is None:  # else it has come since they were looked at
            file.found_bytes = POSITION_MAX if entry.generation.gzip else entry.size
        # It was declared lost because it was renamed just when its directory was listed.
        self.gaps.cancel(self._lost_source(file), entry.size)
        return file

    def _give_up(self, file: LogFile, now_s: float) -> None:
        """Follow ``file``, which is gone, no more; what is not committed of it is lost."""
        if not file.finished:
            self._declare(file, file.loss, now_s)
        self._drop(file)

    def _declare(self, file: LogFile, loss: Loss, now_s: float) -> None:
        """What is not committed of ``file`` as it was is lost; what is on its way may yet be."""
        if file.is_copy or (file.spoilt and file.source is None):
            return
        lost = LogFile(file.directory, file.container, file.entry)
        lost.source = file.source or self._lost_source(file)
        lost.placed, lost.committed, lost.shipped = file.placed, file.committed, file.shipped
        lost.time_ns = file.time_ns
        if file.held and file.placed:
            # Read already: only what comes behind is lost.
            left = LogFile(file.directory, file.container, file.entry, file.treatment)
            left.source, left.format, left.time_ns = file.source, file.format, file.time_ns
            left.committed, left.shipped, left.read, left.held = file.committed, file.shipped, file.read, file.held
            self._left.append(left)
            lost.shipped = file.read
        # Where it was spoilt, its own gap record is on its way.
        extent = lost.shipped if file.spoilt else file.extent
        if loss is Loss.CORRUPT and not file.spoilt:
            extent = None
        self.gaps.declare(lost, extent, loss, now_s)

    def _lost_source(self, file: LogFile) -> bytes:
        entry = file.entry
        return lost_source_of(self._cluster, file.container, entry.generation.restart, entry.device, entry.inode)

    def _drop(self, file: LogFile) -> None:
        file.close()
        self.release(file)

    def _is_in_the_making(self, file: LogFile) -> bool:
        """Whether a gzip file that just ends may yet go on: it is young, or what it is made from is still there."""
        plain = msgspec.structs.replace(file.entry.generation, gzip=False)
        if any(other.listed and other.entry.generation == plain for other in self.directories.get(file.directory, ())):
            return True
        return time.time_ns() - os.fstat(file.descriptor).st_mtime_ns < CLOSE_AFTER_S * 1e9

    def _identify(self, file: LogFile, *, is_over: bool = False) -> None:
        try:
            is_done = self.attempt(file, lambda: file.identify(self._cluster, is_over=is_over))
        except UnpackError as error:
            self.spoil(file, error)
            return
        if not is_done or file.source is None:
            return
        self.gaps.cancel(file.source)
        if self.sources.setdefault(file.source, file) is file:
            file.is_copy = False
            return
        if not file.is_copy:
            _log.info("file is a copy of another, which is read", extra=fields(path=file.entry.path))
        file.is_copy = True
        file.source = None
        file.searched = file.size


def _is_same(file: LogFile, entry: Entry) -> bool:
    """Whether ``entry``, with the inode of ``file``, is that file.

    The inode of an open file cannot be used again. That of a closed one can, but not with the same content.
    """
    if file.entry.generation.gzip != entry.generation.gzip:
        return False
    return file.fd is not None or file.is_unchanged(entry)


def _awaited(file: LogFile) -> bool:
    """Whether something of ``file`` is still to be read, placed or committed."""
    if file.source is None:
        return False
    return not file.placed or file.shipped < file.size or file.committed < file.shipped
