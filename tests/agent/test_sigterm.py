"""A real agent told to stop: it sends what it has if that is quickly done, and is gone soon in any case."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.app import END_WITHIN_S, GRACE_S
from simulator.children import Child

if TYPE_CHECKING:
    from aiohttp import web

    from tests.agent.stand_in import Aggregator, Node
    from wire.batch import Batch

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Get = Callable[[str], Awaitable[tuple[int, bytes]]]

SLACK_S = 4.0
# The agent, with a name server that never answers.
NAMELESS = """
import socket, sys, time
def look_up(host, *arguments, **options):
    if host == "aggregator.logboom":
        print("looking up", flush=True)
        time.sleep(600)
    return real(host, *arguments, **options)
real, socket.getaddrinfo = socket.getaddrinfo, look_up
from agent.__main__ import main
main()
"""


def cri(number: int) -> bytes:
    return f"2023-04-05T02:29:{number // 1000:02}.{number % 1000:03}Z stdout F line {number}".encode()


def options(node: Node, *more: str) -> list[str]:
    where = ["--listen=127.0.0.1:0", f"--pods-dir={node.root}", "--node-name=node-1"]
    return [*where, f"--aggregator-url={node.config.aggregator_url}", *more]


@contextlib.asynccontextmanager
async def process(node: Node, *more: str) -> AsyncIterator[tuple[Child, list[str]]]:
    said: list[str] = []
    child = await Child.start("agent", "agent", options(node, *more), lambda _, line: said.append(line))
    try:
        yield child, said
    finally:
        await child.kill()


async def ended_within(child: Child, seconds: float) -> int:
    began_s = time.monotonic()
    code = await child.stop()
    assert time.monotonic() - began_s < seconds
    return code


async def test_what_is_read_is_sent_and_no_more_is_read(node: Node, aggregator: Aggregator, get: Get) -> None:
    file = node.write("a_pod_u1/web/0.log", *map(cri, range(100)))
    async with process(node, "--flush-after=60s") as (child, _):
        read = 0
        while read < file.stat().st_size:
            files = msgspec.json.decode((await get(f"{child.address}/status"))[1])["files"]
            read = files[0]["read"] if files else 0
        assert aggregator.bodies() == []
        assert await ended_within(child, GRACE_S + SLACK_S) == 0
    assert aggregator.bodies() == [b"line %d" % number for number in range(100)]


async def test_an_aggregator_that_hangs_does_not_keep_the_agent(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    over = asyncio.Event()

    async def hang(_: web.Request, __: Batch) -> web.StreamResponse | None:
        await over.wait()
        return None

    aggregator.always = hang
    node.write("a_pod_u1/web/0.log", *map(cri, range(20_000)))
    async with process(node, "--batch-bytes=64KiB") as (child, said):
        await until(lambda: aggregator.requests == 1)
        assert await ended_within(child, GRACE_S + SLACK_S) == 0
    over.set()
    assert any("stopped before everything read was committed" in line for line in said)


async def test_a_name_server_that_hangs_does_not_keep_the_agent(node: Node, tmp_path: Path) -> None:
    node.write("a_pod_u1/web/0.log", *map(cri, range(10)))
    script = tmp_path / "nameless.py"
    script.write_text(NAMELESS)
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), *options(node), "--aggregator-url=http://aggregator.logboom:8080"),
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert agent.stdout
    try:
        assert await asyncio.wait_for(agent.stdout.readline(), 30) == b"looking up\n"
        began_s = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END_WITHIN_S + SLACK_S):
            assert await agent.wait() == 0
        assert time.monotonic() - began_s < END_WITHIN_S + SLACK_S
    finally:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()
        await agent.wait()


async def test_an_agent_that_was_killed_while_it_stopped_is_made_up_for_by_the_next(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    async def hang(_: web.Request, batch: Batch) -> web.StreamResponse | None:
        assert aggregator.commit(batch)
        await asyncio.Event().wait()
        return None

    aggregator.always = hang
    node.write("a_pod_u1/web/0.log", *map(cri, range(2000)))
    async with process(node, "--batch-bytes=64KiB") as (child, _):
        await until(lambda: aggregator.requests == 1)
        stopping = asyncio.create_task(child.stop())
        await until(lambda: not stopping.done())
        await child.kill()
        await stopping
    aggregator.always = None
    async with process(node):
        await until(lambda: len(aggregator.bodies()) >= 2000)
    assert aggregator.bodies() == [b"line %d" % number for number in range(2000)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_agent_ends_at_once(node: Node, aggregator: Aggregator, until: Until, number: int) -> None:
    node.write("a_pod_u1/web/0.log", cri(1))
    async with process(node) as (child, _):
        await until(lambda: len(aggregator.bodies()) == 1)
        os.kill(child.pid, number)
        async with asyncio.timeout(SLACK_S):
            assert await child.wait() == 0
