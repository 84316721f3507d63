"""What is exported is imported, row by row; what changes is exported anew, and imported where it is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow.parquet as pq
import pytest

from aggregator.errors import MovingError
from aggregator.moving.manifest import Manifest, decode
from aggregator.store.deletions import Deletions, State
from aggregator.store.engine import Engine
from aggregator.store.schema import LOGS
from tests.aggregator.moving.stores import (
    DAY_NS,
    Moved,
    commit,
    everything,
    exported,
    imported,
    is_clean,
    stored,
    url,
)
from tests.aggregator.records import NOW_NS, Part, Record, part, source

if TYPE_CHECKING:
    from pathlib import Path

TODAY: Final = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=NOW_NS // DAY_NS)).date().isoformat()


def manifest_of(out: Path) -> Manifest:
    return decode((out / "manifest.json").read_bytes(), out / "manifest.json")


def files_of(out: Path) -> dict[str, int]:
    """Every Parquet file, and which file that is on the disk."""
    return {path.name: path.stat().st_ino for path in out.glob("*.parquet")}


async def test_a_store_is_the_same_behind_the_move(moved: Moved, tmp_path: Path) -> None:
    old, new, out = moved.old, tmp_path / "another", tmp_path / "another export"
    done = await exported(old, out)
    assert (done.days, done.rows, done.kept) == (4, 16, 0)
    assert done.written == len(manifest_of(out).files) == len(files_of(out))
    told = await imported(out, new)
    assert [(day.rows, day.brought, day.more) for day in told.days] == [(2, 2, 0), (2, 2, 0), (2, 2, 0), (10, 10, 0)]
    assert told.log_files == 5
    assert await everything(new) == await everything(old)
    assert await is_clean(new)


async def test_what_is_committed_behind_the_move_goes_on_where_the_old_store_was(moved: Moved) -> None:
    old, new = moved.old, moved.new
    later = (part("a", 340, [400, 420]), Part(source("d"), 30, (Record(44),)))  # the first overlaps, and is trimmed
    await commit(new, *later)
    await commit(old, *later)
    assert await stored(new) == await stored(old)
    assert await is_clean(new)


async def test_an_export_of_the_same_store_writes_nothing_anew(moved: Moved) -> None:
    old, out = moved.old, moved.out
    first = manifest_of(out).files
    before = files_of(out)
    again = await exported(old, out)
    assert (again.written, again.kept) == (0, len(first))
    assert files_of(out) == before


async def test_days_that_have_changed_are_exported_anew_and_no_other(moved: Moved) -> None:
    old, out = moved.old, moved.out
    before = files_of(out)
    await commit(old, part("a", 400, [450]))
    done = await exported(old, out)
    after = files_of(out)
    gone, fresh = before.keys() - after.keys(), after.keys() - before.keys()
    assert {name.rsplit("-", 2)[0] for name in gone} == {f"logs-{TODAY}", "positions"}
    assert {name.rsplit("-", 2)[0] for name in fresh} == {f"logs-{TODAY}", "positions"}
    assert (done.written, done.kept) == (len(fresh), len(before) - len(gone))
    assert all(after[name] == before[name] for name in before.keys() - gone)
    assert [(file.day, file.rows) for file in manifest_of(out).of("logs")][-1] == (TODAY, 11)


async def test_a_day_that_lost_records_is_exported_anew_and_one_that_went_is_removed(
    moved: Moved, tmp_path: Path
) -> None:
    old, out = moved.old, moved.out
    async with Engine.open(url(old), 1) as engine:
        oldest = min(file.day for file in manifest_of(out).of("logs"))
        await engine.execute(f"ALTER TABLE {LOGS} DROP PARTITION '{oldest}'")
        await engine.execute(f"ALTER TABLE {LOGS} DELETE WHERE position = 12 SETTINGS mutations_sync = 2")
    await exported(old, out)
    assert [file.rows for file in manifest_of(out).of("logs")] == [2, 2, 9]
    await imported(out, tmp_path / "another")
    assert await everything(tmp_path / "another") == await everything(old)


async def test_a_damaged_file_is_written_anew_by_the_next_export(moved: Moved, tmp_path: Path) -> None:
    old, out = moved.old, moved.out
    names = [file.name for file in manifest_of(out).of("logs")]
    (out / names[0]).unlink()
    (out / names[1]).write_bytes(b"\0" * (out / names[1]).stat().st_size)
    done = await exported(old, out)
    assert done.written == 2
    await imported(out, tmp_path / "another")


async def test_large_days_are_cut_into_files_that_follow_each_other(tmp_path: Path) -> None:
    old, out = tmp_path / "old", tmp_path / "out"
    body = b"x" * 30_000
    rows = tuple(Record(30_010 * (n + 1), body, NOW_NS + n * 10**9) for n in range(60))
    large = (Part(source(name), 0, rows, pod=f"pod-{name}") for name in "ab")
    small = (Part(source(name), 0, rows[:10], pod=f"pod-{name}", namespace=name) for name in "cdef")
    await commit(old, *large, *small)
    await exported(old, out)
    files = manifest_of(out).of("logs")
    assert [(file.number, file.of) for file in files] == [(n + 1, len(files)) for n in range(len(files))]
    assert 5 < len(files) < 8
    assert sum(file.rows for file in files) == 160
    assert max(file.rows for file in files) * len(body) <= 1 << 20
    tables = [pq.read_table(out / file.name, columns=["namespace", "stream_id", "ts"]) for file in files]
    keys = [key for table in tables for key in zip(*(column.to_pylist() for column in table.columns), strict=True)]
    assert keys == sorted(keys)
    assert len({*keys}) == 160


async def test_what_was_stored_since_is_brought_by_a_second_export_and_import(moved: Moved) -> None:
    """Agents have sent the new store what they still had, joined another way or not; the rest comes from the old."""
    old, new, out = moved.old, moved.new, moved.out
    gone = (part("g", 0, [8]), part("b", 100, [130]))
    await commit(old, part("a", 400, [420, 440]), *gone)
    await commit(new, part("a", 400, [440, 460, 480]), part("h", 0, [3]))
    await exported(old, out)
    with pytest.raises(MovingError, match="of 5 of the export's log files already"):
        await imported(out, new)
    told = await imported(out, new, merge=True)
    assert [(day.rows, day.brought) for day in told.days] == [(2, 0), (2, 0), (2, 0), (14, 2)]
    found = await stored(new)
    assert [at for name, at in found if name == "a"] == [40, 100, 140, 200, 240, 300, 340, 400, 440, 460, 480]
    assert {("g", 8), ("b", 130), ("h", 3)} < {*found}
    assert len(found) == len({*found})
    assert await is_clean(new)
    again = await imported(out, new, merge=True)
    assert sum(day.brought for day in again.days) == 0
    assert await stored(new) == found


async def test_what_agents_sent_before_the_only_import_is_not_brought_twice(moved: Moved, tmp_path: Path) -> None:
    """The new store had what the nodes still held, joined another way; and of one file it has the end only."""
    old, new, out = moved.old, tmp_path / "another", moved.out
    await commit(new, part("e", 0, [9, 12, 20]), part("b", 0, [7, 20]), part("a", 0, range(100, 500, 100)))
    async with Engine.open(url(new), 1) as engine:
        await engine.execute(
            f"ALTER TABLE {LOGS} DELETE WHERE source = toUInt128('{int.from_bytes(source('a'), 'little')}') "
            "AND position <= 200 SETTINGS mutations_sync = 2"
        )
    await imported(out, new, merge=True)
    found = await stored(new)
    assert found == sorted({*(await stored(old)), ("e", 20)} - {("a", 240), ("a", 340)})
    assert await is_clean(new)


async def test_a_deletion_asked_for_in_between_is_done_again(moved: Moved) -> None:
    old, new, out = moved.old, moved.new, moved.out
    async with Engine.open(url(old), 1) as engine:
        jobs = await Deletions.read(engine)
        asked = await jobs.ask('{namespace="shop"} |= "AKIA"', 0, NOW_NS, NOW_NS / 1e9)
        ended = {"state": State.GONE, "last_day": 20_000, "records": 7}
        await jobs.change(asked.id, lambda job: msgspec.structs.replace(job, **ended))
    await exported(old, out)
    told = await imported(out, new, merge=True)
    assert told.deletions_queued == 1
    async with Engine.open(url(new), 1) as engine:
        found = {job.id: job.state for job in (await Deletions.read(engine)).all()}
    assert found.pop(asked.id) is State.QUEUED
    assert [*found.values()] == [State.DELETED]


async def test_an_empty_store_is_moved_as_well(tmp_path: Path) -> None:
    async with Engine.open(url(tmp_path / "old"), 1):
        pass
    done = await exported(tmp_path / "old", tmp_path / "out")
    assert (done.days, done.rows) == (0, 0)
    assert (await imported(tmp_path / "out", tmp_path / "another")).days == ()
