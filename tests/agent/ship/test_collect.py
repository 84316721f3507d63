"""When files are looked at."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.follow.tail import Tail
from agent.metrics import Metrics
from agent.ship.batch import Builder, Origin
from agent.ship.collect import LOOK_EVERY_S, MANY_LOOKS, Collector

_LOOKS = 4


class Watched(Tail):
    """A tail that remembers when it looked, and says whether many files had grown."""

    grown_many = False

    def look(self) -> bool:
        self.looked_s.append(time.monotonic())
        if len(self.looked_s) == _LOOKS:
            self.loop.call_soon_threadsafe(self.done.set)
        return super().look()

    @property
    def are_many(self) -> bool:
        return self.grown_many

    def begin(self, *, grown_many: bool) -> None:
        self.grown_many = grown_many
        self.looked_s: list[float] = []
        self.loop = asyncio.get_running_loop()
        self.done = asyncio.Event()


@pytest.mark.parametrize(("grown_many", "looks"), [(False, 1), (True, MANY_LOOKS)])
async def test_where_many_files_grow_they_are_looked_at_less_often(*, grown_many: bool, looks: int) -> None:
    metrics = Metrics()
    tail = Watched("test", 1 << 20, metrics)
    tail.begin(grown_many=grown_many)
    collector = Collector(tail, Builder(Origin("c", "n", "a"), 1 << 20), LOOK_EVERY_S, metrics)
    running = asyncio.create_task(collector.run())
    async with asyncio.timeout(30):
        await tail.done.wait()
        collector.stop()
        await running
    collector.close()
    passed_s = tail.looked_s[_LOOKS - 1] - tail.looked_s[0]
    assert passed_s > (_LOOKS - 1) * looks * LOOK_EVERY_S * 0.9
