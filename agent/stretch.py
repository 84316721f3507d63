"""Whole lines of one followed file, a stretch of them at a time.

Reading moves the file's offsets `read` and `searched` on, never past what it gives out.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from agent.lines import Segment
from agent.logfile import LogFile

# Read of one file in a round: so that a busy file does not keep the others waiting.
READ_BYTES_MAX: Final = 512 << 10
# What stands before the message of a CRI line: read on top of what a record may have, of a line that is too long.
_LINE_HEAD_BYTES: Final = 1 << 10


class Stretch(msgspec.Struct, frozen=True):
    """Whole lines of one file: ``data``, and ``segment``, which says where in the file they are."""

    file: LogFile
    data: bytes
    segment: Segment


def read(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """The next whole lines of ``file``; None if it has none yet. Raises `OSError`.

    Of a line longer than ``record_bytes_max`` allows perhaps only the beginning.
    """
    return _rest_of_line(file, record_bytes_max) if file.searched > file.read else _lines(file)


def read_last(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """What there is of the last line of ``file``, which has no newline, as if it had one; None if there is nothing.

    Of a long one only the beginning. The newline takes no place: the line ends where the file does. Raises `OSError`.
    """
    kept = min(file.size - file.read, record_bytes_max + _LINE_HEAD_BYTES)
    line = os.pread(file.descriptor, kept, file.read) if kept > 0 else b""
    if not line:
        return None
    line += b"\n"
    file.read = file.searched = file.size
    return Stretch(file, line, Segment(len(line), file.size - len(line), file.time_ns))


def _lines(file: LogFile) -> Stretch | None:
    data = os.pread(file.descriptor, READ_BYTES_MAX, file.read)
    end = data.rfind(b"\n") + 1
    start = file.read
    file.read += end
    # After a full read there is more to come at once; else what follows the last newline waits for the file to grow.
    is_whole = end > 0 and len(data) == READ_BYTES_MAX
    file.searched = file.read if is_whole else start + len(data)
    file.size = max(file.size, start + len(data))
    return Stretch(file, data[:end], Segment(end, start, file.time_ns)) if end else None


def _rest_of_line(file: LogFile, record_bytes_max: int) -> Stretch | None:
    """Go on looking for the end of a line that was not complete, or did not fit, when it was read first.

    Of a line longer than a record may be only the beginning is kept, placed so that its end lies where it does.
    """
    data = os.pread(file.descriptor, READ_BYTES_MAX, file.searched)
    file.size = max(file.size, file.searched + len(data))
    end = data.find(b"\n") + 1
    if not end:
        file.searched += len(data)
        return None
    after = file.searched + end
    kept = min(after - 1 - file.read, record_bytes_max + _LINE_HEAD_BYTES)
    line = os.pread(file.descriptor, kept, file.read) + b"\n"
    file.read = file.searched = after
    return Stretch(file, line, Segment(len(line), after - len(line), file.time_ns))
