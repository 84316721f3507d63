"""News that a directory changed, from Linux' inotify(7), through the C library.

Only *that* something changed is taken from it: the scan that follows finds out what. So nothing depends on an event
being seen, and an overflow of the kernel's queue is just one more reason to scan, and to say so.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from typing import Final

_IN_MOVED_FROM: Final = 0x40
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_ONLYDIR: Final = 0x0100_0000
_MASK: Final = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR
_IN_Q_OVERFLOW: Final = 0x4000
# Events are read this many bytes at a time.
_READ_BYTES: Final = 1 << 16
# struct inotify_event: watch, mask, cookie, bytes of the name that follows.
_EVENT: Final = struct.Struct("=iIII")


class Inotify:
    """One inotify instance. Owns its descriptor until `close` (idempotent)."""

    def __init__(self) -> None:
        """Raises `OSError` where there is none: the limit of instances is reached, or it is not allowed."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int | None = None
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """The descriptor that becomes readable on news."""
        if self._fd is None:
            raise ValueError("inotify is closed")
        return self._fd

    def watch(self, directory: str) -> None:
        """Have news of ``directory``; asking again changes nothing.

        Raises `OSError`, with ENOSPC when the user's watches are used up.
        """
        self._checked(self._libc.inotify_add_watch(self.fileno(), os.fsencode(directory), _MASK))

    def drain(self) -> bool:
        """Take the news there is. Whether the kernel's queue was full, and dropped some."""
        overflowed = False
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self.fileno(), _READ_BYTES):
                overflowed = _overflowed(events) or overflowed
        return overflowed

    def close(self) -> None:
        """Give the descriptor and its watches back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno() or errno.EINVAL
            raise OSError(number, os.strerror(number))
        return result


def _overflowed(events: bytes) -> bool:
    at = 0
    while at < len(events):
        _, mask, _, name_bytes = _EVENT.unpack_from(events, at)
        if mask & _IN_Q_OVERFLOW:
            return True
        at += _EVENT.size + name_bytes
    return False
