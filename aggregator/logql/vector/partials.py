"""What is kept of the records in a bucket, and the samples made of it.

The statement of a leaf (``compiler.samples(leaf, buckets) -> Statement | None``) answers rows, each with what is kept
of some buckets of one series, as columns:

    labels   Map(String, String)  the series' labels, as `Leaf.by` and `Leaf.without` say, without those that are empty
    buckets  Array(UInt32)        numbers of buckets (`aggregator.logql.vector.ranges`), each at most once in a row
    …        Array(…)             one item a bucket, by the leaf's operation:

    count_over_time, absent_over_time, rate        counts  UInt64
    bytes_over_time, bytes_rate                    sums    UInt64: of the lines' bytes
    sum_over_time, rate of what is unwrapped       sums    Float64
    avg_over_time                                  counts  UInt64, sums Float64
    min_over_time, max_over_time                   values  Float64; NaN only where every value is
    first_over_time, last_over_time                times   Int64 ns, values Float64: the first or last record's
    stddev_over_time, stdvar_over_time             counts  UInt64, means Float64,
                                                   squares Float64: the sum of squared distances from the mean
    quantile_over_time                             samples Array(Float64), in any order
    rate_counter                                   moments Array(Int64) ns, samples Array(Float64): by time

So a row is ``SELECT labels, groupArray(bucket) AS buckets, groupArray(n) AS counts FROM (SELECT …, count() AS n …
GROUP BY labels, bucket) GROUP BY labels``. Rows come in any order; several may have the same labels, also the same
bucket (then the bucket holds what both say). If a record's pipeline left an ``__error__``, its row's labels must hold
``__error__`` (and ``__error_details__`` if at hand) whatever `Leaf.by` says, unless `Leaf.allows_errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from aggregator.errors import PipelineError, SamplesLimitError, SeriesLimitError
from aggregator.logql.metric import RangeOp
from aggregator.logql.tree import ERROR, MatchOp
from aggregator.logql.vector.matrix import INNER_SERIES_MAX, SAMPLES_MAX, Matrix, written
from aggregator.logql.vector.quantiles import quantiles
from aggregator.logql.vector.ranges import NO_BUCKET
from aggregator.logql.vector.summaries import samples, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.logql.metric import RangeAggregation
    from aggregator.logql.vector.leaves import Leaf
    from aggregator.logql.vector.matrix import Float64s, Int64s, Labels
    from aggregator.logql.vector.ranges import Buckets
    from aggregator.logql.vector.summaries import Parts, Summary

    Array = npt.NDArray[Any]

# How many single values may be held where all of them are needed (quantiles, counters): 24 bytes each.
VALUES_MAX: Final = 8_000_000
# Windows are made of so many buckets at a time: a few megabytes a part.
_DENSE_CELLS: Final = 1 << 19
# What was added is put together when it has grown to twice what was left the last time, but not before this many rows.
_LOOSE_ROWS: Final = 1 << 18
# An error that no filter on labels before the unwrapping can have asked for.
_UNWRAP_ERROR: Final = "SampleExtractionErr"


class Partials:
    """What is kept of one leaf's records, bucket by bucket; `matrix` gives its samples. Bounded in memory.

    Methods raise a `MetricError` for what is more than may be held, and for records with an ``__error__``.
    """

    def __init__(self, leaf: Leaf, buckets: Buckets) -> None:
        self.leaf = leaf
        self.buckets = buckets
        aggregation = leaf.aggregation
        self._keeps_values = aggregation.op in {RangeOp.QUANTILE, RangeOp.RATE_COUNTER}
        self._summary: Summary | None = None if aggregation.op is RangeOp.QUANTILE else summary(aggregation)
        self._allows_errors = leaf.allows_errors
        self._numbers: dict[Labels, int] = {}
        # Each: keys (series * buckets.count + bucket), then parts, or times and values.
        self._rows: list[tuple[Array, ...]] = []
        self._loose = 0
        self._settled = 0

    def series(self, labels: Labels) -> int:
        """The number of the series with these labels, which are sorted by name."""
        number = self._numbers.get(labels)
        if number is None:
            self.check(dict(labels))
            number = self._numbers[labels] = len(self._numbers)
            if number >= INNER_SERIES_MAX:
                raise SeriesLimitError(INNER_SERIES_MAX)
        return number

    def check(self, labels: Mapping[str, str]) -> None:
        """Raise `PipelineError` if a record with these labels must not become a sample."""
        error = labels.get(ERROR)
        if error and not (self._allows_errors and error != _UNWRAP_ERROR):
            raise PipelineError(error, written(tuple(sorted(labels.items()))))

    def add(self, series: Int64s, buckets: Int64s, parts: Parts) -> None:
        """Keep summaries of buckets; all arrays have one item a bucket."""
        if self._keeps_values:
            raise ValueError(f"{self.leaf.aggregation.op} needs every value")
        self._add(series * self.buckets.count + self.buckets.in_order(buckets), parts)

    def add_records(self, series: Int64s, buckets: Int64s, times_ns: Int64s, values: Float64s) -> None:
        """Keep single records; those in `NO_BUCKET` are passed over."""
        inside = buckets != NO_BUCKET
        keys = (series * self.buckets.count + self.buckets.in_order(buckets))[inside]
        if self._keeps_values or self._summary is None:
            self._add(keys, (times_ns[inside], values[inside]))
        else:
            with np.errstate(invalid="ignore"):
                self._add(keys, self._summary.lift(times_ns[inside], values[inside]))

    def _add(self, keys: Int64s, rest: Parts) -> None:
        self._rows.append((keys, *rest))
        self._loose += len(keys)
        if self._keeps_values:
            if self._loose > VALUES_MAX:
                raise SamplesLimitError(VALUES_MAX)
        elif self._loose > max(_LOOSE_ROWS, 2 * self._settled):
            self._settle()

    def _settle(self) -> None:
        """Put together what is kept of the same buckets."""
        keys, parts = self._united()
        if len(keys) > SAMPLES_MAX:
            raise SamplesLimitError(SAMPLES_MAX)
        self._rows = [(keys, *parts)]
        self._loose = self._settled = len(keys)

    def _sorted(self) -> tuple[Array, ...]:
        """All rows by bucket; times where values are kept; else in the order they came."""
        columns = tuple(np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.lexsort((columns[1], columns[0])) if self._keeps_values else np.argsort(columns[0], kind="stable")
        return tuple(column[order] for column in columns)

    def _united(self) -> tuple[Int64s, Parts]:
        keys, *rest = self._sorted()
        kept = self._summary
        if kept is None:
            raise ValueError("quantiles have no summaries")
        parts = kept.lift(rest[0], rest[1]) if self._keeps_values else tuple(rest)
        return reduced(kept, keys, parts)

    def matrix(self) -> Matrix:
        """The samples of every series; for ``absent_over_time`` those of the one that was missing."""
        found = self._samples()
        if self.leaf.aggregation.op is not RangeOp.ABSENT:
            return found
        missing = np.logical_not(found.present.any(axis=0, keepdims=True))
        labels = (absent_labels(self.leaf.aggregation),)
        return Matrix(found.times, labels, np.ones(missing.shape), missing)

    def _samples(self) -> Matrix:
        matrix = Matrix.empty(self.buckets.times, tuple(self._numbers))
        if not self._rows or not self._numbers:
            return matrix
        aggregation = self.leaf.aggregation
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            if self._summary is None:
                keys, _, values = self._sorted()
                quantiles(matrix, self.buckets, keys, values, aggregation.parameter or 0.0)
            else:
                self._slide(matrix, self._summary, *self._united())
        return matrix.seen()

    def _slide(self, matrix: Matrix, kept: Summary, keys: Int64s, parts: Parts) -> None:
        """Fill ``matrix`` from summaries of buckets, a few series at a time."""
        buckets = self.buckets
        rows = max(1, _DENSE_CELLS // buckets.count)
        upper_ns = buckets.lo_ns + buckets.range_ns + (buckets.times - buckets.times[0])
        for start in range(0, len(matrix.labels), rows):
            end = min(start + rows, len(matrix.labels))
            low, high = np.searchsorted(keys, (start * buckets.count, end * buckets.count))
            shape = (end - start, buckets.count)
            dense = tuple(np.full(shape, blank, part.dtype) for blank, part in zip(kept.blank, parts, strict=True))
            for cells, part in zip(dense, parts, strict=True):
                cells.reshape(-1)[keys[low:high] - start * buckets.count] = part[low:high]
            windows = slid(kept, dense, buckets)
            matrix.present[start:end] = windows[0] > 0
            lower_ns = upper_ns - buckets.range_ns
            matrix.values[start:end] = samples(self.leaf.aggregation, windows, lower_ns, upper_ns)


def reduced(kept: Summary, keys: Int64s, parts: Parts) -> tuple[Int64s, Parts]:
    """One summary a key of sorted ``keys``: neighbours of the same key are combined two by two until all are one."""
    while True:
        same = np.equal(keys[1:], keys[:-1])
        if not same.any():
            return keys, parts
        starts = np.flatnonzero(np.concatenate(([True], ~same)))
        place = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
        left = np.flatnonzero(place % 2 == 0)
        paired = np.append(same, [False])[left]
        joined = left[paired]
        with np.errstate(invalid="ignore", over="ignore"):
            combined = kept.combine(tuple(part[joined] for part in parts), tuple(part[joined + 1] for part in parts))
        parts = tuple(part[left] for part in parts)
        for part, made in zip(parts, combined, strict=True):
            part[paired] = made
        keys = keys[left]


def slid(kept: Summary, parts: Parts, buckets: Buckets) -> Parts:
    """The summaries of every window, from those of buckets ([series, buckets]): [series, steps].

    Windows have one length in buckets; it is put together from stretches whose lengths are powers of two, each made of
    two of half its length, so sums are added up in pairs.
    """
    length = int(buckets.last[0] - buckets.first[0]) + 1
    at = buckets.first
    window: Parts | None = None
    width = 1
    while True:
        if length & width:
            piece = tuple(part[:, at] for part in parts)
            window = piece if window is None else kept.combine(window, piece)
            at = at + width
        if 2 * width > length:
            break
        parts = kept.combine(tuple(part[:, :-width] for part in parts), tuple(part[:, width:] for part in parts))
        width *= 2
    return window or parts


def absent_labels(aggregation: RangeAggregation) -> Labels:
    """The labels of what is missing: those that the selector says, once and with ``=``."""
    labels: dict[str, str] = {}
    unclear: set[str] = set()
    for matcher in aggregation.logs.selector.matchers:
        if matcher.op is MatchOp.EQUAL and matcher.label not in labels:
            labels[matcher.label] = matcher.value
        else:
            unclear.add(matcher.label)
    return tuple(sorted((name, value) for name, value in labels.items() if value and name not in unclear))
