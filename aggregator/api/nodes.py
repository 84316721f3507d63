"""Heartbeats of agents, and what is known from them: ``POST /v1/heartbeats``, ``GET /nodes``, ``GET /completeness``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from aggregator.api.bodies import read_body
from aggregator.api.parameters import scope
from aggregator.api.refusals import refused
from aggregator.api.times import rfc3339
from aggregator.errors import StoreError
from aggregator.logql.regex import anchored
from aggregator.logql.tree import MatchOp
from aggregator.nodes import SILENT_AFTER_S
from aggregator.store import ledger
from service.web import RefusedError, json_response
from wire.answers import Refusal
from wire.heartbeat import HEARTBEAT_BYTES_MAX, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggregator.api.accounting import QueryMetrics
    from aggregator.api.turnstile import Turnstile
    from aggregator.logql.tree import Matcher, Selector
    from aggregator.nodes import Node, Nodes
    from aggregator.store.engine import Engine, Limits
    from wire.heartbeat import ContainerState, Heartbeat

# Containers in one answer, about 300 bytes each.
CONTAINERS_MAX: Final = 10_000
# Gaps by container and reason, the largest ones; where there are more, no container is known to have none.
GAPS_MAX: Final = 10_000


class NodeState(msgspec.Struct, frozen=True):
    """One node in the answer of ``/nodes``. ``silent``: not heard for `SILENT_AFTER_S`."""

    cluster: str
    node: str
    agent: str
    version: str
    last_seen: str
    silent: bool
    up_seconds: float
    files: int
    containers: int
    lag_bytes: int
    lag_seconds: float
    trouble: str


class NodeList(msgspec.Struct, frozen=True):
    """The answer of ``/nodes``."""

    nodes: tuple[NodeState, ...]


class GapCount(msgspec.Struct, frozen=True):
    """Gaps of a container with one reason; ``bytes`` of those whose size is known."""

    reason: str
    gaps: int
    bytes: int
    of_unknown_size: int


class Completeness(msgspec.Struct, frozen=True):
    """One container: what its node has, as its agent said last, and what is stored.

    ``node_bytes`` and ``lag_bytes`` are null where no agent speaks of it any more; ``lost_bytes``: that its agent knows
    to be lost since it follows the container. ``complete``: true where nothing of it is missing; false where there are
    gaps, something was unread for longer than a commit takes, or not every gap has room in the answer; null where
    nobody knows: its node is not heard. ``doubts``: every reason why it is not true.
    """

    cluster: str
    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    node_files: int | None
    node_bytes: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    stored_files: int
    stored_bytes: int
    records: int
    gaps: tuple[GapCount, ...]
    lost_bytes: int | None
    complete: bool | None
    doubts: tuple[str, ...]


class CompletenessList(msgspec.Struct, frozen=True):
    """The answer of ``/completeness``."""

    containers: tuple[Completeness, ...]
    truncated: bool


_Key = tuple[str, str, str, str, str, str]
_NAMES: Final = ("cluster", "node", "namespace", "pod", "uid", "container")
# A commit takes about a second, a batch waits a fraction of one: what lags for longer is behind.
_ON_ITS_WAY_S: Final = 5.0


class NodeHandlers:
    """The handlers; own nothing."""

    def __init__(
        self, nodes: Nodes, engine: Engine, limits: Limits, turnstile: Turnstile, metrics: QueryMetrics
    ) -> None:
        self._nodes = nodes
        self._engine = engine
        self._limits = limits
        self._turnstile = turnstile
        self._metrics = metrics

    async def heartbeat(self, request: web.Request) -> web.Response:
        """Take a heartbeat."""
        body = await read_body(request, HEARTBEAT_BYTES_MAX)
        try:
            heartbeat = decode(body)
        except ValueError as error:
            raise RefusedError(400, Refusal(str(error), "body", "send a heartbeat of wire.heartbeat")) from error
        self._nodes.heard(heartbeat, time.time())
        return web.Response(status=204)

    async def nodes(self, request: web.Request) -> web.Response:
        """Every node that was heard within a day."""
        if request.query:
            name = next(iter(request.query))
            raise RefusedError(400, Refusal(f"there is no parameter {name!r}", name, "ask /nodes without any"))
        now_s = time.time()
        return json_response(NodeList(tuple(_node(node, now_s) for node in self._nodes.all())))

    async def completeness(self, request: web.Request) -> web.Response:
        """Every container that some node has files of, or the store records."""
        with self._metrics.observed("/completeness"):
            wanted = scope(request.rel_url.raw_query_string, time.time_ns())
            async with self._turnstile.enter():
                try:
                    held = await ledger.held(self._engine, wanted, CONTAINERS_MAX, self._limits)
                    lost = await ledger.lost(self._engine, wanted, GAPS_MAX, self._limits)
                except StoreError as error:
                    refusal = refused(error, self._limits)
                    if refusal is None:
                        raise
                    raise refusal from error
                # In a thread: with the containers of a large cluster nothing else would be answered meanwhile.
                found = await asyncio.to_thread(_joined, held, lost, self._nodes.all(), wanted.selector, time.time())
            return json_response(found)


def _node(node: Node, now_s: float) -> NodeState:
    heartbeat = node.heartbeat
    return NodeState(
        heartbeat.cluster,
        heartbeat.node,
        heartbeat.agent,
        heartbeat.version,
        rfc3339(int(node.seen_s * 1e9)),
        now_s - node.seen_s > SILENT_AFTER_S,
        heartbeat.up_seconds,
        heartbeat.files,
        len(heartbeat.containers) + heartbeat.containers_left_out,
        heartbeat.lag_bytes,
        heartbeat.lag_seconds,
        heartbeat.trouble,
    )


def _joined(
    held: list[ledger.Held], lost: list[ledger.Lost], nodes: Iterable[Node], selector: Selector, now_s: float
) -> CompletenessList:
    """What is stored and what ``nodes`` have, by container. Takes a second for every few hundred thousand of these."""
    stored = {_key(each): each for each in held}
    gaps: dict[_Key, list[GapCount]] = {}
    for each in lost:
        count = GapCount(each.reason, each.gaps, each.bytes, each.of_unknown_size)
        gaps.setdefault(_key(each), []).append(count)
    tests = [(_place(matcher), _test(matcher)) for matcher in selector.matchers if matcher.label != "stream"]
    on_nodes = {
        key: at
        for node in nodes
        for at in node.heartbeat.containers
        if _holds(tests, key := _key_on(node.heartbeat, at)) or key in stored
    }
    # In the same order as the store gives them, so that what is cut off is the end of the list.
    keys = sorted(stored.keys() | on_nodes.keys())
    are_all = len(lost) <= GAPS_MAX
    heard = {(node.heartbeat.cluster, node.heartbeat.node): node for node in nodes}
    found = tuple(
        _complete(
            key,
            stored.get(key),
            on_nodes.get(key),
            gaps.get(key, []),
            _unknown(heard.get(key[:2]), on_nodes.get(key), now_s),
            are_all_gaps=are_all,
        )
        for key in keys[:CONTAINERS_MAX]
    )
    return CompletenessList(found, truncated=max(len(held), len(keys)) > CONTAINERS_MAX or not are_all)


def _key(of: ledger.Held | ledger.Lost) -> _Key:
    return of.cluster, of.node, of.namespace, of.pod, of.uid, of.container


def _key_on(heartbeat: Heartbeat, at: ContainerState) -> _Key:
    return heartbeat.cluster, heartbeat.node, at.namespace, at.pod, at.uid, at.container


def _holds(tests: list[tuple[int | None, Callable[[str], bool]]], key: _Key) -> bool:
    """Whether a container that is known from its node alone matches; ``stream`` is not its own."""
    return all(test("" if place is None else key[place]) for place, test in tests)


def _place(matcher: Matcher) -> int | None:
    """Where in a key the matcher's label stands; None for one that nodes know nothing of."""
    return _NAMES.index(matcher.label) if matcher.label in _NAMES else None


