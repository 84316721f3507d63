"""What an agent says of itself every few seconds: that it lives, and what its node holds of each container.

``POST /v1/heartbeats``, JSON (UTF-8), answered 204. Nothing depends on it but what `/nodes` and `/completeness` show: a
lost one is followed by the next. Fields that a later version adds are ignored by an earlier one.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from wire.codec import NAME_BYTES_MAX, POSITION_MAX

EVERY_S: Final = 15.0
# One with every container of a large node has 200 KiB; what is longer is no heartbeat.
HEARTBEAT_BYTES_MAX: Final = 4 << 20
# A node runs a few hundred pods at most; of more containers the first ones are told, and that there are more.
CONTAINERS_MAX: Final = 5_000
# Characters of a text: enough for why an aggregator does not answer.
TEXT_MAX: Final = 1024

# What is kept of every node has limits, field by field.
_Name = Annotated[str, msgspec.Meta(max_length=NAME_BYTES_MAX)]
_Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=POSITION_MAX)]
_Seconds = Annotated[float, msgspec.Meta(ge=0.0)]


class ContainerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container's files on the node. Sizes are bytes.

    ``files``: how many are followed; ``node_bytes``: their size on the disk (compressed ones as they are);
    ``lag_bytes`` of them are not stored yet, for ``lag_seconds`` at least; ``lost_bytes``: known to be lost since the
    agent began to follow it. ``unplaced_files``: of which the agent does not know what is stored; they are not in
    ``lag_bytes``. ``of_unknown_age``: of ``lag_bytes``, what was in the files when the agent found them, or learned
    that the store is another one: it may have been there for much longer than ``lag_seconds``.
    """

    namespace: _Name
    pod: _Name
    uid: _Name
    container: _Name
    files: _Number = 0
    node_bytes: _Number = 0
    lag_bytes: _Number = 0
    lag_seconds: _Seconds = 0.0
    lost_bytes: _Number = 0
    unplaced_files: _Number = 0
    of_unknown_age: _Number = 0


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent. ``up_seconds``: since it started; ``trouble``: why nothing is sent at the moment, if so.

    ``starting``: it has not seen yet which files there are. ``store``: whose positions ``lag_bytes`` are counted from,
    the value of `wire.answers.STORE_HEADER`; empty where none was heard of, and of agents of former versions.
    """

    cluster: _Name
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_BYTES_MAX)]
    agent: _Name
    version: _Name
    up_seconds: _Seconds
    files: _Number = 0
    lag_bytes: _Number = 0
    lag_seconds: _Seconds = 0.0
    trouble: _Text = ""
    containers: Annotated[tuple[ContainerState, ...], msgspec.Meta(max_length=CONTAINERS_MAX)] = ()
    containers_left_out: _Number = 0
    unplaced_files: _Number = 0
    starting: bool = False
    store: _Text = ""


_DECODER: Final = msgspec.json.Decoder(Heartbeat)


def encode(heartbeat: Heartbeat) -> bytes:
    """The body of a request."""
    return msgspec.json.encode(heartbeat)


def decode(body: bytes) -> Heartbeat:
    """The heartbeat in a body. Raises ValueError, with the field and what is wrong with it."""
    try:
        return _DECODER.decode(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
