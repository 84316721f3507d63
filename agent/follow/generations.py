"""What the names below the pods directory say.

    <namespace>_<pod>_<uid>/<container>/<restart>.log                        live
                                        <restart>.log.20230405-022934        rotated by the kubelet
                                        <restart>.log.20230405-022934.gz     compressed; .tmp while it is being made

With Docker ``<restart>.log`` is a symlink to ``<id>-json.log``, which Docker itself rotates to ``-json.log.1``, ``.2``,
… beside the target, the highest number being the oldest, perhaps with ``.gz``.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from wire.codec import NAME_BYTES_MAX

_LOG: Final = re.compile(r"(\d{1,9})\.log(?:\.(\d{8}-\d{6}))?(\.gz)?")
_SHIFTED: Final = re.compile(r"\.(\d{1,6})(\.gz)?")
_POD_PARTS: Final = 3


class Container(msgspec.Struct, frozen=True):
    """The container that a directory belongs to; ``name`` is the container's name within the pod."""

    namespace: str
    pod: str
    uid: str
    name: str


class Generation(msgspec.Struct, frozen=True, order=True):
    """One file of a container's log, as its name tells; sorts oldest first.

    ``stamp``: the kubelet's rotation time, or Docker's number made to sort; empty for the file being written.
    ``gzip``: compressed.
    """

    restart: int
    current: bool  # the file still being written, or the last one of a run that is over; sorts last
    stamp: str
    gzip: bool


def container_of(pod_directory: str, name: str) -> Container | None:
    """The container whose directory is ``<pod_directory>/<name>``; None if they are not named as the kubelet does.

    Kubernetes names have no underscore, so the three parts are unmistakable. They are short and ASCII: what is not is
    no container's, and no batch could carry it.
    """
    parts = pod_directory.split("_")
    if len(parts) != _POD_PARTS or not all(map(_is_name, (*parts, name))):
        return None
    return Container(parts[0], parts[1], parts[2], name)


def _is_name(text: str) -> bool:
    return text.isascii() and 0 < len(text) <= NAME_BYTES_MAX


def generation_of(name: str) -> Generation | None:
    """The generation a file of a container's directory is; None for what is no log, ``.tmp`` files among them."""
    match = _LOG.fullmatch(name)
    if match is None or (match[3] and not match[2]):
        return None
    return Generation(int(match[1]), not match[2], match[2] or "", bool(match[3]))


def shifted_of(target: str, name: str, restart: int) -> Generation | None:
    """The generation that ``name``, beside Docker's log file ``target``, is; None if not one of its rotated ones."""
    if not name.startswith(target):
        return None
    match = _SHIFTED.fullmatch(name, len(target))
    if match is None:
        return None
    stamp = f"{10**6 - int(match[1]):07d}"
    return Generation(restart, current=False, stamp=stamp, gzip=bool(match[2]))
