"""Stores to be moved, and all that is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.check.examine import examine
from aggregator.moving.exporting import export
from aggregator.moving.importing import bring
from aggregator.store import columns
from aggregator.store.deletions import Deletions, State
from aggregator.store.engine import Engine, Limits
from aggregator.store.positions import Positions
from aggregator.store.schema import DELETIONS, FLOORS, LOGS, PODS, STREAMS
from tests.aggregator.records import DAY_S, NOW_NS, Part, Record, batch, part, source
from tests.aggregator.stand import open_stand

if TYPE_CHECKING:
    from aggregator.moving.told import Exported, Imported

DAY_NS: Final = DAY_S * 10**9
SOURCES: Final = "abcdefgh"
TABLES: Final = {
    LOGS: "namespace, stream_id, ts, position, source",
    f"(SELECT DISTINCT * FROM {STREAMS})": "day, stream_id",  # noqa: S608 - constants
    f"{PODS} FINAL": "uid",
    f"{FLOORS} FINAL": "name",
    f"(SELECT id, version, document FROM {DELETIONS} FINAL)": "id",  # noqa: S608 - constants
}


def url(path: Path) -> str:
    return f"chdb://{path}"


class Moved(msgspec.Struct, frozen=True):
    """A store, its export, and the store that this was imported into."""

    old: Path
    out: Path
    new: Path


async def old_store(path: Path) -> None:
    """Records of four days in several inserts, of every kind there is; and whatever else a store has."""
    async with open_stand(path) as stand:
        days = [part("a", at, [at + 40, at + 100], time=NOW_NS - (3 - at // 100) * DAY_NS) for at in (0, 100, 200, 300)]
        await stand.commit(*map(batch, days), batch(part("b", 0, [7, 20], flags=1, namespace="kube-system")))
        await stand.commit(
            batch(Part(source("b"), 20, (), end=90)),
            batch(part("b", 90, [100], namespace="kube-system")),
            batch(Part(source("e"), 0, (Record(9, b"\xff\x00'\\\n ERROR"), Record(12, b"")))),
            batch(Part(source("c"), 0, (Record(5),), 70, joint=True), Part(source("d"), 0, (Record(30),), 30)),
        )
        await stand.floor.lift(NOW_NS - 5 * DAY_NS)
        await stand.engine.insert(PODS, pods("uid-web-0"))
        jobs = await Deletions.read(stand.engine)
        done = await jobs.ask('{namespace="shop"} |= "x"', 0, NOW_NS, NOW_NS / 1e9)
        await jobs.change(done.id, lambda job: msgspec.structs.replace(job, state=State.DELETED))


def pods(uid: str) -> pa.RecordBatch:
    arrays = {
        "uid": columns.strings([uid]),
        "labels": columns.maps([{"app": "web"}]),
        "seen_at": columns.fixed(np.array([NOW_NS // 10**6], np.int64), pa.timestamp("ms", "UTC")),
    }
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


async def everything(path: Path) -> dict[str, list[str]]:
    """Every row of every table, as text, and where every log file stands."""
    async with Engine.open(url(path), 1) as engine:
        found = {}
        for table, order in TABLES.items():
            sql = f"SELECT * FROM {table} ORDER BY {order}"  # noqa: S608 - constants
            async with engine.stream(sql, "TSV", None, Limits()) as chunks:
                found[table] = b"".join([chunk async for chunk in chunks]).decode("latin-1").splitlines()
        reached = await Positions(engine).of(source(name) for name in SOURCES)
        return found | {"positions": [f"{name.hex()} {at}" for name, at in reached.items()]}


async def stored(path: Path) -> list[tuple[str, int]]:
    """(source, position) of every row, one entry a row."""
    async with open_stand(path) as stand:
        return await stand.stored()


async def commit(path: Path, *parts: Part) -> None:
    """What an aggregator does that has the store for a while."""
    async with open_stand(path) as stand:
        await stand.commit(*(batch(one) for one in parts))


async def exported(path: Path, directory: Path, file_bytes: int = 1 << 20) -> Exported:
    return await export(url(path), directory, file_bytes, lambda *_: None)


async def imported(directory: Path, path: Path, *, merge: bool = False) -> Imported:
    return await bring(url(path), directory, lambda *_: None, merge=merge)


async def is_clean(path: Path) -> bool:
    report = await examine(url(path), lambda _, __: None)
    return report.is_clean
