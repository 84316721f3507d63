"""Files of which lines are held, for what follows may belong to them: until it is read, or time has passed.

The lines are held as raw bytes by their file, and read again together with what comes next. That is a few lines a file,
and more where traces in stdout and stderr interleave; in all files together it has a limit.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from agent.records import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.follow.logfile import LogFile
    from agent.parse.stretch import Stretch
    from agent.records.carry import Carry

# Held in all files; beyond it what is read is joined as far as it goes, and nothing more is held. As much as of open
# lines (`unfinished.OPEN_BYTES_MAX`).
HELD_BYTES_MAX: Final = 16 << 20
# What is less, newly written, is not worth a round of its own, unless it is to be delivered at once.
YOUNG_BYTES_MAX: Final = 16 << 10


class Holding:
    """Knows the files that hold lines, and for how long. The bytes are the files' own."""

    def __init__(self) -> None:
        self._files: dict[LogFile, None] = {}
        self.held_bytes = 0

    def close(self, now_s: float, carry: Carry | None = None) -> list[LogFile]:
        """Files whose lines shall wait no longer by ``now_s``, monotonic: from now on readable."""
        closing = [
            file
            for file in self._files
            if not file.held or (now_s >= file.held_until_s and not (carry is not None and carry.holds_on(file, now_s)))
        ]
        for file in closing:
            file.closing = bool(file.held)
            del self._files[file]
        self.held_bytes = sum(len(file.held) for file in self._files)
        return closing

    def hold(self, blocks: Iterable[Stretch], joined: join.Joined, now_ns: int) -> None:
        """Hold what ``joined`` says of ``blocks``."""
        now_s = time.monotonic()
        # A time that lies ahead is a clock's fault, and no reason to wait longer.
        waits_ns = np.clip(joined.held_ns - (now_ns - join.CLOSED_AFTER_NS), 0, join.CLOSED_AFTER_NS)
        for block, offset, wait_s in zip(blocks, joined.held.tolist(), (waits_ns / 1e9).tolist(), strict=True):
            file = block.file
            if file in self._files:
                self.held_bytes -= len(file.held)
                del self._files[file]
            if offset < 0:
                if file.held or file.closing:
                    file.hold(b"")
                continue
            file.hold(block.since(offset), now_s + wait_s)
            file.assembly.restart(file.shipped)
            self._files[file] = None
            self.held_bytes += len(file.held)

    def segments(
        self, blocks: Iterable[Stretch], opened: Iterable[bool], now_ns: int, carry: Carry
    ) -> Iterator[join.Segment]:
        """What is known of the file of each block; ``opened``: whether a line was open before it."""
        for block, is_open in zip(blocks, opened, strict=True):
            file = block.file
            closed_ns = join.NEVER
            if block.is_last or is_open or self.held_bytes > HELD_BYTES_MAX:
                closed_ns = join.ALWAYS  # of an open line, what was read would not be read again
            elif file.searched >= file.size and not carry.awaits(file):
                closed_ns = now_ns - join.CLOSED_AFTER_NS
            how = file.treatment
            yield join.Segment(
                file.shipped,
                block.segment.position + block.segment.size,
                closed_ns,
                file.assembly.open_start,
                joins=how.multiline,
                start=how.multiline_start,
            )


def is_young(file: LogFile) -> bool:
    """Whether what ``file`` has grown by waits for the next look: it would be held until then, and parsed twice."""
    return file.treatment.multiline and not file.held and file.size - file.searched < YOUNG_BYTES_MAX
