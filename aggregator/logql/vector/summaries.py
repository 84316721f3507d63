"""What is kept of the records of a stretch of time, how two of them become one, and the sample made of the whole.

A summary is a tuple of arrays of one shape, its *parts*; the first is always how many records it stands for, 0 for
none (the others are then `Summary.blank`). Combining is associative, and a summary of nothing changes nothing; the
left one is of earlier records. So any order of combining neighbours gives the sample, and none has to be taken out
again: sums that slide by adding the new and subtracting the old lose digits and never recover from an infinity.

Rules are Loki's (`pkg/logql/range_vector.go`); for ``rate_counter`` they are those of Prometheus' ``rate``, with the
window's real edges, as Loki has them since its 3.6 (earlier ones mixed up ns and ms).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from aggregator.logql.metric import RangeOp
from aggregator.logql.vector.matrix import Float64s, Int64s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.logql.metric import RangeAggregation

Array = npt.NDArray[Any]
Parts = tuple[Array, ...]

SECOND_NS: Final = 1_000_000_000
# Prometheus' allowance for noise: a counter that ends within so many average distances of an edge reaches it.
_REACH: Final = 1.1


class Summary(msgspec.Struct, frozen=True):
    """One way of keeping records: ``columns`` names the parts but the first, which is ``counts`` where it is asked.

    ``lift``: times (ns) and values of records into a summary of each; ``combine``: of two neighbours into one.
    """

    columns: tuple[str, ...]
    blank: tuple[float, ...]
    lift: Callable[[Int64s, Float64s], Parts]
    combine: Callable[[Parts, Parts], Parts]
    counts: bool = False

    def parts(self, columns: Mapping[str, Array]) -> Parts:
        """The parts from named columns, as a leaf's statement answers them."""
        given = tuple(columns[name] for name in self.columns)
        counts = columns["counts"] if self.counts else np.ones(len(given[0]))
        kinds = self.lift(np.zeros(0, np.int64), np.zeros(0))
        return tuple(part.astype(kind.dtype) for part, kind in zip((counts, *given), kinds, strict=True))


def _ones(times: Int64s) -> Int64s:
    return np.ones(len(times), np.int64)


def _added(left: Parts, right: Parts) -> Parts:
    return tuple(one + other for one, other in zip(left, right, strict=True))


def _least(left: Parts, right: Parts) -> Parts:
    return left[0] + right[0], np.fmin(left[1], right[1])


def _greatest(left: Parts, right: Parts) -> Parts:
    return left[0] + right[0], np.fmax(left[1], right[1])


def _earliest(left: Parts, right: Parts) -> Parts:
    takes = (right[0] > 0) & ((left[0] == 0) | (right[1] < left[1]))
    return (left[0] + right[0], *(np.where(takes, right[at], left[at]) for at in (1, 2)))


def _latest(left: Parts, right: Parts) -> Parts:
    takes = (right[0] > 0) & ((left[0] == 0) | (right[1] >= left[1]))
    return (left[0] + right[0], *(np.where(takes, right[at], left[at]) for at in (1, 2)))


def _moments(left: Parts, right: Parts) -> Parts:
    """Mean and squared distances of both, as Chan, Golub and LeVeque combine them (1979)."""
    count = left[0] + right[0]
    share = right[0] / np.maximum(count, 1)
    apart = right[1] - left[1]
    return count, left[1] + apart * share, left[2] + right[2] + apart * apart * (left[0] * share)


def _counters(left: Parts, right: Parts) -> Parts:
    """First and last of both, and all that was lost to resets: what a counter had when it began anew."""
    has_left, has_right = left[0] > 0, right[0] > 0
    reset = has_left & has_right & (right[2] < left[4])
    return (
        left[0] + right[0],
        np.where(has_left, left[1], right[1]),
        np.where(has_left, left[2], right[2]),
        np.where(has_right, right[3], left[3]),
        np.where(has_right, right[4], left[4]),
        left[5] + right[5] + np.where(reset, left[4], 0.0),
    )


