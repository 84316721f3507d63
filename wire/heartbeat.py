"""What an agent says of itself every few seconds: that it lives, and what its node holds of each container.

``POST /v1/heartbeats``, JSON (UTF-8), answered 204. Nothing depends on it but what `/nodes` and `/completeness` show: a
lost one is followed by the next. Fields that a later version adds are ignored by an earlier one.
"""

from __future__ import annotations

from typing import Final

import msgspec

EVERY_S: Final = 15.0
# One with every container of a large node has 200 KiB; what is longer is no heartbeat.
HEARTBEAT_BYTES_MAX: Final = 4 << 20
# A node runs a few hundred pods at most; of more containers the first ones are told, and that there are more.
CONTAINERS_MAX: Final = 5_000
_NAME_MAX: Final = 1024


class ContainerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container's files on the node. Sizes are bytes.

    ``files``: how many are followed; ``node_bytes``: their size on the disk (compressed ones as they are);
    ``lag_bytes`` of them are not stored yet, for ``lag_seconds`` at least; ``lost_bytes``: known to be lost since the
    agent began to follow it.
    """

    namespace: str
    pod: str
    uid: str
    container: str
    files: int = 0
    node_bytes: int = 0
    lag_bytes: int = 0
    lag_seconds: float = 0.0
    lost_bytes: int = 0


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent. ``up_seconds``: since it started; ``trouble``: why nothing is sent at the moment, if so."""

    cluster: str
    node: str
    agent: str
    version: str
    up_seconds: float
    files: int = 0
    lag_bytes: int = 0
    lag_seconds: float = 0.0
    trouble: str = ""
    containers: tuple[ContainerState, ...] = ()
    containers_left_out: int = 0


_DECODER: Final = msgspec.json.Decoder(Heartbeat)


def encode(heartbeat: Heartbeat) -> bytes:
    """The body of a request."""
    return msgspec.json.encode(heartbeat)


def decode(body: bytes) -> Heartbeat:
    """The heartbeat in a body. Raises ValueError, with the field and what is wrong with it."""
    try:
        heartbeat = _DECODER.decode(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not heartbeat.node:
        raise ValueError("node is empty - at `$.node`")
    if len(heartbeat.containers) > CONTAINERS_MAX:
        raise ValueError(f"more than {CONTAINERS_MAX} containers - at `$.containers`")
    for name in ("cluster", "node", "agent", "version", "trouble"):
        if len(getattr(heartbeat, name)) > _NAME_MAX:
            raise ValueError(f"longer than {_NAME_MAX} characters - at `$.{name}`")
    return heartbeat
