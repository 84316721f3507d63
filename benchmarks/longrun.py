"""Days of ingestion in minutes: whether what is kept stays within its bounds, and the process within its own.

``python -m benchmarks.longrun``. The clock is passed in: each step commits what 32 containers have written in twenty
minutes, and looks at retention as the aggregator does every minute. After half of the days the store's size is limited,
and every day a secret is deleted. Files are rotated daily; a tenth of what a step sends was sent before, as after lost
answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import click
import msgspec
import numpy as np
from prometheus_client import CollectorRegistry

from aggregator.ingest.committer import Committer, Stored
from aggregator.metrics import Metrics
from aggregator.store import coverage, disk, migrations, schema
from aggregator.store.commits import Commits
from aggregator.store.deletions import Deletions, State
from aggregator.store.embedded import Embedded
from aggregator.store.eraser import Eraser
from aggregator.store.floor import Floor
from aggregator.store.positions import Positions
from aggregator.store.retention import Retention
from aggregator.store.schema import IS_RECORD, LOGS
from aggregator.store.streams import Streams
from aggregator.store.terms import Rule, Terms
from wire.batch import DAY_NS, Batch, Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY_S: Final = 86_400
STEPS_A_DAY: Final = 72
CONTAINERS: Final = 32
LINES: Final = 160
TERMS: Final = Terms(4.0 * DAY_S, (Rule("kube-*", 1.0 * DAY_S),))
SPACES: Final = ("kube-system", "shop", "blog", "kube-dns")
BEGAN_DAY: Final = 20_000
SECRET: Final = b"AKIAIOSFODNN7EXAMPLE"
_POOL: Final = 40_000
_MIB: Final = 1 << 20
_DEADLINE_S: Final = 120.0


class Day(msgspec.Struct, frozen=True):
    """How it stands at the end of a day. ``most_mib``: the store at its largest, after retention had looked."""

    day: int
    kept_days: int
    kube_days: int
    records: int
    markers: int
    mib: float
    most_mib: float
    parts: int
    directories: int
    rss_mib: float
    anonymous_mib: float
    descriptors: int
    torn: int


class _Kept(msgspec.Struct):
    days: int
    kube_days: int
    records: int
    markers: int


class Writer:
    """What the containers write: the same lines over and over, at the clock's times."""

    def __init__(self) -> None:
        random = Random(7)
        lines = [
            b'level=%s msg="request %d" path=/api/%d/%x took=%dms user=%x'
            % (
                random.choice((b"info", b"warn", b"error")),
                n,
                random.randrange(50),
                random.getrandbits(64),
                random.randrange(900),
                random.getrandbits(96),
            )
            for n in range(_POOL)
        ]
        lines[::20_000] = [SECRET + b" was printed by mistake"] * len(lines[::20_000])
        self._lengths = np.array([len(line) for line in lines], np.uint32)
        self._edges = np.concatenate(([0], np.cumsum(self._lengths, dtype=np.int64)))
        self._body = b"".join(lines)
        self._at: dict[bytes, int] = {}

    def batch(self, step: int, now_ns: int) -> Batch:
        """What was written in one step."""
        chunks, positions, lengths, bodies = [], [], [], []
        for container in range(CONTAINERS):
            source = b"%08d%08d" % (container, now_ns // DAY_NS)
            first = (step * CONTAINERS + container) * LINES % (_POOL - LINES)
            start = self._at.get(source, 0)
            length = self._lengths[first : first + LINES]
            ends = start + np.cumsum(length + 40, dtype=np.uint64)  # with time, stream and tag, as CRI has them
            self._at[source] = int(ends[-1])
            space = SPACES[container % len(SPACES)]
            chunks.append(
                Chunk(
                    source,
                    start,
                    int(ends[-1]),
                    space,
                    f"pod-{container}",
                    f"uid-{container}",
                    "app",
                    0,
                    LINES,
                    joint=False,
                )
            )
            positions.append(ends)
            lengths.append(length)
            bodies.append(self._body[self._edges[first] : self._edges[first + LINES]])
        rows = CONTAINERS * LINES
        times = now_ns - np.arange(rows, 0, -1, dtype=np.int64) % LINES * (DAY_NS // STEPS_A_DAY // LINES)
        return Batch(
            "bench",
            "node-1",
            "agent",
            tuple(chunks),
            times,
            np.concatenate(positions),
            np.zeros(rows, np.uint8),
            np.concatenate(lengths),
            b"".join(bodies),
        )


async def measure(directory: Path, days: int, size_bytes: int) -> AsyncIterator[Day]:
    """Go through ``days``; the store's size is limited to ``size_bytes`` in the second half of them."""
    now = [BEGAN_DAY * DAY_S + 1.0]
    metrics = Metrics(CollectorRegistry())
    async with Embedded.start(f"chdb://{directory / 'store'}", connections=4) as engine:
        await schema.create(engine)
        await migrations.migrate(engine)
        streams, commits, floor = Streams(engine), await Commits.read(engine), await Floor.read(engine)
        committer = Committer(
            engine, Positions(engine), streams, commits, terms=TERMS, floor=floor, metrics=metrics, clock=lambda: now[0]
        )
        keepers = [
            Retention(engine, streams, commits, floor, TERMS, size_bytes=size, clock=lambda: now[0], metrics=metrics)
            for size in (None, size_bytes)
        ]
        deletions = await Deletions.read(engine)
        eraser = Eraser(engine, commits, deletions, metrics)
        tasks = [asyncio.create_task(committer.run()), asyncio.create_task(eraser.run())]
        try:
            for day in range(days):
                yield await _a_day(engine, committer, keepers[day >= days // 2], deletions, now, day, Writer())
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _a_day(  # noqa: PLR0917 - what a day needs
    engine: Embedded,
    committer: Committer,
    retention: Retention,
    deletions: Deletions,
    now: list[float],
    day: int,
    writer: Writer,
) -> Day:
    most = 0
    for step in range(STEPS_A_DAY):
        now[0] = (BEGAN_DAY + day) * DAY_S + (step + 1) * DAY_S / STEPS_A_DAY - 1
        batch = writer.batch(step, int(now[0] * 1e9))
        for _ in range(2 if step % 10 == 0 else 1):
            answer = await committer.commit(batch, len(batch.body))
            if not isinstance(answer, Stored):
                raise TypeError(f"not stored: {answer}")
        await retention.drop()
        await retention.thin_out()
        most = max(most, sum(table.bytes for table in await disk.tables(engine)))
    query = f'{{namespace=~".+"}} |= "{SECRET.decode()}"'
    job = await deletions.ask(query, 0, (BEGAN_DAY + day + 1) * DAY_NS, now[0])
    deadline_s = time.monotonic() + _DEADLINE_S
    while (found := deletions.get(job.id)) is None or found.state not in {State.DELETED, State.GONE}:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not deleted within {_DEADLINE_S:g} s")
        await asyncio.sleep(0.1)
    return await _look(engine, day, most)


async def _look(engine: Embedded, day: int, most: int) -> Day:
    (kept,) = await engine.rows(
        f"SELECT toUInt64(uniqExactIf(toDate32(ts), {IS_RECORD})) AS days, "  # noqa: S608 - own words
        "toUInt64(uniqExactIf(toDate32(ts), startsWith(namespace, 'kube-'))) AS kube_days, "
        f"countIf({IS_RECORD}) AS records, countIf(NOT {IS_RECORD}) AS markers FROM {LOGS}",
        _Kept,
    )
    tables = await disk.tables(engine)
    rss, anonymous, descriptors = _used()
    return Day(
        day,
        kept.days,
        kept.kube_days,
        kept.records,
        kept.markers,
        sum(table.bytes for table in tables) / _MIB,
        most / _MIB,
        sum(table.parts for table in tables),
        sum(1 for path in engine.path.glob("engine/store/*/*/*") if path.is_dir()),
        rss,
        anonymous,
        descriptors,
        (await coverage.files(engine)).torn,
    )


async def _show(directory: Path, days: int, size_bytes: int) -> None:
    async for day in measure(directory, days, size_bytes):
        values = msgspec.structs.astuple(day)
        click.echo("".join(f"{value:>9.1f}" if isinstance(value, float) else f"{value:>9}" for value in values))


def _used() -> tuple[float, float, int]:
    """Resident and anonymous memory, MiB, and open files, of this process."""
    status = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
    return int(status["VmRSS"]) / 1024, int(status["RssAnon"]) / 1024, len(list(Path("/proc/self/fd").iterdir()))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--days", default=12, show_default=True, help="Days to go through, each some 20 seconds.")
@click.option(
    "--size", "size_mib", default=32, show_default=True, help="MiB that the store may have, in the second half."
)
def main(days: int, size_mib: int) -> None:
    """Go through many days in a few minutes, and print how it stands at the end of each."""
    began_s = time.monotonic()
    titles = ("day", "days", "kube", "records", "markers", "MiB", "most", "parts", "dirs", "RSS", "anon", "fds", "torn")
    click.echo("".join(f"{title:>9}" for title in titles))
    with tempfile.TemporaryDirectory(prefix="logboom-longrun-") as name:
        asyncio.run(_show(Path(name), days, size_mib << 20))
    click.echo(f"{days * 24} hours in {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
