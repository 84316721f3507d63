"""Fifty busy files, alone and among thousands that nobody writes to: what a byte costs each time."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.files import Speech, directory_of
from benchmarks.formats import stored, write
from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from pathlib import Path

BUSY: Final = 50
WITHIN_S: Final = 300.0
# Written to each busy file at a time, four times a second: 10 MB a second over all of them.
_BLOCK_LINES: Final = 280
_BLOCKS: Final = 40
_EVERY_S: Final = 0.25
# By then the agent knows that the files are quiet, as on a node that has been up for long.
_SETTLED_S: Final = 15.0


class Many(msgspec.Struct, frozen=True):
    """CPU seconds for the same ``log_bytes``: of the busy files alone, and among ``files``."""

    files: int
    log_bytes: int
    alone_cpu_s: float
    among_cpu_s: float
    peak_mib: float

    @property
    def ratio(self) -> float:
        """Among many against alone."""
        return self.among_cpu_s / self.alone_cpu_s


def measure(directory: Path, files: int) -> Many:
    """Write to `BUSY` files beside an agent that has no others, then beside one that has ``files``."""
    log_bytes, alone_s, _ = _used(directory / "alone", BUSY)
    _, among_s, peak_mib = _used(directory / "among", files)
    return Many(files, log_bytes, alone_s, among_s, peak_mib)


def _used(directory: Path, files: int) -> tuple[int, float, float]:
    """Bytes written, CPU seconds of the agent meanwhile, its peak in MiB."""
    pods_dir = directory / "pods"
    speech = Speech("cri")
    paths = [directory_of(pods_dir, number) / "0.log" for number in range(files)]
    for path in paths:
        write(path, speech, 1)
    block = speech.lines(_BLOCK_LINES, time.time_ns())
    with contextlib.ExitStack() as stack:
        aggregator = stack.enter_context(running("benchmarks.acknowledge", directory / "aggregator.log"))
        options = [f"--pods-dir={pods_dir}", f"--aggregator-url={aggregator.url}"]
        agent = stack.enter_context(running("agent", directory / "agent.log", *options))
        wait_for(lambda: stored(aggregator) >= files, WITHIN_S)
        time.sleep(_SETTLED_S)
        streams = [stack.enter_context(path.open("ab", buffering=0)) for path in paths[:BUSY]]
        began_s, before_s = time.monotonic(), agent.cpu_s()
        for number in range(_BLOCKS):
            for stream in streams:
                stream.write(block)
            time.sleep(max(0.0, began_s + (number + 1) * _EVERY_S - time.monotonic()))
        wait_for(lambda: stored(aggregator) >= files + _BLOCKS * BUSY * _BLOCK_LINES, WITHIN_S)
        return _BLOCKS * BUSY * len(block), agent.cpu_s() - before_s, agent.memory_mib("VmHWM")
