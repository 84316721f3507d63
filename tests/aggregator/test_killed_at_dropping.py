"""An aggregator that is killed while it drops, thins out and deletes goes on with it, and stores nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from aggregator.check.examine import examine
from aggregator.store.engine import Engine
from aggregator.store.schema import IS_RECORD, LOGS
from tests.aggregator.records import Part, Record, batch, pack, source
from tests.aggregator.stand import Stand, open_stand
from tests.aggregator.test_app import DEADLINE_S, post, running
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from pathlib import Path

    from wire.batch import Batch

KILLS: Final = 2
PARTS: Final = 6
# Of each file and part. Every fourth has the secret.
ROWS: Final = 800
LINE: Final = 1_000
SECRET: Final = b"AKIA"
NOW_NS: Final = time.time_ns() // DAY_NS * DAY_NS
TODAY, YESTERDAY, BEFORE, LONG_AGO = (NOW_NS - n * DAY_NS for n in (0, 1, 3, 9))


class Sum(msgspec.Struct, frozen=True):
    """What there is of one file on one day."""

    name: str
    day: int
    rows: int
    distinct: int
    secrets: int


def sent(name: str, namespace: str, time_ns: int, n: int) -> Batch:
    """The ``n``-th batch of a file."""
    first = n * ROWS
    noise = random.Random(f"{name}{n}").randbytes(ROWS * LINE)
    records = tuple(
        Record(first + i + 1, (b"" if i % 4 else SECRET) + noise[i * LINE : (i + 1) * LINE], time_ns + n)
        for i in range(ROWS)
    )
    return batch(Part(source(name), first, records, namespace=namespace), node=name)


def agent(*files: tuple[str, str, int]) -> list[list[Batch]]:
    """What the agent has of every file, in order."""
    return [[sent(*file, n) for n in range(PARTS)] for file in files]


async def fill(path: Path, files: list[list[Batch]]) -> None:
    async with open_stand(path, time.time) as stand:
        await asyncio.gather(*(_fill(stand, batches) for batches in files))


async def _fill(stand: Stand, batches: list[Batch]) -> None:
    for one in batches:
        await stand.commit(one)


async def sums(path: Path) -> dict[tuple[str, int], Sum]:
    async with Engine.open(f"chdb://{path}", 1) as engine:
        rows = await engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS name, toInt32(toDate32(ts)) AS day, "  # noqa: S608 - constants
            "count() AS rows, uniqExact(position) AS distinct, countIf(startsWith(body, 'AKIA')) AS secrets "
            f"FROM {LOGS} WHERE {IS_RECORD} GROUP BY name, day",
            Sum,
        )
    report = await examine(f"chdb://{path}", lambda _, __: None)
    assert report.is_clean, report
    return {(row.name, row.day): row for row in rows}


async def send_everything(client: aiohttp.ClientSession, url: str, files: list[list[Batch]]) -> None:
    """As an agent would that has been told that it is behind with everything; until the aggregator is gone."""
    for batches in files:
        for one in batches:
            status, body = await post(client, url, pack(one))
            assert status == 200, body


async def killed(path: Path, files: list[list[Batch]], *options: str, first: str = "") -> None:
    """Kill it again and again, a moment after it has begun to listen; ``first``: a form sent to ``/delete``."""
    random_ = random.Random(11)
    for n in range(KILLS):
        async with running(path, *options) as process, aiohttp.ClientSession() as client:
            if not n and first:
                async with client.post(
                    f"{process.url}/delete", data=first, headers={"Content-Type": "application/x-www-form-urlencoded"}
                ) as answer:
                    assert answer.status == 202, await answer.text()
            sending = asyncio.create_task(send_everything(client, process.url, files))
            await asyncio.wait([sending], timeout=random_.uniform(0.0, 0.4))  # when, is the test's input
            await process.stop(signal.SIGKILL)
            with contextlib.suppress(aiohttp.ClientError):
                await sending


async def until(client: aiohttp.ClientSession, url: str, state: set[str]) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with client.get(f"{url}/delete") as answer:
                (job,) = msgspec.json.decode(await answer.read())["deletions"]
            if job["state"] in state:
                return dict(job)
            await asyncio.sleep(0.05)


async def metric(client: aiohttp.ClientSession, url: str, name: str) -> float:
    async with client.get(f"{url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"logboom_aggregator_{name}"))


async def test_killed_at_a_deletion(tmp_path: Path) -> None:
    store = tmp_path / "store"
    files = agent(("a", "shop", YESTERDAY), ("b", "shop", TODAY), ("c", "blog", TODAY))
    await fill(store, files)
    await killed(store, files, first='query={namespace="shop"} |~ "^AKIA"&start=0&end=4102444800')
    async with running(store) as process, aiohttp.ClientSession() as client:
        job = await until(client, process.url, {"deleted", "gone"})
        assert (job["days_done"], job["records"]) == (2, 2 * PARTS * ROWS // 4)
        await send_everything(client, process.url, files)
    found = await sums(store)
    assert {name: (each.rows, each.distinct, each.secrets) for (name, _), each in found.items()} == {
        "a": (PARTS * ROWS * 3 // 4, PARTS * ROWS * 3 // 4, 0),
        "b": (PARTS * ROWS * 3 // 4, PARTS * ROWS * 3 // 4, 0),
        "c": (PARTS * ROWS, PARTS * ROWS, PARTS * ROWS // 4),
    }


async def test_killed_at_retention(tmp_path: Path) -> None:
    """A day too old, a namespace too old on a day that others need, and no room for the rest."""
    store = tmp_path / "store"
    files = agent(
        ("old", "shop", LONG_AGO),
        ("kube", "kube-system", BEFORE),
        ("shop", "shop", BEFORE),
        *((f"y{n}", "shop", YESTERDAY) for n in range(2)),
        ("now", "shop", TODAY),
    )
    whole = PARTS * ROWS
    await fill(store, files[1:])
    options = ("--retention", "7d", "--retention-namespace", "kube-*=1d", "--retention-size")
    await killed(store, files, *options, "1GiB")
    async with running(store, *options, "1GiB") as process, aiohttp.ClientSession() as client:
        await send_everything(client, process.url, files)
        async with asyncio.timeout(DEADLINE_S):
            while "kube" in {row["source"] async for row in records(client, process.url, "kube-*")}:
                await asyncio.sleep(0.1)
    found = await sums(store)
    assert {name: (each.rows, each.distinct) for (name, _), each in found.items()} == dict.fromkeys(
        ("shop", "y0", "y1", "now"), (whole, whole)
    )
    await killed(store, files, *options, "18MiB")
    async with running(store, *options, "18MiB") as process, aiohttp.ClientSession() as client:
        async with asyncio.timeout(DEADLINE_S):
            while not await metric(client, process.url, "floor_timestamp_seconds"):
                await asyncio.sleep(0.05)
        await send_everything(client, process.url, files)
        assert await metric(client, process.url, "rows_expired_total{") >= 3 * whole
    found = await sums(store)
    assert {name: (each.rows, each.distinct) for (name, _), each in found.items()} == dict.fromkeys(
        ("y0", "y1", "now"), (whole, whole)
    )


async def records(client: aiohttp.ClientSession, url: str, namespace: str) -> Any:
    """The records of a namespace."""
    asked = {"namespace": namespace, "since": "30d", "format": "json", "limit": "1"}
    async with client.get(f"{url}/query", params=asked) as answer:
        for line in (await answer.text()).splitlines():
            row = msgspec.json.decode(line)
            yield row | {"source": bytes.fromhex(row["source"]).decode().rstrip(".")}
