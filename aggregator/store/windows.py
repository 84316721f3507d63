"""Which stretches of time a query is asked for, one after the other.

The newest hundred records of a busy store are a second old: looking through all of it for them would be a waste. So
the newest minute is asked first, then what lies before it, in growing steps, until enough was found. The windows of a
query do not overlap: what was looked through is not looked through again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.tree import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator

_MINUTE_NS: Final = 60_000_000_000
# How far from the query's end a step reaches; each costs a few milliseconds when it finds nothing.
_REACHES_NS: Final = tuple(_MINUTE_NS * minutes for minutes in (1, 10, 60, 6 * 60, 24 * 60, 4 * 24 * 60, 30 * 24 * 60))


class Window(msgspec.Struct, frozen=True):
    """A stretch of time, from ``start_ns`` to before ``end_ns``."""

    start_ns: int
    end_ns: int


def widening(window: Window, direction: Direction, now_ns: int) -> Iterator[Window]:
    """Windows that make up ``window``, without overlap, the first from the end where ``direction`` begins.

    ``now_ns``: there is little after it, so steps backward are measured from there if the window ends later.
    """
    if direction is Direction.FORWARD:
        edges = [window.start_ns + reach for reach in _REACHES_NS]
        inside = [edge for edge in edges if edge < window.end_ns]
        starts, ends = [window.start_ns, *inside], [*inside, window.end_ns]
    else:
        newest = min(window.end_ns, now_ns)
        inside = [newest - reach for reach in _REACHES_NS if newest - reach > window.start_ns]
        starts, ends = [*inside, window.start_ns], [window.end_ns, *inside]
    for start_ns, end_ns in zip(starts, ends, strict=True):
        yield Window(start_ns, end_ns)


def cut(window: Window, starts_ns: list[int]) -> list[Window]:
    """``window`` cut at ``starts_ns`` (rising; those outside of it are of no effect)."""
    inside = [start for start in starts_ns if window.start_ns < start < window.end_ns]
    return [
        Window(start, end)
        for start, end in zip([window.start_ns, *inside], [*inside, window.end_ns], strict=True)
        if start < end
    ]
