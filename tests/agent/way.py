"""The way from an agent to an aggregator: a TCP relay on which everything can happen that happens to connections."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


class Trouble(enum.Enum):
    """What happens to connections."""

    NONE = "none"
    REFUSED = "refused"  # nobody listens
    RESET = "reset"  # cut as soon as a request begins
    HALF = "half"  # the answer is cut in its middle, after the commit
    GARBAGE = "garbage"  # something else answers, after the commit
    NO_ANSWER = "no answer"  # the request arrives, its answer never does, after the commit
    SILENT = "silent"  # connections are accepted, and nothing is read
    SLOW = "slow"  # the request is read drop by drop


# Of SLOW: bytes a turn, turns a second. A small batch takes a tenth of a second, one of a MiB takes many.
_DROP_BYTES = 2048
_DROP_S = 0.02


class Way:
    """Relays connections to ``upstream``; ``at_s``: when each try to send a batch reached it."""

    def __init__(self, upstream: str) -> None:
        self._host, port = upstream.removeprefix("http://").rsplit(":", 1)
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)
        self._carrying: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.trouble = Trouble.NONE
        self.at_s: list[float] = []

    @property
    def address(self) -> str:
        """Where agents are to go."""
        return f"{self._address[0]}:{self._address[1]}"

    def listen(self, address: str) -> None:
        """Where `open` is to listen."""
        host, port = address.rsplit(":", 1)
        self._address = (host, int(port))

    async def open(self, context: ssl.SSLContext | None = None) -> None:
        """Listen, always on the same port; with ``context``, for TLS."""
        self._server = await asyncio.start_server(self._accept, *self._address, ssl=context)
        self._address = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0)  # what was accepted last gets its task
        for task, writer in list(self._carrying.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def have(self, trouble: Trouble) -> None:
        """From now on ``trouble``; connections that exist are cut, as they would not know of it."""
        self.trouble = trouble
        await self.close()
        if trouble is not Trouble.REFUSED:
            await self.open()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._carrying[task] = writer
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self.trouble is Trouble.SILENT:
                self.at_s.append(time.monotonic())
                await asyncio.Event().wait()
            await self._relay(reader, writer)
        await _closed(writer)
        del self._carrying[task]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        tasks = [
            asyncio.create_task(self._up(reader, writer, up_writer)),
            asyncio.create_task(self._down(up_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _closed(up_writer)

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up_writer: asyncio.StreamWriter
    ) -> None:
        slow = self.trouble is Trouble.SLOW
        while data := await reader.read(_DROP_BYTES if slow else 1 << 16):
            if data.startswith(b"POST "):
                self.at_s.append(time.monotonic())
            if self.trouble is Trouble.RESET:
                writer.transport.abort()
                return
            up_writer.write(data)
            await up_writer.drain()
            if slow:
                await asyncio.sleep(_DROP_S)

    async def _down(self, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await up_reader.read(1 << 16):
            match self.trouble:
                case Trouble.HALF:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    return
                case Trouble.GARBAGE:
                    writer.write(b"\x00\xff SSH-2.0 nobody here\r\n\r\n" * 9)
                    await writer.drain()
                    return
                case Trouble.NO_ANSWER:
                    pass
                case _:
                    writer.write(data)
                    await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
