"""CPU of agent and aggregator against the least that could be done with the same data; bytes on disk.

The agent is held against ``zstd -1`` over the bytes of the log files: it has to read, understand and compress them. The
aggregator is held against the engine inserting the very rows it stored from a Parquet file, into a table of the same
schema; twice: up to the last commit against the insert alone, and until background merges are over, on both sides.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path  # noqa: TC003 - msgspec
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.formats import zstd_s
from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.processes import Process

WITHIN_S: Final = 900.0
_SAMPLED_EVERY_S: Final = 31.0
# A process that used less than this in the last two seconds has nothing to do any more.
_QUIET_CPU_S: Final = 0.06


class Throughput(msgspec.Struct, frozen=True):
    """What one run over ``lines`` lines of ``log_bytes`` bytes used."""

    lines: int
    log_bytes: int
    seconds: float
    zstd_cpu_s: float
    parquet_cpu_s: float
    parquet_merging_cpu_s: float
    agent_cpu_s: float
    agent_peak_mib: float
    aggregator_cpu_s: float
    aggregator_merging_cpu_s: float
    aggregator_rest_mib: float
    aggregator_peak_mib: float
    aggregator_anonymous_mib: float
    store_bytes: int

    @property
    def agent_ratio(self) -> float:
        """Agent against zstd."""
        return self.agent_cpu_s / self.zstd_cpu_s

    @property
    def aggregator_ratio(self) -> float:
        """Aggregator up to the last commit against Parquet until the insert returned."""
        return self.aggregator_cpu_s / self.parquet_cpu_s

    @property
    def aggregator_merged_ratio(self) -> float:
        """The same with all merges that followed, of either."""
        merged_cpu_s = self.parquet_cpu_s + self.parquet_merging_cpu_s
        return (self.aggregator_cpu_s + self.aggregator_merging_cpu_s) / merged_cpu_s


def measure(directory: Path, lines: int, pods: int, nodes: int) -> Throughput:
    """Write ``lines`` lines of ``pods`` pods of all runtimes on ``nodes`` nodes, ship and store them, compare."""
    trees = [directory / f"node-{number}" for number in range(nodes)]
    for number, tree in enumerate(trees):
        _write(tree / "written", lines // nodes, max(1, pods // nodes), number)
    files = [path for path in directory.rglob("*.log*") if path.is_file() and not path.is_symlink()]
    log_bytes = sum(path.stat().st_size for path in files)
    zstd_cpu_s = zstd_s(files)
    store = directory / "store"
    with contextlib.ExitStack() as stack:
        log = directory / "aggregator.log"
        aggregator = stack.enter_context(running("aggregator", log, "--store", f"chdb://{store}"))
        agents = [stack.enter_context(_agent(tree, aggregator.url)) for tree in trees]
        rest_mib = aggregator.memory_mib("VmRSS")
        before = [process.cpu_s() for process in (aggregator, *agents)]
        began = time.monotonic()
        for tree in trees:
            (tree / "written").rename(tree / "pods")
        wait_for(lambda: sum(map(_committed, agents)) >= log_bytes, WITHIN_S, 0.5)
        seconds = time.monotonic() - began
        agent_cpu_s = sum(process.cpu_s() for process in agents) - sum(before[1:])
        committing_cpu_s = aggregator.cpu_s() - before[0]
        anonymous_mib = aggregator.memory_mib("RssAnon")
        _until_quiet(aggregator)
        merging_cpu_s = aggregator.cpu_s() - before[0] - committing_cpu_s
        memory = max(agent.memory_mib("VmHWM") for agent in agents), aggregator.memory_mib("VmHWM")
        store_bytes = _active_bytes(aggregator)
    return Throughput(
        lines,
        log_bytes,
        seconds,
        zstd_cpu_s,
        *_parquet_cpu_s(store, directory / "parquet"),
        agent_cpu_s,
        memory[0],
        committing_cpu_s,
        merging_cpu_s,
        rest_mib,
        memory[1],
        anonymous_mib,
        store_bytes,
    )


def _agent(tree: Path, url: str) -> AbstractContextManager[Process]:
    options = [f"--pods-dir={tree / 'pods'}", f"--node-name={tree.name}", f"--aggregator-url={url}"]
    return running("agent", tree / "agent.log", *options)


def _active_bytes(aggregator: Process) -> int:
    """What the records take on disk, once merged parts are removed; sampled by the aggregator every 30 s."""
    time.sleep(_SAMPLED_EVERY_S)
    found = re.findall(rb"^logboom_aggregator_store_bytes\S* (\S+)", aggregator.get("/metrics"), re.MULTILINE)
    return int(sum(map(float, found)))


def _write(pods_dir: Path, lines: int, pods: int, seed: int) -> None:
    runtimes = [f"--runtime={name}" for name in ("containerd", "docker", "cri-o")]
    options = [
        f"--pods-dir={pods_dir}",
        f"--pods={pods}",
        f"--lines={lines}",
        "--rotate-size=1GiB",
        f"--seed={seed}",
        *runtimes,
    ]
    subprocess.run([sys.executable, "-m", "simulator", "write", *options], check=True, stdout=subprocess.DEVNULL)


def _committed(agent: Process) -> int:
    """Bytes of log files that are committed. Records do not tell: lines are joined."""
    return sum(file["committed"] for file in agent.json("/status")["files"])


def _until_quiet(process: Process) -> None:
    def quiet() -> bool:
        before = process.cpu_s()
        time.sleep(2)
        return process.cpu_s() - before < _QUIET_CPU_S

    wait_for(quiet, WITHIN_S)


def _parquet_cpu_s(store: Path, directory: Path) -> tuple[float, float]:
    """CPU seconds of the insert, and of its merges; in processes of their own, which can have one store open each."""
    directory.mkdir()
    rows = directory / "rows.parquet"
    script = [sys.executable, "-m", "benchmarks.parquet"]
    subprocess.run([*script, "export", str(store), str(rows)], check=True)
    found = subprocess.run([*script, "insert", str(directory / "store"), str(rows)], check=True, capture_output=True)
    inserting_s, merging_s = map(float, found.stdout.split())
    return inserting_s, merging_s
