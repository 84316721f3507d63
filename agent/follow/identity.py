"""The source of a log file, from its own content.

A runtime's lines carry a time in nanoseconds, so the first line of a file is like no other's. It survives rename and
compression, and changes when a file is truncated or its inode is used again.

    source = BLAKE2b-128(cluster, uid, container, restart, head, tail)    each part after its length as uint32 LE

with ``head`` the first `HEAD_BYTES` of the first complete line without its newline, ``tail`` its last `TAIL_BYTES`:
CRI lines carry their time at the beginning, Docker's at the end.

What is lost of a file whose first line was never read has the source ``(cluster, uid, container, restart, device,
inode, "gap")``, so that it is stored once, whoever says so how often.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agent.follow.generations import Container

HEAD_BYTES: Final = 1024
TAIL_BYTES: Final = 64
# Runtimes cut lines at 16 KiB. A first "line" longer than this is none of theirs; its beginning has to do.
FIRST_LINE_BYTES_MAX: Final = 1 << 20


def first_line(head: bytes) -> bytes | None:
    """The first line of a file that begins with ``head``, without its newline; None if more bytes are needed."""
    end = head.find(b"\n", 0, FIRST_LINE_BYTES_MAX)
    if end >= 0:
        return head[:end]
    return head[:FIRST_LINE_BYTES_MAX] if len(head) >= FIRST_LINE_BYTES_MAX else None


def source_of(cluster: str, container: Container, restart: int, line: bytes) -> bytes:
    """The 16-byte source of the file of ``container``'s run ``restart`` whose first line is ``line``."""
    return _digest(cluster, container, restart, line[:HEAD_BYTES], line[-TAIL_BYTES:])


def lost_source_of(cluster: str, container: Container, restart: int, device: int, inode: int) -> bytes:
    """The 16-byte source of the gap in place of a file of ``container``'s run ``restart`` that was never known."""
    return _digest(cluster, container, restart, str(device).encode(), str(inode).encode(), b"gap")


def _digest(cluster: str, container: Container, restart: int, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    names = (cluster, container.uid, container.name, str(restart))
    for part in (*map(str.encode, names), *parts):
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(part)
    return digest.digest()
