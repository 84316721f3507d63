from __future__ import annotations

import pytest

from agent.report.forecast import Rotation, WriteRate, forecast_s

MB = 10**6
THREE = Rotation(file_bytes=10 * MB, files=3)


@pytest.mark.parametrize(
    ("live_bytes", "newer", "rate", "looks_every_s", "expected"),
    [
        # The live file itself: it is rotated once it is full, and goes with the third rotation.
        (0, 0, 1e5, 10.0, 300.0),
        (4 * MB, 0, 1e5, 10.0, 260.0),
        (4 * MB, 1, 1e5, 10.0, 160.0),
        # The oldest that is kept goes with the next rotation.
        (4 * MB, 2, 1e5, 10.0, 60.0),
        (10 * MB, 2, 1e5, 10.0, 0.0),
        # More files than are kept, or a larger one, as while the kubelet is late: it may be now.
        (12 * MB, 7, 1e5, 10.0, 0.0),
        # Faster than the kubelet looks: a rotation still takes it that long. Docker rotates by itself.
        (0, 0, 1e8, 10.0, 20.1),
        (0, 0, 1e8, 0.0, 0.3),
        # Who does not write is not rotated.
        (4 * MB, 2, 0.0, 10.0, None),
        (4 * MB, 2, 0.9, 10.0, None),
        (4 * MB, 2, None, 10.0, None),
    ],
)
def test_the_time_left(
    live_bytes: int, newer: int, rate: float | None, looks_every_s: float, expected: float | None
) -> None:
    found = forecast_s(THREE, live_bytes, newer, rate, looks_every_s)
    assert found == (None if expected is None else pytest.approx(expected))


def rates(*written: int, every_s: float = 2.0) -> list[float | None]:
    """What the rate is after each look."""
    rate, found = WriteRate(), []
    for number, size in enumerate(written):
        rate.note(size, 100.0 + number * every_s)
        found.append(rate.per_s)
    return found


def test_the_first_look_says_nothing_of_the_rate() -> None:
    assert rates(1000) == [None]


def test_a_steady_rate_is_what_it_is() -> None:
    assert rates(10**9, 200, 200, 200)[1:] == [pytest.approx(100.0)] * 3


def test_one_burst_is_no_trend() -> None:
    before, burst, after = (rate or 0.0 for rate in rates(0, 200, 20_000, 200)[1:])
    assert before == 100.0
    assert 500 < burst < 1000, "a burst of a hundred times the rate counts less than ten times"
    assert after < burst


def test_a_change_is_seen_within_a_minute() -> None:
    assert (rates(0, *[200] * 30, *[2000] * 30)[-1] or 0.0) > 850


def test_two_looks_at_one_instant_are_one() -> None:
    assert rates(0, 200, every_s=0.0) == [None, None]
