"""Processes started, watched and stopped: the aggregator and the agent of a demo or a test."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A child that has not bound its address by then will not.
START_S: Final = 30.0
# Between SIGTERM and SIGKILL: a little more than the grace the processes give themselves.
GRACE_S: Final = 15.0
# Log lines longer than this are not shown.
_LINE_BYTES_MAX: Final = 1 << 20
_LISTENING: Final = re.compile(r"\blistening\b.*\baddress=(\S+)")


# prctl(2): the signal a process gets when the thread that started it is gone.
_PR_SET_PDEATHSIG: Final = 1


class ChildError(Exception):
    """A process that did not come up."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} did not start: {reason}")
        self.name = name


class Child:
    """A process of the project; owns it, and the task that reads its output, until `stop` or `kill` returns."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, show: Callable[[str, str], None]) -> None:
        self.name = name
        self._process = process
        self._show = show
        self._address = ""
        self._last = ""
        # It listens, or has ended.
        self._started = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name=f"output of {name}")

    @staticmethod
    async def start(name: str, module: str, arguments: Sequence[str], show: Callable[[str, str], None]) -> Child:
        """Run ``python -m module``, and wait until it listens; ``show`` is given its name and each line it writes.

        It gets a process group of its own, so that Ctrl-C in a terminal is left to us; should we be killed, it is told
        to stop (on Linux; when this thread ends, so it is one that lasts). Raises `ChildError`.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_BYTES_MAX,
            process_group=0,
            preexec_fn=stop_with_parent(),
        )
        child = Child(name, process, show)
        try:
            async with asyncio.timeout(START_S):
                await child._started.wait()
        except TimeoutError:
            await child.kill()
            raise ChildError(name, f"it did not listen within {START_S:.0f} s") from None
        except BaseException:
            await child.kill()
            raise
        if not child._address:
            raise ChildError(name, f"it ended with exit code {await child.wait()}, having said {child._last!r}")
        return child

    @property
    def address(self) -> str:
        """Where it listens, as ``http://host:port``."""
        return self._address

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it has ended; gives its exit code."""
        code = await self._process.wait()
        await self._reading
        return code

    async def stop(self, grace_s: float = GRACE_S) -> int:
        """Ask it to stop, and make it after ``grace_s``; gives its exit code."""
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self._show(self.name, f"did not stop within {grace_s:.0f} s, is killed")
            return await self.kill()

    async def kill(self) -> int:
        """Kill it with SIGKILL; gives its exit code."""
        self._send(signal.SIGKILL)
        return await self.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                self._process.send_signal(number)

    async def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            raise ValueError("the output of a child is a pipe")
        while True:
            try:
                line = await output.readline()
            except ValueError:
                self._show(self.name, f"(a line longer than {_LINE_BYTES_MAX} bytes)")
                continue
            if not line:
                self._started.set()
                return
            text = line.decode(errors="replace").rstrip("\n")
            if not self._address and (match := _LISTENING.search(text)):
                self._address = match[1]
                self._started.set()
            self._last = text
            self._show(self.name, text)


def stop_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """What a new process does before it is another program, to get a signal when we end, however that happens.

    Only system calls are made in it: between fork and exec, other threads' locks may be held for ever.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # we ended before the call
            os._exit(1)

    return set_signal
