"""An agent with a thousand files: the memory it needs to catch up with them, the CPU it needs when nobody writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.files import Form, Speech, directory_of
from benchmarks.formats import stored, write
from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Process

QUIET_S: Final = 20.0
WITHIN_S: Final = 300.0
# What follows the last commit is over by then: files are looked at, nothing else.
_SETTLED_S: Final = 3.0


class Quiet(msgspec.Struct, frozen=True):
    """``cpu_share``: of one core, while nothing was written. ``peak_mib``: resident, at most, since the start."""

    files: int
    lines: int
    cpu_share: float
    peak_mib: float
    rest_mib: float


def measure(directory: Path, files: int, lines_each: int) -> Quiet:
    """Let an agent catch up with ``lines_each`` lines in each of ``files`` files, then leave it alone."""
    pods_dir = directory / "pods"
    forms: list[Form] = ["cri", "cri", "docker"]
    speeches = [Speech(form) for form in forms]
    for number in range(files):
        write(directory_of(pods_dir, number) / "0.log", speeches[number % 3], lines_each)
    with (
        running("benchmarks.acknowledge", directory / "aggregator.log") as aggregator,
        running(
            "agent", directory / "agent.log", f"--pods-dir={pods_dir}", f"--aggregator-url={aggregator.url}"
        ) as agent,
    ):
        wait_for(lambda: stored(aggregator) >= files * lines_each, WITHIN_S)
        time.sleep(_SETTLED_S)
        share = cpu_share(agent, QUIET_S)
        return Quiet(files, files * lines_each, share, agent.memory_mib("VmHWM"), agent.memory_mib("VmRSS"))


def cpu_share(process: Process, seconds: float) -> float:
    """What ``process`` uses of a core in the next ``seconds``."""
    began_s, before_s = time.monotonic(), process.cpu_s()
    time.sleep(seconds)
    return (process.cpu_s() - before_s) / (time.monotonic() - began_s)
