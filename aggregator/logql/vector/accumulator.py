"""A leaf's samples from single records, as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from aggregator.logql.tree import ERROR
from aggregator.logql.vector.leaves import series_of
from aggregator.logql.vector.partials import Partials
from aggregator.logql.vector.ranges import NO_BUCKET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.logql.vector.leaves import Leaf
    from aggregator.logql.vector.matrix import Matrix
    from aggregator.logql.vector.ranges import Buckets

# Records are held as Python numbers until there are this many, then as arrays.
_HELD: Final = 1 << 16
# Sets of labels whose series are remembered: records of one container mostly have the same few.
_REMEMBERED: Final = 1 << 14


class Accumulator:
    """Takes records in any order, keeps `Partials` of them; memory is bounded as theirs.

    Records of the same time count as later the later they come. Raises what `Partials` raises.
    """

    def __init__(self, leaf: Leaf, buckets: Buckets) -> None:
        self._partials = Partials(leaf, buckets)
        self._series_of = series_of(leaf)
        self._remembered: dict[tuple[tuple[str, str], ...], int] = {}
        self._series: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []

    def add(self, labels: Mapping[str, str], ts_ns: int, value: float = 1.0) -> None:
        """Take a record: all its labels, and what it counts for: its bytes, or what was unwrapped."""
        key = tuple(labels.items())
        number = self._remembered.get(key)
        if number is None:
            number = self._number(labels, ts_ns)
            if number == NO_BUCKET:
                return
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = number
        self._series.append(number)
        self._times.append(ts_ns)
        self._values.append(value)
        if len(self._times) >= _HELD:
            self._flush()

    def _number(self, labels: Mapping[str, str], ts_ns: int) -> int:
        """The series of a record; `NO_BUCKET` for one that is in no window."""
        if self._partials.buckets.of(np.array([ts_ns], np.int64))[0] == NO_BUCKET:
            return NO_BUCKET
        if labels.get(ERROR):
            self._partials.check(labels)
        return self._partials.series(self._series_of(labels))

    def _flush(self) -> None:
        times = np.array(self._times, np.int64)
        series = np.array(self._series, np.int64)
        self._partials.add_records(series, self._partials.buckets.of(times), times, np.array(self._values, np.float64))
        self._series, self._times, self._values = [], [], []

    def matrix(self) -> Matrix:
        """The samples of all that was taken."""
        self._flush()
        return self._partials.matrix()
