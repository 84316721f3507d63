"""One followed log file: where reading stands, and what is open in it.

Offsets into the file, each at most the next:

    committed  durable in the store, as far as the aggregator said
    shipped    the position the last chunk handed on ended at
    read       after the last line read; always the beginning of a line, perhaps with lines before it that are `held`
    searched   up to here there is no newline after `read`: the file's unfinished last line
    size       as last seen
    seen       the same, when it was last certain to be the size of this content, and not of what replaced it
"""

from __future__ import annotations

import enum
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from agent.errors import ReplacedError
from agent.follow.identity import FIRST_LINE_BYTES_MAX, first_line, source_of
from agent.parse.assemble import Assembly
from agent.parse.lines import Format, detect
from agent.select.rules import PLAIN

if TYPE_CHECKING:
    from agent.follow.discovery import Entry
    from agent.follow.generations import Container
    from agent.select.rules import Treatment

# Read first to find a line's beginning or end: nearly every line is shorter. Quadrupled until it is found.
_PROBE_BYTES: Final = 1 << 12
# Of the first line, those that hold its time; with it this is the first line, and not another file's.
_MARK_BYTES: Final = 64


class Loss(enum.StrEnum):
    """Why bytes of a file could not be read: the reason in its gap record, and a label of metrics."""

    ROTATED = "rotated away"
    DELETED = "deleted"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    HELD = "held too long"
    CORRUPT = "corrupt gzip file"


