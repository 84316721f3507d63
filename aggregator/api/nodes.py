"""Heartbeats of agents, and what is known from them: ``POST /v1/heartbeats``, ``GET /nodes``, ``GET /completeness``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

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
    from collections.abc import Callable

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
    """One node in the answer of ``/nodes``. ``silent``: not heard for `SILENT_AFTER_S`.

    ``lag_bytes`` and ``lag_seconds`` leave out ``unplaced_files``, of which the agent does not know what is stored;
    they are null where it knows of nothing that lags, but not of all files.
    """

    cluster: str
    node: str
    agent: str
    version: str
    last_seen: str
    silent: bool
    up_seconds: float
    files: int
    containers: int
    unplaced_files: int
    lag_bytes: int | None
    lag_seconds: float | None
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

    ``node_bytes`` and ``lag_bytes`` are null where no agent speaks of it any more, ``lag_bytes`` also as in
    `NodeState`. ``lost_bytes``: that its agent knows to be lost since it follows the container. ``complete``: true
    where nothing of it is missing; false where there are gaps, something was unread for longer than a commit takes, or
    not every gap has room in the answer; null where nobody knows: its node is not heard, or does not know itself.
    ``doubts``: every reason why it is not true.
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
            async with self._turnstile.enter(request.remote):
                try:
                    held = await ledger.held(self._engine, wanted, CONTAINERS_MAX, self._limits)
                    lost = await ledger.lost(self._engine, wanted, GAPS_MAX, self._limits)
                except StoreError as error:
                    refusal = refused(error, self._limits)
                    if refusal is None:
                        raise
                    raise refusal from error
                # In a thread: with the containers of a large cluster nothing else would be answered meanwhile.
                known = _Known(self._nodes.all(), self._nodes.store, time.time())
                found = await asyncio.to_thread(_joined, held, lost, known, wanted.selector)
            return json_response(found)


class _Known(NamedTuple):
    """What is known of the nodes now, in the process that serves ``store``."""

    nodes: tuple[Node, ...]
    store: str
    now_s: float


def _node(node: Node, now_s: float) -> NodeState:
    heartbeat = node.heartbeat
    is_known = _is_known(heartbeat) and not heartbeat.starting
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
        heartbeat.unplaced_files,
        heartbeat.lag_bytes if is_known else None,
        heartbeat.lag_seconds if is_known else None,
        heartbeat.trouble,
    )


def _is_known(of: ContainerState | Heartbeat) -> bool:
    """Whether its lag is one: none is none only if it is known of all files what is stored."""
    return of.lag_bytes > 0 or not of.unplaced_files


def _joined(held: list[ledger.Held], lost: list[ledger.Lost], known: _Known, selector: Selector) -> CompletenessList:
    """What is stored and what the nodes have, by container. Takes a second for every few hundred thousand of these."""
    stored = {_key(each): each for each in held}
    gaps: dict[_Key, list[GapCount]] = {}
    for each in lost:
        count = GapCount(each.reason, each.gaps, each.bytes, each.of_unknown_size)
        gaps.setdefault(_key(each), []).append(count)
    tests = [(_place(matcher), _test(matcher)) for matcher in selector.matchers if matcher.label != "stream"]
    on_nodes = {
        key: at
        for node in known.nodes
        for at in node.heartbeat.containers
        if _holds(tests, key := _key_on(node.heartbeat, at)) or key in stored
    }
    # In the same order as the store gives them, so that what is cut off is the end of the list.
    keys = sorted(stored.keys() | on_nodes.keys())
    are_all = len(lost) <= GAPS_MAX
    heard = {(node.heartbeat.cluster, node.heartbeat.node): node for node in known.nodes}
    found = tuple(
        _complete(
            key,
            stored.get(key),
            on_nodes.get(key),
            gaps.get(key, []),
            _of_node(heard.get(key[:2]), known) or _of_container(heard.get(key[:2]), on_nodes.get(key)),
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


def _of_node(node: Node | None, known: _Known) -> str:
    """Why nobody knows what ``node`` has of any container; empty if it is known."""
    if node is None:
        return "node unknown: no agent of it was heard since this aggregator started, or for a day"
    if known.now_s - node.seen_s > SILENT_AFTER_S:
        return f"node silent: its agent was heard last at {rfc3339(int(node.seen_s * 1e9))}"
    if node.heartbeat.starting:
        return "node starting: its agent has not seen yet which files there are"
    if known.store and node.heartbeat.store not in {"", known.store}:
        return "store changed: its agent spoke last of what was stored before; it asks anew within seconds"
    return ""


def _of_container(node: Node | None, at: ContainerState | None) -> str:
    """Why ``node``, which is heard, does not know what it has of a container, of which it said ``at`` last."""
    if node is not None and at is None:
        return "left out: its agent has more containers than it tells of" if node.heartbeat.containers_left_out else ""
    if at is not None and at.unplaced_files:
        return f"positions unknown: its agent has not been told yet what is stored of {at.unplaced_files} of its files"
    if at is not None and at.of_unknown_age:
        return f"age unknown: {at.of_unknown_age} bytes that are not stored were there before its agent, or the store"
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
        at.lag_bytes if at and _is_known(at) else None,
        at.lag_seconds if at and _is_known(at) else None,
        held.sources if held else 0,
        held.stored_bytes if held else 0,
        held.records if held else 0,
        tuple(gaps),
        at.lost_bytes if at else None,
        False if doubts else None if unknown else True,
        (*doubts, unknown) if unknown else doubts,
    )
