from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aggregator.ingest.committer import Stored
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
