"""What was asked to be deleted is, once, whatever happens in between; and no agent has a reason to send it again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from aggregator.errors import StoreError
from aggregator.ingest.committer import Stored
from aggregator.store import coverage, erasure
from aggregator.store import deletions as jobs_of
from aggregator.store.deletions import Deletion, Deletions, State
from aggregator.store.eraser import Eraser
from aggregator.store.erasure import Going
from aggregator.store.schema import FRAMING_UNKNOWN, IS_RECORD, LOGS
from tests.aggregator.records import DAY_S, NOW_NS, NOW_S, Part, Record, batch, part, source
from tests.aggregator.stand import Stand, open_stand
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

A, B = source("a"), source("b")
DEADLINE_S = 60.0
# Replaced parts are removed at once, not after a minute.
QUICK = (
    "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1, "
    "cleanup_delay_period_random_add = 0"
)
ALL = (0, NOW_NS + DAY_NS)


class Erasing:
    """Deletions of a stand's store; `running` works them off."""

    def __init__(self, stand: Stand, deletions: Deletions) -> None:
        self.stand = stand
        self.deletions = deletions
        self.eraser = Eraser(stand.engine, stand.commits, deletions, stand.metrics, lambda: float(NOW_S))

    @classmethod
    async def of(cls, stand: Stand) -> Erasing:
        return cls(stand, await Deletions.read(stand.engine))

    async def ask(self, query: str, start_ns: int = ALL[0], end_ns: int = ALL[1]) -> str:
        return (await self.deletions.ask(query, start_ns, end_ns, NOW_S)).id

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.eraser.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def job(self, name: str) -> Deletion:
        found = self.deletions.get(name)
        assert found is not None
        return found

    async def until(self, name: str, holds: Callable[[Deletion], bool]) -> Deletion:
        async with asyncio.timeout(DEADLINE_S):
            while not holds(self.job(name)):
                await asyncio.sleep(0.02)
        return self.job(name)

    async def delete(self, query: str, start_ns: int = ALL[0], end_ns: int = ALL[1]) -> Deletion:
        name = await self.ask(query, start_ns, end_ns)
        async with self.running():
            return await self.until(name, lambda job: not job.state.is_open)


@pytest.fixture
async def erasing(tmp_path: Path) -> AsyncIterator[Erasing]:
    async with open_stand(tmp_path / "store", connections=3) as stand:
        yield await Erasing.of(stand)


def log(name: str, *lines: tuple[int, bytes, float], namespace: str = "shop", pod: str = "web-0") -> Part:
    """Lines: position, text, days ago."""
    records = tuple(Record(position, body, NOW_NS - int(days * DAY_NS)) for position, body, days in lines)
    return Part(source(name), 0, records, namespace=namespace, pod=pod)


LOGS_OF_A = log("a", (10, b"key=AKIA1", 2), (20, b"hello", 2), (30, b"key=AKIA2", 0), (40, b"key=AKIA3", 0))
LOGS_OF_B = log("b", (10, b"AKIA4", 0), (20, b"Akia", 0), namespace="blog", pod="blog-1")


@pytest.mark.parametrize(
    ("query", "start_ns", "left"),
    [
        ('{namespace="shop"}', 0, [("b", 10), ("b", 20)]),
        ('{namespace="shop"} |= "AKIA"', 0, [("a", 20), ("b", 10), ("b", 20)]),
        ('{namespace=~".+"} |~ "(?i)akia"', 0, [("a", 20)]),
        ('{namespace="shop"} |= "AKIA1" or "AKIA2" or "hell" or "none"', 0, [("a", 40), ("b", 10), ("b", 20)]),
        ('{namespace=~".+"} |= "AKIA" != "AKIA3"', NOW_NS - DAY_NS, [("a", 10), ("a", 20), ("a", 40), ("b", 20)]),
        ('{namespace=~".+", pod!="web-0"}', 0, [("a", 10), ("a", 20), ("a", 30), ("a", 40)]),
        ('{container="app", pod=~"b.*"}', 0, [("a", 10), ("a", 20), ("a", 30), ("a", 40)]),
        ('{namespace="other"}', 0, [("a", 10), ("a", 20), ("a", 30), ("a", 40), ("b", 10), ("b", 20)]),
    ],
)
async def test_what_is_selected_goes_and_is_not_stored_again(
    erasing: Erasing, query: str, start_ns: int, left: list[tuple[str, int]]
) -> None:
    stand = erasing.stand
    await stand.commit(batch(LOGS_OF_A, LOGS_OF_B))

    job = await erasing.delete(query, start_ns)

    assert await stand.records() == left
    assert job.state in {State.DELETED, State.GONE}  # the latter soon, where no file had any
    assert (job.records, job.days_done) == (6 - len(left), job.days)
    assert stand.metric("rows_deleted_total", reason="request") == 6 - len(left)
    assert await stand.reached(A, B) == {A: 40, B: 20}
    assert await stand.commit(batch(LOGS_OF_A, LOGS_OF_B)) == [Stored({A: 40, B: 20})]
    assert await stand.records() == left
    assert await stand.is_whole()
    assert (await coverage.files(stand.engine)).begun_late == 0


