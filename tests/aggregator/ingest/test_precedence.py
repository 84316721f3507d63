"""Queries stand still while agents catch up, and only then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from aggregator.ingest.committer import BUSY_BYTES
from tests.aggregator.records import batch, part
from tests.aggregator.stand import Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE_S = 20.0
HELD = "SELECT toUInt64(count()) AS n FROM system.processes WHERE Settings['priority'] = '1'"


class Number(msgspec.Struct):
    n: int


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store") as opened:
        task = asyncio.create_task(opened.committer.precedence.run())
        yield opened
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_query_stands_still_as_long_as_it_is_held_and_then_goes_on(stand: Stand) -> None:
    stand.committer.precedence.hold()
    began = time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        while not (await stand.engine.rows(HELD, Number))[0].n:
            pass
        # Blocks of its own, each of which it gives way with.
        (row,) = await stand.engine.rows("SELECT sum(number) AS n FROM numbers(100_000)", Number)
    assert row.n == 100_000 * 99_999 // 2
    assert time.monotonic() - began > 0.3
    held_s = stand.metric("queries_held_seconds_total")
    assert 0.4 <= held_s <= 0.7
    began = time.monotonic()
    await stand.engine.rows("SELECT sum(number) AS n FROM numbers(100_000)", Number)
    assert stand.metric("queries_held_seconds_total") == held_s


@pytest.mark.parametrize(("size", "is_held"), [(BUSY_BYTES, True), (BUSY_BYTES - 1, False)])
async def test_they_are_held_where_large_commits_follow_one_another(stand: Stand, size: int, is_held: bool) -> None:  # noqa: FBT001 - a table
    batches = [batch(part(name, 0, range(1, 50_001))) for name in "abcdefgh"]
    waiting = [asyncio.create_task(stand.committer.commit(one, size)) for one in batches[:1]]
    for one in batches[1:]:
        await waiting[-1]
        waiting.append(asyncio.create_task(stand.committer.commit(one, size)))
    await asyncio.gather(*waiting)
    async with asyncio.timeout(DEADLINE_S):
        while is_held and not stand.metric("queries_held_seconds_total"):
            await asyncio.sleep(0.02)
    assert (stand.metric("queries_held_seconds_total") > 0) == is_held
