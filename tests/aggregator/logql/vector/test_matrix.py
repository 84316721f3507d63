from __future__ import annotations

import numpy as np
import pytest

from aggregator.errors import SamplesLimitError, SeriesLimitError
from aggregator.logql.vector.matrix import INNER_SERIES_MAX, SAMPLES_MAX, Matrix, check_size, written
from tests.aggregator.logql.vector.tables import Rows, labels, matrix, table


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a=1", [1.0, None]), ("a=2", [3.0, 4.0])], [("a=1", [1.0, None]), ("a=2", [3.0, 4.0])]),
        (
            [("a=1", [1.0, None]), ("a=2", [5.0, None]), ("a=1", [None, 2.0])],
            [("a=1", [1.0, 2.0]), ("a=2", [5.0, None])],
        ),
        # Both have a sample at the second step: neither is lost.
        ([("a=1", [1.0, 2.0]), ("a=1", [None, 3.0])], [("a=1", [1.0, 2.0]), ("a=1", [None, 3.0])]),
        ([], []),
    ],
)
def test_series_of_equal_labels_are_united_where_they_can(rows: Rows, expected: Rows) -> None:
    assert table(matrix(rows, steps=2).united()) == expected


def test_series_without_samples_are_left_out() -> None:
    found = matrix([("a=2", [None, 1.0]), ("a=1", [None, None])])
    assert table(found.seen()) == [("a=2", [None, 1.0])]
    ((own, times, values),) = ((one.labels, one.times.tolist(), one.values.tolist()) for one in found.series())
    assert (own, times, values) == ((("a", "2"),), [1], [1.0])


def test_labels_are_ordered_name_by_name() -> None:
    """As Loki compares them: the first name or value that differs decides, and none comes before any."""
    rows: Rows = [("b=1", [1.0]), ("a=2", [1.0]), ("a=1 b=1", [1.0]), ("a=1", [1.0]), ("", [1.0]), ("a=10", [1.0])]
    assert [name for name, _ in table(matrix(rows).ordered())] == ["", "a=1", "a=1 b=1", "a=10", "a=2", "b=1"]


def test_labels_are_written_as_logql_has_them() -> None:
    assert written(()) == "{}"
    assert written(labels('b="x" a=\\ä')) == '{a="\\\\ä", b="\\"x\\""}'


@pytest.mark.parametrize(
    ("series", "steps", "error"),
    [(INNER_SERIES_MAX + 1, 1, SeriesLimitError), (SAMPLES_MAX // 1000 + 1, 1000, SamplesLimitError)],
)
def test_what_is_more_than_may_be_held_is_refused(series: int, steps: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="reached for a single query; consider"):
        Matrix.empty(np.zeros(steps, np.int64), ((),) * series)


def test_what_may_be_held_is_not_refused() -> None:
    check_size(INNER_SERIES_MAX, SAMPLES_MAX // INNER_SERIES_MAX)
