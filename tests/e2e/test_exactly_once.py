"""The store ends up with exactly the lines written, whatever is killed, cut or rotated meanwhile."""

from __future__ import annotations

import asyncio
import random
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import pytest

from simulator.kubelet import Rotation
from simulator.lines import Manner
from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from simulator.node import Node
    from tests.e2e.cluster import Cluster

PODS: Final = 24
# Between two steps of the node: so slowly that kills fall into the midst of things, at any speed of the machine.
STEP_S: Final = 0.02
# Of steps, that restart a container.
RESTART: Final = 0.05


def start_pods(node: Node, count: int = PODS) -> None:
    for pod, runtime in zip(islice(pods(1, 1), count), cycle(Runtime), strict=False):
        node.start(pod, runtime)


async def write(node: Node, draw: random.Random, lines: int, lines_a_step: int, over: asyncio.Event) -> None:
    """Write at least ``lines``, then little, until ``over``."""
    written = 0
    while written < lines or not over.is_set():
        for writer in draw.choices(node.writers, k=4):
            written += writer.write(draw.randrange(lines_a_step // 2 if written < lines else 3))
        if draw.random() < RESTART:
            draw.choice(node.writers).restart()
        await asyncio.sleep(STEP_S)


async def harass(cluster: Cluster, draw: random.Random, kills: int, over: asyncio.Event) -> None:
    """Kill each process ``kills`` times, and lose as many answers, at random; then it is ``over``."""
    victims = ["agent", "aggregator"] * kills
    draw.shuffle(victims)
    for victim in victims:
        cluster.proxy.lose = 1
        # Long enough to come into stride at times, short enough to be killed while starting over at others.
        await asyncio.sleep(draw.choice([0.0, 0.1, 0.5, 1.5]) * draw.random())
        if victim == "agent":
            await cluster.kill_agent()
            await asyncio.sleep(0.2 * draw.random())
            await cluster.start_agent()
        else:
            await cluster.kill_aggregator()
            await asyncio.sleep(0.5 * draw.random())
            await cluster.start_aggregator()
    while cluster.proxy.lost < kills:
        cluster.proxy.lose = 1
        await cluster.until(cluster.proxy.has_lost)
        # Else the agent would wait longer and longer between its attempts.
        await cluster.until(cluster.is_well)
    over.set()


async def run(cluster: Cluster, seed: int, lines: int, kills: int, lines_a_step: int) -> None:
    draw = random.Random(seed)
    over = asyncio.Event()
    with cluster.node(Manner(seed, long=0.002), offset_minutes=330) as node:
        start_pods(node)
        await cluster.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(node, draw, lines, lines_a_step, over))
            tasks.create_task(harass(cluster, random.Random(seed + 1), kills, over))
        await cluster.settle(deadline_s=90 + lines / 5000)
        assert node.ledger().lines >= lines
        assert sum(writer.rotations for writer in node.writers) >= PODS // 2
        assert any(writer.log.restart for writer in node.writers)
        assert cluster.proxy.lost >= kills
        await cluster.verify(node)
        await cluster.examine()


async def test_kills_and_lost_answers(cluster: Cluster) -> None:
    await run(cluster, seed=1, lines=60_000, kills=4, lines_a_step=160)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [2, 3])
async def test_kills_and_lost_answers_at_length(cluster: Cluster, seed: int) -> None:
    await run(cluster, seed, lines=1_200_000, kills=12, lines_a_step=800)


async def test_every_answer_lost_for_a_while(cluster: Cluster) -> None:
    draw = random.Random(5)
    with cluster.node() as node:
        start_pods(node, 6)
        cluster.proxy.lose = 4
        await cluster.start()
        for _ in range(20):
            for writer in node.writers:
                writer.write(draw.randrange(100))
            await asyncio.sleep(STEP_S)
        await cluster.settle()
        assert cluster.proxy.lost == 4
        await cluster.verify(node)
        await cluster.examine()


async def test_rotation_and_deletion_at_a_kubelets_pace(cluster: Cluster) -> None:
    """Five files, one of them plain, and old runs removed: what a node really keeps."""
    with cluster.node(rotation=Rotation(size=1 << 30, files=5, plain=1, runs=1)) as node:
        start_pods(node, 6)
        await cluster.start()
        for step in range(8):
            for writer in node.writers:
                writer.write(300)
                writer.rotate()  # nothing was committed of what was written just now
                writer.write(20)
            await cluster.settle()
            for writer in node.writers[step % 2 :: 2]:
                writer.write(10)
                writer.restart()
            await cluster.settle()
        node.delete(node.writers[0].container.uid)
        node.delete(node.writers[1].container.uid)
        await cluster.settle()
        assert any(cluster.pods_dir.glob("*/*/*.gz"))
        await cluster.verify(node)
        await cluster.examine()
