from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aggregator.ingest.committer import Stored
from aggregator.store.retention import Retention, oldest_day
from aggregator.store.schema import LOGS, STREAMS
from tests.aggregator.records import DAY_S, NOW_NS, NOW_S, batch, part, source
from tests.aggregator.stand import RETENTION_S, Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A = source("a")


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with open_stand(tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize(
    ("now_days", "retention_days", "oldest"),
    [(10.0, 7, 3), (10.5, 7, 3), (10.999, 7, 3), (11.0, 7, 4), (3.0, 7, 0)],
)
def test_a_day_goes_when_its_end_is_older_than_the_retention(now_days: float, retention_days: int, oldest: int) -> None:
    assert oldest_day(now_days * DAY_S, retention_days * DAY_S) == oldest


async def test_days_that_are_over_go_with_their_labels_and_what_is_sent_again_stays_away(stand: Stand) -> None:
    days = [part("a", day, [day + 1], time=NOW_NS - (6 - day) * DAY_S * 10**9) for day in range(7)]
    assert await stand.commit(batch(*days)) == [Stored({A: 7})]
    dropped = stand.metrics.days_dropped
    later_s = NOW_S + 3 * DAY_S
    retention = Retention(stand.engine, stand.streams, RETENTION_S, lambda: later_s, dropped)

    await retention.drop()
    await retention.drop()

    assert await stand.stored() == [("a", position) for position in (3, 4, 5, 6, 7)]
    assert await stand.count(STREAMS) == 5
    assert stand.metric("days_dropped_total", table="logs") == 2
    assert stand.metric("days_dropped_total", table="streams") == 2
    stand.positions.forget([A])
    assert await stand.commit(batch(*days)) == [Stored({A: 7})]
    assert await stand.count(LOGS) == 5


async def test_a_far_future_day_is_kept(stand: Stand) -> None:
    await stand.commit(batch(part("a", 0, [1], time=106_000 * DAY_S * 10**9)))
    await Retention(stand.engine, stand.streams, RETENTION_S, lambda: NOW_S, stand.metrics.days_dropped).drop()
    assert await stand.count(LOGS) == 1
