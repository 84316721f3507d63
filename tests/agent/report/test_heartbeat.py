"""What an agent says of itself, to a stand-in that takes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from agent.report import heartbeat
from service.web import json_response
from wire.answers import Refusal
from wire.heartbeat import TEXT_MAX

if TYPE_CHECKING:
    from aiohttp import web

    from tests.agent.stand_in import Aggregator, Node

Until = Callable[[Callable[[], bool]], Awaitable[None]]

LINE = b"2026-01-31T12:00:00.000000001Z stdout F hello"
PATH = "shop_cart-0_uid-1/app/0.log"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.05)
    monkeypatch.setattr(heartbeat, "_FIRST_S", 0.01)


async def test_it_says_what_the_node_has(aggregator: Aggregator, node: Node, until: Until) -> None:
    node.write(PATH, LINE)
    beats = aggregator.heartbeats
    assert beats is not None
    async with node.agent():
        await until(lambda: any(beat.containers and not beat.lag_bytes for beat in beats))
    last = next(beat for beat in beats if beat.containers and not beat.lag_bytes)
    (container,) = last.containers
    assert (last.cluster, last.node, last.version, last.files) == ("test", "node-1", version("logboom"), 1)
    assert last.agent.startswith("node-1-")
    named = (container.namespace, container.pod, container.uid, container.container)
    assert named == ("shop", "cart-0", "uid-1", "app")
    assert (container.files, container.node_bytes, container.lost_bytes) == (1, len(LINE) + 1, 0)


async def test_what_is_not_stored_is_lag(aggregator: Aggregator, node: Node, until: Until) -> None:
    async def refuse(*_: object) -> None:
        raise ConnectionResetError

    aggregator.always = refuse
    node.write(PATH, LINE)
    beats = aggregator.heartbeats
    assert beats is not None
    async with node.agent():
        await until(lambda: any(beat.lag_bytes and beat.trouble for beat in beats))
    last = next(beat for beat in beats if beat.lag_bytes and beat.trouble)
    assert last.lag_bytes == last.containers[0].lag_bytes == len(LINE) + 1
    assert last.lag_seconds == last.containers[0].lag_seconds


async def test_what_is_said_of_trouble_is_no_longer_than_is_taken(
    aggregator: Aggregator, node: Node, until: Until
) -> None:
    async def refuse(*_: object) -> web.Response:
        return json_response(Refusal("x" * (2 * TEXT_MAX)), 503)

    aggregator.always = refuse
    node.write(PATH, LINE)
    beats = aggregator.heartbeats
    assert beats is not None
    async with node.agent():
        await until(lambda: any(beat.trouble for beat in beats))
    assert {len(beat.trouble) for beat in beats if beat.trouble} == {TEXT_MAX}


async def test_an_aggregator_that_knows_none_is_no_trouble(
    aggregator: Aggregator, node: Node, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    aggregator.heartbeats = None
    node.write(PATH, LINE)
    with caplog.at_level("INFO", "agent.report.heartbeat"):
        async with node.agent():
            await until(lambda: aggregator.bodies() == [b"hello"] and aggregator.heartbeats_unknown > 1)
    assert not [record for record in caplog.records if record.name == "agent.report.heartbeat"]
