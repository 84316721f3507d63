"""News that a directory changed, or a file was written to, from Linux' inotify(7), through the C library.

Only *that* something changed is taken from it: who hears of it finds out what. So nothing depends on an event being
seen, and an overflow of the kernel's queue is just one more reason to look, and to say so.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MODIFY: Final = 0x2
_IN_MOVED_FROM: Final = 0x40
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_ONLYDIR: Final = 0x0100_0000
_MASK: Final = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR
_IN_Q_OVERFLOW: Final = 0x4000
_IN_ONESHOT: Final = 0x8000_0000
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

    def watch_once(self, descriptor: int) -> int:
        """Have news, once, of the file that is open as ``descriptor`` being written to; gives the number of the watch.

        Raises `OSError`, as `watch` does.
        """
        path = os.fsencode(f"/proc/self/fd/{descriptor}")  # whatever it is called by now
        return self._checked(
            self._libc.inotify_add_watch(self.fileno(), path, ctypes.c_uint32(_IN_MODIFY | _IN_ONESHOT))
        )

    def unwatch(self, watch: int) -> None:
        """Give a watch back; one that has gone by itself already is as good."""
        self._libc.inotify_rm_watch(self.fileno(), watch)

    def drain(self) -> bool:
        """Take the news there is. Whether the kernel's queue was full, and dropped some."""
        return self.written()[1]

    def written(self) -> tuple[list[int], bool]:
        """Take the news there is: the watches of files that were written to, and whether some news was dropped."""
        events = list(self._events())
        return [watch for watch, mask in events if mask & _IN_MODIFY], any(mask & _IN_Q_OVERFLOW for _, mask in events)

    def close(self) -> None:
        """Give the descriptor and its watches back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _events(self) -> Iterator[tuple[int, int]]:
        """Watch and mask of each event there is."""
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self.fileno(), _READ_BYTES):
                at = 0
                while at < len(events):
                    watch, mask, _, name_bytes = _EVENT.unpack_from(events, at)
                    yield watch, mask
                    at += _EVENT.size + name_bytes

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno() or errno.EINVAL
            raise OSError(number, os.strerror(number))
        return result
