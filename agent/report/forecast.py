"""In how many seconds unread bytes are rotated away, from how fast a container writes and the generations left.

The kubelet looks at every running container's log now and then; one of at least ``file_bytes`` is renamed, a new one is
begun, and of what was renamed before only so much is kept that ``files`` are left, the new one among them. So a file
with ``newer`` files after it survives ``files - newer - 1`` rotations and goes with the next.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

# The kubelet's containerLogMaxSize and containerLogMaxFiles, where nobody has set others.
FILE_BYTES_DEFAULT: Final = 10 << 20
FILES_DEFAULT: Final = 5
# How often the kubelet looks (containerLogMonitorInterval): however fast a container writes, it is not rotated sooner.
KUBELET_LOOKS_EVERY_S: Final = 10.0
# Old rates count half as much after about twenty seconds: one burst is no trend, and a change is seen within a minute.
_SMOOTHED_OVER_S: Final = 30.0
# A slower container takes four months for ten megabytes.
RATE_LEAST: Final = 1.0


class Rotation(msgspec.Struct, frozen=True):
    """How the node rotates: a file when it has ``file_bytes``, and how many ``files`` of a container are kept."""

    file_bytes: int = FILE_BYTES_DEFAULT
    files: int = FILES_DEFAULT


class WriteRate:
    """Bytes a second that a container writes, smoothed; None before two looks."""

    __slots__ = ("_noted_s", "per_s")

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._noted_s: float | None = None

    def note(self, written: int, now_s: float) -> None:
        """``written`` bytes more than at the last call, at an earlier ``now_s``; those of the first do not count."""
        if not written and self.per_s is not None and self.per_s < RATE_LEAST:
            self.per_s = 0.0  # as nearly every container of a node: what is left of old bytes is no rate
        elif self._noted_s is not None and now_s > self._noted_s:
            passed_s = now_s - self._noted_s
            now = written / passed_s
            weight = 1 - math.exp(-passed_s / _SMOOTHED_OVER_S)
            self.per_s = now if self.per_s is None else self.per_s + weight * (now - self.per_s)
        self._noted_s = now_s

    def skip_to(self, now_s: float | None) -> None:
        """Nothing was written until ``now_s``, and the rate was 0 before; None: not known."""
        if now_s is not None:
            self._noted_s = now_s


def forecast_s(
    rotation: Rotation, live_bytes: int, newer: int, rate: float | None, looks_every_s: float = KUBELET_LOOKS_EVERY_S
) -> float | None:
    """Seconds until a file with ``newer`` files after it is deleted; None if its container does not write.

    ``live_bytes``: size of the file that is written now. ``rate``: bytes a second. ``looks_every_s``: 0 where the
    writer itself rotates. It is the earliest time: compressing and looking take their own.
    """
    if rate is None or rate < RATE_LEAST:
        return None
    rotations = max(1, rotation.files - newer)
    first_s = max(0, rotation.file_bytes - live_bytes) / rate
    return first_s + (rotations - 1) * max(rotation.file_bytes / rate, looks_every_s)
