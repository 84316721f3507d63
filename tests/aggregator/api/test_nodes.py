"""Heartbeats in, nodes and completeness out, over HTTP."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from msgspec.structs import replace

from aggregator.api import nodes
from aggregator.api.nodes import CompletenessList, NodeList
from aggregator.api.queries import STALL_S, QueryLimits
from wire.batch import Flag
from wire.heartbeat import HEARTBEAT_BYTES_MAX, ContainerState, Heartbeat, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from service.options import Address

    Put = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]

NOW_NS = time.time_ns()


@pytest.fixture
async def client(
    asking: Callable[[QueryLimits, float], AbstractAsyncContextManager[Address]],
) -> AsyncIterator[aiohttp.ClientSession]:
    async with asking(QueryLimits(), STALL_S) as address, aiohttp.ClientSession(address.url) as session:
        yield session


def beat(*containers: ContainerState, node: str = "node-1", left_out: int = 0) -> bytes:
    lag = sum(container.lag_bytes for container in containers)
    return encode(Heartbeat("test", node, f"{node}-1", "9.9.9", 3.0, 4, lag, 0.2, "", containers, left_out))


async def ask(client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_nodes_are_those_that_were_heard(client: aiohttp.ClientSession) -> None:
    assert await ask(client, "/nodes") == {"nodes": []}
    async with client.post(
        "/v1/heartbeats", data=beat(ContainerState("shop", "cart-0", "u", "app"), left_out=2)
    ) as answer:
        assert answer.status == 204
    (node,) = (await ask(client, "/nodes"))["nodes"]
    seen = node.pop("last_seen")
    assert abs(time.time() - time.mktime(time.strptime(seen[:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
    assert node == {
        "cluster": "test",
        "node": "node-1",
        "agent": "node-1-1",
        "version": "9.9.9",
        "silent": False,
        "up_seconds": 3.0,
        "files": 4,
        "containers": 3,
        "unplaced_files": 0,
        "lag_bytes": 0,
        "lag_seconds": 0.2,
        "trouble": "",
    }
    assert NodeList.__struct_fields__ == ("nodes",)


async def test_completeness_joins_what_nodes_have_and_what_is_stored(client: aiohttp.ClientSession, put: Put) -> None:
    one, two = b"1" * 16, b"2" * 16
    await put(
        [
            {"ts": NOW_NS, "source": one, "position": 100, "body": b"a"},
            {"ts": NOW_NS, "source": one, "position": 250, "body": b"b", "stream": "stderr"},
            {"ts": NOW_NS, "source": two, "position": 40, "body": b"c"},
            {
                "ts": NOW_NS,
                "source": two,
                "position": 90,
                "flags": int(Flag.GAP),
                "body": b'{"bytes":50,"reason":"rotated"}',
            },
            {
                "ts": NOW_NS,
                "source": two,
                "position": 91,
                "flags": int(Flag.GAP),
                "body": b'{"bytes":null,"reason":"rotated"}',
            },
            {"ts": NOW_NS, "source": b"3" * 16, "position": 7, "body": b"d", "pod": "gone-0", "uid": "v"},
        ]
    )
    states = (
        ContainerState("shop", "cart-0", "u", "app", 2, 400, 60, 9.0, 50),
        ContainerState("shop", "new-0", "w", "app", 1, 10, 10, 0.5),
    )
    async with client.post("/v1/heartbeats", data=beat(*states)) as answer:
        assert answer.status == 204
    found = await ask(client, "/completeness")
    assert not found["truncated"]
    by_pod = {one["pod"]: one for one in found["containers"]}
    assert set(by_pod) == {"cart-0", "gone-0", "new-0"}
    assert by_pod["cart-0"] == {
        "cluster": "test",
        "node": "node-1",
        "namespace": "shop",
        "pod": "cart-0",
        "uid": "u",
        "container": "app",
        "node_files": 2,
        "node_bytes": 400,
        "lag_bytes": 60,
        "lag_seconds": 9.0,
        "stored_files": 2,
        "stored_bytes": 250 + 91,
        "records": 5,
        "gaps": [{"reason": "rotated", "gaps": 2, "bytes": 50, "of_unknown_size": 1}],
        "lost_bytes": 50,
        "complete": False,
        "doubts": ["gaps", "behind"],
    }
    gone, new = by_pod["gone-0"], by_pod["new-0"]
    assert (gone["node_bytes"], gone["stored_bytes"], gone["complete"], gone["doubts"]) == (None, 7, True, [])
    assert (new["node_bytes"], new["stored_bytes"], new["complete"]) == (10, 0, True), "it is on its way"
    assert [one["pod"] for one in (await ask(client, "/completeness?pod=*-0&uid=v&uid=w"))["containers"]] == [
        "gone-0",
        "new-0",
    ]
    past = await ask(client, "/completeness?start=2020-01-01&end=2020-01-02&pod=gone-0")
    assert past["containers"] == [], "nothing of it is of that time"
    assert CompletenessList.__struct_fields__ == ("containers", "truncated")


@pytest.mark.parametrize(
    ("asked", "pods"),
    [
        ("namespace=shop", ["a-0", "b-0"]),
        ("pod=b-*", ["b-0"]),
        ("node=node-1&pod=a-0&pod=c-0", ["a-0", "c-0"]),
        ("node=node-2", []),
        ("stream=stderr", ["a-0", "b-0", "c-0"]),
    ],
)
async def test_what_only_nodes_know_is_selected_by_its_own_labels(
    client: aiohttp.ClientSession, asked: str, pods: list[str]
) -> None:
    states = [ContainerState("shop" if pod < "c" else "pay", pod, "u", "app") for pod in ("c-0", "b-0", "a-0")]
    async with client.post("/v1/heartbeats", data=beat(*states)) as answer:
        assert answer.status == 204
    found = await ask(client, f"/completeness?{asked}")
    assert sorted(one["pod"] for one in found["containers"]) == pods


async def test_more_containers_than_an_answer_holds_are_said_to_be_more(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client.post(
        "/v1/heartbeats", data=beat(*(ContainerState("shop", f"a-{number}", "u", "app") for number in range(3)))
    ) as answer:
        assert answer.status == 204
    for most, truncated in ((3, False), (2, True)):
        monkeypatch.setattr(nodes, "CONTAINERS_MAX", most)
        found = await ask(client, "/completeness")
        assert (found["truncated"], [one["pod"] for one in found["containers"]]) == (
            truncated,
            ["a-0", "a-1", "a-2"][:most],
        )


async def test_where_not_every_gap_has_room_nothing_is_complete(
    client: aiohttp.ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = {"ts": NOW_NS, "flags": int(Flag.GAP), "body": b'{"bytes":50,"reason":"rotated"}', "position": 90}
    await put(
        [
            {**gap, "source": b"1" * 16, "pod": "one-0"},
            {**gap, "source": b"2" * 16, "pod": "two-0"},
            {"ts": NOW_NS, "source": b"3" * 16, "position": 7, "body": b"d", "pod": "whole-0"},
        ]
    )
    await say(client, beat())
    for most, truncated, complete in ((2, False, ["whole-0"]), (1, True, [])):
        monkeypatch.setattr(nodes, "GAPS_MAX", most)
        found = await ask(client, "/completeness")
        assert found["truncated"] is truncated
        assert [one["pod"] for one in found["containers"] if one["complete"]] == complete


async def say(client: aiohttp.ClientSession, heartbeat: bytes) -> None:
    async with client.post("/v1/heartbeats", data=heartbeat) as answer:
        assert answer.status == 204


async def test_of_nodes_that_are_silent_or_unknown_it_is_not_known_whether_all_is_there(
    client: aiohttp.ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told() -> dict[str, tuple[bool | None, tuple[str, ...]]]:
        found = (await ask(client, "/completeness"))["containers"]
        return {one["pod"]: (one["complete"], tuple(each.partition(":")[0] for each in one["doubts"])) for one in found}

    gap = {"flags": int(Flag.GAP), "body": b'{"bytes":50,"reason":"rotated"}'}
    await put(
        [
            {"ts": NOW_NS, "source": b"1" * 16, "position": 9, "body": b"a", "pod": "here-0"},
            {"ts": NOW_NS, "source": b"2" * 16, "position": 9, "body": b"a", "pod": "deleted-0"},
            {"ts": NOW_NS, "source": b"3" * 16, "position": 9, "pod": "gap-0", **gap},
        ]
    )
    assert set((await told()).values()) == {(None, ("node unknown",)), (False, ("gaps", "node unknown"))}
    # What a container has that its agent does not tell of is not known either.
    await say(client, beat(ContainerState("shop", "here-0", "u", "app", 1, 9), left_out=1))
    assert await told() == {
        "here-0": (True, ()),
        "deleted-0": (None, ("left out",)),
        "gap-0": (False, ("gaps", "left out")),
    }
    await say(client, beat(ContainerState("shop", "here-0", "u", "app", 1, 9)))
    assert await told() == {"here-0": (True, ()), "deleted-0": (True, ()), "gap-0": (False, ("gaps",))}
    monkeypatch.setattr(time, "time", lambda: NOW_NS / 1e9 + 3600)
    assert await told() == {
        "here-0": (None, ("node silent",)),
        "deleted-0": (None, ("node silent",)),
        "gap-0": (False, ("gaps", "node silent")),
    }


HERE = ContainerState("shop", "here-0", "u", "app", 1, 9)


@pytest.mark.parametrize(
    ("state", "of_node", "lag", "complete", "doubts"),
    [
        ({}, {}, 0, True, []),
        ({"lag_bytes": 5, "lag_seconds": 1.1}, {}, 5, True, []),
        ({"unplaced_files": 1}, {}, None, None, ["positions unknown"]),
        ({"unplaced_files": 1, "lag_bytes": 5, "lag_seconds": 9.0}, {}, 5, False, ["behind", "positions unknown"]),
        ({"lag_bytes": 5, "lag_seconds": 1.1, "of_unknown_age": 4}, {}, 5, None, ["age unknown"]),
        ({}, {"starting": True}, 0, None, ["node starting"]),
        ({}, {"store": "a/1"}, 0, True, []),
        ({}, {"store": "a/2"}, 0, None, ["store changed"]),
    ],
)
async def test_nothing_is_complete_of_which_its_agent_does_not_know_itself(
    asking: Callable[..., AbstractAsyncContextManager[Address]],
    put: Put,
    state: dict[str, Any],
    of_node: dict[str, Any],
    lag: int | None,
    complete: bool | None,  # noqa: FBT001 - a column of the table
    doubts: list[str],
) -> None:
    await put([{"ts": NOW_NS, "source": b"1" * 16, "position": 9, "body": b"a", "pod": "here-0"}])
    container = replace(HERE, **state)
    heartbeat = Heartbeat("test", "node-1", "node-1-1", "9.9.9", 3.0, containers=(container,))
    heartbeat = replace(heartbeat, lag_bytes=container.lag_bytes, unplaced_files=container.unplaced_files, **of_node)
    async with asking(QueryLimits(), store="a/1") as address, aiohttp.ClientSession(address.url) as client:
        await say(client, encode(heartbeat))
        (found,) = (await ask(client, "/completeness"))["containers"]
        assert (found["lag_bytes"], found["complete"]) == (lag, complete)
        assert [doubt.partition(":")[0] for doubt in found["doubts"]] == doubts
        (node,) = (await ask(client, "/nodes"))["nodes"]
        assert node["lag_bytes"] == (None if of_node.get("starting") else lag)


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"", 400, "body"),
        (b"{}", 400, "cluster"),
        (b"[" * 100_000, 400, "body"),
        (b" " * (HEARTBEAT_BYTES_MAX + 1), 413, "body"),
    ],
)
async def test_what_is_no_heartbeat_is_refused(
    client: aiohttp.ClientSession, body: bytes, status: int, named: str
) -> None:
    async with client.post("/v1/heartbeats", data=io.BytesIO(body)) as answer:
        assert answer.status == status
        assert named in await answer.text()


async def test_nodes_takes_no_parameters(client: aiohttp.ClientSession) -> None:
    async with client.get("/nodes?node=x") as answer:
        assert answer.status == 400
        assert (await answer.json())["parameter"] == "node"
