"""An agent with a thousand files: the memory it needs to catch up with them, the CPU it needs when nobody writes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from pathlib import Path

QUIET_S: Final = 20.0
WITHIN_S: Final = 300.0


class Quiet(msgspec.Struct, frozen=True):
    """``cpu_share``: of one core, while nothing was written. ``peak_mib``: resident, at most, since the start."""

    files: int
    lines: int
    cpu_share: float
    peak_mib: float
    rest_mib: float


def measure(directory: Path, files: int, lines: int) -> Quiet:
    """Let an agent catch up with ``lines`` lines in ``files`` files, then leave it alone."""
    pods_dir = directory / "pods"
    options = [f"--pods-dir={pods_dir}", f"--pods={files}", f"--lines={lines}", "--rotate-size=1GiB"]
    subprocess.run([sys.executable, "-m", "simulator", "write", *options], check=True, stdout=subprocess.DEVNULL)
    store = directory / "store"
    with (
        running("aggregator", directory / "aggregator.log", "--store", f"chdb://{store}") as aggregator,
        running(
            "agent", directory / "agent.log", "--pods-dir", str(pods_dir), "--aggregator-url", aggregator.url
        ) as agent,
    ):
        pattern = re.compile(rf"^logboom_agent_committed_records_total {float(lines)}$".encode(), re.MULTILINE)
        wait_for(lambda: pattern.search(agent.get("/metrics")), WITHIN_S)
        time.sleep(3)  # what follows the last commit: files are looked at, nothing else
        began, before = time.monotonic(), agent.cpu_s()
        time.sleep(QUIET_S)
        share = (agent.cpu_s() - before) / (time.monotonic() - began)
        return Quiet(files, lines, share, agent.memory_mib("VmHWM"), agent.memory_mib("VmRSS"))
