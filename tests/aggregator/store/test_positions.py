from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aggregator.ingest.committer import Stored
from aggregator.store import coverage
from aggregator.store.coverage import Stretch
from aggregator.store.schema import LOGS
from tests.aggregator.records import Part, Record, batch, part, source
from tests.aggregator.stand import Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store") as opened:
        yield opened


async def test_any_sixteen_bytes_are_found_again(stand: Stand) -> None:
    names = [bytes(range(16)), b"\xff" * 16, bytes(15) + b"\x01", b"\x80" + bytes(15), source("x")]
    await stand.commit(batch(*(Part(name, 0, (Record(5 + number),)) for number, name in enumerate(names))))
    stand.positions.forget(names)
    expected = {name: 5 + number for number, name in enumerate(names)}
    assert await stand.positions.of([*names, bytes(16)]) == {**expected, bytes(16): 0}


class Line(msgspec.Struct):
    explain: str


async def test_they_are_looked_up_in_the_projection(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.commit(batch(part("x", 0, [7])))
    asked: list[tuple[str, Any]] = []
    rows = stand.engine.rows

    async def listen(sql: str, row: Any, parameters: Any, limits: Any) -> Any:
        asked.append((sql, parameters))
        return await rows(sql, row, parameters, limits)

    monkeypatch.setattr(stand.engine, "rows", listen)
    stand.positions.forget([source("x")])
    await stand.positions.of([source("x")])
    ((sql, parameters),) = asked
    plan = await rows(f"SELECT explain FROM (EXPLAIN {sql})", Line, parameters)  # noqa: S608 - our own
    assert any("(positions)" in line.explain for line in plan), "else every look-up reads the whole store"


async def test_more_sources_than_one_look_up_takes(stand: Stand) -> None:
    await stand.commit(batch(part("x", 0, [7])))
    stand.positions.forget([source("x")])
    sources = [number.to_bytes(16, "big") for number in range(12_000)]
    found = await stand.positions.of([*sources, source("x")])
    assert found == {**dict.fromkeys(sources, 0), source("x"): 7}


async def test_asking_remembers_nothing(stand: Stand) -> None:
    await stand.positions.of([source("x")])
    assert len(stand.positions) == 0


async def test_the_ends_of_joint_chunks_are_durable(tmp_path: Path) -> None:
    parts = (Part(source("a"), 0, (), 70, joint=True), Part(source("b"), 0, (Record(20),), 30))
    async with open_stand(tmp_path / "store") as stand:
        await stand.commit(batch(*parts))
    async with open_stand(tmp_path / "store") as stand:
        assert await stand.positions.of([source("a"), source("b")]) == {source("a"): 70, source("b"): 30}
        assert await stand.commit(batch(*parts)) == [Stored({source("a"): 70, source("b"): 30})]
        assert stand.metric("rows_trimmed_total") == 1


@pytest.fixture
async def holed(stand: Stand) -> Stand:
    """A store that lacks of x bytes 0 to 10, 20 to 30 and 50 to 60, and nothing of y."""
    await stand.commit(batch(part("x", 0, [10, 20, 30, 40, 50, 60, 70]), part("y", 0, [5])))
    of_x = f"source = toUInt128('{int.from_bytes(source('x'), 'little')}')"
    await stand.engine.execute(
        f"ALTER TABLE {LOGS} DELETE WHERE {of_x} AND position IN (10, 30, 60) SETTINGS mutations_sync = 2"
    )
    stand.positions.forget([source("x"), source("y")])
    await stand.positions.find_holes()
    return stand


async def test_a_source_with_holes_stands_where_the_first_begins(holed: Stand) -> None:
    x, y = source("x"), source("y")
    assert holed.positions.holes == 1
    assert await holed.positions.of([x, y]) == {x: 0, y: 5}
    assert holed.positions.held([x, y]) == {x: [Stretch(10, 20), Stretch(30, 50), Stretch(60, 70)]}


async def test_holes_are_filled_one_after_the_other(holed: Stand) -> None:
    everything = [10, 20, 30, 40, 50, 60, 70, 80]
    stands: list[int] = []
    while not stands or stands[-1] < 80:
        at = (await holed.positions.of([source("x")]))[source("x")]
        await holed.commit(batch(part("x", at, [position for position in everything if position > at])))
        stands.append((await holed.positions.of([source("x")]))[source("x")])
    assert stands == [20, 50, 70, 80]
    assert holed.positions.holes == 0
    assert [row.position for row in await holed.rows() if row.source == "x"] == everything
    assert (await coverage.files(holed.engine)).torn == 0
    # Known by the store itself.
    holed.positions.forget([source("x")])
    assert await holed.positions.of([source("x")]) == {source("x"): 80}


@pytest.mark.parametrize(("sent", "stands"), [([10], 20), ([10, 20, 30], 20), ([5], 5), ([5, 10], 20)])
async def test_after_a_failure_the_store_is_asked_how_far_a_hole_is_filled(
    holed: Stand, sent: list[int], stands: int
) -> None:
    await holed.commit(batch(part("x", 0, sent)))
    holed.positions.forget([source("x")])
    assert await holed.positions.of([source("x")]) == {source("x"): stands}
