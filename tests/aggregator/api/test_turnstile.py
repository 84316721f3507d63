"""Who is let in, in which order, and who is sent away."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from aggregator.api.turnstile import Turnstile
from service.web import RefusedError

DEADLINE_S = 10.0


class Crowd:
    """Clients before a turnstile; each holds its place until it is told to go."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self.inside: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._go: dict[str, asyncio.Event] = {}

    async def comes(self, *names: str) -> None:
        """``a1``, ``a2`` come from the client ``a``; ``aX`` exports."""
        for name in names:
            self._go[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._stay(name))
            await self._settled()

    async def goes(self, name: str) -> None:
        self._go[name].set()
        await self._tasks[name]
        await self._settled()

    async def cancelled(self, name: str) -> None:
        self._tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[name]
        await self._settled()

    def sent_away(self, name: str) -> bool:
        task = self._tasks[name]
        return task.done() and isinstance(task.exception(), RefusedError)

    async def _stay(self, name: str) -> None:
        async with self.turnstile.enter(name[0], is_export="X" in name):
            self.inside.append(name)
            try:
                await self._go[name].wait()
            finally:
                self.inside.remove(name)

    async def _settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_clients_take_turns() -> None:
    crowd = Crowd(Turnstile(1, 10, DEADLINE_S))
    await crowd.comes("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    order = []
    while crowd.inside:
        order.append(crowd.inside[0])
        await crowd.goes(crowd.inside[0])
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_a_free_place_goes_to_whoever_holds_the_fewest() -> None:
    crowd = Crowd(Turnstile(3, 10, DEADLINE_S))
    await crowd.comes("a1", "a2", "b1", "a3", "c1")
    await crowd.goes("b1")
    assert crowd.inside == ["a1", "a2", "c1"]


async def test_exports_leave_one_place_to_others() -> None:
    crowd = Crowd(Turnstile(3, 10, DEADLINE_S))
    await crowd.comes("aX1", "aX2", "aX3", "bX1")
    assert crowd.inside == ["aX1", "aX2"]
    await crowd.comes("c1", "c2")
    assert crowd.inside == ["aX1", "aX2", "c1"]
    await crowd.goes("aX1")
    assert crowd.inside == ["aX2", "c1", "bX1"]
    await crowd.goes("aX2")
    assert crowd.inside == ["c1", "bX1", "aX3"]
    await crowd.cancelled("aX3")
    await crowd.goes("bX1")
    assert crowd.inside == ["c1", "c2"]
    alone = Crowd(Turnstile(1, 10, DEADLINE_S))
    await alone.comes("aX1")
    assert alone.inside == ["aX1"]


async def test_one_client_alone_gets_every_place() -> None:
    crowd = Crowd(Turnstile(3, 10, DEADLINE_S))
    await crowd.comes("a1", "a2", "a3", "a4")
    assert crowd.inside == ["a1", "a2", "a3"]
    assert (crowd.turnstile.running, crowd.turnstile.waiting) == (3, 1)


async def test_a_crowd_does_not_keep_others_from_waiting() -> None:
    crowd = Crowd(Turnstile(1, 3, DEADLINE_S))
    await crowd.comes("a1", "a2", "a3", "a4", "b1")
    assert [name for name in ("a2", "a3", "a4", "b1") if crowd.sent_away(name)] == ["a4"]
    await crowd.comes("a5", "b2")
    assert crowd.sent_away("a5")
    assert crowd.sent_away("b2")
    assert crowd.turnstile.waiting == 3


async def test_waiting_takes_no_longer_than_it_may() -> None:
    crowd = Crowd(Turnstile(1, 3, 0.01))
    await crowd.comes("a1")
    with pytest.raises(RefusedError) as refused:
        async with asyncio.timeout(DEADLINE_S), crowd.turnstile.enter("b"):
            pass
    assert refused.value.status == 429
    assert crowd.turnstile.waiting == 0


async def test_whoever_is_cancelled_leaves_the_queue_or_gives_the_place_back() -> None:
    crowd = Crowd(Turnstile(1, 3, DEADLINE_S))
    await crowd.comes("a1", "b1", "c1")
    await crowd.cancelled("b1")
    assert crowd.turnstile.waiting == 1
    await crowd.cancelled("a1")
    assert crowd.inside == ["c1"]
    await crowd.cancelled("c1")
    assert (crowd.turnstile.running, crowd.turnstile.waiting) == (0, 0)


async def test_a_place_given_to_whoever_is_cancelled_at_that_moment_goes_on() -> None:
    turnstile = Turnstile(1, 3, DEADLINE_S)
    first = turnstile.enter("a")
    await first.__aenter__()
    crowd = Crowd(turnstile)
    await crowd.comes("b1", "c1")
    await first.__aexit__(None, None, None)
    await crowd.cancelled("b1")
    assert crowd.inside == ["c1"]
    await crowd.goes("c1")
    assert turnstile.running == 0


async def test_closed_it_ends_who_is_inside_and_sends_everybody_away() -> None:
    crowd = Crowd(Turnstile(1, 5, DEADLINE_S))
    await crowd.comes("a1", "b1")
    assert crowd.inside == ["a1"]
    crowd.turnstile.close()
    await crowd.comes("c1")
    assert [crowd.sent_away(name) for name in ("a1", "b1", "c1")] == [True] * 3
    assert (crowd.inside, crowd.turnstile.running, crowd.turnstile.waiting) == ([], 0, 0)
