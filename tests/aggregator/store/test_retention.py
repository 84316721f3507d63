from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from aggregator.errors import StoreError
from aggregator.ingest.committer import Stored
from aggregator.store import erasure, schema
from aggregator.store.commits import Commits
from aggregator.store.deletions import Deletions
from aggregator.store.engine import Engine
from aggregator.store.floor import Floor
from aggregator.store.schema import DELETIONS, FLOORS, LOGS, STREAMS
from aggregator.store.terms import Rule, Terms
from tests.aggregator.records import DAY_S, NOW_NS, NOW_S, Part, Record, batch, part, source
from tests.aggregator.stand import RETENTION_S, Stand, open_stand
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B = source("a"), source("b")
TERMS = Terms(RETENTION_S, (Rule("kube-*", 2.0 * DAY_S), Rule("audit", 30.0 * DAY_S)))
NOISE = 4_000
# What a day of `large` takes on disk, and a little more.
LARGE_BYTES = 64 * NOISE + 10_000


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store", terms=TERMS) as opened:
        yield opened


def days_ago(days: float) -> int:
    """A time, ns."""
    return NOW_NS - int(days * DAY_NS)


def large(name: str, days: float, start: int = 0, *, span_ns: int = 60 * 10**9) -> Part:
    """A few lines that do not compress, spread over a time that ends ``days`` ago."""
    count = 64
    noise = [Random(f"{name}{days}{n}").randbytes(NOISE) for n in range(count)]
    first = days_ago(days) - span_ns
    records = (Record(start + n + 1, body, first + span_ns * n // count) for n, body in enumerate(noise))
    return Part(source(name), start, tuple(records))


async def test_days_that_are_over_go_with_their_labels_and_what_is_sent_again_stays_away(stand: Stand) -> None:
    days = [part("a", day, [day + 1], time=days_ago(6 - day)) for day in range(7)]
    assert await stand.commit(batch(*days)) == [Stored({A: 7})]
    retention = stand.retention(lambda: NOW_S + 26 * DAY_S)

    await retention.drop()
    await retention.drop()

    assert await stand.records() == [("a", position) for position in (3, 4, 5, 6, 7)]
    assert await stand.count(STREAMS) == 5
    assert stand.metric("days_dropped_total", table="logs", reason="age") == 2
    assert stand.metric("days_dropped_total", table="streams", reason="age") == 2


async def test_what_is_dropped_by_age_is_not_stored_again(tmp_path: Path) -> None:
    now = [float(NOW_S)]
    async with open_stand(tmp_path / "store", lambda: now[0]) as stand:
        await stand.commit(batch(part("a", 0, [1, 2])))
        now[0] += 8 * DAY_S
        await stand.retention(lambda: now[0]).drop()
        stand.positions.forget([A])
        assert await stand.positions.of([A]) == {A: 0}
        assert await stand.commit(batch(part("a", 0, [1, 2]))) == [Stored({A: 2})]
        assert await stand.count(LOGS) == 0
        assert stand.metric("rows_expired_total", reason="age") == 2


async def test_a_far_future_day_is_kept(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [1], time=106_000 * DAY_NS)))
    await stand.retention(lambda: NOW_S).drop()
    assert await stand.count(LOGS) == 1


async def test_the_oldest_days_go_until_the_store_is_small_enough(stand: Stand) -> None:
    for day in range(4):
        await stand.commit(batch(large("a", 3 - day, 64 * day)))
    await stand.retention(lambda: NOW_S, 10 * LARGE_BYTES).drop()
    assert await stand.count(LOGS) == 4 * 64

    await stand.retention(lambda: NOW_S, int(2.5 * LARGE_BYTES)).drop()

    assert {position for _, position in await stand.records()} == set(range(129, 257))
    assert await stand.count(STREAMS) == 2
    assert stand.metric("days_dropped_total", table="logs", reason="size") == 2
    assert stand.floor.at_ns == days_ago(1) // DAY_NS * DAY_NS


async def test_what_is_dropped_for_want_of_room_is_not_stored_again_by_the_next_process_either(tmp_path: Path) -> None:
    old, new = large("a", 1), large("b", 0)
    async with open_stand(tmp_path / "store") as stand:
        await stand.commit(batch(old), batch(new))
        await stand.retention(lambda: NOW_S, int(1.5 * LARGE_BYTES)).drop()
        assert len(await stand.records()) == 64
    async with open_stand(tmp_path / "store") as stand:
        assert stand.floor.at_ns > 0
        assert await stand.positions.of([A, B]) == {A: 0, B: 64}
        assert await stand.commit(batch(old), batch(new)) == [Stored({A: 64}), Stored({B: 64})]
        assert {name for name, _ in await stand.records()} == {"b"}
        assert stand.metric("rows_expired_total", reason="size") == 64
        assert stand.metric("rows_expired_total", reason="age") == 0


