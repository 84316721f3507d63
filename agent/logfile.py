"""One followed log file: where reading stands, and what is open in it.

Offsets into the file, each at most the next:

    committed  durable in the store, as far as the aggregator said
    shipped    the position the last chunk handed on ended at
    read       after the last line parsed; always the beginning of a line
    searched   up to here there is no newline after `read`: the file's unfinished last line
    size       as last seen
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from agent.assemble import Assembly
from agent.identity import FIRST_LINE_BYTES_MAX, first_line, source_of
from agent.lines import Format, detect

if TYPE_CHECKING:
    from agent.discovery import Entry
    from agent.generations import Container

# Read first to find a line's beginning or end: nearly every line is shorter. Quadrupled until it is found.
_PROBE_BYTES: Final = 1 << 12


class LogFile:
    """A file that is followed from discovery until it is gone and committed. Owns its descriptor until `close`."""

    __slots__ = (
        "assembly",
        "behind_of",
        "behind_since_s",
        "committed",
        "container",
        "directory",
        "entry",
        "fd",
        "format",
        "grown_s",
        "is_copy",
        "listed",
        "placed",
        "read",
        "retry_s",
        "searched",
        "shipped",
        "size",
        "source",
        "time_ns",
    )

    def __init__(self, directory: str, container: Container, entry: Entry) -> None:
        self.directory = directory
        self.container = container
        self.entry = entry
        self.fd: int | None = None
        self.format = Format.CRI
        self.source: bytes | None = None
        self.size = entry.size
        self.searched = 0
        self.read = 0
        self.shipped = 0
        self.committed = 0
        # The aggregator said where to read on, and reading stands there.
        self.placed = False
        # Another followed file has the same source, and is the one that is read.
        self.is_copy = False
        self.assembly = Assembly()
        self.time_ns = entry.modified_ns
        # Still in its directory; one that is not is read to its end through the open descriptor.
        self.listed = True
        now = time.monotonic()
        self.grown_s = now
        # Bytes below `behind_of` were there at `behind_since_s`, and are not all committed; see `note_lag`.
        self.behind_of = 0
        self.behind_since_s = now
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

    def look(self, now_s: float) -> bool:
        """See how far the file has grown; whether it has shrunk below what was read of it."""
        if self.fd is None:
            return False
        size = os.lseek(self.fd, 0, os.SEEK_END)
        if size == self.size:
            return False
        shrunk = size < self.size and size < self.read
        self.size = size
        self.grown_s = now_s
        if size < self.searched:
            self.searched = self.read
        return shrunk

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
        self.source = source_of(cluster, self.container, self.entry.generation.restart, line)
        self.format = detect(line)
        self.searched = 0

    def forget(self) -> None:
        """Start over, as another file: what it held is gone."""
        self.displace()
        self.source = None
        self.is_copy = False
        self.read = self.searched = self.shipped = self.committed = self.behind_of = 0

    def displace(self) -> None:
        """Wait to be told where to read on; what is open will be read again."""
        self.placed = False
        self.assembly = Assembly()

    def place(self, position: int) -> None:
        """Read on from ``position``: from the start of the line it lies in, leaving out what is stored of it already.

        A position the file does not reach, because it is a shorter copy of what was read once, waits for it to grow.
        """
        if position > self.size:
            # Someone has read on since this was looked at: to begin inside a line, its start must be found.
            self.size = os.fstat(self.descriptor).st_size
        self.committed = self.shipped = position
        self.read = self.searched = position if position >= self.size else self._line_start(position)
        self.assembly = Assembly(position)
        self.placed = True

    @property
    def descriptor(self) -> int:
        """The descriptor of the file, which must be open."""
        if self.fd is None:
            raise ValueError(f"{self.entry.path} is not open")
        return self.fd

    @property
    def readable(self) -> bool:
        """Whether there may be a complete line that is not read."""
        return self.placed and self.fd is not None and self.size > self.searched

    def awaits_place(self, now_s: float) -> bool:
        """Whether the aggregator is to be asked where to read on."""
        return self.source is not None and not self.placed and self.retry_s <= now_s

    @property
    def finished(self) -> bool:
        """Whether everything there is of the file is committed, or another is read for it."""
        return self.searched >= self.size if self.is_copy else self.placed and self.committed >= self.size

    @property
    def lag_bytes(self) -> int:
        """What is in the file and not yet committed."""
        return 0 if self.is_copy else max(0, self.size - self.committed)

    def note_lag(self, now_s: float) -> None:
        """Remember how long something has not been committed; to be called now and then."""
        if self.finished or (self.placed and self.committed >= self.behind_of):
            self.behind_of, self.behind_since_s = self.size, now_s

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
