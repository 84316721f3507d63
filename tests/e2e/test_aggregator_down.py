"""An aggregator that is away costs the agent no memory, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from simulator.pods import pods
from simulator.runtimes import Runtime
from tests.e2e.cluster import DEADLINE_S

if TYPE_CHECKING:
    from simulator.node import Node
    from tests.e2e.cluster import Cluster

BATCH_BYTES: Final = 1 << 20
# What an agent may take on top: the batches and the round it holds, and what the allocator does not give back. Many
# times less than what is written meanwhile.
GROWTH_BYTES_MAX: Final = 16 << 20
SAMPLE_S: Final = 0.05


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise ValueError(f"process {pid} has ended")


async def run(cluster: Cluster, megabytes: int, seconds: float) -> None:
    cluster.agent_options = ["--batch-bytes", str(BATCH_BYTES)]
    with cluster.node() as node:
        for pod, runtime in zip(islice(pods(3, 1), 20), cycle(Runtime), strict=False):
            node.start(pod, runtime)
        await cluster.start()
        write(node, 2 << 20)
        await cluster.settle()
        assert cluster.agent
        before = resident_bytes(cluster.agent.pid)
        await cluster.kill_aggregator()
        most = before
        end = time.monotonic() + seconds
        size = cluster.bytes_on_node() + (megabytes << 20)
        while time.monotonic() < end or cluster.bytes_on_node() < size:
            if cluster.bytes_on_node() < size:
                write(node, 4 << 20)
            await asyncio.sleep(SAMPLE_S)
            most = max(most, resident_bytes(cluster.agent.pid))
        status = await cluster.status()
        assert status["trouble"]
        # Of files that are new since, nobody knows what is stored: all of them may be behind.
        behind = [file["size"] if file["lag_bytes"] is None else file["lag_bytes"] for file in status["files"]]
        assert sum(behind) >= megabytes << 20
        assert most - before < GROWTH_BYTES_MAX, f"{most >> 20} MiB, {before >> 20} MiB before"
        await cluster.start_aggregator()
        await cluster.settle(deadline_s=DEADLINE_S + megabytes)
        await cluster.verify(node)
        await cluster.examine()


def write(node: Node, size: int) -> None:
    """About ``size`` bytes, over all containers."""
    for writer in node.writers:
        writer.write(size // 230 // len(node.writers))


async def test_a_short_absence(cluster: Cluster) -> None:
    await run(cluster, megabytes=32, seconds=3)


@pytest.mark.chaos
async def test_minutes_of_absence(cluster: Cluster) -> None:
    await run(cluster, megabytes=400, seconds=180)
