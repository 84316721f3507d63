"""An aggregator that only acknowledges: where the agent alone is measured, nobody else shall need the machine.

``python -m benchmarks.acknowledge --listen 127.0.0.1:0 [--bytes-per-second N]``. It checks each batch as the real one
does, remembers how far every source is, and says at `/counts` what came, and how late: from a record's own time to its
being taken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import click
import msgspec
import numpy as np
import zstandard
from aiohttp import web

from service.logs import configure, fields
from service.options import ADDRESS, Address
from service.web import add_health, json_response, serve
from wire.answers import STORE_HEADER, Committed
from wire.codec import BATCH_BYTES_MAX, decode

_log = logging.getLogger(__name__)

_BODY_BYTES_MAX: Final = BATCH_BYTES_MAX + (1 << 20)


class Counts(msgspec.Struct):
    """What came since `/counts` was asked last; ``late_s``: the longest from a record's time to its being taken.

    ``total``: lines since the start.
    """

    total: int = 0
    batches: int = 0
    records: int = 0
    late_s: float = 0.0


class Acknowledging:
    """Takes every batch. ``bytes_per_second``: at most so many of uncompressed batches, 0: as fast as it can.

    ``watched``: how late records of the namespaces with this prefix came is told.
    """

    def __init__(self, bytes_per_second: float, watched: str) -> None:
        self._bytes_per_second = bytes_per_second
        self._watched = watched
        self._committed: dict[str, int] = {}
        self._counts = Counts()
        self.app = web.Application(client_max_size=_BODY_BYTES_MAX)
        self.app.router.add_post("/v1/batches", self._batches)
        self.app.router.add_get("/v1/positions", self._positions)
        self.app.router.add_get("/counts", self._told)
        add_health(self.app, self._not_ready)

    @staticmethod
    async def _not_ready() -> str | None:
        return None

    async def _batches(self, request: web.Request) -> web.Response:
        data = zstandard.ZstdDecompressor().decompress(await request.read())
        batch = decode(data)
        if self._bytes_per_second:
            await asyncio.sleep(len(data) / self._bytes_per_second)
        now_ns = time.time_ns()
        first = 0
        for chunk in batch.chunks:
            self._committed[chunk.source.hex()] = chunk.end
            if self._watched and chunk.rows and chunk.namespace.startswith(self._watched):
                oldest_ns = int(np.min(batch.times[first : first + chunk.rows]))
                self._counts.late_s = max(self._counts.late_s, (now_ns - oldest_ns) / 1e9)
            first += chunk.rows
        # Joined records have their lines in one.
        lines = first + bytes(batch.body).count(b"\n")
        self._counts.total += lines
        self._counts.records += lines
        self._counts.batches += 1
        return self._answer({chunk.source.hex() for chunk in batch.chunks})

    async def _positions(self, request: web.Request) -> web.Response:
        return self._answer(set(request.query.getall("source", [])))

    async def _told(self, _: web.Request) -> web.Response:
        counts, self._counts = self._counts, Counts(self._counts.total)
        return json_response(counts)

    def _answer(self, sources: set[str]) -> web.Response:
        committed = {source: self._committed.get(source, 0) for source in sources}
        return json_response(Committed(committed), headers={STORE_HEADER: "acknowledging/1"})


async def run(address: Address, bytes_per_second: float, watched: str) -> None:
    """Acknowledge until cancelled."""
    async with serve(Acknowledging(bytes_per_second, watched).app, address) as bound:
        _log.info("listening", extra=fields(address=bound.url))
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(15, stop.set)
        await stop.wait()


@click.command()
@click.option("--listen", type=ADDRESS, default="127.0.0.1:0")
@click.option("--bytes-per-second", type=float, default=0.0)
@click.option("--watched", default="", help="How late records of namespaces that begin so came is told.")
def main(listen: Address, **options: Any) -> None:
    """Acknowledge batches."""
    configure("info", "text")
    asyncio.run(run(listen, **options))


if __name__ == "__main__":
    main()
