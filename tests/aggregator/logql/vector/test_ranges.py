from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import MetricError, StepsLimitError
from aggregator.logql.tree import TIME_MAX_NS
from aggregator.logql.vector.ranges import NO_BUCKET, REACH_MAX_NS, STEPS_MAX, Buckets


def test_windows_that_touch_have_a_bucket_each() -> None:
    buckets = Buckets(100, 140, 20, 20)
    assert buckets.times.tolist() == [100, 120, 140]
    assert (buckets.start_ns, buckets.end_ns) == (81, 141)
    assert buckets.first.tolist() == buckets.last.tolist() == [0, 1, 2]
    assert buckets.of(np.array([80, 81, 100, 101, 140, 141])).tolist() == [NO_BUCKET, 0, 0, 1, 2, NO_BUCKET]


def test_windows_with_gaps_leave_records_out() -> None:
    buckets = Buckets(100, 140, 20, 5)
    assert buckets.of(np.array([95, 96, 100, 101, 115, 116, 140])).tolist() == [
        NO_BUCKET,
        0,
        0,
        NO_BUCKET,
        NO_BUCKET,
        1,
        2,
    ]


def test_windows_that_overlap_unevenly_are_cut_twice_a_step() -> None:
    buckets = Buckets(100, 120, 10, 25)
    assert buckets.first.tolist() == [0, 2, 4]
    assert buckets.last.tolist() == [4, 6, 8]
    times = np.array([76, 80, 81, 85, 86, 90, 91, 95, 96, 100, 101, 110, 120])
    assert buckets.of(times).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8]


def test_one_step_is_one_bucket_whatever_its_step_is() -> None:
    buckets = Buckets(100, 100, 7, 50)
    assert (buckets.count, buckets.first.tolist(), buckets.last.tolist()) == (1, [0], [0])


def test_an_offset_moves_windows_back_and_a_negative_one_forward() -> None:
    assert (Buckets(100, 100, 1, 10, 30).start_ns, Buckets(100, 100, 1, 10, 30).end_ns) == (61, 71)
    assert (Buckets(100, 100, 1, 10, -30).start_ns, Buckets(100, 100, 1, 10, -30).end_ns) == (121, 131)


def test_windows_before_the_epoch_start_at_it() -> None:
    buckets = Buckets(4, 4, 1, 60)
    assert buckets.start_ns == 0
    assert buckets.of(np.array([0, 4])).tolist() == [0, 0]


def test_many_buckets_are_never_needed_for_few_steps() -> None:
    month = 30 * 86_400 * 10**9
    assert Buckets(month, month + 10, 1, month).count < 30


@given(
    start=st.integers(0, 1000),
    steps=st.integers(1, 20),
    step=st.integers(1, 40),
    span=st.integers(1, 300),
    offset=st.integers(-50, 50),
    data=st.data(),
)
def test_a_record_is_in_the_windows_that_hold_its_bucket(
    start: int, steps: int, step: int, span: int, offset: int, data: st.DataObject
) -> None:
    buckets = Buckets(start, start + (steps - 1) * step, step, span, offset)
    lower = start - offset - span
    ts = data.draw(st.integers(lower - 3, start + steps * step - offset + 3))
    bucket = int(buckets.of(np.array([ts]))[0])
    held = [bool(one <= bucket <= other) for one, other in zip(buckets.first, buckets.last, strict=True)]
    windows = [start + k * step - offset for k in range(steps)]
    assert held == [upper - span < ts <= upper for upper in windows]
    assert bucket < buckets.count <= 4 * steps + 4
    if bucket != NO_BUCKET and ts >= 0:
        assert buckets.start_ns <= ts < buckets.end_ns
        assert bucket == _formula(buckets, ts)


@given(
    steps=st.integers(1, 6),
    step=st.integers(1, 20),
    span=st.integers(1, 300),
    times=st.lists(st.integers(0, 500), min_size=2),
)
def test_buckets_can_be_put_in_the_order_of_time(steps: int, step: int, span: int, times: list[int]) -> None:
    buckets = Buckets(400, 400 + (steps - 1) * step, step, span)
    of = buckets.of(np.array(sorted(times)))
    ordered = buckets.in_order(of[of != NO_BUCKET])
    assert ordered.tolist() == sorted(ordered.tolist())
    assert all(
        (first <= one <= last) == (first <= other <= last)
        for one, other in zip(of[of != NO_BUCKET], ordered, strict=True)
        for first, last in zip(buckets.first, buckets.last, strict=True)
    )


def _formula(buckets: Buckets, ts: int) -> int:
    """As the module's docstring gives it to the engine."""
    x = ts - buckets.lo_ns - 1
    assert x >= 0
    c = x // buckets.step_ns
    cell = max(min(c, buckets.steps), c - buckets.squeeze)
    return 2 * cell + (x % buckets.step_ns >= buckets.phase_ns) if buckets.split else cell


@pytest.mark.parametrize(("end", "step", "span"), [(99, 1, 1), (100, 0, 1), (100, 1, 0)])
def test_there_are_no_samples_without_time(end: int, step: int, span: int) -> None:
    with pytest.raises(ValueError, match=r"no (steps|range) of"):
        Buckets(100, end, step, span)


def test_times_that_reach_as_far_as_they_may_are_right() -> None:
    buckets = Buckets(2 * REACH_MAX_NS, 4 * REACH_MAX_NS - 1, REACH_MAX_NS, REACH_MAX_NS, REACH_MAX_NS)
    assert (buckets.steps, buckets.start_ns) == (2, 1)
    times = np.array([0, 1, REACH_MAX_NS, REACH_MAX_NS + 1, 2 * REACH_MAX_NS, 2 * REACH_MAX_NS + 1])
    assert buckets.of(times).tolist() == [NO_BUCKET, 0, 0, 1, 1, NO_BUCKET]
    assert Buckets(5, 6, 1 << 70, 1).times.tolist() == [5]
    ahead = Buckets(0, 0, 1, REACH_MAX_NS, REACH_MAX_NS)
    assert (ahead.start_ns, ahead.end_ns) == (0, 0)
    assert ahead.of(np.array([0, TIME_MAX_NS])).tolist() == [NO_BUCKET, NO_BUCKET]


@pytest.mark.parametrize(
    ("end", "step", "span", "offset"),
    [
        (0, 1, REACH_MAX_NS + 1, 0),
        (0, 1, 1, REACH_MAX_NS + 1),
        (0, 1, 1, -REACH_MAX_NS - 1),
        (TIME_MAX_NS, 1 << 60, 1, 0),
    ],
)
def test_times_reach_only_so_far(end: int, step: int, span: int, offset: int) -> None:
    with pytest.raises(MetricError, match="ranges and offsets reach at most 2305843009 s"):
        Buckets(0, end, step, span, offset)


def test_there_are_only_so_many_steps() -> None:
    assert Buckets(0, STEPS_MAX - 1, 1, 1).steps == STEPS_MAX
    with pytest.raises(StepsLimitError, match="exceeded maximum resolution of 11,000 points per time series"):
        Buckets(0, STEPS_MAX, 1, 1)
