"""CPU of the agent alone against ``zstd -1`` over the same bytes, for each format of log files.

Lines of about 180 bytes, in many files, complete before the agent sees them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import zstandard

from benchmarks.files import Form, Speech, directory_of
from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.processes import Process

FILES: Final = 16
WITHIN_S: Final = 300.0
_BLOCK_BYTES: Final = 1 << 20
_LINES_AT_ONCE: Final = 20_000


class Cost(msgspec.Struct, frozen=True):
    """What an agent used for ``lines`` lines of ``log_bytes`` bytes, and ``zstd -1`` for the bytes."""

    lines: int
    log_bytes: int
    zstd_cpu_s: float
    agent_cpu_s: float
    peak_mib: float

    @property
    def ratio(self) -> float:
        """Agent against zstd."""
        return self.agent_cpu_s / self.zstd_cpu_s


def measure(directory: Path, form: Form, lines: int) -> Cost:
    """Let an agent read ``lines`` lines in `FILES` files of ``form``."""
    written = directory / "written"
    files = [directory_of(written, number) / "0.log" for number in range(FILES)]
    for number, file in enumerate(files):
        write(file, Speech(form, number), lines // FILES)
    log_bytes = sum(file.stat().st_size for file in files)
    zstd_cpu_s = zstd_s(files)
    pods_dir = directory / "pods"
    with (
        running("benchmarks.acknowledge", directory / "aggregator.log") as aggregator,
        running(
            "agent", directory / "agent.log", f"--pods-dir={pods_dir}", f"--aggregator-url={aggregator.url}"
        ) as agent,
    ):
        before_s = agent.cpu_s()
        written.rename(pods_dir)
        wait_for(lambda: stored(aggregator) >= lines // FILES * FILES, WITHIN_S, 0.2)
        used_s = agent.cpu_s() - before_s
        return Cost(lines, log_bytes, zstd_cpu_s, used_s, agent.memory_mib("VmHWM"))


def write(file: Path, speech: Speech, lines: int) -> None:
    """Append ``lines`` lines of ``speech``."""
    with file.open("ab") as stream:
        for begun in range(0, lines, _LINES_AT_ONCE):
            stream.write(speech.lines(min(_LINES_AT_ONCE, lines - begun), time.time_ns()))


def stored(aggregator: Process) -> int:
    """Records that came to one that only acknowledges."""
    return int(aggregator.json("/counts")["total"])


def zstd_s(files: Iterable[Path]) -> float:
    """CPU seconds of ``zstd -1`` over the bytes of ``files``, in blocks of 1 MiB and one thread."""
    compressor = zstandard.ZstdCompressor(level=1)
    used = 0.0
    for path in files:
        data = path.read_bytes()
        began = time.process_time()
        for at in range(0, len(data), _BLOCK_BYTES):
            compressor.compress(data[at : at + _BLOCK_BYTES])
        used += time.process_time() - began
    return used
