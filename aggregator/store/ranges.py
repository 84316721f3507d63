"""A day's records cut into ranges of bounded size, in the order in which they are sorted."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

import msgspec

from aggregator.store.contents import LIMITS, RECORDS
from aggregator.store.schema import LOGS

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Parameters
    from aggregator.store.engine import Engine

# Of a record beside its body, before compression.
ROW_BYTES: Final = 96
_SECOND_NS: Final = 1_000_000_000


class Key(msgspec.Struct, frozen=True, order=True):
    """A place in the order of records."""

    namespace: str
    stream_id: int
    at_ns: int


class Range(msgspec.Struct, frozen=True):
    """Records of one ``day`` (a date) from ``low`` to before ``high``; None: from its first one, to its last one."""

    day: str
    low: Key | None = None
    high: Key | None = None

    def condition(self, parameters: Parameters) -> str:
        """The condition on a row of ``logs`` to be of this range, spelled so that the engine skips what is not."""
        conditions = [RECORDS.of_day(self.day)]
        for key, beyond, last in ((self.low, ">", ">="), (self.high, "<", "<")):
            if key is not None:
                space = parameters.bind(key.namespace, "String")
                stream = parameters.bind(str(key.stream_id), "UInt64")
                time = f"fromUnixTimestamp64Nano({parameters.bind(key.at_ns, 'Int64')}, 'UTC')"
                conditions.append(
                    f"(namespace {beyond} {space} OR (namespace = {space} AND (stream_id {beyond} {stream} "
                    f"OR (stream_id = {stream} AND ts {last} {time}))))"
                )
        return " AND ".join(conditions)

    @classmethod
    def between(cls, day: str, keys: list[Key]) -> list[Self]:
        """The ranges that ``keys``, in order, cut ``day`` into."""
        edges = [None, *keys, None]
        return [cls(day, low, high) for low, high in pairwise(edges)]


class _Stream(msgspec.Struct):
    namespace: str
    number: str
    size: int


class _Piece(msgspec.Struct):
    second: int


async def cut(engine: Engine, day: str, size_bytes: int) -> list[Range]:
    """``day`` in ranges of ``size_bytes`` before compression, at most, but that no second of a stream is cut.

    Raises `StoreError`.
    """
    streams = await engine.rows(
        "SELECT toString(namespace) AS namespace, toString(stream_id) AS number, "  # noqa: S608 - own words
        f"toUInt64(sum(length(body) + {ROW_BYTES})) AS size FROM {LOGS} WHERE {RECORDS.of_day(day)} "
        f"GROUP BY {LOGS}.namespace, {LOGS}.stream_id ORDER BY {LOGS}.namespace, {LOGS}.stream_id",
        _Stream,
        None,
        LIMITS,
    )
    keys: list[Key] = []
    size = 0
    for number, stream in enumerate(streams):
        if number and size + stream.size > size_bytes:
            keys.append(Key(stream.namespace, int(stream.number), 0))
            size = 0
        size += stream.size
        if stream.size > size_bytes:
            keys += await _inside(engine, day, stream, size_bytes)
            size = size_bytes  # nothing more beside the rest of it
    return Range.between(day, keys)


async def _inside(engine: Engine, day: str, stream: _Stream, size_bytes: int) -> list[Key]:
    """Where a stream that is too large is cut."""
    pieces = await engine.rows(
        "SELECT min(at) AS second FROM (SELECT at, intDiv(sum(size) OVER (ORDER BY at ROWS BETWEEN UNBOUNDED "  # noqa: S608 - own words
        f"PRECEDING AND CURRENT ROW) - 1, {size_bytes}) AS piece FROM (SELECT "
        f"intDiv(toUnixTimestamp64Nano(ts), {_SECOND_NS}) AS at, sum(length(body) + {ROW_BYTES}) AS size FROM {LOGS} "
        f"WHERE {RECORDS.of_day(day)} AND namespace = {{namespace:String}} AND stream_id = {{number:UInt64}} "
        "GROUP BY at)) GROUP BY piece ORDER BY second",
        _Piece,
        {"namespace": stream.namespace, "number": stream.number},
        LIMITS,
    )
    return [Key(stream.namespace, int(stream.number), piece.second * _SECOND_NS) for piece in pieces[1:]]
