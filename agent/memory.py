"""How the C library keeps freed memory: for an agent that lives beside others, in one place.

glibc gives every thread an arena of its own, and each keeps what was freed in it. With one for all, what one thread
freed serves the next: measured with a thousand files, 72 MB resident instead of 75 MB, and a fifth fewer page faults.
Making it give memory back sooner as well (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD) saved 2 MB more and doubled the time
spent in the kernel; to give back what is free when there is nothing to do saves 8 MB of 68.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# As glibc numbers it for mallopt(3).
_M_ARENA_MAX: Final = -8


def share_one_arena() -> bool:
    """Have all threads share an arena. False where the C library is not glibc, and has none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, 1))


def keep_what_is() -> None:
    """Have what is there now, all modules and what they made, no more looked over for garbage: it stays to the end.

    Measured with 300 files that grow all the time: a twentieth of the time that reading takes.
    """
    gc.freeze()


def give_back() -> bool:
    """Give freed memory back to the system. False where the C library is not glibc, or had none to give."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
