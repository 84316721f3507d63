"""An agent that was away catches up, compressed generations included, while new lines are written."""

from __future__ import annotations

import contextlib
import gzip
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.files import Speech, directory_of
from benchmarks.formats import write
from benchmarks.processes import running

if TYPE_CHECKING:
    from pathlib import Path

# As the kubelet leaves them by default: the live file, one plain and three compressed generations of 10 MiB.
GENERATION_LINES: Final = 60_000
GENERATIONS: Final = 4
COMPRESSED: Final = 3
WITHIN_S: Final = 600.0
NEW: Final = "live"
_NEW_FILES: Final = 20
_TICK_S: Final = 0.05
_STUCK_S: Final = 10.0


class Backlog(msgspec.Struct, frozen=True):
    """``late_s``: the most that a new line came after its time, while ``records`` of ``expected`` came.

    ``half_mib``: the most that was resident until half of them had come.
    """

    log_bytes: int
    expected: int
    records: int
    seconds: float
    late_s: float
    rest_mib: float
    half_mib: float
    peak_mib: float


def measure(directory: Path, megabytes: int) -> Backlog:
    """Let an agent catch up with about ``megabytes`` of log files, before compression."""
    pods_dir = directory / "pods"
    speech = Speech("cri")
    log_bytes = containers = 0
    while log_bytes < megabytes * 10**6:
        log_bytes += _container(directory_of(pods_dir, containers), speech)
        containers += 1
    expected = containers * GENERATIONS * GENERATION_LINES
    with contextlib.ExitStack() as stack:
        acknowledging = running("benchmarks.acknowledge", directory / "aggregator.log", f"--watched={NEW}")
        aggregator = stack.enter_context(acknowledging)
        options = [f"--pods-dir={directory / 'later'}", f"--aggregator-url={aggregator.url}"]
        agent = stack.enter_context(running("agent", directory / "agent.log", *options))
        rest_mib = agent.memory_mib("VmRSS")
        streams = [
            stack.enter_context((directory_of(pods_dir, number, NEW) / "0.log").open("ab", buffering=0))
            for number in range(_NEW_FILES)
        ]
        began_s = grown_s = time.monotonic()
        pods_dir.rename(directory / "later")
        written = total = 0
        late_s = half_mib = 0.0
        # Until all has come, of what was written meanwhile as well.
        while total < expected + written and time.monotonic() - grown_s < _STUCK_S:
            if total < expected:
                streams[written % _NEW_FILES].write(speech.lines(1, time.time_ns()))
                written += 1
            counts = aggregator.json("/counts")
            # New lines alone are no progress, as long as new ones are written.
            if counts["records"] > (1 + _NEW_FILES if total < expected else 0):
                grown_s = time.monotonic()
            late_s = max(late_s, counts["late_s"])
            total = counts["total"]
            if total < expected / 2:
                half_mib = max(half_mib, agent.memory_mib("VmRSS"))
            time.sleep(_TICK_S)
        return Backlog(
            log_bytes,
            expected,
            total - written,
            grown_s - began_s,
            late_s,
            rest_mib,
            half_mib,
            agent.memory_mib("VmHWM"),
        )


def _container(directory: Path, speech: Speech) -> int:
    """The generations of one container, oldest first; gives their bytes before compression."""
    size = 0
    first = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(GENERATIONS):
        live = directory / "0.log"
        write(live, speech, GENERATION_LINES)
        size += live.stat().st_size
        rotated = f"0.log.{first + timedelta(minutes=number):%Y%m%d-%H%M%S}"
        if number < COMPRESSED:
            (directory / f"{rotated}.gz").write_bytes(gzip.compress(live.read_bytes(), 1))
            live.unlink()
    return size
