"""Labels to stream ids, and which streams the store already knows.

A stream id is the first 8 bytes, as a little-endian integer, of BLAKE2b over the labels sorted by name, each as
``name NUL value NUL`` in UTF-8.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from aggregator.store.schema import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggregator.store.engine import Engine

# (day, stream) pairs remembered as written: 64 bytes and more each. Forgetting one costs one row written again.
_KNOWN_MAX: Final = 200_000


def stream_id(labels: Mapping[str, str]) -> int:
    """The id of the stream with these labels, 0 to 2**64 - 1."""
    text = "".join(f"{name}\0{labels[name]}\0" for name in sorted(labels))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Streams:
    """Writes a stream's labels before its first record of a day."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def write(self, day: int, streams: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """Make ``streams``, pairs of id and labels, durable for ``day``, counted from 1970-01-01."""
        unknown = {number: labels for number, labels in streams if (day, number) not in self._known}
        if not unknown:
            return
        rows = pa.record_batch(
            {
                "day": pa.array(np.full(len(unknown), day, np.uint16)),
                "stream_id": pa.array(list(unknown), pa.uint64()),
                "labels": pa.array(
                    [list(labels.items()) for labels in unknown.values()], pa.map_(pa.string(), pa.string())
                ),
            }
        )
        await self._engine.insert(STREAMS, rows)
        for number in unknown:
            self._known[day, number] = None
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Know nothing any more: after retention dropped days, or an insert whose end is unknown."""
        self._known.clear()
