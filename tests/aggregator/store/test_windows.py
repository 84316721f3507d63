from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.logql.tree import TIME_MAX_NS, Direction
from aggregator.store.windows import Widening, Window, cut

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE_NS = 60_000_000_000
NOW_NS = 1_800_000_000_000_000_000
times = st.integers(0, TIME_MAX_NS) | st.integers(NOW_NS - 10**15, NOW_NS + 10**15)


def walked(
    window: Window, direction: Direction, limit: int, found: Callable[[Window], int] = lambda _: 0
) -> list[Window]:
    """The windows asked for, where each has ``found`` of it."""
    widening = Widening(window, direction, limit, NOW_NS)
    windows = []
    while (one := widening.next()) is not None:
        windows.append(one)
        widening.found(found(one))
    return windows


def per(every_ns: int) -> Callable[[Window], int]:
    """A record each ``every_ns``."""
    return lambda window: window.end_ns // every_ns - window.start_ns // every_ns


@settings(deadline=None)
@given(st.tuples(times, times).map(sorted), st.sampled_from(Direction), st.integers(1, 100_000), st.integers(0, 1))
def test_windows_make_up_the_whole_without_overlap(
    edges: list[int], direction: Direction, limit: int, found: int
) -> None:
    start, end = edges[0], edges[1] + 1
    windows = walked(Window(start, end), direction, limit + 100, lambda _: found)
    if direction is Direction.BACKWARD:
        windows.reverse()
    assert windows[0].start_ns == start
    assert windows[-1].end_ns == end
    assert all(one.start_ns < one.end_ns for one in windows)
    assert all(one.end_ns == other.start_ns for one, other in itertools.pairwise(windows))


def test_the_newest_minute_is_asked_first_also_when_the_query_ends_later() -> None:
    assert walked(Window(NOW_NS - 3 * MINUTE_NS, TIME_MAX_NS), Direction.BACKWARD, 100) == [
        Window(NOW_NS - MINUTE_NS, TIME_MAX_NS),
        Window(NOW_NS - 3 * MINUTE_NS, NOW_NS - MINUTE_NS),
    ]


# A record each so many minutes; how many are wanted; how far back is looked, in minutes.
DENSITIES: Final = (
    (0.001, 100, [1]),
    (0.5, 100, [1, 60]),
    (1, 100, [1, 60, 120]),
    (10, 100, [1, 60, 1470]),
    (60, 100, [1, 60, 3600, 7200]),
    (10**9, 100, [1, 60, 3600, 216_000, 1_000_000]),
    (10**9, 1, [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]),
)


@pytest.mark.parametrize(("every_minutes", "limit", "reaches"), DENSITIES)
@pytest.mark.parametrize("direction", Direction)
def test_what_was_found_says_how_far_is_looked_next(
    every_minutes: float, limit: int, reaches: list[int], direction: Direction
) -> None:
    window = Window(NOW_NS - 10**6 * MINUTE_NS, NOW_NS)
    windows = walked(window, direction, limit, per(int(every_minutes * MINUTE_NS)))
    edges = [
        window.end_ns - one.start_ns if direction is Direction.BACKWARD else one.end_ns - window.start_ns
        for one in windows
    ]
    assert [edge // MINUTE_NS for edge in edges] == reaches


@settings(deadline=None)
@given(times, st.integers(1, 10**12), st.lists(times | st.integers(NOW_NS, NOW_NS + 10**9), max_size=8))
def test_a_cut_window_is_still_whole(start: int, size: int, cuts: list[int]) -> None:
    parts = cut(Window(start, start + size), sorted(cuts))
    assert parts[0].start_ns == start
    assert parts[-1].end_ns == start + size
    assert all(one.end_ns == other.start_ns for one, other in itertools.pairwise(parts))