_COUNT: Final = Summary((), (0,), lambda times, _: (_ones(times),), _added, counts=True)
_SUM: Final = Summary(("sums",), (0, 0.0), lambda times, values: (_ones(times), values), _added)
_MEAN: Final = Summary(("sums",), (0, 0.0), _SUM.lift, _added, counts=True)
_MIN: Final = Summary(("values",), (0, np.nan), _SUM.lift, _least)
_MAX: Final = Summary(("values",), (0, np.nan), _SUM.lift, _greatest)
_FIRST: Final = Summary(("times", "values"), (0, 0, 0.0), lambda times, v: (_ones(times), times, v), _earliest)
_LAST: Final = Summary(("times", "values"), (0, 0, 0.0), _FIRST.lift, _latest)
_SPREAD: Final = Summary(
    ("means", "squares"),
    (0, 0.0, 0.0),
    # The distance of an infinity from itself is no number.
    lambda times, values: (_ones(times), values, values - values),
    _moments,
    counts=True,
)
_COUNTER: Final = Summary(
    (), (0, 0, 0.0, 0, 0.0, 0.0), lambda times, v: (_ones(times), times, v, times, v, np.zeros(len(v))), _counters
)

_BY_OP: Final = {
    RangeOp.COUNT: _COUNT,
    RangeOp.ABSENT: _COUNT,
    RangeOp.BYTES: _SUM,
    RangeOp.BYTES_RATE: _SUM,
    RangeOp.SUM: _SUM,
    RangeOp.AVG: _MEAN,
    RangeOp.MIN: _MIN,
    RangeOp.MAX: _MAX,
    RangeOp.FIRST: _FIRST,
    RangeOp.LAST: _LAST,
    RangeOp.STDDEV: _SPREAD,
    RangeOp.STDVAR: _SPREAD,
    RangeOp.RATE_COUNTER: _COUNTER,
}


def summary(aggregation: RangeAggregation) -> Summary:
    """How records are kept for an aggregation other than a quantile, which needs every value."""
    if aggregation.op is RangeOp.RATE:
        return _SUM if aggregation.unwrap is not None else _COUNT
    return _BY_OP[aggregation.op]


def samples(aggregation: RangeAggregation, parts: Parts, lower_ns: Int64s, upper_ns: Int64s) -> Float64s:
    """The samples of windows with these summaries and edges; what is made of no record is to be ignored."""
    range_s = aggregation.range_ns / SECOND_NS
    count = np.maximum(parts[0], 1)
    match aggregation.op:
        case RangeOp.RATE | RangeOp.BYTES_RATE:
            made = parts[-1] / range_s
        case RangeOp.AVG:
            made = parts[1] / count
        case RangeOp.STDVAR:
            made = parts[2] / count
        case RangeOp.STDDEV:
            made = np.sqrt(parts[2] / count)
        case RangeOp.RATE_COUNTER:
            made = _extrapolated(parts, lower_ns, upper_ns) / range_s
        case _:
            made = parts[-1]
    return np.asarray(made, np.float64)


def _extrapolated(parts: Parts, lower_ns: Int64s, upper_ns: Int64s) -> Float64s:
    """The counters' increase over whole windows; 0 for a counter that was seen once."""
    count, first_ns, first, last_ns, last, lost = parts
    increase = last - first + lost
    seen_s = (last_ns - first_ns) / SECOND_NS
    apart_s = seen_s / np.maximum(count - 1, 1)
    before_s = (first_ns - lower_ns) / SECOND_NS
    after_s = (upper_ns - last_ns) / SECOND_NS
    rises = (increase > 0) & (first >= 0)
    since_zero_s = seen_s * (first / np.where(rises, increase, 1.0))
    before_s = np.where(rises & (since_zero_s < before_s), since_zero_s, before_s)
    reach_s = apart_s * _REACH
    whole_s = seen_s + sum(np.where(edge_s < reach_s, edge_s, apart_s / 2) for edge_s in (before_s, after_s))
    return np.asarray(np.where(count < 2, 0.0, increase * (whole_s / seen_s)))  # noqa: PLR2004 - a slope needs two points
