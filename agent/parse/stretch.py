"""Whole lines of one followed file, a stretch of them at a time.

Reading moves the file's offsets `read` and `searched` on, never past what it gives out.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from agent.errors import ReplacedError
from agent.follow.gzipped import GzippedFile
from agent.follow.logfile import LogFile
from agent.parse.lines import Segment

# Read of one file in a round: so that a busy file does not keep the others waiting.
READ_BYTES_MAX: Final = 512 << 10
# What stands before the message of a CRI line: read on top of what a record may have, of a line that is too long.
_LINE_HEAD_BYTES: Final = 1 << 10


class Stretch(msgspec.Struct, frozen=True):
    """Whole lines of one file: those ``held`` before, then ``data``; ``segment`` says where in the file they are.

    ``is_last``: nothing that follows belongs to these lines.
    """

    file: LogFile
    data: bytes | memoryview
    segment: Segment
    held: bytes = b""
    is_last: bool = False

    def since(self, offset: int) -> bytes:
        """The lines from ``offset`` in the file on."""
        at = offset - self.segment.position
        beyond = at - len(self.held)
        return bytes(self.data[beyond:]) if beyond >= 0 else b"".join((self.held[at:], self.data))


def read(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """The next whole lines of ``file``, those held before them; None if it has none yet.

    Of a line longer than ``record_bytes_max`` allows perhaps only the beginning. Raises `OSError`, `ReplacedError` if
    the file was truncated, whatever it holds by now, `UnpackError`.
    """
    if file.held and file.searched - file.read > record_bytes_max:
        return held(file)  # a line this long belongs to nothing before it
    stretch = None
    if file.size > file.searched:
        stretch = _unread(file, record_bytes_max)
    if stretch is None:
        return held(file) if file.closing else None
    if not file.held or stretch.is_last:
        return stretch
    # Not put together: half a megabyte is to be copied but once, into the block that is parsed.
    size, position = len(file.held) + len(stretch.data), stretch.segment.position - len(file.held)
    return Stretch(file, stretch.data, Segment(size, position, file.time_ns, stretch.segment.left_out), file.held)


def held(file: LogFile) -> Stretch:
    """The lines held, for nothing belongs to them any more."""
    size = len(file.held)
    return Stretch(file, b"", Segment(size, file.read - size, file.time_ns), file.held, is_last=True)


def _unread(file: LogFile, record_bytes_max: int) -> Stretch | None:
    if isinstance(file, GzippedFile):
        return _unpacked(file, record_bytes_max)
    return _rest_of_line(file, record_bytes_max) if file.searched > file.read else _lines(file)


def read_last(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """What there is of the last line of ``file``, which has no newline, as if it had one; None if there is nothing.

    Of a long one only the beginning. The newline takes no place: the line ends where the file does. Raises `OSError`,
    `ReplacedError`.
    """
    kept = min(file.size - file.read, record_bytes_max + _LINE_HEAD_BYTES)
    if isinstance(file, GzippedFile):
        line = file.last_line[: max(0, kept)]
    else:
        line = _read(file, kept, file.read) if kept > 0 else b""
    if not line:
        return None
    left_out = file.size - file.read - len(line)
    line += b"\n"
    file.read = file.searched = file.size
    return Stretch(file, line, Segment(len(line), file.size - len(line), file.time_ns, left_out))


def _lines(file: LogFile) -> Stretch | None:
    # Not more than there is: every read is memory first, of which a line now and then needs little.
    start = file.read
    data = _read(file, min(READ_BYTES_MAX, file.size - start), start)
    size = len(data)
    end = data.rfind(b"\n") + 1
    file.read = start + end
    # After a full read there is more to come at once; else what follows the last newline waits for the file to grow.
    file.searched = start + (end if end and size == READ_BYTES_MAX else size)
    if not end:
        return None
    return Stretch(file, data if end == size else memoryview(data)[:end], Segment(end, start, file.time_ns))


def _rest_of_line(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """Go on looking for the end of a line that was not complete, or did not fit, when it was read first.

    Of a line longer than a record may be only the beginning is kept, placed so that its end lies where it does.
    """
    data = _read(file, READ_BYTES_MAX, file.searched)
    end = data.find(b"\n") + 1
    if not end:
        file.searched += len(data)
        return None
    after = file.searched + end
    kept = min(after - 1 - file.read, record_bytes_max + _LINE_HEAD_BYTES)
    if file.held and kept < after - 1 - file.read:
        return held(file)
    line = _read(file, kept, file.read) + b"\n"
    left_out = after - 1 - file.read - kept
    file.read = file.searched = after
    return Stretch(file, line, Segment(len(line), after - len(line), file.time_ns, left_out))


def _read(file: LogFile, size: int, offset: int) -> bytes:
    data = os.pread(file.descriptor, size, offset)
    # Behind the read: if the file is the same now, it was then.
    if file.is_replaced():
        raise ReplacedError
    file.seen = file.size = max(file.size, offset + len(data))
    return data


def _unpacked(file: GzippedFile, record_bytes_max: int) -> Stretch | None:
    found = file.unpack(record_bytes_max + _LINE_HEAD_BYTES)
    if found is None:
        return None
    data, start, left_out = found
    return Stretch(file, data, Segment(len(data), start, file.time_ns, left_out))
