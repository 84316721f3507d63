"""Samples: series with labels over steps, as numpy arrays.

`Matrix.values` and `Matrix.present` have one row a series and one column a step; a value that is not present says
nothing. An instant query has one step. Series stand in an order that means something only after ``sort``; two of them
may have the same labels (``label_replace`` can make them so) until `Matrix.united`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from aggregator.errors import SamplesLimitError, SeriesLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Labels = tuple[tuple[str, str], ...]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# How many series an answer may have: Loki's default of max_query_series, and as much as anybody can look at.
SERIES_MAX: Final = 500
# How many series may be made on the way to an answer; each costs about a kilobyte in labels and bookkeeping.
INNER_SERIES_MAX: Final = 100_000
# How many samples one matrix may have: 9 bytes each, and an operation holds about five of them.
SAMPLES_MAX: Final = 8_000_000


class Series(msgspec.Struct, frozen=True, eq=False):
    """One series: its labels by name, and the samples that are present, with their times in ns."""

    labels: Labels
    times: Int64s
    values: Float64s


class Matrix(msgspec.Struct, frozen=True, eq=False):
    """Series over steps: ``times`` int64 ns [n], ``labels`` [s], ``values`` float64 [s, n], ``present`` bool [s, n]."""

    times: Int64s
    labels: tuple[Labels, ...]
    values: Float64s
    present: Bools

    @classmethod
    def empty(cls, times: Int64s, labels: tuple[Labels, ...] = ()) -> Matrix:
        """Series without samples. Raises a `MetricError` where that is more than may be held."""
        check_size(len(labels), len(times))
        shape = (len(labels), len(times))
        return cls(times, labels, np.zeros(shape), np.zeros(shape, np.bool_))

    @classmethod
    def constant(cls, times: Int64s, value: float) -> Matrix:
        """One series without labels that is ``value`` at every step."""
        shape = (1, len(times))
        return cls(times, ((),), np.full(shape, value), np.ones(shape, np.bool_))

    def taken(self, rows: Int64s | list[int]) -> Matrix:
        """The series in these rows, in this order."""
        return Matrix(self.times, tuple(self.labels[row] for row in rows), self.values[rows], self.present[rows])

    def seen(self) -> Matrix:
        """Without series that have no sample."""
        rows = np.flatnonzero(self.present.any(axis=1))
        return self if len(rows) == len(self.labels) else self.taken(rows)

    def ordered(self) -> Matrix:
        """In the order of their labels."""
        return self.taken(sorted(range(len(self.labels)), key=self.labels.__getitem__))

    def united(self) -> Matrix:
        """Series of the same labels as one, where no step has a sample of more than one of them."""
        groups, labels = grouped(self.labels, lambda own: own)
        if len(labels) == len(self.labels):
            return self
        rows: list[int] = []
        values, present = self.values.copy(), self.present.copy()
        into: dict[int, int] = {}
        for row, group in enumerate(groups):
            first = into.setdefault(int(group), row)
            if first == row or (present[first] & present[row]).any():
                rows.append(row)
                continue
            values[first] = np.where(present[row], values[row], values[first])
            present[first] |= present[row]
        return Matrix(self.times, self.labels, values, present).taken(rows)

    def series(self) -> Iterator[Series]:
        """Every series that has a sample."""
        for labels, values, present in zip(self.labels, self.values, self.present, strict=True):
            if present.any():
                yield Series(labels, self.times[present], values[present])


def check_size(series: int, steps: int) -> None:
    """Raise a `MetricError` if so many series over so many steps are more than may be held."""
    if series > INNER_SERIES_MAX:
        raise SeriesLimitError(INNER_SERIES_MAX)
    if series * steps > SAMPLES_MAX:
        raise SamplesLimitError(SAMPLES_MAX)


def grouped(labels: tuple[Labels, ...], key: Callable[[Labels], Labels]) -> tuple[Int64s, tuple[Labels, ...]]:
    """Each series' group, numbered as they appear, and the groups' keys: series of equal ``key`` are a group."""
    keys: dict[Labels, int] = {}
    groups = np.fromiter((keys.setdefault(key(own), len(keys)) for own in labels), np.int64, len(labels))
    return groups, tuple(keys)


def only(labels: Labels, names: frozenset[str]) -> Labels:
    """The labels with these names."""
    return tuple(label for label in labels if label[0] in names)


def but(labels: Labels, names: frozenset[str]) -> Labels:
    """The labels with other names."""
    return tuple(label for label in labels if label[0] not in names)


def written(labels: Labels) -> str:
    """The labels as LogQL writes them: ``{a="b", c="d"}``."""
    return "{" + ", ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in labels) + "}"
