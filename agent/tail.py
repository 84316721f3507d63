"""The files that are followed, and rounds of reading them.

Everything here blocks, and is called from one thread at a time (`collect.Collector` sees to that). A file's growth is
found by asking its descriptor for its end: 0.4 µs a file, so a thousand files can be looked at ten times a second, with
no event to lose and the same cost whatever they write.

What a later version adds has its place here: `Tail.update` sees compressed generations and leaves them, `Tail._look_at`
sees a file that has shrunk or is over without having been read to its end.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec

from agent.assemble import Records, assemble
from agent.logfile import LogFile
from agent.stretch import Stretch, read
from agent.unfinished import PARSERS, Unfinished, is_over
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.discovery import Listing
    from agent.lines import Lines, Segment
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)

# Read in a round over all files. Measured: half of it, of this or of one file's part (`stretch.READ_BYTES_MAX`), costs
# a seventh more CPU a line; twice of it saves nothing, and takes memory.
ROUND_BYTES_MAX: Final = 1 << 20
# A partial line whose end does not come is delivered as it stands once its file has not grown for this long; a file
# that is gone is given up. Runtimes write the pieces of a line within milliseconds of each other.
PATIENCE_S: Final = 30.0
# A rotated file is closed when it is committed and has been quiet for this long: the runtime may write a last line to
# it after the new file is there.
CLOSE_AFTER_S: Final = 10.0
# Between two looks at every file, only those that are open are asked for their size.
THOROUGH_EVERY_S: Final = 1.0
# A file that could not be opened or read is tried again after this long.
RETRY_AFTER_S: Final = 5.0


class Part(msgspec.Struct, frozen=True):
    """Consecutive records of one file within a round: ``rows`` of them, continuing ``start``, reaching ``end``."""

    file: LogFile
    start: int
    end: int
    rows: int


class Round(msgspec.Struct, frozen=True):
    """What one reading gave: the records of several files, and which are whose, in their order."""

    records: Records
    parts: tuple[Part, ...]


class Tail:
    """Follows files: owns every `LogFile`, so every open descriptor, until `close` (idempotent)."""

    def __init__(self, cluster: str, record_bytes_max: int, metrics: Metrics) -> None:
        self._cluster = cluster
        self._record_bytes_max = record_bytes_max
        self._metrics = metrics
        self._directories: dict[str, list[LogFile]] = {}
        self._sources: dict[bytes, LogFile] = {}
        # Whether some file waited to be placed when it was looked at last.
        self.waiting = False
        # As of the last look: open descriptors, and files with something to read, those that were served last behind.
        self._open: list[tuple[LogFile, int]] = []
        self._ready: dict[LogFile, None] = {}
        self._thorough_s = 0.0
        self._unfinished = Unfinished(record_bytes_max, self._set_aside, metrics)

    def files(self) -> Iterator[LogFile]:
        """Every followed file."""
        for files in self._directories.values():
            yield from files

    def update(self, listing: Listing) -> None:
        """Follow what ``listing`` shows of a container: new files, renamed ones, those that went away."""
        before = self._directories.get(listing.directory, [])
        gone = {(file.entry.device, file.entry.inode): file for file in before}
        files: list[LogFile] = []
        for entry in listing.entries:
            if entry.generation.gzip:
                continue
            file = gone.pop((entry.device, entry.inode), None)
            # The inode of an open file cannot be used again. That of a closed one can, but not with the same content.
            if file is not None and (
                file.fd is not None or (file.size == entry.size and file.entry.modified_ns == entry.modified_ns)
            ):
                if file.entry.path != entry.path:
                    file.retry_s = 0.0  # it may have been renamed just before it was to be opened
                file.entry = entry
                file.listed = True  # a listing made while it was renamed may not have had it
            else:
                if file is not None:
                    self._drop(file)
                file = LogFile(listing.directory, listing.container, entry)
            files.append(file)
        for file in gone.values():
            if file.fd is None or file.finished:
                self._give_up(file)
            else:
                file.listed = False
                files.insert(0, file)  # it was there before the others
        self._keep(listing.directory, files)
        self._unsettle()

    def look(self) -> bool:
        """See which files have grown; open, identify and close where it is time. Whether something can be read."""
        now_s = time.monotonic()
        if now_s >= self._thorough_s:
            self._look_at_all(now_s)
            return bool(self._ready)
        grown = [file for file, descriptor in self._open if os.lseek(descriptor, 0, os.SEEK_END) != file.size]
        for file in grown:
            self._look_at(file, now_s)
            self.waiting = self.waiting or file.awaits_place(now_s)
        self._ready = {file: None for file in (*self._ready, *grown) if file.readable}
        return bool(self._ready)

    def _look_at_all(self, now_s: float) -> None:
        self.waiting = False
        for directory, files in list(self._directories.items()):
            given_up = False
            for file in files:
                self._look_at(file, now_s)
                if self._awaits_first_line(file) and now_s - file.grown_s > PATIENCE_S and is_over(file, files):
                    self._identify(file, is_over=True)
                self._let_go(file, now_s, is_current=file is files[-1])
                file.note_lag(now_s)
                self.waiting = self.waiting or file.awaits_place(now_s)
                given_up = given_up or (file.fd is None and not file.listed)
            if given_up:
                self._keep(directory, [file for file in files if file.fd is not None or file.listed])
        self._open = [(file, file.fd) for file in self.files() if file.fd is not None]
        self._ready = {file: None for file in (*self._ready, *self.files()) if file.readable}
        self._thorough_s = now_s + THOROUGH_EVERY_S

    def _unsettle(self) -> None:
        """Descriptors have come or gone: look at every file next time."""
        self._thorough_s = 0.0

    def unplaced(self) -> list[bytes]:
        """Sources that wait for the aggregator to say where to read on."""
        now_s = time.monotonic()
        return [source for source, file in self._sources.items() if file.awaits_place(now_s)]

    def place(self, positions: Mapping[bytes, int]) -> bool:
        """Take what the store holds, by source. Whether some file was not where that lets it be.

        Then what was read on from there is of no use: `rewind`.
        """
        astray = False
        for source, position in positions.items():
            file = self._sources.get(source)
            if file is None:
                continue
            if file.placed and file.committed <= position <= file.shipped:
                file.committed = position
                continue
            astray = astray or file.placed
            self._place(file, position)
        return astray

    def displace(self) -> None:
        """Know of no file any more where to read on: the store may not be the one it was."""
        for file in self.files():
            file.displace()
        self._unsettle()

    def rewind(self) -> None:
        """Go back to what is committed, in every file: what was read since is forgotten."""
        for file in self.files():
            if file.placed and not file.shipped == file.read == file.committed:
                self._place(file, file.committed)

    def read_round(self) -> list[Round]:
        """The next records, a bounded number of bytes of them, every container in its turn; none if there are none."""
        blocks = list(self._blocks())
        rounds = []
        for form, parse in PARSERS.items():
            mine = [block for block in blocks if block.file.format is form]
            if mine:
                rounds.append(self._parse(mine, parse))
        found = self._unfinished.beyond_limit([block.file for block in blocks])
        return rounds + [_round(records, [file]) for file, records in found]

    def overdue(self) -> list[Round]:
        """Lines whose end has not come for long, as they stand; a bounded number of bytes of them."""
        found = self._unfinished.overdue(self._directories.values(), time.monotonic() - PATIENCE_S)
        return [_round(records, [file]) for file, records in found]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        files = list(self.files())
        self._metrics.files.set(len(files))
        self._metrics.open_files.set(sum(file.fd is not None for file in files))
        self._metrics.lag_bytes.set(sum(file.lag_bytes for file in files))
        self._metrics.open_line_bytes.set(self._unfinished.held_bytes)

    def close(self) -> None:
        """Close every file."""
        for file in self.files():
            file.close()
        self._directories.clear()
        self._sources.clear()
        self._open.clear()
        self._ready.clear()

    def _keep(self, directory: str, files: list[LogFile]) -> None:
        if files:
            self._directories[directory] = files
        else:
            self._directories.pop(directory, None)

    def _give_up(self, file: LogFile) -> None:
        """Follow ``file``, which is gone, no more; say so if not all of it is known to be committed."""
        if not file.finished:
            self._metrics.lost_bytes.inc(file.lag_bytes)
            _log.warning(
                "file was deleted before all of it was committed",
                extra=fields(path=file.entry.path, lost_bytes=file.lag_bytes),
            )
        self._drop(file)

    def _drop(self, file: LogFile) -> None:
        file.close()
        self._unfinished.forget(file)
        self._release(file)

    def _release(self, file: LogFile) -> None:
        """Let a copy of ``file`` be read in its stead."""
        if file.source is not None:
            self._sources.pop(file.source, None)
            for other in self._directories.get(file.directory, ()):
                if other.is_copy:
                    other.is_copy = False
                    other.searched = 0
            self._unsettle()

    def _look_at(self, file: LogFile, now_s: float) -> None:
        if file.fd is None:
            if file.finished or not file.listed or now_s < file.retry_s:
                return
            self._attempt(file, file.open)
        if file.look(now_s):
            _log.warning("file has shrunk, reading it from its start", extra=fields(path=file.entry.path))
            self._metrics.truncations.inc()
            self._release(file)
            file.forget()
        if file.source is None and file.fd is not None and file.size > file.searched:
            self._identify(file, is_over=False)

    def _let_go(self, file: LogFile, now_s: float, *, is_current: bool) -> None:
        """Close ``file`` if nothing more is to be had from it."""
        quiet_s = now_s - file.grown_s
        is_over = file.finished or file.fd is None or (quiet_s > PATIENCE_S and not self._awaited(file))
        if not file.listed and is_over:
            self._give_up(file)
        elif file.finished and not is_current and quiet_s > CLOSE_AFTER_S:
            file.close()

    @staticmethod
    def _awaits_first_line(file: LogFile) -> bool:
        return file.source is None and not file.is_copy and file.fd is not None and file.size > 0

    @staticmethod
    def _awaited(file: LogFile) -> bool:
        """Whether something of ``file`` is still to be read, placed or committed."""
        if file.source is None:
            return False
        return not file.placed or file.shipped < file.size or file.committed < file.shipped

    def _attempt(self, file: LogFile, call: Callable[[], None]) -> bool:
        """Make a call on ``file``; after one that failed, it is left alone for a while."""
        self._unsettle()
        try:
            call()
        except FileNotFoundError:
            file.retry_s = time.monotonic() + RETRY_AFTER_S  # the next scan of its directory says where it went
        except OSError as error:
            self._set_aside(file, error)
        else:
            return True
        return False

    def _set_aside(self, file: LogFile, error: OSError) -> None:
        """Close ``file``, which cannot be read now; it is opened again later, and goes on where it stands."""
        file.retry_s = time.monotonic() + RETRY_AFTER_S
        file.close()
        self._unsettle()
        self._metrics.read_errors.inc()
        _log.warning("file cannot be read", extra=fields(path=file.entry.path, reason=error.strerror))

    def _identify(self, file: LogFile, *, is_over: bool) -> None:
        if not self._attempt(file, lambda: file.identify(self._cluster, is_over=is_over)) or file.source is None:
            return
        if self._sources.setdefault(file.source, file) is file:
            file.is_copy = False
            return
        if not file.is_copy:
            _log.info("file is a copy of another, which is read", extra=fields(path=file.entry.path))
        file.is_copy = True
        file.source = None
        file.searched = file.size

    def _place(self, file: LogFile, position: int) -> None:
        def place() -> None:
            file.open()
            file.place(position)

        file.placed = self._attempt(file, place)
        self._unsettle()

    def _blocks(self) -> Iterator[Stretch]:
        """Lines of one file of each container in turn, until the round is full."""
        size = 0
        served: set[str] = set()
        for ready in list(self._ready):
            # Only the oldest one of a container that has something: generations are read one after another.
            siblings = self._directories.get(ready.directory, ())
            file = next((file for file in siblings if file.readable), None)
            if file is None or ready.directory in served:
                continue
            served.add(ready.directory)
            block = self._read(file)
            # Whoever was served comes last next time, and whoever had its turn.
            for each in (ready, file):
                self._ready.pop(each, None)
                self._ready[each] = None
            if block is not None:
                yield block
                size += len(block.data)
                if size >= ROUND_BYTES_MAX:
                    break

    def _read(self, file: LogFile) -> Stretch | None:
        """The next whole lines of ``file``; None if it has none."""
        try:
            return read(file, self._record_bytes_max)
        except OSError as error:
            self._set_aside(file, error)
            return None

    def _parse(self, blocks: list[Stretch], parse: Callable[[bytes, list[Segment]], Lines]) -> Round:
        segments = [block.segment for block in blocks]
        data = b"".join(block.data for block in blocks)
        self._metrics.read_bytes.inc(len(data))
        lines = parse(data, segments)
        files = [block.file for block in blocks]
        return _round(assemble(lines, [file.assembly for file in files], segments, self._record_bytes_max), files)


def _round(records: Records, files: list[LogFile]) -> Round:
    parts = []
    last = -1
    for file, rows, end in zip(files, records.rows.tolist(), records.ends.tolist(), strict=True):
        last += rows
        if rows:
            parts.append(Part(file, file.shipped, end, rows))
            file.shipped = end
            file.time_ns = int(records.times[last])
    return Round(records, tuple(parts))
