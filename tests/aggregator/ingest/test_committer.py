from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from aggregator.ingest import committer
from aggregator.ingest.committer import Hole, Stored, Unavailable
from aggregator.store.schema import LOGS, STREAMS
from tests.aggregator.records import DAY_S, NOW_NS, Part, batch, part, source
from tests.aggregator.stand import Stand, open_stand
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B, C = source("a"), source("b"), source("c")
DAY_NS = DAY_S * 10**9
ACTIVE_LOGS = "system.parts WHERE active AND table = 'logs'"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store") as opened:
        yield opened


async def test_what_is_stored_is_told_and_read_back(stand: Stand) -> None:
    (outcome,) = await stand.commit(batch(part("a", 0, [10, 20]), part("b", 0, [5], flags=Flag.STDERR)))
    assert outcome == Stored({A: 20, B: 5})
    rows = [(row.source, row.position, row.body, row.flags, row.stream) for row in await stand.rows()]
    assert rows == [("a", 10, "a@10", 0, "stdout"), ("a", 20, "a@20", 0, "stdout"), ("b", 5, "b@5", 1, "stderr")]


async def test_overlapping_batches_store_every_record_once(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [10, 20])))
    outcomes = await stand.commit(
        batch(part("a", 10, [20, 30])), batch(part("a", 0, [10, 20, 30, 40])), batch(part("a", 40, [50]))
    )
    assert outcomes == [Stored({A: 50})] * 3
    assert await stand.stored() == [("a", p) for p in (10, 20, 30, 40, 50)]
    assert stand.metric("rows_trimmed_total") == 4


async def test_replays_are_trimmed_from_the_store_too(tmp_path: Path) -> None:
    for _ in range(2):  # the second time nothing is remembered: the projection answers
        async with open_stand(tmp_path / "store") as stand:
            assert await stand.commit(batch(part("a", 0, [10, 20]))) == [Stored({A: 20})]
            assert await stand.stored() == [("a", 10), ("a", 20)]


async def test_a_hole_is_refused_and_nothing_of_its_request_stored(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [10])))
    outcomes = await stand.commit(batch(part("b", 0, [5]), part("a", 20, [30])), batch(part("c", 0, [1])))
    assert outcomes == [Hole({A: 10, B: 0}), Stored({C: 1})]
    assert await stand.stored() == [("a", 10), ("c", 1)]


@pytest.mark.parametrize(
    ("misfit", "start", "end"),
    [
        (part("a", 20, [30]), 20, 30),  # a hole
        (part("a", 0, [5, 15]), 0, 15),  # a record across the committed position
    ],
)
async def test_the_chunk_that_is_refused_is_named(
    stand: Stand, caplog: pytest.LogCaptureFixture, misfit: Part, start: int, end: int
) -> None:
    await stand.commit(batch(part("a", 0, [10]), part("b", 0, [10])))
    with caplog.at_level("INFO", "aggregator.ingest.committer"):
        await stand.commit(batch(part("b", 10, [20]), misfit))
    (told,) = [record for record in caplog.records if "does not continue" in record.getMessage()]
    found = vars(told)["fields"]
    assert (found["source"], found["start"], found["end"], found["committed"]) == (A.hex(), start, end, 10)


async def test_a_gap_record_bridges_a_hole(stand: Stand) -> None:
    outcomes = await stand.commit(batch(part("a", 500, [501], flags=Flag.GAP)))
    assert outcomes == [Stored({A: 501})]


async def test_one_group_of_one_day_is_one_part(stand: Stand) -> None:
    await stand.engine.execute("SYSTEM STOP MERGES")
    outcomes = await stand.commit(*(batch(part(f"s{i}", 0, [1, 2, 3]), node=f"n{i}") for i in range(20)))
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert await stand.count(ACTIVE_LOGS) == 1
    assert await stand.count(LOGS) == 60


async def test_requests_that_arrive_during_a_commit_are_committed_together(stand: Stand) -> None:
    await asyncio.gather(*(stand.commit(batch(part(f"s{i}", 0, [1]), node=f"n{i}")) for i in range(40)))
    assert stand.metric("group_requests_sum") == 40
    assert stand.metric("group_requests_count") <= 2


async def test_a_group_over_several_days_makes_a_part_a_day(stand: Stand) -> None:
    await stand.engine.execute("SYSTEM STOP MERGES")
    days = [part("a", 0, [1, 2], time=NOW_NS - DAY_NS), part("a", 2, [3], time=NOW_NS)]
    assert await stand.commit(batch(*days)) == [Stored({A: 3})]
    assert await stand.count(ACTIVE_LOGS) == 2
    assert await stand.count(STREAMS) == 2


async def test_the_far_future_is_a_day_of_its_own(stand: Stand) -> None:
    far = 106_000 * DAY_NS
    assert await stand.commit(batch(part("a", 0, [1], time=far), part("a", 1, [2]))) == [Stored({A: 2})]
    assert await stand.count(f"{LOGS} WHERE ts >= '2260-01-01 00:00:00'") == 1
    assert await stand.count(f"{STREAMS} WHERE day > '2260-01-01'") == 1


async def test_older_than_the_retention_is_acknowledged_and_counted(stand: Stand) -> None:
    outcomes = await stand.commit(batch(part("a", 0, [1], time=NOW_NS - 8 * DAY_NS), part("a", 1, [2])))
    assert outcomes == [Stored({A: 2})]
    assert await stand.stored() == [("a", 2)]
    assert stand.metric("rows_expired_total", reason="age") == 1


