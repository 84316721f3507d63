"""The cold tier with real processes: an S3 server, an aggregator that is killed while it moves days there."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from simulator.children import Child
from tests.aggregator.records import HEADERS, Part, Record, batch, pack, source
from tests.aggregator.stand import open_stand
from tests.bucket import BUCKET, KEY, SECRET, Bucket
from tests.e2e.cluster import DEADLINE_S, LOG_LINES, POLL_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from wire.batch import Batch

PREFIX: Final = "e2e"
DAY_NS: Final = 86_400 * 10**9
# Before today. The last three are for the cold tier.
DAYS: Final = 6
# As many parts of each day: too few to be merged.
INSERTS: Final = 4
LINES: Final = 40
# Parts that have moved when it is killed: some of the first day.
KILLED_AFTER: Final = 2


@pytest.fixture
def bucket(server: Bucket) -> Bucket:
    server.start()
    return server


class Stand:
    """An aggregator on a store with a tier; owns the process until `close`."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.log: deque[str] = deque(maxlen=LOG_LINES * 100)
        self.session = aiohttp.ClientSession()
        self.root = root
        self.bucket = bucket
        self.store = f"chdb://{root / 'store'}"
        self.now_ns = time.time_ns()
        credentials = root / "credentials"
        credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key={SECRET}\n")
        self.cold = ["--cold", f"s3://{BUCKET}/{PREFIX}", "--cold-endpoint", bucket.endpoint, "--cold-cache", "0"]
        self.cold += ["--cold-credentials", str(credentials)]
        self.child: Child | None = None

    async def start(self, *options: str) -> None:
        arguments = ["--listen", "127.0.0.1:0", "--store", self.store, "--retention", "30d", *options]
        self.child = await Child.start("aggregator", "aggregator", arguments, lambda _, line: self.log.append(line))

    async def kill(self) -> None:
        assert self.child
        await self.child.kill()
        self.child = None

    async def kill_in_a_move(self) -> None:
        """Start it, and kill it in the middle of a move, when some parts have moved."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            await self.start(*self.cold)

            async def moves() -> bool:
                has_moved = await self.metric("cold_moved_parts_total") >= KILLED_AFTER
                return has_moved and self.is_moving()

            await self.until(moves)
            await self.kill()
            if self.is_moving():
                return
            assert time.monotonic() < deadline, "it was never killed in the middle of a move"

    def is_moving(self) -> bool:
        """Whether a part is on its way: its local files have a second name."""
        return any((self.root / "store/moving").glob("store/*/*/*/*"))

    def damage_a_local_part(self) -> None:
        files = (self.root / "store/engine").glob("store/*/*/[0-9]*/data.bin")
        next(file for file in files if (file.parent / "positions.proj").is_dir()).unlink()

    async def close(self) -> None:
        if self.child is not None:
            await self.child.kill()
        await self.session.close()

    async def get(self, path: str) -> tuple[int, str]:
        assert self.child
        async with self.session.get(f"{self.child.address}{path}") as response:
            return response.status, await response.text()

    async def fill(self) -> None:
        """Have `INSERTS` parts of each of `DAYS` in the store, all of them local."""
        async with open_stand(self.root / "store", clock=time.time) as filled:
            for insert in range(INSERTS):
                await filled.commit(*(self.lines(days_ago, insert) for days_ago in range(DAYS)))

    def lines(self, days_ago: int, insert: int) -> Batch:
        """Lines of a source of the day, and of the insert."""
        time_ns = self.now_ns - days_ago * DAY_NS
        first = insert * LINES
        records = tuple(Record(first + n + 1, f"{days_ago}-{first + n}".encode(), time_ns) for n in range(LINES))
        return batch(Part(source(f"d{days_ago}"), first, records))

    async def post(self, days_ago: int, insert: int) -> int:
        """Send such lines; gives the status."""
        assert self.child
        data = pack(self.lines(days_ago, insert))
        async with self.session.post(f"{self.child.address}/v1/batches", data=data, headers=HEADERS) as response:
            return response.status

    def day(self, days_ago: int) -> str:
        """The range of a day, for a query."""
        start_ns = (self.now_ns // DAY_NS - days_ago) * DAY_NS
        return f"/query?limit=0&start={start_ns}&end={start_ns + DAY_NS}"

    async def metric(self, name: str) -> float:
        _, text = await self.get("/metrics")
        found = re.search(rf"^logboom_aggregator_{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not await condition():
            assert self.child is not None
            if self.child.returncode is not None or time.monotonic() > deadline:
                pytest.fail("\n".join(["in vain; the aggregator said:", *list(self.log)[-LOG_LINES:]]))
            await asyncio.sleep(POLL_S)

    async def check(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "aggregator",
            "check",
            "--store",
            self.store,
            *self.cold,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


@pytest.fixture
async def stand(tmp_path: Path, bucket: Bucket) -> AsyncIterator[Stand]:
    async with contextlib.AsyncExitStack() as stack:
        made = Stand(tmp_path, bucket)
        stack.push_async_callback(made.close)
        yield made


async def test_days_move_over_kills_and_outlive_the_servers_absence(stand: Stand, bucket: Bucket) -> None:
    await stand.fill()
    lines = sorted(f"{days_ago}-{n}" for days_ago in range(DAYS) for n in range(INSERTS * LINES))
    await stand.kill_in_a_move()
    await stand.start(*stand.cold)

    async def is_done() -> bool:
        return sum("a day is in the cold tier" in line for line in stand.log) >= DAYS - 3

    await stand.until(is_done)
    _, text = await stand.get("/query?limit=0&start=0")
    assert sorted(line.rpartition(" ")[2] for line in text.splitlines()) == lines

    bucket.stop()
    status, refusal = await stand.get(stand.day(DAYS - 1))
    assert (status, "cold tier" in refusal, "newer days" in refusal) == (503, True, True)
    status, text = await stand.get(stand.day(1))
    assert (status, len(text.splitlines())) == (200, INSERTS * LINES)
    assert await stand.post(1, INSERTS) == 200
    bucket.start()
    status, text = await stand.get(stand.day(DAYS - 1))
    assert (status, len(text.splitlines())) == (200, INSERTS * LINES)

    bucket.stop()
    await stand.kill()
    await stand.start(*stand.cold)
    status, refusal = await stand.get(stand.day(DAYS - 1))
    assert (status, "cold tier" in refusal) == (503, True)
    status, text = await stand.get(stand.day(1))
    assert (status, len(text.splitlines())) == (200, (INSERTS + 1) * LINES)
    # What was committed is known without the tier.
    assert await stand.post(DAYS - 1, INSERTS - 1) == 200
    assert await stand.metric("rows_trimmed_total") == LINES
    assert await stand.metric("cold_parts_aside") > 0
    bucket.start()

    async def is_back() -> bool:
        return await stand.metric("cold_parts_aside") == 0

    await stand.until(is_back)
    _, text = await stand.get("/query?limit=0&start=0")
    assert len(text.splitlines()) == len(lines) + LINES
    assert not any(SECRET in line for line in stand.log)
    await stand.kill()
    await stand.check()

    # What a damaged part held is told from what is away: nothing of it is asked for again.
    bucket.stop()
    stand.damage_a_local_part()
    await stand.start(*stand.cold)
    assert any("what is missing is not looked for while the cold tier is away" in line for line in stand.log)
    assert await stand.post(DAYS - 1, INSERTS - 1) == 200
    assert await stand.metric("rows_trimmed_total") == LINES