async def test_of_one_day_that_is_too_large_the_oldest_records_go(tmp_path: Path) -> None:
    span_ns = 64 * 60 * 10**9
    day = large("a", 0, span_ns=span_ns)
    async with open_stand(tmp_path / "store") as stand:
        await stand.commit(batch(day))
        await stand.commit(batch(part("b", 0, [9])))
        retention = stand.retention(lambda: NOW_S, LARGE_BYTES // 2)
        await retention.drop()
        left = [position for name, position in await stand.records() if name == "a"]
        assert 10 < len(left) < 35
        assert left == list(range(left[0], 65))
        assert ("b", 9) in await stand.records()
        assert stand.metric("rows_deleted_total", reason="size") == 64 - len(left)
        assert await stand.is_whole()
        floor_ns = stand.floor.at_ns
        await retention.drop()
        assert stand.floor.at_ns == floor_ns, "small enough now"
    async with open_stand(tmp_path / "store") as stand:
        # All of a file whose beginning is gone, and one that came late.
        late = Part(source("late"), 0, (Record(1, b"x", floor_ns - 1), Record(2, b"x", floor_ns)))
        assert await stand.commit(batch(day, late)) == [Stored({A: 64, late.source: 2})]
        assert [each for each in await stand.records() if each[0] != "b"] == [
            *(("a", position) for position in left),
            ("late", 2),
        ]


@pytest.mark.parametrize("is_older", [False, True])
async def test_days_go_for_want_of_room_also_where_the_reserve_is_all_that_is_left(
    tmp_path: Path, *, is_older: bool
) -> None:
    path = tmp_path / "store"
    async with open_stand(path) as stand:
        await stand.commit(batch(*(part(f"s{days}", 0, [1], time=days_ago(days)) for days in range(3))))
        for table in (FLOORS, DELETIONS) if is_older else ():  # as they were made at first
            await stand.engine.execute(f"ALTER TABLE {table} RESET SETTING min_free_disk_bytes_to_perform_insert")
    async with Engine.open(f"chdb://{path}", 2, reserve_bytes=1 << 50) as engine:
        await schema.create(engine)
        stand = Stand(engine, await Commits.read(engine), lambda: float(NOW_S), await Floor.read(engine), TERMS)
        await stand.retention(lambda: NOW_S, 1).drop()
        assert await stand.records() == [("s0", 1)]
        deletions = await Deletions.read(engine)
        assert await deletions.ask('{namespace="shop"}', 0, 1, NOW_S)


@pytest.mark.parametrize("step", ["mark", "begin"])
async def test_a_cut_that_failed_is_made_by_the_next_round(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await stand.commit(batch(large("a", 0, span_ns=64 * 60 * 10**9)))
    retention = stand.retention(lambda: NOW_S, LARGE_BYTES // 2)
    with monkeypatch.context() as patched:

        async def refuse(*_: object) -> int:
            raise StoreError("no memory for that")

        patched.setattr(erasure, step, refuse)
        with pytest.raises(StoreError):
            await retention.drop()
    assert len(await stand.records()) == 64
    await retention.drop()
    left = len(await stand.records())
    assert 10 < left < 35
    assert stand.metric("rows_deleted_total", reason="size") == 64 - left
    assert await stand.is_whole()


async def test_a_day_to_come_costs_nobody_else_their_records(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    await stand.commit(batch(large("a", -400)), batch(part("b", 0, [1])))
    await stand.retention(lambda: NOW_S, LARGE_BYTES // 2).drop()
    assert len(await stand.records()) == 65
    assert stand.floor.at_ns == 0
    assert "nothing older is left" in caplog.text


async def test_markers_stay_where_the_oldest_records_of_a_day_go(stand: Stand) -> None:
    pair = (
        Part(source("c"), 0, (), 70, joint=True),
        Part(source("d"), 0, (Record(30, b"x", days_ago(0.2)),)),
    )
    await stand.commit(batch(*pair), batch(large("a", 0)))
    await stand.retention(lambda: NOW_S, LARGE_BYTES // 2).drop()
    assert ("d", 30) not in await stand.records()
    assert await stand.reached(source("c")) == {source("c"): 70}


async def test_namespaces_go_by_their_own_rules_and_their_positions_stay(stand: Stand) -> None:
    spaces = ("shop", "kube-system", "audit")
    parts = [part(name, 0, [5, 9], time=days_ago(1.2), namespace=name) for name in spaces]
    mixed = [part("new", 0, [5], time=days_ago(1.2), namespace="kube-new"), part("new", 5, [7], namespace="kube-new")]
    await stand.commit(batch(*parts, *mixed))
    labels = await stand.count(STREAMS)

    retention = stand.retention(lambda: NOW_S + 1.5 * DAY_S)
    await retention.thin_out()

    assert await stand.records() == [("audit", 5), ("audit", 9), ("new", 7), ("shop", 5), ("shop", 9)]
    assert await stand.count(STREAMS) == labels - 2
    assert stand.metric("rows_deleted_total", reason="namespace") == 3
    assert await stand.is_whole()
    everything = [source(name) for name in (*spaces, "new")]
    assert await stand.reached(*everything) == dict(zip(everything, (9, 9, 9, 7), strict=True))
    # It is sent again from the beginning: what is stored already is trimmed.
    await stand.commit(batch(*parts, *mixed))
    assert len(await stand.records()) == 5

    before = await stand.count(LOGS)
    await retention.thin_out()
    assert await stand.count(LOGS) == before, "nothing is over: no markers"


async def test_commits_do_not_wait_until_labels_of_namespaces_are_gone(stand: Stand) -> None:
    spaces = ("shop", "kube-system")
    await stand.commit(batch(*(part(name, 0, [5], time=days_ago(1.2), namespace=name) for name in spaces)))
    await stand.engine.execute(f"SYSTEM STOP MERGES {STREAMS}")  # mutations as well
    thinning = asyncio.create_task(stand.retention(lambda: NOW_S + 1.5 * DAY_S).thin_out())
    begun = "system.mutations WHERE table = 'streams' AND command LIKE '%namespace%'"
    try:
        async with asyncio.timeout(10.0):
            while not await stand.count(begun):
                await asyncio.sleep(0.02)
            await stand.commit(batch(part("new", 0, [5])))
        assert not thinning.done()
    finally:
        await stand.engine.execute(f"SYSTEM START MERGES {STREAMS}")
        await thinning
    assert await stand.records() == [("new", 5), ("shop", 5)]
    assert await stand.count(STREAMS) == 2


async def test_late_records_of_a_namespace_that_is_over_are_acknowledged_and_not_stored(stand: Stand) -> None:
    late = [part(name, 0, [5], time=days_ago(4), namespace=name) for name in ("shop", "kube-system", "audit")]
    assert await stand.commit(batch(*late)) == [Stored({each.source: 5 for each in late})]
    assert await stand.records() == [("audit", 5), ("shop", 5)]
    assert stand.metric("rows_expired_total", reason="age") == 1


async def test_a_day_stays_as_long_as_some_namespace_needs_it(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [5], namespace="audit"), part("b", 0, [5])))
    for days, left in ((20, [("a", 5)]), (31, [])):
        retention = stand.retention(partial(float, NOW_S + days * DAY_S))
        await retention.drop()
        await retention.thin_out()
        assert await stand.records() == left
    assert await stand.count(LOGS) == 0


async def test_the_floor_only_rises(stand: Stand) -> None:
    for at_ns in (5, 9, 7):
        await stand.floor.lift(at_ns)
    assert stand.floor.at_ns == 9
    assert (await Floor.read(stand.engine)).at_ns == 9


class _Part(msgspec.Struct):
    rows: int


async def test_markers_are_one_part_of_the_day_of_what_goes(stand: Stand) -> None:
    parts = [part(f"s{n}", 0, [1], time=days_ago(1.2), namespace="kube-system") for n in range(20)]
    await stand.commit(batch(*parts))
    await stand.retention(lambda: NOW_S + 1.5 * DAY_S).thin_out()
    found = await stand.engine.rows(
        "SELECT rows FROM system.parts WHERE database = 'logboom' AND table = 'logs' AND active AND rows > 0", _Part
    )
    assert found == [_Part(20)]
    assert await stand.count(f"{LOGS} WHERE toDate32(ts) = addDays(toDate32('1970-01-01'), {NOW_S // DAY_S - 1})") == 20
