"""Aggregator, agent and, where there are no pods, a simulated node; until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import socket
import time
import urllib.error
import urllib.request
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from simulator.children import Child, ChildError
from simulator.kubelet import Rotation
from simulator.lines import Manner
from simulator.node import Node, claim
from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

# Time to be ready: the store opens, the agent finds its files. Many times what it takes on a slow machine.
READY_S: Final = 60.0
_POLL_S: Final = 0.1
# A gentle pace: enough to see something move, little enough to leave running.
_PODS: Final = 8
_LINES_A_SECOND: Final = 40
_STEP_S: Final = 0.25
_ROTATE_SIZE: Final = 1 << 20
# Lines of each container before anything else starts, so that there is something to find at once.
_FIRST_LINES: Final = 200
# How often, of steps, a container is restarted.
_RESTART: Final = 1 / 1200
_SIGNAL_EXIT: Final = 128
# In the directory of a run, locked while it runs; its process id stands in it.
_LOCK_NAME: Final = "demo.lock"
_PID_DIGITS_MAX: Final = 20


class Demo(msgspec.Struct, frozen=True):
    """What to run: ``pods_dir`` is read if it has logs, else logs are made in ``run_dir``, where the store is too."""

    pods_dir: Path
    run_dir: Path
    port: int
    agent_port: int


def has_logs(pods_dir: Path) -> bool:
    """Whether there is a log file below ``pods_dir`` that can be read."""
    try:
        return any(os.access(path, os.R_OK) for path in pods_dir.glob("*_*_*/*/*.log"))
    except OSError:
        return False


class RunDirInUseError(Exception):
    """Another demo runs in the directory."""

    def __init__(self, run_dir: Path, pid: str) -> None:
        which = f" (pid {pid})" if pid.isdigit() else ""
        super().__init__(f"{run_dir} is in use by another demo{which}; stop that, or choose another --run-dir")
        self.run_dir = run_dir


@contextlib.contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Have ``run_dir`` for this process. Raises `RunDirInUseError` if another demo has it, `OSError`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / _LOCK_NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RunDirInUseError(run_dir, file.read(_PID_DIGITS_MAX).strip()) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


async def run(demo: Demo) -> int:
    """Run until SIGINT or SIGTERM, or a child's end; gives the exit code.

    Raises `RunDirInUseError`, `ChildError`, `NotOursError`, `OSError`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    simulated = not has_logs(demo.pods_dir)
    pods_dir = demo.run_dir / "pods" if simulated else demo.pods_dir
    async with contextlib.AsyncExitStack() as stack:
        # First of all: whoever runs already in this directory keeps the files there are.
        stack.enter_context(_alone(demo.run_dir))
        aggregator = await _start(
            stack,
            "aggregator",
            ["--listen", _listen(demo.port), "--store", f"chdb://{demo.run_dir.resolve() / 'data'}"],
        )
        if simulated:
            docker_dir = demo.run_dir / "docker"
            claim(pods_dir, docker_dir)
            _say(f"{demo.pods_dir} has no logs to read: a simulated node writes into {pods_dir}")
            node = stack.enter_context(_node(pods_dir, docker_dir))
            writing = asyncio.create_task(_write(node), name="simulated node")
            stack.push_async_callback(_cancel, writing)
        else:
            _say(f"reading the logs in {pods_dir}")
        agent = await _start(
            stack,
            "agent",
            ["--listen", _listen(demo.agent_port), "--pods-dir", str(pods_dir), "--aggregator-url", aggregator.address],
        )
        stopped = asyncio.create_task(stop.wait())
        ended = [asyncio.create_task(child.wait()) for child in (aggregator, agent)]
        ready = asyncio.create_task(_announce(aggregator.address, agent.address, has_lines=simulated))
        stack.push_async_callback(_cancel, stopped, ready, *ended)
        waited: list[asyncio.Task[bool] | asyncio.Task[int] | asyncio.Task[None]] = [stopped, *ended, ready]
        if simulated:
            waited.append(writing)
        while True:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for child, end in zip((aggregator, agent), ended, strict=True):
                if end.done() and not stop.is_set():
                    _say(f"the {child.name} has ended with exit code {end.result()}: stopping")
                    return _exit_code(end.result())
            if stop.is_set():
                _say("stopping")
                return 0
            for task in waited:
                if task.done():
                    task.result()  # raises what went wrong
            waited.remove(ready)


