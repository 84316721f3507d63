"""Operations between numbers and series: arithmetic, comparisons, sets.

Rules and texts are Loki's (`pkg/logql/evaluator.go`, `pkg/logql/syntax/ast.go`): dividing by 0 gives NaN, a remainder
has the sign of the dividend, a comparison keeps the samples of the left side (of the series, where the other is a
number) or gives 0 and 1 with ``bool``. Which series belong together is decided at each step by those that have a
sample there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggregator.errors import MatchingError, MetricError
from aggregator.logql.metric import BinaryOp, Group
from aggregator.logql.vector.matrix import Matrix, but, check_size, grouped, only

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.metric import BinaryOperation, Matching
    from aggregator.logql.vector.matrix import Bools, Float64s, Int64s, Labels

SETS: Final = {BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS}


def _divided(left: Float64s, right: Float64s) -> Any:
    return np.where(right == 0, np.nan, np.divide(left, right))


def _remainder(left: Float64s, right: Float64s) -> Any:
    return np.where(right == 0, np.nan, np.fmod(left, right))


_ARITHMETIC: Final[dict[BinaryOp, Callable[[Any, Any], Any]]] = {
    BinaryOp.ADD: np.add,
    BinaryOp.SUBTRACT: np.subtract,
    BinaryOp.MULTIPLY: np.multiply,
    BinaryOp.DIVIDE: _divided,
    BinaryOp.MODULO: _remainder,
    BinaryOp.POWER: np.power,
}
_COMPARISONS: Final[dict[BinaryOp, Callable[[Any, Any], Any]]] = {
    BinaryOp.EQUAL: np.equal,
    BinaryOp.NOT_EQUAL: np.not_equal,
    BinaryOp.GREATER: np.greater,
    BinaryOp.GREATER_OR_EQUAL: np.greater_equal,
    BinaryOp.LESS: np.less,
    BinaryOp.LESS_OR_EQUAL: np.less_equal,
}


def operate(operation: BinaryOperation, left: Matrix | float, right: Matrix | float) -> Matrix | float:
    """The operation on both sides. Raises `MatchingError`, and `MetricError` for sets of numbers."""
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        if operation.op in SETS:
            return _set(operation.op, _signatures(operation.matching, left, right), left, right)
        return _Pairing(operation, left, right).result()
    if operation.op in SETS:
        side, literal = ("right", right) if isinstance(left, Matrix) else ("left", left)
        raise MetricError(
            f"unexpected literal for {side} leg of logical/set binary operation ({operation.op.value}): {literal:f}"
        )
    if isinstance(left, Matrix):
        values, kept = _applied(operation, left.values, np.float64(_number(right)), left.values)
        return Matrix(left.times, left.labels, values, left.present & kept).seen()
    if isinstance(right, Matrix):
        values, kept = _applied(operation, np.float64(left), right.values, right.values)
        return Matrix(right.times, right.labels, values, right.present & kept).seen()
    return number(operation.op, left, right)


def number(op: BinaryOp, left: float, right: float) -> float:
    """The operation on two numbers; a comparison is 0 or 1, with ``bool`` or without."""
    with np.errstate(all="ignore"):
        return float((_ARITHMETIC.get(op) or _COMPARISONS[op])(np.float64(left), np.float64(right)))


def _number(value: Matrix | float) -> float:
    if isinstance(value, Matrix):
        raise TypeError("series where a number stands")
    return value


def _applied(operation: BinaryOperation, left: Any, right: Any, shown: Float64s) -> tuple[Float64s, Bools]:
    """The values, and which of them are kept; ``shown``: the values that a comparison without ``bool`` keeps."""
    with np.errstate(all="ignore"):
        if operation.op in _ARITHMETIC:
            values = np.asarray(_ARITHMETIC[operation.op](left, right), np.float64)
            return values, np.ones(values.shape, np.bool_)
        holds = np.asarray(_COMPARISONS[operation.op](left, right))
    if operation.returns_bool:
        return holds.astype(np.float64), np.ones(holds.shape, np.bool_)
    return shown, holds


def _signatures(matching: Matching, left: Matrix, right: Matrix) -> tuple[Int64s, Int64s]:
    """The group of each series of both sides: those that ``on`` or ``ignoring`` makes equal are one."""
    names = frozenset(matching.labels)
    keep = only if matching.on else but
    groups, _ = grouped((*left.labels, *right.labels), lambda labels: keep(labels, names))
    return groups[: len(left.labels)], groups[len(left.labels) :]


def _counted(groups: Int64s, present: Bools, size: int) -> Int64s:
    """How many samples each group has at each step: [size, steps]."""
    counts = np.zeros((size, present.shape[1]), np.int64)
    if len(groups):
        order = np.argsort(groups, kind="stable")
        held, starts = np.unique(groups[order], return_index=True)
        counts[held] = np.add.reduceat(present[order], starts, axis=0, dtype=np.int64)
    return counts


def _set(op: BinaryOp, signatures: tuple[Int64s, Int64s], left: Matrix, right: Matrix) -> Matrix:
    """Samples of the left whose group the right has, or has not; or all of the left and those of other groups."""
    size = int(max((group.max(initial=-1) for group in signatures), default=-1)) + 1
    if op is BinaryOp.OR:
        in_left = _counted(signatures[0], left.present, size)[signatures[1]] > 0
        return Matrix(
            left.times,
            (*left.labels, *right.labels),
            np.concatenate((left.values, right.values)),
            np.concatenate((left.present, right.present & ~in_left)),
        ).seen()
    in_right = _counted(signatures[1], right.present, size)[signatures[0]] > 0
    kept = in_right if op is BinaryOp.AND else ~in_right
    return Matrix(left.times, left.labels, left.values, left.present & kept).seen()


class _Pairing:
    """Series of both sides brought together: each of the *many* side with one of the *one* side, at each step.

    Without ``group_left`` and ``group_right`` the left side is the many one, of which only one may match.
    """

    def __init__(self, operation: BinaryOperation, left: Matrix, right: Matrix) -> None:
        self.operation = operation
        self.swapped = operation.matching.group is Group.RIGHT
        self.many, self.one = (right, left) if self.swapped else (left, right)
        of_left, of_right = _signatures(operation.matching, left, right)
        self.of_many, self.of_one = (of_right, of_left) if self.swapped else (of_left, of_right)

    def result(self) -> Matrix:
        rows, others = self._pairs()
        matched = self.many.present[rows] & self.one.present[others]
        pairs = zip(rows.tolist(), others.tolist(), strict=True)
        labels = tuple(self._labels(self.many.labels[row], self.one.labels[other]) for row, other in pairs)
        self._check(rows, matched, labels)
        many, one = self.many.values[rows], self.one.values[others]
        left, right = (one, many) if self.swapped else (many, one)
        values, kept = _applied(self.operation, left, right, left)
        return Matrix(self.many.times, labels, values, matched & kept).seen().united()

    def _pairs(self) -> tuple[Int64s, Int64s]:
        """The rows of both sides that share a group; a group may have several of the one side, at different steps."""
        size = int(max(self.of_many.max(initial=-1), self.of_one.max(initial=-1))) + 1
        if (_counted(self.of_one, self.one.present, size) > 1).any():
            raise MatchingError(self._many_to_many())
        order = np.argsort(self.of_one, kind="stable")
        low, high = (np.searchsorted(self.of_one[order], self.of_many, side) for side in ("left", "right"))
        counts = high - low
        check_size(int(counts.sum()), len(self.many.times))
        rows = np.repeat(np.arange(len(counts)), counts)
        return rows, order[np.arange(len(rows)) + np.repeat(low - (np.cumsum(counts) - counts), counts)]

    def _check(self, rows: Int64s, matched: Bools, labels: tuple[Labels, ...]) -> None:
        """Raise `MatchingError` where a group has several matches at a step, or with ``group_…`` a result's labels."""
        groups = self.of_many[rows]
        if self.operation.matching.group is not Group.NONE:
            groups, _ = grouped(labels, lambda own: own)
        if (_counted(groups, matched, int(groups.max(initial=-1)) + 1) > 1).any():
            raise MatchingError(self._many_to_one())

    def _many_to_many(self) -> str:
        side = "left" if self.swapped else "right"
        return (
            f"found duplicate series on the {side} hand-side;many-to-many matching not allowed: "
            "matching labels must be unique on one side"
        )

    def _many_to_one(self) -> str:
        if self.operation.matching.group is Group.NONE:
            return "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
        return "multiple matches for labels: grouping labels must ensure unique matches"

    def _labels(self, many: Labels, one: Labels) -> Labels:
        """The labels of the result of two series."""
        matching = self.operation.matching
        names = frozenset(matching.labels)
        if matching.group is Group.NONE:
            return only(many, names) if matching.on else but(many, names)
        included = frozenset(matching.include)
        return tuple(sorted((*but(many, included), *only(one, included))))
