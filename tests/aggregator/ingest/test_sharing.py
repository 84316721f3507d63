"""Several aggregators on one store, each line once: over HTTP, on one server and on a cluster of one shard."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aggregator.ingest.committer import Hole, Stored, Unavailable
from aggregator.ingest.plan import plan
from aggregator.ingest.pods import PodStreams
from aggregator.ingest.sharing import shard_of
from aggregator.store.chains import Chain, linked, marks
from aggregator.store.engine import Engine
from aggregator.store.schema import LOGS
from aggregator.store.terms import Kept
from tests.aggregator.front import Front, serving
from tests.aggregator.records import DAY_S, NOW_NS, NOW_S, Part, Record, batch, part, source
from tests.aggregator.stand import RETENTION_S, Stand, stand_on
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


A, B, C = source("a"), source("b"), source("c")
DAY_NS = DAY_S * 10**9
# What does not depend on whether there are shards is tried on one of the two.
ONE = pytest.mark.parametrize("two", ["cluster"], indirect=True)
ROOT = Path(__file__).parents[3]


class Two:
    """Two aggregators and the servers they share."""

    def __init__(self, front: Front, first: Stand, second: Stand) -> None:
        self.front = front
        self.first = first
        self.second = second

    async def stored(self) -> list[tuple[str, int]]:
        """(source, position) of every record, one entry a row."""
        await self.front.done()
        rows = await self.first.engine.rows(
            "SELECT replaceAll(reinterpretAsString(source), '.', '') AS text, position AS number "  # noqa: S608 - constants
            f"FROM {LOGS} WHERE namespace != '\\0' ORDER BY text, number",
            dict,
        )
        return [(row["text"], row["number"]) for row in rows]


@pytest.fixture(params=["server", "cluster"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    async with contextlib.AsyncExitStack() as stack:
        front = await stack.enter_async_context(serving(tmp_path / "front", cluster=request.param == "cluster"))
        stands = []
        for _ in range(2):
            engine = await stack.enter_async_context(Engine.open(front.url, 4))
            stands.append(await stack.enter_async_context(stand_on(engine)))
        yield Two(front, *stands)


def held(front: Front) -> tuple[asyncio.Event, asyncio.Event]:
    """The next insert of records waits: (it has come, let it go on)."""
    came, go = asyncio.Event(), asyncio.Event()

    async def before(sql: str) -> None:
        if "committed_at" in sql and not came.is_set():
            came.set()
            await go.wait()

    front.before = before
    return came, go


async def test_what_one_stored_the_other_knows(two: Two) -> None:
    assert await two.first.commit(batch(part("a", 0, [10, 20]))) == [Stored({A: 20})]
    assert await two.second.commit(batch(part("a", 10, [20, 30]))) == [Stored({A: 30})]
    assert await two.first.commit(batch(part("a", 0, [10, 20, 30, 40]))) == [Stored({A: 40})]
    assert await two.second.commit(batch(part("a", 50, [60]))) == [Hole({A: 40})]
    assert await two.stored() == [("a", p) for p in (10, 20, 30, 40)]


@ONE
@pytest.mark.parametrize(
    "again",
    [
        part("a", 0, [10, 20]),  # the same batch
        part("a", 0, [10]),  # an agent that started anew cuts it another way
        part("a", 0, [10, 20, 30]),
    ],
)
async def test_an_insert_that_lands_late_is_dropped(two: Two, again: Part) -> None:
    came, go = held(two.front)
    late = asyncio.create_task(two.first.commit(batch(part("a", 0, [10, 20]), part("b", 0, [5]))))
    await came.wait()
    assert await two.second.commit(batch(again)) == [Stored({A: again.records[-1].position})]
    go.set()
    reached = max(20, again.records[-1].position)
    assert await late == [Stored({A: reached, B: 5})], "the first finds out, and stores what is left"
    assert await two.stored() == [*(("a", p) for p in (10, 20, 30) if p <= reached), ("b", 5)]
    assert two.first.metric("insert_conflicts_total") == 1


@ONE
async def test_an_insert_lands_when_its_aggregator_is_gone(two: Two) -> None:
    came, go = held(two.front)
    late = asyncio.create_task(two.first.commit(batch(part("a", 0, [10, 20]))))
    await came.wait()
    late.cancel()
    go.set()
    await two.front.done()
    assert await two.second.commit(batch(part("a", 0, [10, 20, 30]))) == [Stored({A: 30})]
    assert await two.stored() == [("a", 10), ("a", 20), ("a", 30)]


@ONE
async def test_an_insert_whose_answer_is_lost_is_tried_again_to_the_letter(two: Two) -> None:
    inserts: list[str] = []

    def lost(sql: str) -> bool:
        inserts.append(sql)
        return sum("committed_at" in one for one in inserts) == 1

    two.front.lost = lost
    assert await two.first.commit(batch(part("a", 0, [10, 20]))) == [Stored({A: 20})]
    assert sum("committed_at" in one for one in inserts) == 2
    assert await two.stored() == [("a", 10), ("a", 20)]


@ONE
async def test_when_all_answers_are_lost_the_other_one_knows(two: Two) -> None:
    two.front.lost = lambda sql: "committed_at" in sql
    (outcome,) = await two.first.commit(batch(part("a", 0, [10, 20])))
    assert isinstance(outcome, Unavailable)
    two.front.lost = lambda _: False
    assert await two.second.commit(batch(part("a", 0, [10, 20, 30]))) == [Stored({A: 30})]
    assert await two.stored() == [("a", 10), ("a", 20), ("a", 30)]


async def test_days_are_chains_of_their_own(two: Two) -> None:
    days = batch(part("a", 0, [1], time=NOW_NS - DAY_NS), part("a", 1, [2]), part("a", 2, [3], time=NOW_NS - DAY_NS))
    for stand in (two.first, two.second):
        assert await stand.commit(days) == [Stored({A: 3})]
    assert await two.stored() == [("a", 1), ("a", 2), ("a", 3)]
    shard = shard_of(days.chunks[0], two.first.engine.layout.shards)
    today = NOW_S // DAY_S
    numbers = [
        [len(await marks(two.first.engine, Chain(shard, day), n)) for n in (1, 2, 3)] for day in (today - 1, today)
    ]
    assert numbers == [[1, 1, 0], [1, 0, 0]]


@ONE
async def test_joint_chunks_are_stored_as_one_by_one_of_both(two: Two) -> None:
    joint = batch(
        Part(A, 0, (Record(10),), 15, joint=True), Part(B, 0, (Record(5),)), Part(C, 7, (Record(8, flags=Flag.GAP),))
    )
    both = await asyncio.gather(two.first.commit(joint), two.second.commit(joint))
    assert list(both) == [[Stored({A: 15, B: 5, C: 8})]] * 2
    assert await two.stored() == [("a", 10), ("b", 5), ("c", 8)]


OLD_NS = NOW_NS - 30 * DAY_NS


@ONE
@pytest.mark.parametrize(
    "passed",
    [
        [part("a", 0, [10, 20], time=OLD_NS), part("a", 20, [30], time=OLD_NS)],  # older than what is kept
        [Part(A, 0, (), 20), Part(A, 20, (), 30)],  # dropped by the agent's rules
        [Part(A, 0, (Record(10),), 20), Part(A, 20, (), 30)],
    ],
)
async def test_an_agent_gets_on_over_what_is_not_stored(two: Two, passed: list[Part]) -> None:
    for each in passed:
        assert await two.first.commit(batch(each)) == [
            Stored({A: each.end if each.end > 0 else each.records[-1].position})
        ]
    stored = [("a", 10)] if passed[0].end > 0 and passed[0].records else []
    stands = Hole({A: stored[-1][1] if stored else 0})
    assert await two.second.commit(batch(part("a", 30, [40]))) == [stands], "only the first knows"
    assert await two.first.commit(batch(part("a", 30, [40]))) == [Stored({A: 40})]
    assert await two.second.commit(batch(part("a", 40, [50]))) == [Stored({A: 50})]
    assert await two.stored() == [*stored, ("a", 40), ("a", 50)]
    assert await two.first.is_whole()


@ONE
async def test_what_was_passed_over_counts_only_where_the_store_still_stands(two: Two) -> None:
    assert await two.first.commit(batch(Part(A, 0, (), 100))) == [Stored({A: 100})]
    assert await two.second.commit(batch(part("a", 0, [50]))) == [Stored({A: 50})], "by other rules"
    assert await two.first.commit(batch(part("a", 100, [120]))) == [Hole({A: 50})]
    assert await two.first.commit(batch(part("a", 50, [100, 120]))) == [Stored({A: 120})]
    assert await two.stored() == [("a", 50), ("a", 100), ("a", 120)]


@ONE
async def test_a_hole_stops_a_chain_until_it_is_filled_as_the_page_says(two: Two) -> None:
    for number in range(3):
        await two.first.commit(batch(part("a", number, [number + 1])))
    engine = two.first.engine
    logs = engine.layout.logs
    await engine.execute(f"ALTER TABLE {logs} DELETE WHERE position = 2 SETTINGS mutations_sync = 2")
    (outcome,) = await two.second.commit(batch(part("a", 3, [4])))
    assert isinstance(outcome, Unavailable)
    (filling,) = re.findall(r"`(INSERT INTO logs_local .*?)`\.", (ROOT / "docs/cluster.md").read_text())
    await engine.execute(filling.replace("logs_local", logs))
    assert await two.second.commit(batch(part("a", 3, [4]))) == [Stored({A: 4})]
    assert await two.stored() == [("a", 1), ("a", 3), ("a", 4)]


@ONE
async def test_records_are_blanked_out_as_the_page_says(two: Two) -> None:
    lines = (Record(10, b"hello"), Record(20, b"key=AKIA"), Record(30, b"AKIA"))
    await two.first.commit(batch(Part(A, 0, lines)))
    engine = two.first.engine
    (blanking,) = re.findall(r"`(ALTER TABLE logs_local .*?)`\.", (ROOT / "docs/cluster.md").read_text())
    await engine.execute(
        blanking.replace("logs_local ON CLUSTER logs", f"{engine.layout.logs}{engine.layout.on_cluster}")
    )
    rows = await engine.rows(f"SELECT body FROM {LOGS} WHERE namespace = 'shop' ORDER BY position", dict)  # noqa: S608 - a constant
    assert [row["body"] for row in rows] == ["hello", "", ""]
    assert await two.first.is_whole()
    assert await two.second.commit(batch(part("a", 30, [40]))) == [Stored({A: 40})]
    assert await two.second.is_whole()


async def test_days_that_are_over_go_and_what_is_sent_again_stays_away(two: Two) -> None:
    days = [part("a", day, [day + 1], time=NOW_NS - (6 - day) * DAY_NS) for day in range(7)]
    await two.first.commit(batch(*days))
    later = NOW_S + RETENTION_S - 3 * DAY_S
    await asyncio.gather(*(stand.retention(lambda: later).drop() for stand in (two.first, two.second)))
    assert await two.stored() == [("a", 4), ("a", 5), ("a", 6), ("a", 7)]
    async with stand_on(two.second.engine, lambda: float(later)) as stand:
        assert await stand.commit(batch(*days)) == [Stored({A: 7})], "the newest row says how far it was read"
        assert await stand.commit(batch(part("b", 0, [1], time=NOW_NS - 6 * DAY_NS))) == [Stored({B: 1})]
    assert await two.stored() == [("a", 4), ("a", 5), ("a", 6), ("a", 7)]
    # One that keeps more begins the chain of a day that was dropped anew.
    assert await two.first.commit(batch(part("c", 0, [1], time=NOW_NS - 6 * DAY_NS))) == [Stored({C: 1})]


@ONE
async def test_two_inserts_of_one_number_are_found_as_the_page_says(two: Two) -> None:
    await two.first.commit(batch(part("a", 0, [1])))
    (asking,) = re.findall(r"`(SELECT source, position FROM logs .*?)`\.", (ROOT / "docs/cluster.md").read_text())
    assert await two.first.engine.rows(asking, dict) == []
    chain = Chain(shard_of(batch(part("a", 0, [1])).chunks[0], two.first.engine.layout.shards), NOW_S // DAY_S)
    rows = linked(
        plan([batch(part("b", 0, [1]))], {B: 0}, PodStreams(), Kept.everything(), 0).inserts[0].rows,
        chain,
        1,
        bytes(16),
    )
    await two.first.engine.insert(LOGS, rows)
    assert [row["position"] for row in await two.first.engine.rows(asking, dict)] == [1]


async def test_an_insert_is_one_part(two: Two) -> None:
    await two.first.engine.execute(f"SYSTEM STOP MERGES {two.first.engine.layout.logs}")
    await two.first.commit(*(batch(part(f"s{i}", 0, [1, 2, 3]), node=f"n{i}") for i in range(20)))
    parts = await two.first.engine.rows(
        f"SELECT toUInt64(rows) AS held FROM {two.first.engine.layout.parts} WHERE table = {{name:String}}",  # noqa: S608 - own words
        dict,
        {"name": two.first.engine.layout.logs},
    )
    assert parts == [{"held": 61}], "sixty records and the link"


@ONE
async def test_whatever_happens_every_line_is_stored_once(two: Two) -> None:
    random_ = random.Random(7)

    async def before(sql: str) -> None:
        if "committed_at" in sql and random_.random() < 0.3:
            await asyncio.sleep(random_.uniform(0, 0.2))  # what is late, and how late, is the test's input

    two.front.before = before
    two.front.lost = lambda sql: "committed_at" in sql and random_.random() < 0.2
    lines = 12
    await asyncio.gather(*(_agent(two, f"s{number}", lines, random.Random(number)) for number in range(6)))
    assert await two.stored() == sorted((f"s{n}", p) for n in range(6) for p in range(1, lines + 1))


async def _agent(two: Two, name: str, lines: int, random_: random.Random) -> None:
    """Sends a file's lines through either aggregator, gives up waiting now and then, and starts anew now and then."""
    at = 0
    while at < lines:
        stand = random_.choice([two.first, two.second])
        end = min(lines, at + random_.randint(1, 4))
        sent = asyncio.create_task(stand.commit(batch(part(name, at, range(at + 1, end + 1)), node=name)))
        await asyncio.wait([sent], timeout=random_.choice([0.05, 5.0]))
        if not sent.done():
            at = 0 if random_.random() < 0.5 else at
            continue
        match sent.result():
            case [Stored(positions) | Hole(positions)]:
                at = positions[source(name)]
            case _:
                pass
