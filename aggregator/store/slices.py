"""All of a range in order, without sorting all of it at once: the range cut into slices of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.plan import commits, compile_query
from aggregator.logql.tree import Committed
from aggregator.store.windows import Window, cut
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aggregator.logql.tree import Query
    from aggregator.store.engine import Engine, Limits

_SECOND_NS: Final = 1_000_000_000
# What one statement sorts at once: at most so many records, and about so many bytes by the day's average.
_SLICE_ROWS: Final = 200_000
_SLICE_BYTES: Final = 64 << 20
_SLICE_ROWS_MIN: Final = 1_000


class _Day(msgspec.Struct):
    """A day that has records, counted from 1970-01-01, and how many of them are sorted at once."""

    day: int
    slice_rows: int


class _Slice(msgspec.Struct):
    start_s: int


class _Commit(msgspec.Struct):
    at_ms: int


def within(query: Query, window: Window, limit: int) -> Query:
    """The part of ``query`` that lies in ``window``, with another limit."""
    return msgspec.structs.replace(query, start_ns=window.start_ns, end_ns=window.end_ns, limit=limit)


async def slices(
    engine: Engine, query: Query, limits: Callable[[], Limits], *, newest_first: bool
) -> AsyncIterator[Window]:
    """Windows that make up what the query's range has of records, each with few enough to be sorted at once.

    ``limits``: asked for before each statement.
    """
    days = await _days(engine, query, limits())
    for day in reversed(days) if newest_first else days:
        window = Window(max(query.start_ns, day.day * DAY_NS), min(query.end_ns, (day.day + 1) * DAY_NS))
        found = await _slices(engine, query, window, day.slice_rows, limits())
        for one in reversed(found) if newest_first else found:
            yield one


async def _days(engine: Engine, query: Query, limits: Limits) -> list[_Day]:
    """The days of the query's range that have records, in order, from the partitions there are."""
    engine.aside.need(query.start_ns, query.end_ns)
    return await engine.rows(
        "SELECT toInt32(toDate32(partition)) AS day, "  # noqa: S608 - own words
        f"toUInt64(greatest({_SLICE_ROWS_MIN}, least({_SLICE_ROWS}, "
        f"{_SLICE_BYTES} * sum(rows) / greatest(1, sum(data_uncompressed_bytes))))) AS slice_rows "
        f"FROM {engine.layout.parts} WHERE table = {{table:String}} "
        "GROUP BY partition HAVING day BETWEEN {first:Int32} AND {last:Int32} ORDER BY day",
        _Day,
        {"table": engine.layout.logs, "first": query.start_ns // DAY_NS, "last": (query.end_ns - 1) // DAY_NS},
        limits,
    )


async def _slices(engine: Engine, query: Query, window: Window, rows: int, limits: Limits) -> list[Window]:
    """``window`` cut at whole seconds so that a slice has about ``rows`` records of the query's streams at most."""
    streams = msgspec.structs.replace(within(query, window, 0), stages=())
    statement = compile_query(streams)
    found = await engine.rows(
        "SELECT min(second) AS start_s FROM (SELECT second, intDiv(sum(records) OVER (ORDER BY second) - records, "  # noqa: S608 - a statement of our own
        f"{rows}) AS slice FROM (SELECT intDiv(toUnixTimestamp64Nano(ts), {_SECOND_NS}) AS second, count() AS records "
        f"FROM ({statement.sql}) GROUP BY second)) GROUP BY slice ORDER BY start_s",
        _Slice,
        statement.parameters,
        limits,
    )
    return cut(window, [one.start_s * _SECOND_NS for one in found])


async def commit_slices(
    engine: Engine, query: Query, committed: Committed, limits: Callable[[], Limits]
) -> list[Committed]:
    """``committed`` cut into runs of commits, each with few enough records of the query's streams to be sorted at once.

    A commit is not cut: it is never larger than an insert may be. Runs without records are left out.
    """
    engine.aside.need()  # a commit may be of any day
    statement = commits(msgspec.structs.replace(query, committed=committed))
    found = await engine.rows(
        "SELECT toUnixTimestamp64Milli(min(at)) AS at_ms FROM (SELECT at, intDiv(sum(records) OVER (ORDER BY at) - "  # noqa: S608 - a statement of our own
        f"records, {_SLICE_ROWS}) AS slice FROM (SELECT committed_at AS at, count() AS records "
        f"FROM ({statement.sql}) GROUP BY at)) GROUP BY slice ORDER BY at_ms",
        _Commit,
        statement.parameters,
        limits(),
    )
    firsts = [one.at_ms for one in found]
    if not firsts:
        return []
    ends = [*(first - 1 for first in firsts[1:]), committed.to_ms]
    runs = [Committed(end, first - 1) for first, end in zip(firsts, ends, strict=True)]
    if committed.after_ms >= firsts[0]:
        # What is left of a commit that was begun stands in the first run.
        runs[0] = msgspec.structs.replace(committed, to_ms=ends[0])
    return runs
