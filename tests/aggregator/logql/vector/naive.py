"""Range functions as Loki's documentation and source say them: one window at a time, one value after the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aggregator.logql.metric import RangeOp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.logql.metric import RangeAggregation

Record = tuple[int, float]


def sample(aggregation: RangeAggregation, step_ns: int, records: Sequence[Record]) -> float | None:
    """The sample at ``step_ns`` of one series; None where there is none."""
    upper = step_ns - aggregation.offset_ns
    lower = upper - aggregation.range_ns
    window = sorted((record for record in records if lower < record[0] <= upper), key=lambda record: record[0])
    if not window:
        return None
    values = [value for _, value in window]
    seconds = aggregation.range_ns / 1e9
    counts = aggregation.op is RangeOp.RATE and aggregation.unwrap is None
    level = aggregation.parameter or 0.0
    functions: dict[RangeOp, Callable[[], float]] = {
        RangeOp.COUNT: lambda: float(len(values)),
        RangeOp.RATE: lambda: (len(values) if counts else sum(values)) / seconds,
        RangeOp.BYTES_RATE: lambda: sum(values) / seconds,
        RangeOp.SUM: lambda: sum(values),
        RangeOp.BYTES: lambda: sum(values),
        RangeOp.AVG: lambda: sum(values) / len(values),
        RangeOp.MIN: lambda: min(values),
        RangeOp.MAX: lambda: max(values),
        RangeOp.STDVAR: lambda: _variance(values),
        RangeOp.STDDEV: lambda: math.sqrt(_variance(values)),
        RangeOp.FIRST: lambda: values[0],
        RangeOp.LAST: lambda: values[-1],
        RangeOp.QUANTILE: lambda: _quantile(sorted(values), level),
        RangeOp.RATE_COUNTER: lambda: _counter_rate(window, lower, upper) / seconds,
    }
    return functions[aggregation.op]()


def _variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def _quantile(values: list[float], level: float) -> float:
    rank = level * (len(values) - 1)
    floor = math.floor(rank)
    weight = rank - floor
    return values[floor] * (1 - weight) + values[min(floor + 1, len(values) - 1)] * weight


def _counter_rate(window: list[Record], lower: int, upper: int) -> float:
    if len(window) < 2:
        return 0.0
    increase = window[-1][1] - window[0][1]
    last = 0.0
    for _, value in window:
        if value < last:
            increase += last
        last = value
    seen = (window[-1][0] - window[0][0]) / 1e9
    if seen == 0:
        return math.nan
    apart = seen / (len(window) - 1)
    before, after = (window[0][0] - lower) / 1e9, (upper - window[-1][0]) / 1e9
    if increase > 0 and window[0][1] >= 0:
        before = min(before, seen * (window[0][1] / increase))
    whole = seen
    for edge in (before, after):
        whole += edge if edge < apart * 1.1 else apart / 2
    return increase * (whole / seen)
