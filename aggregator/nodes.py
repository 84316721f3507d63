"""Which agents there are: what each said of itself last, in memory; after a restart the next heartbeats fill it."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from service.logs import fields
from wire.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

# The largest clusters have 5,000 nodes; a heartbeat with a few hundred containers takes 100 KiB.
NODES_MAX: Final = 10_000
CONTAINERS_MAX: Final = 500_000
# A node that is silent for so long is gone, and no longer a finding.
FORGOTTEN_AFTER_S: Final = 24 * 3600.0
# Three heartbeats, with their jitter.
SILENT_AFTER_S: Final = 60.0
# Where there are too many, every heartbeat pushes another node out.
SAY_AGAIN_AFTER_S: Final = 60.0
_SILENT: Final = "silent"
_TOO_MANY: Final = "too many"


class Node(msgspec.Struct, frozen=True):
    """One agent's last heartbeat, and when it came, seconds since the epoch."""

    heartbeat: Heartbeat
    seen_s: float


class Nodes:
    """The last heartbeat of every node, those heard last at the end.

    ``store``: whose figures those of agents should be, the value of `wire.answers.STORE_HEADER`; empty: anyone's.
    """

    def __init__(self, registry: CollectorRegistry, store: str = "", clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._nodes: OrderedDict[tuple[str, str], Node] = OrderedDict()
        self._containers = 0
        self._said_s: float | None = None
        self._unsaid = 0
        self._forgotten = Counter(
            "logboom_aggregator_nodes_forgotten",
            "Nodes forgotten: silent for a day, or too many, or too many containers of theirs, to know them all.",
            ["reason"],
            registry=registry,
        )
        known = Gauge("logboom_aggregator_nodes", "Nodes heard within a day.", registry=registry)
        known.set_function(lambda: len(self._nodes))
        silent = Gauge("logboom_aggregator_nodes_silent", "Of those, nodes not heard for a minute.", registry=registry)
        silent.set_function(lambda: self.silent(clock()))

    def __len__(self) -> int:
        return len(self._nodes)

    def heard(self, heartbeat: Heartbeat, now_s: float) -> None:
        """Take a heartbeat; forgets who is gone, and who is heard longest ago if there are too many."""
        key = heartbeat.cluster, heartbeat.node
        self._forget(key)
        self._nodes[key] = Node(heartbeat, now_s)
        self._containers += len(heartbeat.containers)
        while len(self._nodes) > 1 and (reason := self._over(now_s)):
            self._forgotten.labels(reason).inc()
            longest = next(iter(self._nodes))
            if reason == _TOO_MANY:
                self._say(*longest, now_s)
            self._forget(longest)

    def all(self) -> tuple[Node, ...]:
        """Every node, by cluster and name."""
        return tuple(node for _, node in sorted(self._nodes.items()))

    def silent(self, now_s: float) -> int:
        """How many have not been heard for `SILENT_AFTER_S`."""
        return sum(now_s - node.seen_s > SILENT_AFTER_S for node in self._nodes.values())

    def _over(self, now_s: float) -> str:
        """Why the node heard longest ago is to be forgotten; empty if it is not."""
        oldest = next(iter(self._nodes.values()))
        if now_s - oldest.seen_s > FORGOTTEN_AFTER_S:
            return _SILENT
        return _TOO_MANY if len(self._nodes) > NODES_MAX or self._containers > CONTAINERS_MAX else ""

    def _say(self, cluster: str, node: str, now_s: float) -> None:
        self._unsaid += 1
        if self._said_s is not None and now_s - self._said_s < SAY_AGAIN_AFTER_S:
            return
        _log.warning(
            "more nodes or containers than are remembered, whoever is heard longest ago is forgotten",
            extra=fields(
                cluster=cluster,
                node=node,
                forgotten=self._unsaid,
                containers_max=CONTAINERS_MAX,
                nodes_max=NODES_MAX,
            ),
        )
        self._said_s, self._unsaid = now_s, 0

    def _forget(self, key: tuple[str, str]) -> None:
        known = self._nodes.pop(key, None)
        if known is not None:
            self._containers -= len(known.heartbeat.containers)
