"""Where one record is: its place, and the labels of the container whose log it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.tree import Matcher, MatchOp, Place, Selector
from aggregator.store.catalogue import labels_of
from aggregator.store.moved import IS_LOCAL
from aggregator.store.schema import IS_RECORD, LOGS
from aggregator.store.windows import Window
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.store.engine import Engine, Limits

# What streams of one container have in common: all but the output.
_CONTAINER: Final = ("cluster", "namespace", "pod", "uid", "container")


class Located(msgspec.Struct, frozen=True):
    """A record's place; ``container``: what selects the streams of its container, None if their labels are missing."""

    place: Place
    container: Selector | None


class _Reach(msgspec.Struct):
    namespace: str
    number: str
    first_ns: int
    last_ns: int


class _Row(msgspec.Struct):
    ts_ns: int


async def locate(engine: Engine, source: bytes, position: int, limits: Callable[[], Limits]) -> Located | None:
    """The record at ``position`` of ``source`` (16 bytes); None if there is none.

    ``limits``: asked for before each statement. The projection tells in which streams and times the source has records,
    so that few rows are looked at.
    """
    if engine.has_tier:
        found = await _locate(engine, source, position, limits, f"AND {IS_LOCAL}")
        if found is not None:
            return found
        engine.aside.need()
    return await _locate(engine, source, position, limits)


async def _locate(
    engine: Engine, source: bytes, position: int, limits: Callable[[], Limits], where: str = ""
) -> Located | None:
    number = int.from_bytes(source, "little")
    reaches = await engine.rows(
        "SELECT toString(namespace) AS namespace, toString(stream_id) AS number, "  # noqa: S608 - own words
        "toUnixTimestamp64Nano(min(ts)) AS first_ns, toUnixTimestamp64Nano(max(ts)) AS last_ns "
        f"FROM {LOGS} WHERE {IS_RECORD} AND source = {{source:UInt128}} {where} GROUP BY source, namespace, stream_id",
        _Reach,
        {"source": str(number)},
        limits(),
    )
    for reach in reaches:
        rows = await engine.rows(
            f"SELECT toUnixTimestamp64Nano(ts) AS ts_ns FROM {LOGS} WHERE namespace = {{namespace:String}} "  # noqa: S608 - own words
            "AND stream_id = {stream:UInt64} AND ts >= fromUnixTimestamp64Nano({first:Int64}, 'UTC') "
            "AND ts <= fromUnixTimestamp64Nano({last:Int64}, 'UTC') AND source = {source:UInt128} "
            f"AND position = {{position:UInt64}} {where} LIMIT 1",
            _Row,
            {
                "namespace": reach.namespace,
                "stream": reach.number,
                "first": reach.first_ns,
                "last": reach.last_ns,
                "source": str(number),
                "position": position,
            },
            limits(),
        )
        if rows:
            place = Place(rows[0].ts_ns, int(reach.number), source, position)
            day_ns = place.ts_ns // DAY_NS * DAY_NS
            labels = await labels_of(engine, [place.stream_id], Window(day_ns, day_ns + 1), limits)
            return Located(place, _container(labels.get(place.stream_id, {})))
    return None


def _container(labels: dict[str, str]) -> Selector | None:
    if not labels:
        return None
    return Selector(tuple(Matcher(name, MatchOp.EQUAL, labels.get(name, "")) for name in _CONTAINER))
