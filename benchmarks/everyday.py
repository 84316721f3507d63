"""An ordinary node: a few hundred files, each of which gets a line now and then."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.files import Speech, directory_of
from benchmarks.processes import running

if TYPE_CHECKING:
    from pathlib import Path

MEASURED_S: Final = 20.0
# Before it is measured: everything is found, and asked about.
_SETTLED_S: Final = 5.0
_TICK_S: Final = 0.01


class Everyday(msgspec.Struct, frozen=True):
    """``cpu_share``: of one core. ``records``: that came while it was measured, the last one ``late_s`` late."""

    files: int
    lines_per_second: float
    cpu_share: float
    records: int
    batches: int
    late_s: float
    peak_mib: float


def measure(directory: Path, files: int, lines_per_second: float) -> Everyday:
    """Write ``lines_per_second`` lines to each of ``files`` files, evenly over time, beside an agent."""
    pods_dir = directory / "pods"
    speech = Speech("cri")
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context((directory_of(pods_dir, number) / "0.log").open("ab", buffering=0))
            for number in range(files)
        ]
        for stream in streams:
            stream.write(speech.lines(1, time.time_ns()))
        acknowledging = running("benchmarks.acknowledge", directory / "aggregator.log", "--watched=shop")
        aggregator = stack.enter_context(acknowledging)
        options = [f"--pods-dir={pods_dir}", f"--aggregator-url={aggregator.url}"]
        agent = stack.enter_context(running("agent", directory / "agent.log", *options))
        written = 0
        began_s = time.monotonic()
        measured_s = before_s = 0.0
        while (elapsed_s := time.monotonic() - began_s) < _SETTLED_S + MEASURED_S:
            if not measured_s and elapsed_s >= _SETTLED_S:
                aggregator.json("/counts")
                measured_s, before_s = time.monotonic(), agent.cpu_s()
            while written < elapsed_s * files * lines_per_second:
                streams[written % files].write(speech.lines(1, time.time_ns()))
                written += 1
            time.sleep(_TICK_S)
        share = (agent.cpu_s() - before_s) / (time.monotonic() - measured_s)
        counts = aggregator.json("/counts")
        return Everyday(
            files,
            lines_per_second,
            share,
            counts["records"],
            counts["batches"],
            counts["late_s"],
            agent.memory_mib("VmHWM"),
        )
