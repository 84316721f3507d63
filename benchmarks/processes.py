"""The agent and the aggregator as processes, and what the kernel says they used."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 60.0
ANSWER_WITHIN_S: Final = 600.0
_MIB: Final = 1 << 20


class Process:
    """A logboom process on a port of the kernel's choosing. Its log goes to ``log``."""

    def __init__(self, module: str, log: Path, *options: str) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--listen", "127.0.0.1:0", *options], stderr=stream
            )
        found = wait_for(
            lambda: re.search(r"listening address=(\S+)", log.read_text()) or self._ended(), START_WITHIN_S
        )
        self.url = found[1]
        wait_for(lambda: self._answers("/healthz"), START_WITHIN_S)

    def _ended(self) -> bool:
        if self._process.poll() is None:
            return False
        raise RuntimeError(f"ended with {self._process.returncode}:\n{self._log.read_text()}")

    def _answers(self, path: str) -> bool:
        try:
            self.get(path)
        except urllib.error.URLError:
            return False
        return True

    def get(self, path: str) -> bytes:
        """The body of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=ANSWER_WITHIN_S) as response:  # noqa: S310 - our own process
            return bytes(response.read())

    def json(self, path: str) -> Any:
        """The JSON of a GET."""
        return msgspec.json.decode(self.get(path))

    def cpu_s(self) -> float:
        """CPU seconds used so far, by all threads, in user and kernel mode."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, field: str) -> float:
        """``VmHWM`` (peak resident), ``VmRSS`` or ``RssAnon`` from /proc, in MiB."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
        if match is None:
            raise ValueError(f"/proc has no {field}")
        return int(match[1]) * 1024 / _MIB

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait(STOP_WITHIN_S)

    def stop(self) -> None:
        """SIGTERM, and wait. Raises `RuntimeError` with its log if it had ended by itself."""
        self._ended()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_WITHIN_S)


@contextlib.contextmanager
def running(module: str, log: Path, *options: str) -> Iterator[Process]:
    """A process for the length of the context."""
    process = Process(module, log, *options)
    try:
        yield process
    finally:
        process.stop()


def wait_for(condition: Callable[[], Any], within_s: float, every_s: float = 0.05) -> Any:
    """What ``condition`` gives once that is true."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)
