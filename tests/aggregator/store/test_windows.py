from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.logql.tree import TIME_MAX_NS, Direction
from aggregator.store.windows import Window, cut, widening

MINUTE_NS = 60_000_000_000
NOW_NS = 1_800_000_000_000_000_000
times = st.integers(0, TIME_MAX_NS) | st.integers(NOW_NS - 10**15, NOW_NS + 10**15)


@settings(deadline=None)
@given(st.tuples(times, times).map(sorted), st.sampled_from(Direction))
def test_windows_make_up_the_whole_without_overlap(edges: list[int], direction: Direction) -> None:
    start, end = edges[0], edges[1] + 1
    windows = list(widening(Window(start, end), direction, NOW_NS))
    if direction is Direction.BACKWARD:
        windows.reverse()
    assert windows[0].start_ns == start
    assert windows[-1].end_ns == end
    assert all(one.start_ns < one.end_ns for one in windows)
    assert all(one.end_ns == other.start_ns for one, other in itertools.pairwise(windows))


def test_the_newest_minute_is_asked_first_also_when_the_query_ends_later() -> None:
    windows = list(widening(Window(NOW_NS - 3 * MINUTE_NS, TIME_MAX_NS), Direction.BACKWARD, NOW_NS))
    assert windows == [
        Window(NOW_NS - MINUTE_NS, TIME_MAX_NS),
        Window(NOW_NS - 3 * MINUTE_NS, NOW_NS - MINUTE_NS),
    ]


@settings(deadline=None)
@given(times, st.integers(1, 10**12), st.lists(times | st.integers(NOW_NS, NOW_NS + 10**9), max_size=8))
def test_a_cut_window_is_still_whole(start: int, size: int, cuts: list[int]) -> None:
    parts = cut(Window(start, start + size), sorted(cuts))
    assert parts[0].start_ns == start
    assert parts[-1].end_ns == start + size
    assert all(one.end_ns == other.start_ns for one, other in itertools.pairwise(parts))
