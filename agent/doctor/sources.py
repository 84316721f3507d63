"""The first line and the size of a log file, gzipped or not, read as the agent would."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from agent.follow.identity import FIRST_LINE_BYTES_MAX, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

# Enough for nearly every first line, and for nearly every last one; quadrupled for a longer first one.
_PROBE_BYTES: Final = 1 << 16
# A last line without an end is looked at as far back: several times what the kubelet lets a file grow to.
_LAST_LINE_BYTES_MAX: Final = 64 << 20
# RFC 1952: a gzip file ends in the size of what it holds, modulo 2^32, little-endian. What the kubelet compresses is
# one member and far smaller.
_TRAILER_BYTES: Final = 4


class Content(msgspec.Struct, frozen=True):
    """``line``: the first complete one, None if there is none yet. ``complete``: bytes up to the end of the last."""

    line: bytes | None
    complete: int


def read_plain(path: str) -> Content:
    """What the file at ``path`` holds. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(descriptor).st_size
        return Content(_first(lambda most: os.pread(descriptor, most, 0)), _complete(descriptor, size))
    finally:
        os.close(descriptor)


def read_gzip(path: str) -> Content:
    """What the gzip file at ``path`` holds; no more of it than the first line is unpacked. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        size = os.fstat(descriptor).st_size
        try:
            line = _first(lambda most: _unpacked(path, most))
        except (EOFError, zlib.error) as error:
            raise OSError(f"it is no whole gzip file: {error}") from error
        stream.seek(max(0, size - _TRAILER_BYTES))
        return Content(line, int.from_bytes(stream.read(_TRAILER_BYTES), "little"))


def _unpacked(path: str, most: int) -> bytes:
    with gzip.open(path) as stream:
        return stream.read(most)


def _first(head: Callable[[int], bytes]) -> bytes | None:
    most = _PROBE_BYTES
    while True:
        found = head(most)
        line = first_line(found)
        if line is not None or len(found) < most or most >= FIRST_LINE_BYTES_MAX:
            return line
        most *= 4


def _complete(descriptor: int, size: int) -> int:
    """Up to where lines are complete; ``size`` where the last one is so long that its beginning is not looked for."""
    end = size
    while end > max(0, size - _LAST_LINE_BYTES_MAX):
        start = max(0, end - _PROBE_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return end and size
