"""A store whose disk is full: batches are refused, queries answered, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import os
import subprocess
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster import Cluster

# The engine's empty tables and what a merge needs take a few; what is written takes more than the first.
FEW_MIB = 12
ENOUGH_MIB = 256


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)  # noqa: S607 - from PATH


@pytest.fixture
def disk(cluster: Cluster) -> Iterator[str]:
    """Where the cluster's store will be: a file system of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    cluster.store_dir.mkdir()
    place = str(cluster.store_dir)
    try:
        mount("-t", "tmpfs", "-o", f"size={FEW_MIB}m", "tmpfs", place)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # noqa: S607 - from PATH


async def test_a_full_disk_stops_batches_and_nothing_else(cluster: Cluster, disk: str) -> None:
    with cluster.node() as node:
        (pod,) = islice(pods(1, 1), 1)
        writers = node.start(pod, Runtime.CONTAINERD)
        await cluster.start()
        writers[0].write(50)
        await cluster.settle()

        async def is_refused() -> bool:
            for writer in writers:
                writer.write(4_000)
            return "disk is full" in str((await cluster.status())["trouble"])

        await cluster.until(is_refused)
        assert await cluster.has_records()
        assert "ok: queries are answered, but batches are refused: the store's disk is full" in await cluster.ready()
        # Killed in the middle of it, it comes up all the same.
        await cluster.kill_aggregator()
        await cluster.start_aggregator()
        assert await cluster.has_records()
        mount("-o", f"remount,size={ENOUGH_MIB}m", disk)
        await cluster.settle()
        await cluster.verify(node)
        await cluster.examine()
