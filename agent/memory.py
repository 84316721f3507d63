"""How the C library keeps freed memory: for an agent that lives beside others, as little as it can.

Columns of a round are blocks of some hundred kilobytes that live for milliseconds. By default glibc learns to keep such
blocks, in an arena for each thread: measured with a thousand files, 89 MiB resident instead of 75 MiB.
"""

from __future__ import annotations

import ctypes
from typing import Final

# Names of mallopt(3), as glibc numbers them.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Larger blocks go back to the system when they are freed. Any fixed value keeps glibc from raising it by itself; a
# smaller one costs page faults.
_MMAP_THRESHOLD_BYTES: Final = 512 << 10
# Free memory above this at the end of the heap goes back as well; a round or two may stay.
_TRIM_THRESHOLD_BYTES: Final = 8 << 20


def give_back_freed() -> bool:
    """Give freed blocks back to the system early. False where the C library is not glibc and keeps to its own ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES),
    )
    return all(mallopt(name, value) for name, value in settings)
