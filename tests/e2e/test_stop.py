"""Asked to stop, everything stops, cleanly and soon."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from simulator.children import GRACE_S
from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.cluster import Cluster

READY_S: Final = 60.0
ROOT: Final = Path(__file__).parents[2]
# A record as text.
RECORD: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z [a-z0-9-]+/[a-z0-9-]+/[a-z0-9-]+ .+")


async def test_sigterm_ends_each_with_exit_code_0_in_the_midst_of_work(cluster: Cluster) -> None:
    with cluster.node() as node:
        for pod, runtime in zip(islice(pods(5, 1), 12), cycle(Runtime), strict=False):
            [writer] = node.start(pod, runtime)
            writer.write(4000)
        await cluster.start()
        await cluster.until(cluster.has_records)
        async with asyncio.timeout(2 * GRACE_S):
            assert await cluster.stop_agent() == 0
            assert await cluster.stop_aggregator() == 0
        assert not any("killed" in line for line in cluster.log)
        await cluster.start()
        await cluster.settle()
        await cluster.verify(node)


async def test_an_agent_without_an_aggregator_stops_as_well(cluster: Cluster) -> None:
    with cluster.node() as node:
        [writer] = node.start(next(pods(5, 1)), Runtime.CONTAINERD)
        writer.write(100)
        await cluster.start_agent()
        assert await cluster.stop_agent() == 0


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "demo", "--pods-dir", str(tmp_path / "none")),
            *("--run-dir", str(tmp_path / "run"), "--port", str(taken.getsockname()[1]), "--agent-port", "0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
        )
        yield process
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    if process.returncode is None:
        process.kill()
    await process.communicate()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def is_running(pid: int) -> bool:
    """Whether it runs; nobody may wait for an orphan that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def said_until(process: asyncio.subprocess.Process, pattern: str) -> list[str]:
    """What ``process`` writes, up to a line with ``pattern``."""
    assert process.stdout
    lines: list[str] = []
    async with asyncio.timeout(READY_S):
        while line := await process.stdout.readline():
            lines.append(line.decode())
            if re.search(pattern, lines[-1]):
                return lines
    pytest.fail("it ended, having said\n" + "".join(lines))


async def curl(command: str) -> str:
    """What a line that the demo recommends gives."""
    return await asyncio.to_thread(subprocess.check_output, ["/bin/sh", "-c", command + " -sS --fail"], text=True)


async def examples(address: str) -> list[str]:
    """Every line for curl in the README, the page on HTTP and the aggregator's own page, asking ``address``."""
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/http-api.md")]
    pages.append(await curl(f"curl {address}"))
    found = [line for page in pages for line in re.findall(r"curl (?:-G )?['\"]http.*", page.replace("\\\n", ""))]
    assert len(found) > 15
    return [line.partition(" > ")[0].replace("http://127.0.0.1:8080", address) for line in found]


def samples() -> list[tuple[str, list[str]]]:
    """Each line for curl on the README's first screen, and the lines that it answers there."""
    text = (ROOT / "README.md").read_text().replace("\\\n", "")
    blocks = re.findall(r"^\$ (curl .*)\n((?:2.*\n)+)", text.partition("\n## ")[0], re.MULTILINE)
    return [(command, answer.splitlines()) for command, answer in blocks]


def is_written(row: dict[str, Any], pods_dir: Path) -> bool:
    """Whether the line of an answer stands in its container's log files: its beginning, for it may be in pieces."""
    begins = row["line"].partition("\n")[0][:1000]
    files = pods_dir.glob(f"{row['namespace']}_{row['pod']}_{row['uid']}/{row['container']}/*.log")
    lines = [line for path in files for line in path.read_text().splitlines()]
    return any(begins in (json.loads(line)["log"] if line.startswith("{") else line) for line in lines)


def test_the_readme_begins_with_three_questions_and_short_answers() -> None:
    found = samples()
    assert len(found) == 3
    lines = [line for _, answer in found for line in answer]
    assert [line for line in lines if not RECORD.fullmatch(line) or len(line) > 140] == []


async def test_the_demo_runs_until_ctrl_c(demo: asyncio.subprocess.Process, tmp_path: Path) -> None:
    said = await said_until(demo, r"curl .*format=json")
    assert any("is taken" in line for line in said)
    assert any("a simulated node writes into" in line for line in said)
    commands = [match[0] for line in said if (match := re.search(r"curl '.*'", line))]
    assert len(commands) == 3
    answers = [""]
    async with asyncio.timeout(READY_S):
        while not all(answers):
            answers = [await curl(command) for command in commands]
            await asyncio.sleep(0.1)
    rows = [json.loads(line) for line in answers[2].splitlines()]
    assert len(rows) == 5
    assert all(is_written(row, tmp_path / "run" / "pods") for row in rows)
    address = commands[0].split("'")[1].partition("/query")[0]
    for command in await examples(address):
        assert await curl(command), command
    for command, sample in samples():
        lines = (await curl(command.replace("http://127.0.0.1:8080", address))).splitlines()
        # What else there may be are the further lines of a stack trace.
        assert len(list(filter(RECORD.fullmatch, lines))) == len(sample), command
    running = children(demo.pid)
    assert len(running) == 2
    demo.send_signal(signal.SIGINT)
    await said_until(demo, "aggregator.app stopped")
    async with asyncio.timeout(2 * GRACE_S):
        assert await demo.wait() == 0
    assert not any(map(is_there, running))


async def test_a_second_demo_leaves_the_first_one_alone(demo: asyncio.subprocess.Process, tmp_path: Path) -> None:
    await said_until(demo, r"curl .*format=json")
    pods_dir = tmp_path / "run" / "pods"
    before = {path: path.lstat().st_ino for path in pods_dir.rglob("*")}
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "demo", "--pods-dir", str(tmp_path / "none")),
        *("--run-dir", str(tmp_path / "run"), "--port", "0", "--agent-port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(second.communicate(), READY_S)
    assert second.returncode == 1
    told = f"Error: {tmp_path}/run is in use by another demo (pid {demo.pid}); stop that, or choose another --run-dir"
    assert said.decode().splitlines() == [told]
    assert before.items() <= {path: path.lstat().st_ino for path in pods_dir.rglob("*")}.items()
    assert demo.returncode is None


async def test_a_killed_demo_leaves_no_process_behind(demo: asyncio.subprocess.Process) -> None:
    await said_until(demo, r"curl .*format=json")
    running = children(demo.pid)
    assert len(running) == 2
    demo.kill()
    async with asyncio.timeout(2 * GRACE_S):
        while any(map(is_running, running)):
            await asyncio.sleep(0.05)


async def test_the_demo_stops_when_a_process_of_its_dies(demo: asyncio.subprocess.Process) -> None:
    await said_until(demo, r"curl .*format=json")
    running = children(demo.pid)
    [agent] = [pid for pid in running if b"agent" in command_of(pid)]
    os.kill(agent, signal.SIGKILL)
    await said_until(demo, "the agent has ended with exit code -9: stopping")
    async with asyncio.timeout(2 * GRACE_S):
        assert await demo.wait() == 128 + signal.SIGKILL
    assert not any(map(is_there, running))
