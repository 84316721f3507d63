"""Real processes on real files: a simulated node, its agent, a proxy that can fail, an aggregator and its store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aiohttp
import msgspec
import pytest

from simulator.children import Child
from simulator.kubelet import Rotation
from simulator.ledger import Check, Report
from simulator.lines import Manner
from simulator.node import Node
from tests.e2e.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# Longest wait for what takes a second or two on a quiet machine.
DEADLINE_S: Final = 90.0
POLL_S: Final = 0.05
# Kept of what the processes wrote, to be shown with a failure.
LOG_LINES: Final = 60
# Nothing is compressed or removed: an agent that is killed over and over may come as late as it likes.
KEEP_ALL: Final = Rotation(size=256 << 10, files=100_000, plain=100_000, runs=100_000)


class Cluster:
    """One node and one aggregator. Owns every process until `close`."""

    def __init__(self, root: Path) -> None:
        self.pods_dir = root / "pods"
        self.docker_dir = root / "docker"
        self.store_dir = root / "store"
        self.proxy = Proxy()
        self.aggregator: Child | None = None
        self.agent: Child | None = None
        self.agent_options: list[str] = []
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.session = aiohttp.ClientSession()
        self.pods_dir.mkdir()
        self.docker_dir.mkdir()

    def node(self, manner: Manner | None = None, rotation: Rotation = KEEP_ALL, offset_minutes: int = 0) -> Node:
        """A node that writes into the cluster's directories."""
        return Node(self.pods_dir, self.docker_dir, manner or Manner(), rotation, offset_minutes)

    async def start(self) -> None:
        """Start aggregator and agent."""
        await self.start_aggregator()
        await self.start_agent()

    async def start_aggregator(self) -> None:
        arguments = ["--listen", "127.0.0.1:0", "--store", f"chdb://{self.store_dir}"]
        self.aggregator = await Child.start("aggregator", "aggregator", arguments, self._show)
        self.proxy.upstream = self.aggregator.address

    async def start_agent(self) -> None:
        arguments = ["--listen", "127.0.0.1:0", "--pods-dir", str(self.pods_dir), "--node-name", "node-1"]
        arguments += ["--aggregator-url", self.proxy.address, *self.agent_options]
        self.agent = await Child.start("agent", "agent", arguments, self._show)

    async def kill_aggregator(self) -> None:
        assert self.aggregator
        await self.aggregator.kill()
        self.aggregator = None

    async def kill_agent(self) -> None:
        assert self.agent
        await self.agent.kill()
        self.agent = None

    async def stop_aggregator(self) -> int:
        assert self.aggregator
        code = await self.aggregator.stop()
        self.aggregator = None
        return code

    async def stop_agent(self) -> int:
        assert self.agent
        code = await self.agent.stop()
        self.agent = None
        return code

    async def close(self) -> None:
        for child in (self.agent, self.aggregator):
            if child is not None:
                await child.kill()
        await self.proxy.close()
        await self.session.close()

    async def status(self) -> dict[str, Any]:
        """The agent's status."""
        assert self.agent
        async with self.session.get(f"{self.agent.address}/status") as response:
            assert response.status == 200
            return msgspec.json.decode(await response.read(), type=dict[str, Any])

    async def ready(self) -> str:
        """What the aggregator says of itself at `/readyz`, which must be that it is ready."""
        assert self.aggregator
        async with self.session.get(f"{self.aggregator.address}/readyz") as response:
            assert response.status == 200
            return await response.text()

    async def until(self, condition: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
        """Wait until ``condition`` holds, or fail with the last lines that the processes wrote."""
        deadline = time.monotonic() + deadline_s
        while True:
            with contextlib.suppress(
                aiohttp.ClientConnectionError
            ):  # should a process have ended, it is found out below
                if await condition():
                    return
            for child in (self.aggregator, self.agent):
                if child is not None and child.returncode is not None:
                    self.fail(f"the {child.name} has ended with exit code {child.returncode}")
            if time.monotonic() > deadline:
                self.fail(f"not within {deadline_s:.0f} s")
            await asyncio.sleep(POLL_S)

    async def settle(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the agent has every byte of the plain log files there are committed."""

        async def all_committed() -> bool:
            return self.committed((await self.status())["files"]).items() >= self.plain_files().items()

        await self.until(all_committed, deadline_s)

    def bytes_on_node(self) -> int:
        """Bytes in the plain log files of the node."""
        return sum(self.plain_files().values())

    @staticmethod
    def committed(files: list[dict[str, Any]]) -> dict[str, int]:
        """Size of every file in a status of which nothing is left to be committed."""
        done = [file for file in files if not file["deleted"] and file["lag_bytes"] == 0]
        return {os.path.realpath(file["path"]): int(file["size"]) for file in done}

    def plain_files(self) -> dict[str, int]:
        """Size of every plain log file of the node."""
        found: dict[str, int] = {}
        for root in (self.pods_dir, self.docker_dir):
            for directory, _, names in os.walk(root):
                for name in names:
                    path = Path(f"{directory}/{name}").resolve()
                    if ".log" in name and not name.endswith((".gz", ".tmp")):
                        found[str(path)] = path.stat().st_size
        return found

    async def compare(self, node: Node, form: str = "json") -> Report:
        """Everything the store gives back against what ``node`` wrote."""
        check = Check(node.ledger())
        take = check.json if form == "json" else check.text
        async for lines in self.answer(f"/query?limit=0&start=0&format={form}"):
            take(lines)
        return check.report()

    async def answer(self, path: str) -> AsyncIterator[list[bytes]]:
        """The lines of an answer of the aggregator, some at a time."""
        assert self.aggregator
        rest = b""
        async with self.session.get(f"{self.aggregator.address}{path}") as response:
            assert response.status == 200, await response.text()
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                yield lines
        assert not rest

    async def holds(self, node: Node) -> bool:
        """Whether the store has as many lines as ``node`` wrote, or more."""
        return sum([len(lines) async for lines in self.answer("/query?limit=0&start=0")]) >= node.ledger().lines

    async def is_well(self) -> bool:
        """Whether the agent had an answer to what it asked last."""
        return not (await self.status())["trouble"]

    async def has_records(self) -> bool:
        """Whether the store has anything at all."""
        return any([lines async for lines in self.answer("/query?limit=1")])

    @staticmethod
    def line_of(row: str) -> str:
        """The line in a row of ``format=json``."""
        return str(msgspec.json.decode(row, type=dict[str, Any])["line"])

    async def verify(self, node: Node) -> None:
        """Fail unless the store has exactly what ``node`` wrote."""
        report = await self.compare(node)
        if not report.exact:
            self.fail(repr(report))

    async def examine(self) -> None:
        """Kill the aggregator; fail unless its store is what it says it is, by its own command."""
        await self.kill_aggregator()
        arguments = ["-m", "aggregator", "check", "--json", "--store", f"chdb://{self.store_dir}"]
        checked = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        written, said = await checked.communicate()
        if checked.returncode:
            self.fail(f"check ended with {checked.returncode}: {(written or said).decode()}")

    def fail(self, reason: str) -> NoReturn:
        """Fail with the last lines that the processes wrote."""
        pytest.fail("\n".join([reason, "the processes said:", *self.log]))

    def _show(self, name: str, line: str) -> None:
        self.log.append(f"{name}: {line}")
