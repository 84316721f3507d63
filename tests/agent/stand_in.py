"""A stand-in aggregator that keeps rows in memory, can be told to fail, and follows the protocol of `wire` exactly.

The real aggregator is what `tests/e2e` uses; this one can be made to misbehave on cue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import zstandard
from aiohttp import web

from agent.app import follow
from agent.config import Config
from agent.ship.client import TIMEOUT_S
from service.options import Address
from service.web import json_response
from wire import heartbeat
from wire.answers import STORE_HEADER, Committed, Refusal
from wire.batch import Batch, Flag
from wire.codec import decode
from wire.errors import BatchTooLargeError

if TYPE_CHECKING:
    from pathlib import Path

    from wire.heartbeat import Heartbeat

Fault = Callable[[web.Request, Batch], Awaitable[web.StreamResponse | None]]


class Row(msgspec.Struct, frozen=True):
    position: int
    time: int
    flags: Flag
    body: bytes


class Aggregator:
    """Commits like the real one: trims, refuses holes. ``faults`` are taken one a batch, before it is committed."""

    def __init__(self) -> None:
        self.store = "store/1"
        self.rows: dict[bytes, list[Row]] = defaultdict(list)
        # As a real one, it remembers while it runs that a chunk ended beyond its last row.
        self.reached: dict[bytes, int] = {}
        self.chunks: dict[bytes, tuple[str, str, str, int]] = {}
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.commit_at_most: int | None = None
        self.requests = 0
        self.positions_asked: list[bytes] = []
        self.before_positions: Callable[[list[bytes]], Awaitable[None]] | None = None
        self._running = 0
        self.most_running = 0
        self.largest_bytes = 0
        self.app = web.Application(client_max_size=1 << 26)
        self.app.router.add_post("/v1/batches", self._batches)
        self.app.router.add_get("/v1/positions", self._positions)
        # None: as an aggregator of a former version, it knows no heartbeats.
        self.heartbeats: list[Heartbeat] | None = []
        self.heartbeats_unknown = 0
        self.app.router.add_post("/v1/heartbeats", self._heartbeat)

    def committed(self, source: bytes) -> int:
        return max(self.last_position(source), self.reached.get(source, 0))

    def last_position(self, source: bytes) -> int:
        """The position of the last stored row."""
        rows = self.rows.get(source)
        return rows[-1].position if rows else 0

    def bodies(self) -> list[bytes]:
        """Every stored body, source by source, each in order."""
        return [row.body for rows in self.rows.values() for row in rows]

    def forget(self, keep: int = 0) -> None:
        """Become another store, which has only the first ``keep`` rows of every source."""
        self.store += "x"
        self.reached.clear()
        for source in list(self.rows):
            self.rows[source] = self.rows[source][:keep]

    def answer(self, sources: list[bytes], status: int = 200) -> web.Response:
        committed = {source.hex(): self.committed(source) for source in sources}
        return json_response(Committed(committed), status, {STORE_HEADER: self.store})

    def commit(self, batch: Batch) -> bool:
        """Store what is new; whether there was no hole."""
        reached: dict[bytes, int] = {}
        row = 0
        for chunk, follower in zip_longest(batch.chunks, batch.chunks[1:]):
            if chunk.joint and follower is not None:
                at = [reached.get(each.source, self.committed(each.source)) for each in (chunk, follower)]
                if at != [chunk.start, 0] and not (at[0] >= chunk.end and at[1] >= follower.end):
                    return False
            is_gap = bool(chunk.rows and batch.flags[row] & Flag.GAP)
            if chunk.start > reached.get(chunk.source, self.committed(chunk.source)) and not is_gap:
                return False
            reached[chunk.source] = max(chunk.end, self.committed(chunk.source))
            row += chunk.rows
        offsets = np.concatenate(([0], np.cumsum(batch.lengths, dtype=np.int64)))
        first = 0
        for chunk in batch.chunks:
            self.chunks[chunk.source] = (chunk.namespace, chunk.pod, chunk.container, chunk.restart)
            for i in range(first, first + chunk.rows):
                position = int(batch.positions[i])
                if position > self.last_position(chunk.source):
                    body = bytes(batch.body[offsets[i] : offsets[i + 1]])
                    self.rows[chunk.source].append(Row(position, int(batch.times[i]), Flag(int(batch.flags[i])), body))
            first += chunk.rows
        self.reached |= reached
        return True

    async def _batches(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self._running += 1
        self.most_running = max(self.most_running, self._running)
        try:
            data = zstandard.ZstdDecompressor().decompress(await request.read())
            self.largest_bytes = max(self.largest_bytes, len(data))
            try:
                batch = decode(data)
            except BatchTooLargeError as error:
                return json_response(Refusal(error.detail, error.rule), 413)
            fault = self.faults.popleft() if self.faults else self.always
            response = await fault(request, batch) if fault else None
            if response is not None:
                return response
            return self.answer([chunk.source for chunk in batch.chunks], 200 if self.commit(batch) else 409)
        finally:
            self._running -= 1

    async def _positions(self, request: web.Request) -> web.StreamResponse:
        sources = [bytes.fromhex(source) for source in request.query.getall("source", [])]
        self.positions_asked += sources
        if self.before_positions is not None:
            await self.before_positions(sources)
        return self.answer(sources)

    async def _heartbeat(self, request: web.Request) -> web.Response:
        if self.heartbeats is None:
            self.heartbeats_unknown += 1
            raise web.HTTPNotFound
        self.heartbeats.append(heartbeat.decode(await request.read()))
        return web.Response(status=204)


class Node:
    """A pods directory and, in this process, agents that follow it."""

    def __init__(self, root: Path, aggregator_url: str) -> None:
        self.root = root
        self.config = Config(
            aggregator_url=aggregator_url,
            pods_dir=root,
            node_name="node-1",
            cluster="test",
            token_file=None,
            ca_file=None,
            listen=Address("127.0.0.1", 0),
            batch_bytes=1 << 20,
            flush_after_s=0.05,
            record_bytes=1 << 20,
            deleted_hold_s=300.0,
            deleted_bytes=1 << 30,
            deleted_files=1000,
            inotify=True,
            rotation_bytes=10 << 20,
            rotation_files=5,
            log_level="info",
            log_format="text",
        )

    def write(self, path: str, *lines: bytes) -> Path:
        """Append lines, each with its newline, to a file below the pods directory."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(b"".join(line + b"\n" for line in lines))
        return file

    @contextlib.asynccontextmanager
    async def agent(self, timeout_s: float = TIMEOUT_S, **changes: object) -> AsyncIterator[str]:
        """Run an agent; gives its URL. Stops it, within its grace time, at the end."""
        stop = asyncio.Event()
        bound: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        config = msgspec.structs.replace(self.config, **changes)
        running = asyncio.create_task(follow(config, stop, bound.set_result, timeout_s))
        running.add_done_callback(lambda _: bound.done() or bound.cancel())
        try:
            yield (await bound).url
        finally:
            stop.set()
            await running
