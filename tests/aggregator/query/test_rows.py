"""Rows as the engine itself answers them, from statements as `aggregator.logql.vector.partials` lays them down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from aggregator.errors import PipelineError
from aggregator.logql.metric import RangeAggregation, RangeOp, Unwrap
from aggregator.logql.tree import LogExpression, Selector
from aggregator.logql.vector.leaves import Leaf
from aggregator.logql.vector.partials import Partials
from aggregator.logql.vector.ranges import Buckets
from aggregator.query import rows
from aggregator.store.engine import Engine, Limits

if TYPE_CHECKING:
    from aggregator.logql.vector.matrix import Matrix

# Windows of 20 ns at 20, 30 and 40: buckets are (0, 10], (10, 20], (20, 30], (30, 40].
BUCKETS = Buckets(20, 40, 10, 20)
# Of a pod a the values 1, 5, 2, 4 at 1, 2, 11 and 31 ns; of a pod b the value 7 at 40 ns; one without a pod at 12 ns.
RECORDS = (
    "values('pod String, ts Int64, v Float64', "
    "('a', 1, 1), ('a', 2, 5), ('a', 11, 2), ('a', 31, 4), ('b', 40, 7), ('', 12, 9))"
)
KEPT = {
    RangeOp.COUNT: "count() AS k0",
    RangeOp.SUM: "sum(v) AS k0",
    RangeOp.BYTES: "sum(toUInt64(v)) AS k0",
    RangeOp.AVG: "count() AS k0, sum(v) AS k1",
    RangeOp.MAX: "max(v) AS k0",
    RangeOp.LAST: "max(ts) AS k0, argMax(v, ts) AS k1",
    RangeOp.STDVAR: "count() AS k0, avg(v) AS k1, varPopStable(v) * count() AS k2",
    RangeOp.QUANTILE: "groupArray(v) AS k0",
    RangeOp.RATE_COUNTER: "arraySort(groupArray((ts, v))) AS both, both.1 AS k0, both.2 AS k1",
}
NAMES = {
    RangeOp.COUNT: ("counts",),
    RangeOp.SUM: ("sums",),
    RangeOp.BYTES: ("sums",),
    RangeOp.AVG: ("counts", "sums"),
    RangeOp.MAX: ("values",),
    RangeOp.LAST: ("times", "values"),
    RangeOp.STDVAR: ("counts", "means", "squares"),
    RangeOp.QUANTILE: ("samples",),
    RangeOp.RATE_COUNTER: ("moments", "samples"),
}


async def answered(engine: Engine, op: RangeOp, labels: str = "map('pod', pod)") -> Matrix:
    unwrap = None if op in {RangeOp.COUNT, RangeOp.BYTES} else Unwrap("v")
    level = 0.5 if op is RangeOp.QUANTILE else None
    leaf = Leaf(RangeAggregation(op, LogExpression(Selector()), 20, unwrap=unwrap, parameter=level))
    partials = Partials(leaf, BUCKETS)
    arrays = ", ".join(f"groupArray(k{number}) AS {name}" for number, name in enumerate(NAMES[op]))
    sql = (
        f"SELECT mapFilter((name, text) -> text != '', {labels}) AS labels, groupArray(bucket) AS buckets, {arrays} "  # noqa: S608 - a statement of the test's own
        f"FROM (SELECT pod, toUInt32(intDiv(ts - 1, 10)) AS bucket, {KEPT[op]} FROM {RECORDS} GROUP BY pod, bucket) "
        "GROUP BY pod"
    )
    async with engine.stream(sql, "ArrowStream", {}, Limits()) as chunks:
        async for chunk in chunks:
            for batch in pa.ipc.open_stream(chunk):
                rows.add(partials, batch)
    return partials.matrix()


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (RangeOp.COUNT, [3.0, 1.0, 1.0]),
        (RangeOp.SUM, [8.0, 2.0, 4.0]),
        (RangeOp.BYTES, [8.0, 2.0, 4.0]),
        (RangeOp.AVG, [8 / 3, 2.0, 4.0]),
        (RangeOp.MAX, [5.0, 2.0, 4.0]),
        (RangeOp.LAST, [2.0, 2.0, 4.0]),
        (RangeOp.STDVAR, [26 / 9, 0.0, 0.0]),
        (RangeOp.QUANTILE, [2.0, 2.0, 4.0]),
        # 4 up, and 2 more after the reset: 6 in 10 ns, 5 ns apart. The edge before is 1 ns away, that after 9 ns: too
        # far, so half of 5 ns. The range is 20 ns.
        (RangeOp.RATE_COUNTER, [6 * (10 + 1 + 2.5) / 10 / 20e-9, 0.0, 0.0]),
    ],
)
async def test_samples_are_made_of_rows(engine: Engine, op: RangeOp, expected: list[float]) -> None:
    matrix = (await answered(engine, op)).ordered()
    assert matrix.labels == ((), (("pod", "a"),), (("pod", "b"),))
    assert matrix.present.tolist() == [[True, True, False], [True, True, True], [False, False, True]]
    assert matrix.values[1].tolist() == pytest.approx(expected)


async def test_rows_of_equal_labels_are_one_series(engine: Engine) -> None:
    matrix = await answered(engine, RangeOp.COUNT, "map('all', 'x')")
    assert (matrix.labels, matrix.values.tolist()) == (((("all", "x"),),), [[4.0, 2.0, 2.0]])


async def test_names_are_put_in_order_and_bytes_made_text(engine: Engine) -> None:
    matrix = await answered(engine, RangeOp.SUM, "map('z', 'ä', 'pod', unhex('41FF'))")
    assert matrix.labels == ((("pod", "A\ufffd"), ("z", "ä")),)


async def test_a_row_with_an_error_is_no_sample(engine: Engine) -> None:
    with pytest.raises(PipelineError, match="JSONParserErr"):
        await answered(engine, RangeOp.COUNT, "map('pod', pod, '__error__', if(pod = 'b', 'JSONParserErr', ''))")
