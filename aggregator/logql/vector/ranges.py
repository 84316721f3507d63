"""Steps, their windows, and the buckets that windows are made of.

A sample at step ``t_k = start + k * step`` (k = 0 … n - 1) is made of what lies in its window ``(lo_k, hi_k]``, with
``hi_k = t_k - offset`` and ``lo_k = hi_k - range``. The edges of all windows cut time into *buckets*; a window is a run
of consecutive ones. So records are aggregated once, into buckets, however many steps there are and however much their
windows overlap; samples are then made of buckets (`aggregator.logql.vector.partials`).

The bucket of a record at ``ts``, in integers that are never negative, so that the engine can do the same:

    x      = ts - lo_0 - 1                                for lo_0 < ts <= hi_{n-1}, that is start_ns <= ts < end_ns
    c      = x div step
    cell   = greatest(least(c, n), c - squeeze)           squeeze = max(0, range div step - 1 - n)
    bucket = cell                                         if not split
           = 2 * cell + (x mod step >= phase)             if split; phase = range mod step

Edges below are exclusive, those above inclusive: hence the ``- 1``. Cells between the last lower edge and the first
upper one lie in every window and are made one (``squeeze``), so there are never more than about four buckets a step.
With both ``split`` and ``squeeze`` it has two buckets, which take turns in time; `Buckets.in_order` makes them one.
If windows do not touch (``sparse``: range < step), a record with ``x mod step >= range`` is in no sample.
One step alone has one window and one bucket.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from aggregator.errors import MetricError, StepsLimitError
from aggregator.logql.tree import TIME_MAX_NS

Int64s = npt.NDArray[np.int64]

# Steps of a query, and the answer to more, are Prometheus' and Loki's; no screen shows more.
STEPS_MAX: Final = 11_000
# How far ranges and offsets may reach, and twice as far steps: 73 years. Differences of times then fit 64 bits.
REACH_MAX_NS: Final = 1 << 61
# What a record is given that lies in no window.
NO_BUCKET: Final = -1


def times(start_ns: int, end_ns: int, step_ns: int) -> Int64s:
    """The steps from ``start_ns`` to ``end_ns``, both included if they are steps. Raises `StepsLimitError`."""
    if end_ns < start_ns or step_ns <= 0:
        raise ValueError(f"no steps of {step_ns} ns from {start_ns} to {end_ns}")
    steps = (end_ns - start_ns) // step_ns + 1
    if steps > STEPS_MAX:
        raise StepsLimitError(STEPS_MAX)
    return start_ns + min(step_ns, max(1, end_ns - start_ns)) * np.arange(steps, dtype=np.int64)


class Buckets:
    """The steps from ``start_ns`` to ``end_ns``, their windows and buckets; immutable.

    ``times``: the steps, int64 ns. ``first``, ``last``: int64, the buckets that each step's window begins and ends
    with. ``count``: buckets are numbered from 0 to below it. ``start_ns``, ``end_ns``: the records that matter have
    ``start_ns <= ts < end_ns``, kept within the times there can be. ``lo_ns``, ``step_ns``, ``range_ns``, ``phase_ns``,
    ``squeeze``, ``split``, ``sparse``: as in the module's formula, with ``steps`` for n.

    Raises `StepsLimitError`, and `MetricError` for what reaches further than `REACH_MAX_NS`.
    """

    def __init__(self, start_ns: int, end_ns: int, step_ns: int, range_ns: int, offset_ns: int = 0) -> None:
        if range_ns <= 0:
            raise ValueError(f"no range of {range_ns} ns")
        if max(range_ns, abs(offset_ns), (end_ns - start_ns) // 2) > REACH_MAX_NS:
            raise MetricError(f"ranges and offsets reach at most {REACH_MAX_NS // 10**9} s, steps twice as far")
        self.times = times(start_ns, end_ns, step_ns)
        self.steps = len(self.times)
        self.range_ns = range_ns
        self.step_ns = range_ns if self.steps == 1 else step_ns
        self.lo_ns = start_ns - offset_ns - range_ns
        self.start_ns = min(max(0, self.lo_ns + 1), TIME_MAX_NS)
        self.end_ns = min(max(0, int(self.times[-1]) - offset_ns + 1), TIME_MAX_NS)
        whole, self.phase_ns = divmod(range_ns, self.step_ns)
        self.sparse = whole == 0
        self.split = self.phase_ns > 0 and not self.sparse
        self.squeeze = max(0, whole - 1 - self.steps)
        steps = np.arange(self.steps, dtype=np.int64)
        if self.split:
            self.first = 2 * steps
            self.last = 2 * self._cells(steps + whole)
        else:
            self.first = steps
            self.last = self._cells(steps + max(0, whole - 1))
        self.count = int(self.last[-1]) + 1

    def _cells(self, cells: Int64s) -> Int64s:
        return np.maximum(np.minimum(cells, self.steps), cells - self.squeeze)

    def of(self, ts_ns: Int64s) -> Int64s:
        """The bucket of each time; `NO_BUCKET` where it lies in no window."""
        x = ts_ns - self.lo_ns - 1
        cells, rest = np.divmod(x, self.step_ns)
        # Of times far outside, x is too large for 64 bits.
        inside = (ts_ns > self.lo_ns) & (ts_ns <= self.lo_ns + (self.steps - 1) * self.step_ns + self.range_ns)
        if self.sparse:
            inside &= rest < self.range_ns
        cells = self._cells(cells)
        buckets = 2 * cells + (rest >= self.phase_ns) if self.split else cells
        return np.where(inside, buckets, NO_BUCKET)

    def in_order(self, buckets: Int64s) -> Int64s:
        """The same buckets, so numbered that later ones are of later records: what lies in every window is one."""
        if not (self.split and self.squeeze):
            return buckets
        return np.where(buckets == 2 * self.steps + 1, 2 * self.steps, buckets)