class LogFile:
    """A file that is followed from discovery until it is gone and committed. Owns its descriptor until `close`."""

    __slots__ = (
        "assembly",
        "behind_of",
        "behind_since_s",
        "closing",
        "committed",
        "container",
        "deleted_s",
        "directory",
        "entry",
        "fd",
        "format",
        "found_bytes",
        "grown_s",
        "held",
        "held_until_s",
        "is_copy",
        "is_parted",
        "listed",
        "loss",
        "mark",
        "mark_offset",
        "placed",
        "read",
        "retry_s",
        "searched",
        "seen",
        "shipped",
        "size",
        "source",
        "spoilt",
        "time_ns",
        "treatment",
        "undecided_s",
    )

    def __init__(self, directory: str, container: Container, entry: Entry, treatment: Treatment = PLAIN) -> None:
        self.directory = directory
        self.container = container
        self.entry = entry
        self.treatment = treatment
        self.fd: int | None = None
        self.format = Format.CRI
        self.source: bytes | None = None
        self.size = entry.size
        self.seen = 0
        self.searched = 0
        self.read = 0
        # The lines before `read` that what follows may belong to: taken again together with it, or, once `closing`
        # because nothing has come by then, alone.
        self.held = b""
        self.held_until_s = 0.0
        self.closing = False
        # Since when, monotonic, its beginning is waited for to see how the file before it ends; None if it is not.
        self.undecided_s: float | None = None
        self.shipped = 0
        self.committed = 0
        # The aggregator said where to read on, and reading stands there.
        self.placed = False
        # Another followed file has the same source, and is the one that is read.
        self.is_copy = False
        # Something between the file before it and this one is lost: no record goes on from there.
        self.is_parted = False
        self.assembly = Assembly()
        self.time_ns = entry.modified_ns
        # Still in its directory; one that is not is read to its end through the open descriptor.
        self.listed = True
        # What has become of it, should some of it be lost: gone from its directory, or not to be read.
        self.loss = Loss.DELETED
        # What is left of it cannot be read, ever.
        self.spoilt = False
        # What the file has at `mark_offset` as long as its first line is the one it is known by.
        self.mark = b""
        self.mark_offset = 0
        now = time.monotonic()
        self.deleted_s = now  # since when it is not listed any more
        self.grown_s = now
        # Bytes below `behind_of` were there at `behind_since_s`, and are not all committed; see `note_lag`.
        self.behind_of = 0
        self.behind_since_s = now
        # Bytes below were there when it was found, or when its store became another: for how long, nobody knows.
        self.found_bytes = 0
        self.retry_s = now  # not opened again before, after it could not be

    def open(self) -> None:
        """Open the file, if it is not. Raises `OSError`; `FileNotFoundError` if another has taken its name."""
        if self.fd is None:
            descriptor = os.open(self.entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) != (self.entry.device, self.entry.inode):
                # Rotated since it was listed: under its name lies the next generation.
                os.close(descriptor)
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.entry.path)
            self.fd = descriptor

    def close(self) -> None:
        """Give the descriptor back; the file can be opened again."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def estimate(self) -> None:
        """Learn the size of a file that cannot be opened."""
        try:
            found = os.stat(self.entry.path)
        except OSError:
            return
        if self.source is None and (found.st_dev, found.st_ino) == (self.entry.device, self.entry.inode):
            self.size = found.st_size

    def look(self, now_s: float) -> bool:
        """See how far the file has grown; whether it is found to hold something else than what was read of it.

        Where everything was read that was seen, the next read finds out; if it does not come soon, the next look.
        """
        if self.fd is None:
            return False
        size = os.lseek(self.fd, 0, os.SEEK_END)
        if size == self.size:
            return self.seen < size and not self._is_certain(size)
        self.grown_s = now_s
        if size < self.read:
            return True
        if (self.searched < self.size or size < self.size) and not self._is_certain(size):
            return True
        self.size = size
        if size < self.searched:
            self.searched = self.read
        return False

    def _is_certain(self, size: int) -> bool:
        """Whether ``size``, just found, is that of what the file is known by; then it is `seen`."""
        if self.is_replaced():
            return False
        self.seen = size
        return True

    def is_replaced(self) -> bool:
        """Whether the file begins with another line than the one it is known by: it was truncated, whatever its size.

        Bytes read before this says False are the file's.
        """
        return os.pread(self.descriptor, len(self.mark), self.mark_offset) != self.mark

    def identify(self, cluster: str, *, is_over: bool) -> None:
        """Find source and format, if the first line is there already; or if it ``is_over``, what there is of it."""
        head = self._bytes_at(0, _PROBE_BYTES)
        while (line := first_line(head)) is None and len(head) < min(self.size, FIRST_LINE_BYTES_MAX):
            more = self._bytes_at(len(head), 3 * len(head) + _PROBE_BYTES)
            if not more:
                break
            head += more
        if is_over and line is None:
            line = head or None
        if line is None:
            self.searched = len(head)  # looked at again when there is more
            return
        self._is_known(cluster, head, line)

    def _is_known(self, cluster: str, head: bytes, line: bytes) -> None:
        """Take ``line``, with which the ``head`` of the file begins, for the first."""
        self.source = source_of(cluster, self.container, self.entry.generation.restart, line)
        self.seen = self.size
        self.format = detect(line)
        self.searched = 0
        # CRI lines begin with the time, Docker's end with it. Of short ones the newline is a part.
        self.mark_offset = 0 if self.format is Format.CRI else max(0, len(line) - _MARK_BYTES)
        self.mark = head[self.mark_offset : min(self.mark_offset + _MARK_BYTES, len(line)) + 1]

    def forget(self) -> None:
        """Start over, as another file: what it held is gone."""
        self.displace()
        self.source = None
        self.mark = b""
        self.size = os.lseek(self.descriptor, 0, os.SEEK_END)
        self.is_copy = self.spoilt = False
        self.read = self.searched = self.shipped = self.committed = self.behind_of = self.found_bytes = 0

    def displace(self) -> None:
        """Wait to be told where to read on; what is open will be read again."""
        self.placed = False
        self.found_bytes = self.whole
        self.assembly = Assembly()
        self.hold(b"")

    def place(self, position: int) -> None:
        """Read on from ``position``: from the start of the line it lies in, leaving out what is stored of it already.

        A position the file does not reach, because it is a shorter copy of what was read once, waits for it to grow.
        """
        if position > self.size:
            # Someone has read on since this was looked at: to begin inside a line, its start must be found.
            self.size = os.fstat(self.descriptor).st_size
        self._place_at(position, position if position >= self.size else self._line_start(position))

    def _place_at(self, position: int, line_start: int) -> None:
        self.committed = self.shipped = position
        self.read = self.searched = line_start
        self.hold(b"")
        self.assembly = Assembly(position)
        self.undecided_s = None
        self.placed = True

    def skip(self, position: int, line_start: int) -> None:
        """Read on from ``position``, shipped with the file before it, and from ``line_start``; without I/O."""
        committed = self.committed
        self._place_at(position, line_start)
        self.committed = committed

    def head(self, size: int) -> tuple[bytes, bool]:
        """The first ``size`` bytes, or all there are; and whether those are all. Raises `OSError`, `ReplacedError`."""
        data = self._bytes_at(0, size)
        if self.is_replaced():
            raise ReplacedError
        return data, len(data) < size

    def hold(self, lines: bytes, until_s: float = 0.0) -> None:
        """Hold ``lines``, those before `read`, until more has been read, or until that monotonic time."""
        self.held, self.held_until_s, self.closing = lines, until_s, False

    def is_unchanged(self, entry: Entry) -> bool:
        """Whether ``entry`` may be this file, seen while it was closed."""
        return (self.size, self.entry.modified_ns) == (entry.size, entry.modified_ns)

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return self.size

    @property
    def extent(self) -> int | None:
        """The size of the (uncompressed) file, for all that is known; None if it is not."""
        return self.size

    @property
    def descriptor(self) -> int:
        """The descriptor of the file, which must be open."""
        if self.fd is None:
            raise ValueError(f"{self.entry.path} is not open")
        return self.fd

    @property
    def readable(self) -> bool:
        """Whether there may be a complete line that is not read, or one is held that is to wait no longer."""
        return self.placed and self.fd is not None and (self.size > self.searched or self.closing)

    def awaits_place(self, now_s: float) -> bool:
        """Whether the aggregator is to be asked where to read on."""
        return self.source is not None and not self.placed and self.retry_s <= now_s

    @property
    def finished(self) -> bool:
        """Whether everything there is of the file is committed, or another is read for it."""
        return self.searched >= self.size if self.is_copy else self.placed and self.committed >= self.size

    @property
    def whole(self) -> int:
        """Up to where lines are whole; up to the size, as long as the end of the last one has not been looked for."""
        return self.read if self.searched >= self.size else self.size

    @property
    def unfinished_bytes(self) -> int:
        """What there is of a last line that has no end yet. It cannot be stored before, unless the file is over."""
        return 0 if self.is_copy or self.spoilt else max(0, self.size - self.whole)

    @property
    def is_unplaced(self) -> bool:
        """Whether nobody has said yet how much of it is committed, so that `lag_bytes` is only the most it can be.

        Of one that cannot be read before it is known, nothing was ever read.
        """
        return not self.placed and (self.source is not None or self.loss is not Loss.UNREADABLE)

    @property
    def lag_bytes(self) -> int:
        """What could be committed and is not: whole lines. What is left of a file that is spoilt is lost."""
        return 0 if self.is_copy or self.is_lost else max(0, self.whole - (self.committed if self.placed else 0))

    @property
    def is_lost(self) -> bool:
        """Whether nothing of it can be read, ever."""
        return self.spoilt and self.source is None

    def note_lag(self, now_s: float) -> None:
        """Remember how long something has not been committed; to be called now and then."""
        if self.finished or not self.lag_bytes or (self.placed and self.committed >= self.behind_of):
            self.behind_of, self.behind_since_s = self.whole, now_s

    def _line_start(self, position: int) -> int:
        """The start of the line that holds the byte before ``position``, or ``position`` if that byte ends a line."""
        end = position
        probe = _PROBE_BYTES
        while end > 0:
            start = max(0, end - probe)
            found = self._bytes_at(start, end - start)
            newline = found.rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
            probe *= 4
        return 0

    def _bytes_at(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)
