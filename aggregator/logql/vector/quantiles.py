"""Quantiles of windows, from every value in them, as Loki computes them: between two values by weight.

NaN counts as the smallest value. Windows that overlap have their values sorted again for each: `WORK_MAX`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from aggregator.errors import SamplesLimitError

if TYPE_CHECKING:
    from aggregator.logql.vector.matrix import Float64s, Int64s, Matrix
    from aggregator.logql.vector.ranges import Buckets

# How many values may be sorted for one leaf, each as often as windows hold it: about ten seconds.
WORK_MAX: Final = 100_000_000
# How many at once: 24 bytes each.
_BATCH_VALUES: Final = 1 << 20


def quantiles(matrix: Matrix, buckets: Buckets, keys: Int64s, values: Float64s, level: float) -> None:
    """Fill ``matrix`` with the ``level`` quantile of each window.

    ``keys``, ``values``: one item a record, sorted; a key is series * `Buckets.count` + bucket. A level below 0 gives
    -Inf, above 1 +Inf. Raises `SamplesLimitError`.
    """
    offsets = np.arange(len(matrix.labels), dtype=np.int64)[:, np.newaxis] * buckets.count
    low = np.searchsorted(keys, (offsets + buckets.first).reshape(-1))
    high = np.searchsorted(keys, (offsets + buckets.last).reshape(-1), "right")
    windows = np.flatnonzero(high > low)
    matrix.present.reshape(-1)[windows] = True
    samples = matrix.values.reshape(-1)
    if not 0 <= level <= 1:
        samples[windows] = np.nan if np.isnan(level) else np.copysign(np.inf, level)
        return
    low, sizes = low[windows], (high - low)[windows]
    ends = np.cumsum(sizes)
    if len(ends) and ends[-1] > WORK_MAX:
        raise SamplesLimitError(WORK_MAX)
    # Values by their place among all of them: integers, window and place in one, are sorted several times as fast.
    order = np.lexsort((values, ~np.isnan(values)))
    ordered, places = values[order], np.empty(len(values), np.int64)
    places[order] = np.arange(len(values))
    start = 0
    while start < len(windows):
        done = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + _BATCH_VALUES, "right")))
        batch = slice(start, end)
        samples[windows[batch]] = _batch(ordered, places, low[batch], sizes[batch], level)
        start = end


def _batch(ordered: Float64s, places: Int64s, low: Int64s, sizes: Int64s, level: float) -> Float64s:
    """The quantile of each run of ``sizes`` values from ``low`` on; no run is empty."""
    starts = np.cumsum(sizes) - sizes
    window = np.repeat(np.arange(len(sizes)), sizes)
    taken = places[np.arange(int(sizes.sum())) + np.repeat(low - starts, sizes)]
    taken += window * len(ordered)
    taken.sort()
    rank = level * (sizes - 1)
    floor = np.floor(rank)
    weight = rank - floor
    first = starts + floor.astype(np.int64)
    second = np.minimum(first + 1, starts + sizes - 1)
    below, above = (ordered[taken[at] % len(ordered)] for at in (first, second))
    return np.asarray(below * (1 - weight) + above * weight)
