"""Which stretches of time a query is asked for, one after the other.

The newest hundred records of a busy store are a second old: looking through all of it for them would be a waste. So
the newest minute is asked first, then what lies before it, as far as what was found lets expect enough of. The windows
of a query do not overlap: what was looked through is not looked through again. But pieces of the store that reach over
an edge are read for both sides, and in a store of many streams a minute lies in as many pieces as an hour: few large
steps cost less than many small ones.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aggregator.logql.tree import Direction

# How far the first step reaches.
_FIRST_NS: Final = 60_000_000_000
# How much further than all before it the next one does. What is not found in a minute hardly comes often enough in ten;
# but a rare word of an hour ago must not be looked for in months.
_GROWTH_MIN: Final = 2.0
_GROWTH_FOUND_NOTHING: Final = 10.0
_GROWTH_MAX: Final = 60.0
# Records do not come evenly: more of the time is taken than what would do if they did.
_RESERVE: Final = 1.5


class Window(msgspec.Struct, frozen=True):
    """A stretch of time, from ``start_ns`` to before ``end_ns``."""

    start_ns: int
    end_ns: int


class Widening:
    """Windows that make up ``window``, without overlap, the first from the end where ``direction`` begins.

    ``limit``: how many records are wanted of it; ``now_ns``: there is little after it, so steps backward are measured
    from there if the window ends later.
    """

    def __init__(self, window: Window, direction: Direction, limit: int, now_ns: int) -> None:
        self.missing = limit
        self._left: Window | None = window
        self._limit = limit
        self._is_forward = direction is Direction.FORWARD
        self._from_ns = window.start_ns if self._is_forward else min(window.end_ns, now_ns)
        self._reach_ns = 0

    def next(self) -> Window | None:
        """The next window; None if enough was `found` or nothing is left."""
        left = self._left
        if left is None or self.missing <= 0:
            return None
        self._reach_ns = int(self._reach_ns * self._growth()) if self._reach_ns else _FIRST_NS
        edge = self._from_ns + (self._reach_ns if self._is_forward else -self._reach_ns)
        if not left.start_ns < edge < left.end_ns:
            self._left = None
            return left
        before, behind = Window(left.start_ns, edge), Window(edge, left.end_ns)
        window, self._left = (before, behind) if self._is_forward else (behind, before)
        return window

    def found(self, records: int) -> None:
        """Tell that the latest window had so many."""
        self.missing -= records

    def _growth(self) -> float:
        found = self._limit - self.missing
        if not found:
            return min(_GROWTH_MAX, max(_GROWTH_FOUND_NOTHING, float(self._limit)))
        return min(_GROWTH_MAX, max(_GROWTH_MIN, 1 + _RESERVE * self.missing / found))


def cut(window: Window, starts_ns: list[int]) -> list[Window]:
    """``window`` cut at ``starts_ns`` (rising; those outside of it are of no effect)."""
    inside = [start for start in starts_ns if window.start_ns < start < window.end_ns]
    return [
        Window(start, end)
        for start, end in zip([window.start_ns, *inside], [*inside, window.end_ns], strict=True)
        if start < end
    ]
