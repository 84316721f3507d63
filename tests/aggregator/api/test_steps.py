from __future__ import annotations

import pytest

from aggregator.api.steps import is_too_short, least_step_ns
from aggregator.logql.vector.ranges import STEPS_MAX

SECOND_NS = 10**9


@pytest.mark.parametrize("span_s", [1, 60, 3600, 86_400, 10**7])
def test_the_least_step_works_and_a_shorter_one_does_not(span_s: int) -> None:
    span_ns = span_s * SECOND_NS
    least_ns = least_step_ns(span_ns)
    assert not is_too_short(least_ns, span_ns)
    # Wherever the range begins, between two steps or on one.
    for start_ns in (0, 1, least_ns // 2, least_ns - 1):
        first, last = -(-start_ns // least_ns), -(-(start_ns + span_ns) // least_ns)
        assert last - first + 1 <= STEPS_MAX
    unit_ns = SECOND_NS if least_ns > SECOND_NS else 10**6
    assert least_ns == unit_ns or is_too_short(least_ns - unit_ns, span_ns)
