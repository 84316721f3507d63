"""Which pods there are: names as a cluster has them, the same for the same seed."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Final

from simulator.lines import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMESPACES: Final = ("shop", "shop", "shop", "payments", "payments", "search", "monitoring", "kube-system")
_WORKLOADS: Final = (
    "cart",
    "checkout",
    "frontend",
    "gateway",
    "indexer",
    "ledger",
    "mailer",
    "orders",
    "ranker",
    "users",
)
# The first pods, whatever the seed: examples in the pages ask for them.
_KNOWN: Final = (("shop", "cart"), ("shop", "checkout"), ("payments", "gateway"))
_CONTAINERS: Final = ("app", "proxy", "exporter", "reloader")
# What Kubernetes draws the ends of names from: no vowels, so that no words come of it.
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
CONTAINERS_MAX: Final = len(_CONTAINERS)


def pods(seed: int, containers: int) -> Iterator[tuple[Container, ...]]:
    """Pods without end, each as its containers; ``containers`` is 1 to `CONTAINERS_MAX`.

    Their uids differ in the first eight characters. Every eighth is a static pod, with a hash for a uid. The first
    three are shop/cart-…, shop/checkout-… and payments/gateway-….
    """
    draw = random.Random(f"pods {seed}")
    keys: set[str] = set()
    number = 0
    while True:
        uid = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        if uid[:8] in keys:
            continue
        keys.add(uid[:8])
        number += 1
        namespace = draw.choice(_NAMESPACES)
        workload = draw.choice(_WORKLOADS)
        if number <= len(_KNOWN):
            namespace, workload = _KNOWN[number - 1]
        if number % 8 == 0:
            namespace, pod, uid = "kube-system", f"{workload}-node-{number}", uid.replace("-", "")
        else:
            pod = f"{workload}-{_ending(draw, 10)}-{_ending(draw, 5)}"
        yield tuple(Container(namespace, pod, uid, name) for name in _CONTAINERS[:containers])


def _ending(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(_LETTERS, k=length))
