"""A TCP proxy that can lose the aggregator's answers."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """Carries connections to the aggregator, wherever it listens now; can lose answers to batches.

    An answer is lost by closing the connection when its first bytes come from the aggregator: the batch is committed,
    and the agent does not know. ``lose``: how many answers with status 200 are still to be lost. ``lost``: were lost.
    """

    def __init__(self) -> None:
        self.upstream = ""
        self.lose = 0
        self.lost = 0
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        await self._server.wait_closed()

    async def has_lost(self) -> bool:
        """Whether every answer that was to be lost is lost."""
        return not self.lose

    @property
    def address(self) -> str:
        assert self._server
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        writers = [writer]
        # A side that goes away, and one that is not there, end the connection: that is what the agent is to see.
        with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
            host, port = self.upstream.removeprefix("http://").rsplit(":", 1)
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
            writers.append(up_writer)
            await self._carry(reader, writer, up_reader, up_writer)
        for each in writers:
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        posting = False

        async def up() -> None:
            nonlocal posting
            while data := await reader.read(1 << 16):
                if data.startswith((b"POST ", b"GET ")):
                    posting = data.startswith(b"POST /v1/batches")
                up_writer.write(data)
                await up_writer.drain()

        async def down() -> None:
            while data := await up_reader.read(1 << 16):
                if posting and self.lose and data.startswith(b"HTTP/1.1 200"):
                    self.lose -= 1
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