async def test_a_position_outlives_the_day_of_the_record_that_had_it(tmp_path: Path) -> None:
    """The newest record of the file is of an older day than the one that was deleted."""
    mixed = log("a", (10, b"secret", 0), (20, b"hello", 6))
    now = [float(NOW_S)]
    async with open_stand(tmp_path / "store", lambda: now[0], 3) as stand:
        erasing = await Erasing.of(stand)
        await stand.commit(batch(mixed))
        await erasing.delete('{namespace="shop"} |= "secret"')
        now[0] += 2 * DAY_S
        await stand.retention(lambda: now[0]).drop()
        assert await stand.records() == []
        stand.positions.forget([A])
        await stand.commit(batch(mixed))
        assert await stand.records() == []


async def test_what_is_committed_later_is_not_deleted_without_a_marker(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(part("a", 0, [1])))
    going = Going(NOW_S // DAY_S, "namespace = 'shop'", {}, stand.commits.last_ms, "m1")
    assert await erasure.mark(stand.engine, going) == 1
    await stand.commit(batch(part("a", 1, [2])))
    await erasure.begin(stand.engine, going)
    await erasure.finish(stand.engine, "m1")
    assert await stand.records() == [("a", 2)]
    assert await stand.is_whole()


async def test_a_row_that_came_after_its_marker_is_there_twice(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(part("a", 0, [1])))
    going = Going(NOW_S // DAY_S, "namespace = 'shop'", {}, stand.commits.last_ms, "m1")
    await erasure.erase(stand.engine, going)
    await stand.engine.execute(
        f"INSERT INTO {LOGS} SELECT * REPLACE ('shop' AS namespace, "  # noqa: S608 - constants
        f"committed_at + INTERVAL 1 SECOND AS committed_at) FROM {LOGS}"
    )
    assert not await stand.is_whole()
    assert (await coverage.files(stand.engine)).torn == 1


async def test_a_day_that_is_killed_after_its_markers_is_done_again(tmp_path: Path) -> None:
    async with open_stand(tmp_path / "store", connections=3) as stand:
        erasing = await Erasing.of(stand)
        await stand.commit(batch(LOGS_OF_A))
        name = await erasing.ask('{namespace="shop"} |= "AKIA"')
        going = Going(NOW_S // DAY_S, "body LIKE '%AKIA%'", {}, stand.commits.last_ms, name)
        await erasure.mark(stand.engine, going)
    async with open_stand(tmp_path / "store", connections=3) as stand:
        erasing = await Erasing.of(stand)
        assert erasing.job(name).state is State.QUEUED
        async with erasing.running():
            await erasing.until(name, lambda job: not job.state.is_open)
        assert await stand.records() == [("a", 20)]
        assert await stand.reached(A) == {A: 40}
        assert await stand.is_whole()


async def test_a_part_that_was_rewritten_before_the_kill_leaves_no_second_marker(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(part("a", 0, [10, 20, 30])))
    await stand.commit(batch(part("a", 30, [40, 50])))
    going = Going(NOW_S // DAY_S, "namespace = 'shop'", {}, stand.commits.last_ms, "m1")
    assert await erasure.mark(stand.engine, going) == 5
    assert await stand.is_whole(), "rows beside their marker are not there twice"
    assert (await coverage.files(stand.engine)).torn == 0
    # As if the mutation had been at the first part, and at half of a row that follows.
    gone = f"ALTER TABLE {LOGS} DELETE WHERE {IS_RECORD} AND position IN (20, 30, 50) SETTINGS mutations_sync = 1"
    await stand.engine.execute(gone)
    assert await erasure.erase(stand.engine, going) == 2
    assert await stand.records() == []
    assert await stand.stored() == [("a", 50)], "one marker for all"
    assert await stand.is_whole()


async def test_of_two_deletions_at_once_one_leaves_markers(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(part("a", 0, [10, 20, 30])))
    both = [Going(NOW_S // DAY_S, "namespace = 'shop'", {}, stand.commits.last_ms, name) for name in ("m1", "m2")]
    await asyncio.gather(*(erasure.erase(stand.engine, going) for going in both))
    assert await stand.stored() == [("a", 30)]
    assert await stand.is_whole()


async def test_runs_have_a_marker_each_and_rows_of_before_schema_2_one_that_says_nothing(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(part("a", 0, [10, 20, 30, 40, 50, 60]), part("old", 0, [1, 2, 3])))
    old = int.from_bytes(source("old"), "little")
    await stand.engine.execute(
        f"ALTER TABLE {LOGS} UPDATE framing = {FRAMING_UNKNOWN} WHERE source = toUInt128('{old}') "
        "SETTINGS mutations_sync = 1"
    )
    going = Going(NOW_S // DAY_S, "position IN (1, 2, 3, 10, 20, 40, 60)", {}, stand.commits.last_ms, "m1")
    assert await erasure.erase(stand.engine, going) == 7
    assert await stand.stored() == [("a", position) for position in (20, 30, 40, 50, 60)] + [("old", 3)]
    assert await stand.records() == [("a", 30), ("a", 50)]
    assert await stand.is_whole()
    assert (await coverage.files(stand.engine)).unframed == 1


async def test_what_was_deleted_is_no_hole_that_agents_are_asked_to_fill(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(LOGS_OF_A, LOGS_OF_B))
    await erasing.delete('{namespace=~".+"} |~ "(?i)akia"')
    await stand.positions.find_holes()
    assert stand.positions.holes == 0


async def test_it_is_gone_from_the_disk_before_it_says_so(erasing: Erasing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.store.eraser._LOOK_AGAIN_S", 0.1)
    stand = erasing.stand
    await stand.engine.execute(f"ALTER TABLE {LOGS} MODIFY SETTING {QUICK}")
    for verb in ("DETACH", "ATTACH"):  # it has laid down its next clean-up already
        await stand.engine.execute(f"{verb} TABLE {LOGS}")
    await stand.commit(batch(log("a", (10, b"the-secret-of-the-house", 0), (20, b"hello", 0))))
    name = await erasing.ask('{namespace="shop"} |= "secret"')
    async with erasing.running():
        job = await erasing.until(name, lambda job: job.state is State.DELETED)
        # None of them, where the engine's clean-up came in between.
        await erasing.until(name, lambda job: job.state is State.GONE)
    assert await jobs_of.remaining(stand.engine, job.parts) == ()
    assert await jobs_of.replaced_parts(stand.engine) == ()


async def test_one_that_is_cancelled_before_it_began_deletes_nothing(erasing: Erasing) -> None:
    await erasing.stand.commit(batch(LOGS_OF_A))
    first, second = await erasing.ask('{namespace="shop"}'), await erasing.ask('{namespace="shop"} |= "hello"')
    assert (await erasing.eraser.cancel(first)).state is State.CANCELLED
    async with erasing.running():
        await erasing.until(second, lambda job: not job.state.is_open)
    assert len(await erasing.stand.records()) == 3
    assert erasing.job(first).state is State.CANCELLED
    assert (await erasing.eraser.cancel(second)).state is not State.CANCELLED


async def test_one_that_is_cancelled_while_the_engine_is_at_it_ends(erasing: Erasing) -> None:
    stand = erasing.stand
    await stand.commit(batch(LOGS_OF_A))
    await stand.engine.execute(f"SYSTEM STOP MERGES {LOGS}")  # mutations as well
    name = await erasing.ask('{namespace="shop"}')
    async with erasing.running():
        await erasing.until(name, lambda _: name in erasing.eraser.progress and erasing.eraser.progress[name].open > 0)
        await erasing.eraser.cancel(name)
        async with asyncio.timeout(DEADLINE_S):
            while await erasure.unfinished(stand.engine) or name in erasing.eraser.progress:
                await asyncio.sleep(0.02)
        await stand.engine.execute(f"SYSTEM START MERGES {LOGS}")
        other = await erasing.ask('{namespace="blog"}')
        await erasing.until(other, lambda job: not job.state.is_open)
    assert len(await stand.records()) == 4
    assert erasing.job(name).state is State.CANCELLED


async def test_an_engine_that_refuses_to_end_a_cancelled_one_is_asked_again(
    erasing: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.store.eraser._RETRY_S", 0.1)
    stand = erasing.stand
    await stand.commit(batch(LOGS_OF_A, LOGS_OF_B))
    await stand.engine.execute(f"SYSTEM STOP MERGES {LOGS}")  # mutations as well
    name = await erasing.ask('{namespace="shop"}')
    kill, refused = erasure.kill, asyncio.Event()

    async def refuse(*_: object) -> None:
        if asyncio.current_task() is not asking:
            refused.set()
        raise StoreError("no memory for that")

    asking = asyncio.current_task()
    async with erasing.running():
        await erasing.until(name, lambda _: name in erasing.eraser.progress and erasing.eraser.progress[name].open > 0)
        monkeypatch.setattr(erasure, "kill", refuse)
        with pytest.raises(StoreError):
            await erasing.eraser.cancel(name)
        async with asyncio.timeout(DEADLINE_S):
            await refused.wait()
            monkeypatch.setattr(erasure, "kill", kill)
            while await erasure.unfinished(stand.engine):
                await asyncio.sleep(0.02)
        await stand.engine.execute(f"SYSTEM START MERGES {LOGS}")
        other = await erasing.ask('{namespace="blog"}')
        await erasing.until(other, lambda job: not job.state.is_open)
    assert len(await stand.records()) == 4
    assert (erasing.job(name).state, erasing.job(name).problem) == (State.CANCELLED, "")


async def test_one_that_fails_is_tried_again_after_a_pause_and_says_why_until_it_goes_on(
    erasing: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.store.eraser._RETRY_S", 1.0)
    await erasing.stand.commit(batch(LOGS_OF_A))
    name = await erasing.ask('{namespace="shop"}')
    mark, tried = erasure.mark, list[float]()

    async def refuse(*_: object) -> int:
        tried.append(asyncio.get_running_loop().time())
        raise StoreError("no memory for that")

    monkeypatch.setattr(erasure, "mark", refuse)
    async with erasing.running():
        await erasing.until(name, lambda job: bool(job.problem))
        await erasing.ask('{namespace="blog"}')
        async with asyncio.timeout(DEADLINE_S):
            while len(tried) < 3:
                assert len(tried) < 2 or erasing.job(name).problem
                await asyncio.sleep(0.02)
        monkeypatch.setattr(erasure, "mark", mark)
        job = await erasing.until(name, lambda job: not job.state.is_open)
    assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(tried))
    assert (job.problem, job.version) == ("", 7), "begun, the problem, two steps for each of two days, the end"
    assert await erasing.stand.records() == []


async def test_records_are_counted_once_however_often_they_are_marked(
    erasing: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.store.eraser._RETRY_S", 0.1)
    await erasing.stand.commit(batch(LOGS_OF_A, LOGS_OF_B))
    begin, failures = erasure.begin, iter(range(3))

    async def refuse_at_first(*given: Any) -> None:
        if next(failures, None) is not None:
            raise StoreError("no memory for that")
        await begin(*given)

    monkeypatch.setattr(erasure, "begin", refuse_at_first)
    job = await erasing.delete('{namespace=~".+"} |= "AKIA"')
    assert (job.records, job.days_done, job.problem) == (4, 2, "")
    assert await erasing.stand.records() == [("a", 20), ("b", 20)]


async def test_jobs_are_known_to_the_next_process(tmp_path: Path) -> None:
    async with open_stand(tmp_path / "store", connections=3) as stand:
        erasing = await Erasing.of(stand)
        name = await erasing.ask('{namespace="shop"}')
        async with erasing.running():
            await erasing.until(name, lambda job: job.state is State.GONE)
        await erasing.deletions.ask('{namespace="blog"}', 0, 1, NOW_S + 1)
        known = erasing.deletions.all()
    async with open_stand(tmp_path / "store", connections=3) as stand:
        assert (await Deletions.read(stand.engine)).all() == known
