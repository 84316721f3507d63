"""What a leaf's statement answers, from Arrow columns into what is kept of the leaf.

The columns are those of `aggregator.logql.vector.partials`. Arrays are read where they lie; Python runs per row, of
which there is about one a series.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggregator.logql.metric import RangeOp
from aggregator.logql.vector.summaries import summary

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from aggregator.logql.vector.matrix import Int64s, Labels
    from aggregator.logql.vector.partials import Partials

_LISTS: Final = {RangeOp.QUANTILE, RangeOp.RATE_COUNTER}


def add(partials: Partials, rows: pa.RecordBatch) -> None:
    """Keep what these rows say. Raises what `Partials` raises."""
    labels = _labels(rows.column("labels"))
    series = np.fromiter((partials.series(own) for own in labels), np.int64, len(labels))
    sizes, items = _list(rows.column("buckets"))
    series, buckets = np.repeat(series, sizes), _numbers(items).astype(np.int64)
    operation = partials.leaf.aggregation
    if operation.op in _LISTS:
        _, values = _list(rows.column("samples"))
        counts, numbers = _list(values)
        moments = np.zeros(len(numbers), np.int64)
        if operation.op is RangeOp.RATE_COUNTER:
            moments = _numbers(_list(_list(rows.column("moments"))[1])[1]).astype(np.int64)
        values_each = _numbers(numbers).astype(np.float64)
        partials.add_records(np.repeat(series, counts), np.repeat(buckets, counts), moments, values_each)
        return
    kept = summary(operation)
    names = (*kept.columns, *(("counts",) if kept.counts else ()))
    columns = {name: _numbers(_list(rows.column(name))[1]) for name in names}
    partials.add(series, buckets, kept.parts(columns))


def _labels(column: pa.Array) -> list[Labels]:
    """Each row's labels by name; bytes that are not UTF-8 as U+FFFD."""
    edges = _offsets(column, len(column) + 1)
    names, values = (_texts(child, int(edges[-1])) for child in (column.keys, column.items))
    pairs = list(zip(names, values, strict=True))
    return [tuple(sorted(pairs[low:high])) for low, high in pairwise(edges.tolist())]


def _texts(column: pa.Array, count: int) -> list[str]:
    edges = _offsets(column, count + 1).tolist()
    data = memoryview(column.buffers()[2] or b"")
    return [bytes(data[low:high]).decode(errors="replace") for low, high in pairwise(edges)]


def _list(column: pa.Array) -> tuple[Int64s, pa.Array]:
    """How many items each row of a list column has, and all items."""
    edges = _offsets(column, len(column) + 1)
    return np.diff(edges).astype(np.int64), column.values[int(edges[0]) : int(edges[-1])]


def _offsets(column: pa.Array, count: int) -> npt.NDArray[np.int32]:
    offsets = column.buffers()[1]
    if offsets is None or not count:
        return np.zeros(count, np.int32)
    return np.frombuffer(offsets, np.int32)[column.offset : column.offset + count]


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """The values of a column of numbers, where they lie."""
    kind = np.dtype(column.type.to_pandas_dtype())
    data = column.buffers()[1]
    if data is None or not len(column):
        return np.zeros(0, kind)
    return np.frombuffer(data, kind)[column.offset : column.offset + len(column)]