async def _start(stack: contextlib.AsyncExitStack, module: str, arguments: list[str]) -> Child:
    child = await Child.start(module, module, arguments, _show)
    stack.push_async_callback(child.stop)
    return child


async def _cancel(*tasks: asyncio.Task[bool] | asyncio.Task[int] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _announce(aggregator: str, agent: str, *, has_lines: bool) -> None:
    """Wait until both are ready, and the first lines are there if there are any; then say what to try."""
    deadline = time.monotonic() + READY_S
    for name, address in (("aggregator", aggregator), ("agent", agent)):
        while (reason := await asyncio.to_thread(_not_ready, address)) is not None:
            if time.monotonic() > deadline:
                raise ChildError(name, f"not ready after {READY_S:.0f} s: {reason}")
            await asyncio.sleep(_POLL_S)
    while has_lines and not await asyncio.to_thread(_is_caught_up, agent):
        if time.monotonic() > deadline:
            raise ChildError("agent", f"no lines arrived within {READY_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    _say(f"ready: {aggregator} (agent's status: {agent}/status); Ctrl-C stops. Try")
    _say(f"  curl '{aggregator}/query?since=5m&limit=20'")
    _say(f"  curl '{aggregator}/query?level=error&since=1h&color=always'")
    _say(f"  curl '{aggregator}/query?grep=timeout&limit=5&format=json'")


def _not_ready(address: str) -> str | None:
    """Why the process at ``address`` is not ready; None if it is."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5):  # noqa: S310 - our own child, over http
            return None
    except urllib.error.HTTPError as error:
        with error:
            return error.read(1000).decode(errors="replace").strip()
    except OSError as error:
        return str(error)


def _is_caught_up(agent: str) -> bool:
    """Whether the agent follows files and has half of what is in them committed: the first lines, and many of them."""
    with urllib.request.urlopen(f"{agent}/status", timeout=5) as answer:  # noqa: S310 - our own child, over http
        files = msgspec.json.decode(answer.read(), type=_Status).files
    return sum(file.committed for file in files) > sum(file.size for file in files) / 2


class _File(msgspec.Struct):
    size: int
    committed: int


class _Status(msgspec.Struct):
    files: list[_File]


def _node(pods_dir: Path, docker_dir: Path) -> Node:
    """A node whose pods have written some lines."""
    seed = time.time_ns()
    node = Node(pods_dir, docker_dir, Manner(seed, marked=False), Rotation(_ROTATE_SIZE))
    for pod, runtime in zip(islice(pods(seed, 2), _PODS), cycle(Runtime), strict=False):
        for writer in node.start(pod, runtime):
            writer.write(_FIRST_LINES)
    return node


async def _write(node: Node) -> None:
    """Write at a gentle pace until cancelled."""
    draw = random.Random()
    while True:
        for writer in draw.choices(node.writers, k=round(_LINES_A_SECOND * _STEP_S)):
            writer.write(1)
        if draw.random() < _RESTART:
            draw.choice(node.writers).restart()
        await asyncio.sleep(_STEP_S)


def _listen(port: int) -> str:
    """``port`` of this machine if it is free, else any."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            _say(f"port {port} is taken: another one is used")
            return "127.0.0.1:0"
    return f"127.0.0.1:{port}"


def _exit_code(code: int) -> int:
    """What a shell would show; a child that ended well, but unasked, is a failure too."""
    return _SIGNAL_EXIT - code if code < 0 else code or 1


def _say(text: str) -> None:
    click.echo(f"demo        {text}")


def _show(name: str, line: str) -> None:
    click.echo(f"{name:<11} {line}")
