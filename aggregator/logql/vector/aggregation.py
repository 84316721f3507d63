"""Aggregating the series of each step: ``sum by (pod) (…)``, ``topk(3, …)``, ``sort(…)``.

Rules are Loki's (`pkg/logql/evaluator.go`), where that depends on the order in which it happens to see series: theirs
here is that of the matrix. NaN is passed over by min and max, comes last in every order, and stays in a sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from aggregator.logql.metric import VectorOp
from aggregator.logql.vector.matrix import Matrix, but, grouped, only

if TYPE_CHECKING:
    from aggregator.logql.metric import Grouping, VectorAggregation
    from aggregator.logql.vector.matrix import Bools, Float64s, Int64s, Labels

_RANKED: Final = {VectorOp.TOPK, VectorOp.APPROX_TOPK, VectorOp.BOTTOMK}
_SORTED: Final = {VectorOp.SORT, VectorOp.SORT_DESC}


def aggregate(aggregation: VectorAggregation, inner: Matrix) -> Matrix:
    """The aggregation of the series of ``inner``, step by step."""
    groups, labels = grouped(inner.labels, lambda own: _key(aggregation.grouping, own))
    if aggregation.op in _SORTED:
        return _sorted(inner, groups, descending=aggregation.op is VectorOp.SORT_DESC)
    if aggregation.op in _RANKED:
        count = aggregation.parameter or 0
        return _ranked(inner, groups, count, descending=aggregation.op is not VectorOp.BOTTOMK)
    if not labels:
        return inner
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(len(labels)))
    values, present = inner.values[order], inner.present[order]
    counts = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        made = _reduced(aggregation.op, values, present, starts, counts)
    return Matrix(inner.times, labels, np.asarray(made, np.float64), counts > 0)


def _key(grouping: Grouping | None, labels: Labels) -> Labels:
    if grouping is None:
        return ()
    names = frozenset(grouping.labels)
    return but(labels, names) if grouping.without else only(labels, names)


def _reduced(op: VectorOp, values: Float64s, present: Bools, starts: Int64s, counts: Int64s) -> Float64s:
    """One row a group; rows of a group stand together, from ``starts`` on."""
    some = np.maximum(counts, 1)
    match op:
        case VectorOp.COUNT:
            return counts.astype(np.float64)
        case VectorOp.MIN:
            return np.fmin.reduceat(np.where(present, values, np.nan), starts, axis=0)
        case VectorOp.MAX:
            return np.fmax.reduceat(np.where(present, values, np.nan), starts, axis=0)
    sums = np.add.reduceat(np.where(present, values, 0.0), starts, axis=0)
    if op is VectorOp.SUM:
        return sums
    means = sums / some
    if op is VectorOp.AVG:
        return np.asarray(means)
    # In two passes: the difference of large squares would be noise.
    sizes = np.diff(np.append(starts, len(values)))
    apart = np.where(present, values - np.repeat(means, sizes, axis=0), 0.0)
    variances = np.add.reduceat(apart * apart, starts, axis=0) / some
    return np.asarray(variances if op is VectorOp.STDVAR else np.sqrt(variances))


def _places(values: Float64s, present: Bools, *, descending: bool) -> Int64s:
    """The rows of each step (column) in order of their values: those without one last, NaN before them, ties by row."""
    keyed = np.where(present, -values if descending else values, 0.0)
    return np.lexsort((keyed, np.isnan(values), ~present), axis=0)


def _ranked(inner: Matrix, groups: Int64s, count: int, *, descending: bool) -> Matrix:
    """Of each step and group the ``count`` first samples."""
    kept = np.zeros_like(inner.present)
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    for rows in np.split(order, edges) if count > 0 and len(order) else ():
        first = rows[_places(inner.values[rows], inner.present[rows], descending=descending)[:count]]
        np.put_along_axis(kept, first, values=True, axis=0)
    return Matrix(inner.times, inner.labels, inner.values, kept & inner.present).seen()


def _sorted(inner: Matrix, groups: Int64s, *, descending: bool) -> Matrix:
    """In the order of the samples of the last step, group after group; which is that of an instant query's only one."""
    if not inner.labels:
        return inner
    places = _places(inner.values[:, -1:], inner.present[:, -1:], descending=descending)[:, 0]
    return inner.taken(places[np.argsort(groups[places], kind="stable")])
