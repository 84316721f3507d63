"""Killed at any moment, an export and an import go on where they were: nothing is missing, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.moving.manifest import Manifest
from tests.aggregator.moving.stores import DAY_NS, everything, is_clean, url
from tests.aggregator.records import NOW_NS, Part, Record, batch, source
from tests.aggregator.stand import open_stand

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S: Final = 60.0
DAYS: Final = 3
ROWS: Final = 300
LINE: Final = 8_000


async def fill(path: Path) -> None:
    """Three days of what makes three files each."""
    async with open_stand(path) as stand:
        batches = []
        for day in range(DAYS):
            noise = random.Random(day).randbytes(LINE)
            rows = tuple(
                Record(n * LINE + LINE, noise[n:] + noise[:n], NOW_NS - day * DAY_NS + n * 10**9) for n in range(ROWS)
            )
            batches.append(batch(Part(source("abc"[day]), 0, rows)))
        await stand.commit(*batches)


async def start(*arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aggregator",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(when: Callable[[], bool], number: signal.Signals, *arguments: str | Path) -> None:
    """End the command in the middle of its work, as soon as ``when`` says so."""
    process = await start(*arguments)
    deadline = time.monotonic() + DEADLINE_S
    while not when():
        assert process.returncode is None, (await process.communicate())[1].decode()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    process.send_signal(number)
    _, said = await process.communicate()
    assert process.returncode == (1 if number is signal.SIGINT else -number), said.decode()


async def done(*arguments: str | Path) -> str:
    process = await start(*arguments)
    said, why = await process.communicate()
    assert process.returncode == 0, why.decode()
    return said.decode()


def files_of(out: Path) -> int:
    return len(list(out.glob("*.parquet")))


def parts_of(store: Path) -> int:
    """Of records, so far."""
    found = {path.parent for path in store.glob("engine/store/*/*/*/positions.proj")}
    return len(found) if (store / "engine").exists() else -1


async def test_killed_at_export_and_import(tmp_path: Path) -> None:
    old, new, out = tmp_path / "old", tmp_path / "new", tmp_path / "out"
    await fill(old)
    export = ("export", "--file-size", "1MiB", "--store", url(old), out)
    for least, number in ((2, signal.SIGINT), (6, signal.SIGKILL)):
        await ended(lambda: files_of(out) >= least, number, *export)  # noqa: B023 - called before it changes
    known = msgspec.json.decode((out / "manifest.json").read_bytes(), type=Manifest)
    assert not known.finished
    before = {file.name: (out / file.name).stat().st_ino for file in known.files}
    assert len(before) >= 5
    said = await done(*export)
    assert f"{len(before)} kept" in said
    assert {name: (out / name).stat().st_ino for name in before} == before
    assert not list(out.glob("*.new"))

    bring = ("import", "--store", url(new), out)
    for least in (0, 4):
        await ended(lambda: parts_of(new) >= least, signal.SIGKILL, *bring)  # noqa: B023 - called before it changes
    said = await done(*bring)
    assert said.count("sums agree") == DAYS
    assert await everything(new) == await everything(old)
    assert await is_clean(new)
