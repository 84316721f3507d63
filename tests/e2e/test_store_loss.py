"""A store that was wiped, or put back to an older copy, gets back what the node still has, by itself."""

from __future__ import annotations

import shutil
from itertools import cycle, islice
from typing import TYPE_CHECKING

from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from simulator.node import Node
    from tests.e2e.cluster import Cluster


def start_pods(node: Node) -> None:
    for pod, runtime in zip(islice(pods(2, 2), 9), cycle(Runtime), strict=False):
        node.start(pod, runtime)


def write_everywhere(node: Node, lines: int) -> None:
    """Lines in files that are being written, that are rotated, and of runs that are over."""
    for writer in node.writers:
        writer.write(lines)
        writer.rotate()
        writer.write(lines)
    for writer in node.writers[::3]:
        writer.restart()
        writer.write(lines)


async def test_a_wiped_store_is_filled_again(cluster: Cluster) -> None:
    with cluster.node() as node:
        start_pods(node)
        write_everywhere(node, 200)
        await cluster.start()
        await cluster.settle()
        await cluster.verify(node)
        assert await cluster.stop_aggregator() == 0
        shutil.rmtree(cluster.store_dir)
        await cluster.start_aggregator()
        await cluster.until(lambda: cluster.holds(node))
        await cluster.verify(node)
        await cluster.examine()


async def test_an_older_copy_of_the_store_gets_what_it_lacks(cluster: Cluster) -> None:
    older = cluster.store_dir.with_name("older")
    with cluster.node() as node:
        start_pods(node)
        write_everywhere(node, 150)
        await cluster.start()
        await cluster.settle()
        assert await cluster.stop_aggregator() == 0
        shutil.copytree(cluster.store_dir, older, symlinks=True)
        write_everywhere(node, 150)
        await cluster.start_aggregator()
        await cluster.settle()
        await cluster.verify(node)
        await cluster.kill_aggregator()
        shutil.rmtree(cluster.store_dir)
        older.rename(cluster.store_dir)
        write_everywhere(node, 10)
        await cluster.start_aggregator()
        await cluster.until(lambda: cluster.holds(node))
        await cluster.verify(node)
        await cluster.examine()
