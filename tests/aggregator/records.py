"""Batches made of a few readable records, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import zstandard

from wire.batch import Batch, Chunk
from wire.codec import CONTENT_ENCODING, CONTENT_TYPE, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_S: Final = 86_400
# Noon of a day, for clocks that stand still.
NOW_S: Final = 20_000 * DAY_S + DAY_S // 2
NOW_NS: Final = NOW_S * 10**9
HEADERS: Final = {"Content-Type": CONTENT_TYPE, "Content-Encoding": CONTENT_ENCODING}


class Record(msgspec.Struct, frozen=True):
    """One row of a batch."""

    position: int
    body: bytes = b"line"
    time: int = NOW_NS
    flags: int = 0


class Part(msgspec.Struct, frozen=True):
    """One chunk of a batch and its rows; ``end`` is the last row's position unless said otherwise."""

    source: bytes
    start: int
    records: tuple[Record, ...]
    end: int = -1
    pod: str = "web-0"
    joint: bool = False
    namespace: str = "shop"

    @property
    def chunk(self) -> Chunk:
        """The header of the wire."""
        end = self.end if self.end >= 0 else (self.records[-1].position if self.records else self.start)
        rows = len(self.records)
        return Chunk(
            self.source, self.start, end, self.namespace, self.pod, f"uid-{self.pod}", "app", 0, rows, self.joint
        )


def source(name: str) -> bytes:
    """A source that is easy to tell from others."""
    return name.encode().ljust(16, b".")


def part(
    name: str, start: int, positions: Sequence[int], *, time: int = NOW_NS, flags: int = 0, namespace: str = "shop"
) -> Part:
    """Records of source ``name`` at ``positions``, whose bodies name them."""
    records = tuple(Record(p, f"{name}@{p}".encode(), time, flags) for p in positions)
    return Part(source(name), start, records, namespace=namespace)


def batch(*parts: Part, node: str = "node-1") -> Batch:
    """The batch of these chunks."""
    records = [record for one in parts for record in one.records]
    return Batch(
        "test",
        node,
        "agent",
        tuple(one.chunk for one in parts),
        np.array([record.time for record in records], np.int64),
        np.array([record.position for record in records], np.uint64),
        np.array([record.flags for record in records], np.uint8),
        np.array([len(record.body) for record in records], np.uint32),
        b"".join(record.body for record in records),
    )


def pack(content: Batch | bytes) -> bytes:
    """What an agent would send."""
    return zstandard.ZstdCompressor(1).compress(content if isinstance(content, bytes) else encode(content))
