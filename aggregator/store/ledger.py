"""What the store holds of each container: bytes, records, and what is known to be lost.

Bytes and records come from the projection ``positions``, which knows each source's: a source that has records in the
range counts whole. Gaps are counted by their own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.selection import days, known_streams, needs_pods, selection, streams
from aggregator.logql.compiler.statement import Parameters
from aggregator.logql.tree import Selector
from aggregator.store.schema import IS_RECORD, LOGS
from wire.batch import Flag

if TYPE_CHECKING:
    from aggregator.store.catalogue import Scope
    from aggregator.store.engine import Engine, Limits

_NAMES: Final = ("cluster", "node", "namespace", "pod", "uid", "container")
_TIMES: Final = "fromUnixTimestamp64Nano({}, 'UTC')"


class Held(msgspec.Struct, frozen=True):
    """What the store has of one container.

    ``sources``: log files; ``stored_bytes``: of them, up to the committed positions; ``records``: in them.
    """

    cluster: str
    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    sources: int
    stored_bytes: int
    records: int


class Lost(msgspec.Struct, frozen=True):
    """Gaps of one container with one reason: how many, their bytes, and how many are of unknown size."""

    cluster: str
    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    reason: str
    gaps: int
    bytes: int
    of_unknown_size: int


async def held(engine: Engine, scope: Scope, most: int, limits: Limits) -> list[Held]:
    """Every container of ``scope`` that has records, ordered by its labels; ``most`` + 1 if there are more."""
    engine.aside.need()  # a source counts whole
    parameters = Parameters()
    known = _labelled(scope, parameters)
    start, end = _edges(scope, parameters)
    sql = (
        f"SELECT {', '.join(_NAMES)}, toUInt64(count()) AS sources, sum(reached) AS stored_bytes, "  # noqa: S608 - own words
        f"sum(held) AS records FROM (SELECT {', '.join(f'any({name}) AS {name}' for name in _NAMES)}, max(reached) AS "
        "reached, sum(held) AS held FROM (SELECT source, stream_id, max(position) AS reached, count() AS held, "
        f"min(ts) AS oldest, max(ts) AS newest FROM {LOGS} WHERE {IS_RECORD} GROUP BY source, namespace, stream_id "
        f"HAVING newest >= {start} AND oldest < {end}) AS counted INNER JOIN {known} AS known USING stream_id "
        f"GROUP BY source) GROUP BY {', '.join(_NAMES)} ORDER BY {', '.join(_NAMES)} "
        f"LIMIT {parameters.bind(most + 1, 'UInt64')}"
    )
    return await engine.rows(sql, Held, parameters.values, limits)


async def lost(engine: Engine, scope: Scope, most: int, limits: Limits) -> list[Lost]:
    """Every container's gaps in the range of ``scope``, by reason, largest first; ``most`` + 1 if there are more."""
    engine.aside.need(scope.window.start_ns, scope.window.end_ns)
    parameters = Parameters()
    known = _labelled(scope, parameters)
    start, end = _edges(scope, parameters)
    window = scope.window
    conditions = [
        IS_RECORD,
        f"ts >= {start} AND ts < {end}",
        f"bitAnd(flags, {Flag.GAP:d}) != 0",
        *selection(scope.selector, window.start_ns, window.end_ns, parameters),
    ]
    sql = (
        f"SELECT {', '.join(_NAMES)}, reason, toUInt64(count()) AS gaps, toUInt64(sum(ifNull(size, 0))) AS bytes, "  # noqa: S608 - own words
        "toUInt64(countIf(isNull(size))) AS of_unknown_size FROM (SELECT stream_id, JSONExtractString(body, 'reason') "
        f"AS reason, JSONExtract(body, 'bytes', 'Nullable(UInt64)') AS size FROM {LOGS} "
        f"WHERE {' AND '.join(conditions)}) AS gap INNER JOIN {known} AS known USING stream_id "
        f"GROUP BY {', '.join(_NAMES)}, reason ORDER BY bytes DESC, gaps DESC, {', '.join(_NAMES)}, reason "
        f"LIMIT {parameters.bind(most + 1, 'UInt64')}"
    )
    return await engine.rows(sql, Lost, parameters.values, limits)


class Volume(msgspec.Struct, frozen=True):
    """How much there is: streams, log files, records, their bytes; sources with records in the range count whole."""

    streams: int
    sources: int
    records: int
    bytes: int


async def volume(engine: Engine, scope: Scope, limits: Limits) -> Volume:
    """How much the store has of ``scope``."""
    engine.aside.need()  # a source counts whole
    parameters = Parameters()
    start, end = _edges(scope, parameters)
    window = scope.window
    conditions = [IS_RECORD, *selection(scope.selector, window.start_ns, window.end_ns, parameters)]
    sql = (
        "SELECT toUInt64(uniqExact(stream_id)) AS streams, toUInt64(uniqExact(source)) AS sources, "  # noqa: S608 - own words
        "sum(held) AS records, sum(size) AS bytes FROM (SELECT source, stream_id, count() AS held, "
        "sum(length(body)) AS size, min(ts) AS "
        f"oldest, max(ts) AS newest FROM {LOGS} WHERE {' AND '.join(conditions)} GROUP BY source, namespace, stream_id "
        f"HAVING newest >= {start} AND oldest < {end})"
    )
    (found,) = await engine.rows(sql, Volume, parameters.values, limits)
    return found


def _labelled(scope: Scope, parameters: Parameters) -> str:
    """Matching streams: ``stream_id`` and the labels that name a container."""
    window = scope.window
    found = known_streams(days(window.start_ns, window.end_ns, parameters), pods=needs_pods(scope.selector))
    names = ", ".join(f"any(labels['{name}']) AS {name}" for name in _NAMES)
    return (
        f"(SELECT stream_id, {names} FROM {found} "  # noqa: S608 - own words
        f"WHERE {streams(Selector(scope.selector.matchers), parameters)} GROUP BY stream_id)"
    )


def _edges(scope: Scope, parameters: Parameters) -> tuple[str, str]:
    start = parameters.bind(scope.window.start_ns, "Int64")
    end = parameters.bind(scope.window.end_ns, "Int64")
    return _TIMES.format(start), _TIMES.format(end)
