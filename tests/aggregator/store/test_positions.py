from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.aggregator.records import batch, part, source
from tests.aggregator.stand import Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize("name", [bytes(range(16)), b"\xff" * 16, bytes(15) + b"\x01", b"\x80" + bytes(15)])
async def test_any_sixteen_bytes_are_found_again(stand: Stand, name: bytes) -> None:
    await stand.commit(batch(part("x", 0, [7]), part("y", 0, [9])))
    one = part("z", 0, [5])
    await stand.commit(batch(type(one)(name, 0, one.records)))
    stand.positions.forget([name])
    assert await stand.positions.of([name, source("x"), bytes(16)]) == {name: 5, source("x"): 7, bytes(16): 0}


async def test_more_sources_than_one_look_up_takes(stand: Stand) -> None:
    await stand.commit(batch(part("x", 0, [7])))
    stand.positions.forget([source("x")])
    sources = [number.to_bytes(16, "big") for number in range(12_000)]
    found = await stand.positions.of([*sources, source("x")])
    assert found == {**dict.fromkeys(sources, 0), source("x"): 7}


async def test_asking_remembers_nothing(stand: Stand) -> None:
    await stand.positions.of([source("x")])
    assert len(stand.positions) == 0
