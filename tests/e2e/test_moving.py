"""A store is moved while agents go on: every line is in the new one, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from itertools import cycle, islice
from typing import TYPE_CHECKING

from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.node import Node
    from tests.e2e.cluster import Cluster

PODS = 9


async def command(cluster: Cluster, name: str, store: Path, *arguments: str) -> None:
    """Run a subcommand of the aggregator on a store that nobody has."""
    out = str(store.with_name("out"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "aggregator", name, "--store", f"chdb://{store}", *arguments, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, why = await process.communicate()
    if process.returncode:
        cluster.fail(f"{name} ended with {process.returncode}: {why.decode()}{said.decode()}")


def write_everywhere(node: Node, lines: int) -> None:
    for writer in node.writers:
        writer.write(lines)


async def test_a_store_is_moved_with_its_agents_running(cluster: Cluster) -> None:
    """As docs/moving.md says: what was rotated away between the first export and the switch comes with the second."""
    old, new = cluster.store_dir, cluster.store_dir.with_name("new")
    with cluster.node() as node:
        for pod, runtime in zip(islice(pods(1, 1), PODS), cycle(Runtime), strict=False):
            node.start(pod, runtime)
        write_everywhere(node, 200)
        await asyncio.gather(cluster.start_aggregator(), cluster.start_agent())
        await cluster.settle()

        # 1. The old aggregator stops for its export; agents wait.
        assert await cluster.stop_aggregator() == 0
        write_everywhere(node, 50)
        await command(cluster, "export", old)
        # 2. What was exported goes into the new store, while the old one serves again.
        await asyncio.gather(cluster.start_aggregator(), command(cluster, "import", new))
        former = cluster.aggregator
        assert former is not None
        try:
            write_everywhere(node, 50)
            await cluster.settle()
            # Stored by the old aggregator alone, and gone from the node.
            for writer in node.writers[::3]:
                node.delete(writer.container.uid)
            write_everywhere(node, 20)
            await cluster.settle()

            # 3. Agents are switched over.
            assert await cluster.stop_agent() == 0
            cluster.store_dir = new
            await asyncio.gather(cluster.start_aggregator(), cluster.start_agent())
            write_everywhere(node, 20)
            await cluster.settle()
            assert not (await cluster.compare(node)).exact  # what is gone from the node is missing
        finally:
            await former.stop()

        # 4. What the old store got since goes into the new one, which stops for that; agents wait.
        await command(cluster, "export", old)
        assert await cluster.stop_aggregator() == 0
        write_everywhere(node, 20)
        await command(cluster, "import", new, "--merge")
        await cluster.start_aggregator()
        await cluster.settle()
        await cluster.verify(node)
        await cluster.examine()
