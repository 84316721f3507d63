"""Labels to stream ids, and which streams the store already knows.

A stream id is the first 8 bytes, as a little-endian integer, of BLAKE2b over the labels sorted by name: each name and
each value in UTF-8, preceded by its size in bytes as a little-endian 32-bit integer.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.store import columns
from aggregator.store.engine import Limits
from aggregator.store.schema import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.store.engine import Engine

# (day, stream) pairs remembered as written, about 200 bytes each. Forgetting one costs asking the store again.
_KNOWN_MAX: Final = 200_000
# Streams in one look-up, 21 bytes of statement each.
_LOOKUP_MAX: Final = 5_000
# What waits for it is a commit: it may take long before it may fail.
_LOOKUP_LIMITS: Final = Limits(time_s=120.0)


class Stream(msgspec.Struct, frozen=True):
    """A set of labels and its id."""

    number: int
    labels: Mapping[str, str]

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Self:
        """The stream with these labels."""
        return cls(stream_id(labels), labels)


class _Row(msgspec.Struct):
    number: str


def stream_id(labels: Mapping[str, str]) -> int:
    """The id of the stream with these labels, 0 to 2**64 - 1."""
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(labels):
        for text in (name.encode(), labels[name].encode()):
            hashed.update(struct.pack("<I", len(text)) + text)
    return int.from_bytes(hashed.digest(), "little")


class Streams:
    """Writes a stream's labels before its first record of a day. Only the committer calls `write`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[tuple[int, int], None] = OrderedDict()

    async def write(self, day: int, streams: Iterable[Stream]) -> None:
        """Make ``streams`` durable for ``day``, counted from 1970-01-01; each is written once a day."""
        fresh = {stream.number: stream for stream in streams if (day, stream.number) not in self._known}
        if not fresh:
            return
        written = await self._written(day, list(fresh))
        missing = [stream for number, stream in fresh.items() if number not in written]
        if missing:
            arrays = {
                "day": columns.fixed(np.full(len(missing), day, np.int32), pa.date32()),
                "stream_id": columns.fixed(np.array([stream.number for stream in missing], np.uint64), pa.uint64()),
                "labels": columns.maps([stream.labels for stream in missing]),
            }
            rows = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
            await self._engine.insert(STREAMS, rows)
        for number in fresh:
            self._known[day, number] = None
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    async def _written(self, day: int, numbers: list[int]) -> set[int]:
        found: set[int] = set()
        for first in range(0, len(numbers), _LOOKUP_MAX):
            rows = await self._engine.rows(
                f"SELECT toString(stream_id) AS number FROM {STREAMS} "  # noqa: S608 - a table name
                "WHERE day = addDays(toDate32('1970-01-01'), {day:Int32}) AND stream_id IN {numbers:Array(UInt64)}",
                _Row,
                {"day": day, "numbers": numbers[first : first + _LOOKUP_MAX]},
                _LOOKUP_LIMITS,
            )
            found.update(int(row.number) for row in rows)
        return found

    def forget(self) -> None:
        """Know nothing any more: after retention dropped days, or an insert whose end is unknown."""
        self._known.clear()
