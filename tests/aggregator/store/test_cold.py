"""Old days in a bucket of a real S3 server: moved, read, dropped; while it is away, and after it came back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import msgspec
import pytest

from aggregator.check.examine import examine
from aggregator.errors import StoreColdError, StoreError
from aggregator.ingest.committer import Stored
from aggregator.store import disk, erasure, moved
from aggregator.store.cold import Cold
from aggregator.store.commits import Commits
from aggregator.store.embedded import Embedded
from aggregator.store.erasure import Going
from aggregator.store.schema import LOGS
from tests.aggregator.records import DAY_S, NOW_NS, NOW_S, batch, part, source
from tests.aggregator.stand import RETENTION_S, Stand, open_stand
from tests.bucket import SECRET, Bucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aggregator.store.tier import Tier

A, B = source("a"), source("b")
AFTER_S: Final = 2.0 * DAY_S
DEADLINE_S: Final = 60.0
POLL_S: Final = 0.01
TODAY: Final = NOW_S // DAY_S
# As `aggregator.store.retention.oldest_day` says of `AFTER_S`.
COLD_DAYS: Final = [TODAY - 4, TODAY - 3]
LOCAL_DAYS: Final = [TODAY - 2, TODAY - 1, TODAY]


@pytest.fixture
def bucket(server: Bucket) -> Bucket:
    """The server, there: the test before may have left it away."""
    server.start()
    return server


def days_ago(days: int) -> int:
    return NOW_NS - days * DAY_S * 10**9


def cold_of(stand: Stand, tier: Tier, now_s: float = NOW_S) -> Cold:
    assert isinstance(stand.engine, Embedded)
    return Cold(
        stand.engine, tier, after_s=AFTER_S, retention_s=RETENTION_S, clock=lambda: now_s, metrics=stand.metrics
    )


@contextlib.asynccontextmanager
async def opened(path: Path, tier: Tier) -> AsyncIterator[Stand]:
    async with open_stand(path / "store", tier=tier) as stand:
        yield stand


async def fill(stand: Stand) -> None:
    """Four days and today of one source, and one source that wrote long ago only: two parts of the oldest day."""
    ends = ((day, [day * 20 + more for more in (5, 10, 20)]) for day in range(5))
    await stand.commit(batch(*(part("a", day * 20, found, time=days_ago(4 - day)) for day, found in ends)))
    await stand.commit(batch(part("b", 0, [7], time=days_ago(4))))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(POLL_S)


class Found(msgspec.Struct):
    day: int
    rows: int


async def days_in(stand: Stand, where: str) -> dict[int, int]:
    rows = await stand.engine.rows(
        "SELECT toInt32(toDate32(ts)) AS day, toUInt64(countIf(length(body) > 0)) AS rows "  # noqa: S608 - constants
        f"FROM {LOGS} WHERE {where} GROUP BY day",
        Found,
    )
    return {row.day: row.rows for row in rows}


async def removed(stand: Stand) -> int:
    """How often the engine has asked the server to remove something, so far."""
    rows = await stand.engine.rows(
        "SELECT toInt32(0) AS day, toUInt64(sum(value)) AS rows FROM system.events WHERE event = 'DiskS3DeleteObjects'",
        Found,
    )
    return rows[0].rows


async def test_old_days_go_and_can_be_read_and_are_dropped_there(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("moves", cache_bytes=1 << 20)
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        before = await stand.stored()
        await cold_of(stand, tier).tidy()

        assert await days_in(stand, moved.IS_LOCAL) == {TODAY - 2: 3, TODAY - 1: 3, TODAY: 3}
        assert await days_in(stand, "1") == {TODAY - 4: 4, **dict.fromkeys(range(TODAY - 3, TODAY + 1), 3)}
        assert await stand.stored() == before
        assert stand.metric("cold_moved_parts_total") == 3
        (logs,) = [table for table in await disk.tables(stand.engine) if table.name == "logs"]
        assert logs.cold_bytes == stand.metric("cold_moved_bytes_total") > 0
        assert stand.metric("cold_last_move_timestamp_seconds") == NOW_S
        assert bucket.objects("moves") > 3 * 10

        later_s = NOW_S + 4 * DAY_S
        retention = stand.retention(lambda: later_s)
        await retention.drop()
        assert len(await days_in(stand, "1")) == 5
        assert stand.metric("days_dropped_total", table="logs", reason="age") == 0
        await cold_of(stand, tier, later_s).tidy()
        assert sorted(await days_in(stand, "1")) == list(range(TODAY - 3, TODAY + 1))
        await retention.drop()
        assert await stand.count(f"{moved.MOVED} WHERE toInt32(day) < {TODAY - 3}") == 0
    report = await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)
    assert report.is_clean
    shutil.rmtree(tmp_path / "store")


async def test_what_comes_late_follows_and_what_was_committed_is_known(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("late")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        cold = cold_of(stand, tier)
        await cold.tidy()
        stand.positions.forget([A, B])
        assert await stand.positions.of([A, B]) == {A: 100, B: 7}
        again = batch(part("b", 0, [7, 9], time=days_ago(4)))
        assert await stand.commit(again) == [Stored({B: 9})]
        await cold.tidy()
        assert TODAY - 4 not in await days_in(stand, moved.IS_LOCAL)
        last_ms = stand.commits.last_ms
    async with opened(tmp_path, tier) as stand:
        assert stand.commits.last_ms == last_ms
        assert await stand.positions.of([A, B]) == {A: 100, B: 9}
        assert await stand.commit(again) == [Stored({B: 9})]
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_while_it_is_away_only_what_lies_there_is_missed(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("away")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        cold = cold_of(stand, tier)
        await cold.tidy()
        bucket.stop()
        began_s = time.monotonic()
        with pytest.raises(StoreColdError):
            await days_in(stand, f"toInt32(toDate32(ts)) = {TODAY - 4}")
        assert await days_in(stand, f"toInt32(toDate32(ts)) >= {TODAY - 2}") == {TODAY - 2: 3, TODAY - 1: 3, TODAY: 3}
        stand.positions.forget([A, B])
        assert await stand.positions.of([A, B]) == {A: 100, B: 7}
        assert await stand.commit(batch(part("b", 7, [9]), part("b", 9, [11], time=days_ago(3)))) == [Stored({B: 11})]
        assert (await Commits.read(stand.engine)).last_ms == stand.commits.last_ms
        assert {table.name for table in await disk.tables(stand.engine)} >= {"logs", "moved"}
        with pytest.raises(StoreError, match="does not answer"):
            await cold.tidy()
        assert time.monotonic() - began_s < 20
        bucket.start()
        await cold.tidy()
        assert len(await stand.stored()) == 18
        assert await days_in(stand, moved.IS_LOCAL) == {TODAY - 2: 3, TODAY - 1: 3, TODAY: 4}
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_started_while_it_is_away_it_serves_what_is_local(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("start")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        await cold_of(stand, tier).tidy()
        before = await stand.stored()
    bucket.stop()
    async with opened(tmp_path, tier) as stand:
        assert sorted(stand.engine.aside.parts) == COLD_DAYS
        assert await days_in(stand, "1") == {TODAY - 2: 3, TODAY - 1: 3, TODAY: 3}
        with pytest.raises(StoreColdError):
            stand.engine.aside.need(days_ago(4), NOW_NS)
        stand.engine.aside.need(days_ago(2), NOW_NS)
        assert await stand.positions.of([A, B]) == {A: 100, B: 7}
        # New parts of a day that is set aside must not be mistaken for those.
        assert await stand.commit(batch(part("b", 0, [7, 9], time=days_ago(4)))) == [Stored({B: 9})]
    with pytest.raises(StoreError, match="cold tier is away"):
        await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)
    async with opened(tmp_path, tier) as stand:
        with pytest.raises(StoreColdError):
            await cold_of(stand, tier).tidy()
        bucket.start()
        await cold_of(stand, tier).tidy()
        assert stand.engine.aside.parts == {}
        stand.engine.aside.need()
        assert await stand.stored() == [*before, ("b", 9)]
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_a_part_whose_move_was_cut_off_is_there_once(tmp_path: Path, bucket: Bucket) -> None:
    """The copy is in its place, the original not removed yet: both may be found after kill -9."""
    tier = bucket.tier("cut")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        before = await stand.stored()
        shutil.copytree(tmp_path / "store/engine", tmp_path / "kept", symlinks=True)
        await cold_of(stand, tier).tidy()
    local = tmp_path / "store/engine/store"
    for kept in (tmp_path / "kept/store").glob("*/*/[0-9]*_*_*_*"):
        back = local / kept.relative_to(tmp_path / "kept/store")
        if not back.exists() and (back.parent / "format_version.txt").exists():
            shutil.copytree(kept, back)
    for is_away in (True, False):
        if is_away:
            bucket.stop()
        async with opened(tmp_path, tier) as stand:
            assert await stand.stored() == before
            if is_away:
                bucket.start()
                await cold_of(stand, tier).tidy()
                assert await stand.stored() == before
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_the_key_is_for_its_owner_and_a_wrong_one_or_another_bucket_is_named(
    tmp_path: Path, bucket: Bucket
) -> None:
    tier = bucket.tier("guard")
    store = tmp_path / "store"
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        await cold_of(stand, tier).tidy()
        before = await stand.stored()
    with_key = [path for path in store.rglob("*") if path.is_file() and escape(SECRET).encode() in path.read_bytes()]
    assert with_key == [store / "engine.xml"]
    assert with_key[0].stat().st_mode & 0o777 == 0o600
    assert SECRET not in repr(tier)
    for other in (None, bucket.tier("elsewhere")):
        with pytest.raises(StoreError, match="s3://logs/guard"):
            async with open_stand(store, tier=other):
                pass
    wrong = bucket.tier("guard", key="nobody")
    async with opened(tmp_path, wrong) as stand:
        assert sorted(stand.engine.aside.parts) == COLD_DAYS
        with pytest.raises(StoreColdError, match=r"(?i)access key") as raised:
            await cold_of(stand, wrong).tidy()
        assert SECRET not in str(raised.value)
    async with opened(tmp_path, tier) as stand:
        await cold_of(stand, tier).tidy()
        assert await stand.stored() == before


async def test_a_tier_with_nothing_in_it_can_be_left(tmp_path: Path, bucket: Bucket) -> None:
    async with opened(tmp_path, bucket.tier("left")) as stand:
        await stand.commit(batch(part("a", 0, [5])))
    async with open_stand(tmp_path / "store") as stand:
        assert await stand.stored() == [("a", 5)]
        assert await stand.positions.of([A]) == {A: 5}


async def test_a_move_outlives_the_server_and_ends_when_the_aggregator_stops(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("cut-off")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        before = await stand.stored()
        cold = cold_of(stand, tier)
        removals = await removed(stand)
        tidying = asyncio.create_task(cold.tidy())
        await until(lambda: bucket.objects("cut-off") > 0)
        bucket.stop()
        # It has failed, and what was copied is to be removed.
        while await removed(stand) == removals:
            await asyncio.sleep(POLL_S)
        bucket.start()
        with pytest.raises(StoreColdError):
            await tidying
        moved_parts = stand.metric("cold_moved_parts_total")
        assert moved_parts < 3
        assert await stand.stored() == before

        running = asyncio.create_task(cold.run())
        await until(lambda: stand.metric("cold_moved_parts_total") > moved_parts)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with opened(tmp_path, tier) as stand:
        assert await stand.stored() == before
        await cold_of(stand, tier).tidy()
        assert sorted(await days_in(stand, moved.IS_LOCAL)) == LOCAL_DAYS
        assert await stand.stored() == before
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_records_are_deleted_out_of_a_day_that_has_moved(tmp_path: Path, bucket: Bucket) -> None:
    tier = bucket.tier("erased")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        await cold_of(stand, tier).tidy()
        going = Going(TODAY - 3, "body = 'a@25'", {}, stand.commits.last_ms, "test")
        assert await erasure.erase(stand.engine, going) == 1
        assert ("a", 25) not in [(row.source, row.position) for row in await stand.rows() if row.body]
        await cold_of(stand, tier).tidy()
        stand.positions.forget([A, B])
        assert await stand.positions.of([A, B]) == {A: 100, B: 7}
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean


async def test_a_part_that_is_gone_there_is_named_by_check_and_keeps_nothing_else(
    tmp_path: Path, bucket: Bucket
) -> None:
    tier = bucket.tier("gone")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        await cold_of(stand, tier).tidy()
    bucket.remove("gone")
    async with opened(tmp_path, tier) as stand:
        assert sorted(stand.engine.aside.parts) == COLD_DAYS
        await cold_of(stand, tier).tidy()
        assert stand.engine.aside.parts == {}
        assert len(await stand.stored()) == 9
    report = await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)
    assert sorted(broken.day for broken in report.set_aside) == ["2024-09-30", "2024-09-30", "2024-10-01"]


async def test_what_a_power_cut_took_of_a_move_is_put_back(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has moved the parts, and nothing of where to was durable: files without bytes, and one not there."""
    tier = bucket.tier("power")
    async with opened(tmp_path, tier) as stand:
        await fill(stand)
        before = await stand.stored()
        with monkeypatch.context() as patch:
            patch.setattr("aggregator.store.cold.settle", lambda *_: None)
            await cold_of(stand, tier).tidy()
    lost, *others = sorted((tmp_path / "store/cold").glob("store/*/*/[0-9]*"))
    shutil.rmtree(lost)
    for path in others[0].iterdir():
        if path.is_file():
            path.write_bytes(b"")
    async with opened(tmp_path, tier) as stand:
        assert stand.engine.aside.parts == {}
        assert await stand.stored() == before
        await cold_of(stand, tier).tidy()
        assert await stand.stored() == before
        assert stand.metric("cold_moved_parts_total") == 3
    assert not list((tmp_path / "store/moving").glob("store/*/*/*"))
    assert (await examine(f"chdb://{tmp_path}/store", lambda _, __: None, tier)).is_clean