def _test(matcher: Matcher) -> Callable[[str], bool]:
    if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
        return lambda value: (value == matcher.value) is not matcher.op.negative
    pattern = anchored(matcher.value)
    return lambda value: pattern.matches(value) is not matcher.op.negative


def _unknown(node: Node | None, at: ContainerState | None, now_s: float) -> str:
    """Why nobody knows what ``node`` has of a container, of which it said ``at`` last; empty if it is known."""
    if node is None:
        return "node unknown: no agent of it was heard since this aggregator started, or for a day"
    if now_s - node.seen_s > SILENT_AFTER_S:
        return f"node silent: its agent was heard last at {rfc3339(int(node.seen_s * 1e9))}"
    if at is None and node.heartbeat.containers_left_out:
        return "left out: its agent has more containers than it tells of"
    return ""


def _complete(
    key: _Key,
    held: ledger.Held | None,
    at: ContainerState | None,
    gaps: list[GapCount],
    unknown: str,
    *,
    are_all_gaps: bool,
) -> Completeness:
    wrong = {
        "gaps": bool(gaps),
        "gaps left out: name a namespace or pod": not are_all_gaps,
        "behind": at is not None and at.lag_bytes > 0 and at.lag_seconds > _ON_ITS_WAY_S,
    }
    doubts = tuple(doubt for doubt, holds in wrong.items() if holds)
    return Completeness(
        *key,
        at.files if at else None,
        at.node_bytes if at else None,
        at.lag_bytes if at else None,
        at.lag_seconds if at else None,
        held.sources if held else 0,
        held.stored_bytes if held else 0,
        held.records if held else 0,
        tuple(gaps),
        at.lost_bytes if at else None,
        False if doubts else None if unknown else True,
        (*doubts, unknown) if unknown else doubts,
    )
