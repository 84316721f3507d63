"""Which agents there are: what each said of itself last, in memory; after a restart the next heartbeats fill it."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from wire.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

# The largest clusters have 5,000 nodes; a heartbeat with a few hundred containers takes 100 KiB.
NODES_MAX: Final = 10_000
CONTAINERS_MAX: Final = 500_000
# A node that is silent for so long is gone, and no longer a finding.
FORGOTTEN_AFTER_S: Final = 24 * 3600.0
# Three heartbeats, with their jitter.
SILENT_AFTER_S: Final = 60.0


class Node(msgspec.Struct, frozen=True):
    """One agent's last heartbeat, and when it came, seconds since the epoch."""

    heartbeat: Heartbeat
    seen_s: float


class Nodes:
    """The last heartbeat of every node, those heard last at the end."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._nodes: OrderedDict[tuple[str, str], Node] = OrderedDict()
        self._containers = 0
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
        while len(self._nodes) > 1 and self._is_over(now_s):
            self._forget(next(iter(self._nodes)))

    def all(self) -> tuple[Node, ...]:
        """Every node, by cluster and name."""
        return tuple(node for _, node in sorted(self._nodes.items()))

    def silent(self, now_s: float) -> int:
        """How many have not been heard for `SILENT_AFTER_S`."""
        return sum(now_s - node.seen_s > SILENT_AFTER_S for node in self._nodes.values())

    def _is_over(self, now_s: float) -> bool:
        oldest = next(iter(self._nodes.values()))
        return (
            len(self._nodes) > NODES_MAX
            or self._containers > CONTAINERS_MAX
            or now_s - oldest.seen_s > FORGOTTEN_AFTER_S
        )

    def _forget(self, key: tuple[str, str]) -> None:
        known = self._nodes.pop(key, None)
        if known is not None:
            self._containers -= len(known.heartbeat.containers)
