"""The whole of docker-compose.yml, really built and run: `make compose-test`.

Needs Docker with its compose plugin, or podman with podman-compose, and names what it looked for when there is neither.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parent.parent.parent
BUILD_S: Final = 1800.0  # a slow line downloads the engine's 200 MB
START_S: Final = 120.0
FRESH_S: Final = 60.0
SERVICES: Final = ("aggregator", "agent", "demo")


def _tool() -> list[str]:
    """Docker's compose where a Docker daemon answers, else podman's."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:  # noqa: S607 - from PATH, as people run it
        return ["docker", "compose"]
    if shutil.which("podman") and shutil.which("podman-compose"):
        return ["podman-compose"]
    pytest.fail("found neither a Docker daemon nor podman with podman-compose (pip install podman-compose)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """The running services, under a project name of their own; whoever starts it takes it down with its volumes."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._command = [*_tool(), "--project-name", f"logboom-test-{os.getpid()}", "--file", "docker-compose.yml"]
        self._environment = {**os.environ, "LOGBOOM_PORT": str(self.port)}

    def run(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """What the compose command writes. Fails the test with all of it when the command fails."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}:\n{done.stdout[-8000:]}"
        return done.stdout

    def get(self, path: str) -> str:
        """The answer of the published port. Raises `OSError` when there is none, or an error's."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode(errors="replace"))

    def wait(self, what: str, condition: Callable[[], bool], deadline_s: float) -> None:
        """Ask ``condition`` until it holds. Fails with the services' logs when it does not in time."""
        end = time.monotonic() + deadline_s
        seen = ""
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except (OSError, urllib.error.URLError) as error:
                seen = str(error)
            time.sleep(0.5)
        pytest.fail(f"not within {deadline_s} s: {what} ({seen})\n{self.run('logs')[-8000:]}")

    def newest(self) -> str:
        """Time of the newest line that can be found; empty if there is none."""
        return self.get("/query?since=15m&limit=1").partition(" ")[0]

    def wait_for_lines_after(self, moment: str) -> None:
        """Wait until a line newer than ``moment`` can be found."""
        self.wait(f"a line newer than {moment!r}", lambda: self.newest() > moment, FRESH_S)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    stack.run("build", timeout_s=BUILD_S)
    try:
        stack.run("up", "--detach", timeout_s=START_S)
        stack.wait("the aggregator is ready", lambda: stack.get("/readyz") == "ok\n", START_S)
        yield stack
    finally:
        stack.run("down", "--volumes")


def test_the_demos_lines_can_be_queried(stack: Stack) -> None:
    stack.wait_for_lines_after("")
    assert len(stack.get("/query?since=15m&limit=5").splitlines()) == 5
    assert '"node":"compose"' in stack.get("/query?since=15m&limit=1&format=json").replace(" ", "")


@pytest.mark.parametrize("service", SERVICES)
def test_lines_come_again_after_a_restart(stack: Stack, service: str) -> None:
    stack.wait_for_lines_after("")
    stack.run("restart", service)
    restarted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    stack.wait_for_lines_after(restarted)


def test_what_was_stored_survives_new_containers(stack: Stack) -> None:
    stack.wait_for_lines_after("")
    before = stack.get("/query?since=15m&limit=3&order=asc").splitlines()
    oldest = before[0].partition(" ")[0]
    stack.run("down")
    stack.run("up", "--detach", timeout_s=START_S)
    stack.wait("the aggregator is ready again", lambda: stack.get("/readyz") == "ok\n", START_S)
    # Others of the same moments may have come since, from files that lagged.
    assert len(before) == 3
    assert set(before) <= set(stack.get(f"/query?start={oldest}&limit=0").splitlines())