async def test_labels_are_written_once_a_stream_and_day(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [1])))
    stand.streams.forget()
    await stand.commit(batch(part("a", 1, [2])))
    assert await stand.count(STREAMS) == 1


async def test_a_failing_store_answers_unavailable_and_heals(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [1])))
    await stand.engine.execute(f"DETACH TABLE {LOGS}")
    (outcome,) = await stand.commit(batch(part("a", 1, [2])))
    assert isinstance(outcome, Unavailable)
    assert stand.committer.refused()
    await stand.engine.execute(f"ATTACH TABLE {LOGS}")
    assert await stand.commit(batch(part("a", 1, [2]))) == [Stored({A: 2})]
    assert stand.committer.refused() is None
    assert await stand.stored() == [("a", 1), ("a", 2)]


async def test_a_failure_is_told_for_a_while_only(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.engine.execute(f"DETACH TABLE {LOGS}")
    await stand.commit(batch(part("a", 0, [1])))
    assert stand.committer.refused()
    assert stand.metric("ingest_refused", reason="failed") == 1
    monkeypatch.setattr(committer, "REFUSED_S", 0.05)
    async with asyncio.timeout(10):
        while stand.committer.refused():
            await asyncio.sleep(0.01)
    assert stand.metric("ingest_refused", reason="failed") == 0


async def test_a_failure_between_two_inserts_leaves_nothing_twice(stand: Stand) -> None:
    await stand.engine.execute(f"ALTER TABLE {LOGS} ADD CONSTRAINT no_three CHECK position != 3")
    days = batch(part("a", 0, [1, 2], time=NOW_NS - DAY_NS), part("a", 2, [3], time=NOW_NS))
    (outcome,) = await stand.commit(days)
    assert isinstance(outcome, Unavailable)
    assert await stand.stored() == [("a", 1), ("a", 2)]
    assert await stand.positions.of([A]) == {A: 2}
    await stand.engine.execute(f"ALTER TABLE {LOGS} DROP CONSTRAINT no_three")
    assert await stand.commit(days) == [Stored({A: 3})]
    assert await stand.stored() == [("a", 1), ("a", 2), ("a", 3)]


async def test_a_request_that_keeps_failing_does_not_block_others(stand: Stand) -> None:
    await stand.engine.execute(f"ALTER TABLE {LOGS} ADD CONSTRAINT healthy CHECK body NOT LIKE 'poison%'")
    poison = batch(part("poison", 0, [1]), node="bad")
    good = [batch(part(f"s{i}", 0, [1]), node=f"n{i}") for i in range(4)]
    first = await stand.commit(poison, *good)
    assert all(isinstance(outcome, Unavailable) for outcome in first), "they shared its group"
    second = await stand.commit(poison, *good)
    assert [type(outcome) for outcome in second] == [Unavailable, Stored, Stored, Stored, Stored]
    more = [batch(part(f"s{i}", 1, [2]), node=f"n{i}") for i in range(4)]
    groups = stand.metric("group_requests_count")
    third = await stand.commit(poison, *more)
    assert [type(outcome) for outcome in third] == [Unavailable, Stored, Stored, Stored, Stored]
    assert stand.metric("group_requests_count") == groups + 2, "only the bad one is still committed alone"


async def test_a_full_disk_says_so_and_casts_no_suspicion(stand: Stand) -> None:
    await stand.engine.execute(f"ALTER TABLE {LOGS} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")
    both = [batch(part("a", 0, [1]), node="n1"), batch(part("b", 0, [1]), node="n2")]
    outcomes = await stand.commit(*both)
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Unavailable)] == [
        "the store's disk is full, but for its reserve"
    ] * 2
    assert stand.committer.refused() == "the store's disk is full, but for its reserve"
    refused = {why: stand.metric("ingest_refused", reason=why) for why in committer.Refused}
    assert [why for why, holds in refused.items() if holds] == ["disk full"]
    await stand.engine.execute(f"ALTER TABLE {LOGS} RESET SETTING min_free_disk_bytes_to_perform_insert")
    groups = stand.metric("group_requests_count")
    assert await stand.commit(*both) == [Stored({A: 1}), Stored({B: 1})]
    assert stand.metric("group_requests_count") == groups + 1


async def test_whoever_stops_waiting_does_not_undo_the_commit(stand: Stand) -> None:
    impatient = asyncio.create_task(stand.committer.commit(batch(part("a", 0, [1])), 100))
    await asyncio.sleep(0)  # let it enter the queue
    impatient.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await impatient
    assert await stand.commit(batch(part("b", 0, [1]))) == [Stored({B: 1})]
    assert await stand.stored() == [("a", 1), ("b", 1)]


async def test_stopping_finishes_the_group_and_turns_away_the_rest(tmp_path: Path) -> None:
    async with open_stand(tmp_path / "store") as stand:
        committing = asyncio.create_task(stand.committer.commit(batch(part("a", 0, [1])), 100))
        async with asyncio.timeout(10):
            while not stand.metric("group_requests_count"):
                await asyncio.sleep(0)
        waiting = asyncio.create_task(stand.committer.commit(batch(part("b", 0, [1])), 100))
        await asyncio.sleep(0)  # let it enter the queue
    assert await committing == Stored({A: 1})
    turned_away = await waiting
    assert isinstance(turned_away, Unavailable)
    assert turned_away.reason == "the aggregator is stopping"
    late = await stand.committer.commit(batch(part("c", 0, [1])), 100)
    assert isinstance(late, Unavailable)
    async with open_stand(tmp_path / "store") as again:
        assert await again.stored() == [("a", 1)]
