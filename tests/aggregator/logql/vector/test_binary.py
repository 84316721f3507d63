from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.errors import MatchingError, MetricError
from aggregator.logql.metric import BinaryOp, BinaryOperation, Group, Literal, Matching
from aggregator.logql.vector.binary import number, operate
from aggregator.logql.vector.matrix import Matrix
from tests.aggregator.logql.vector.tables import Rows, labels, matrix, table

INF, NAN = math.inf, math.nan
ON_A = Matching(on=True, labels=("a",))
IGNORING_B = Matching(labels=("b",))


def of(op: str, matching: Matching = Matching(), *, returns_bool: bool = False) -> BinaryOperation:  # noqa: B008 - frozen
    return BinaryOperation(BinaryOp(op), Literal(0), Literal(0), matching, returns_bool)


def result(operation: BinaryOperation, left: Rows | float, right: Rows | float) -> Rows:
    sides = [side if isinstance(side, float) else matrix(side) for side in (left, right)]
    found = operate(operation, *sides)
    assert isinstance(found, Matrix)
    return table(found)


@pytest.mark.parametrize(
    ("left", "op", "right", "expected"),
    [
        (1.0, "+", 2.0, 3.0),
        (1.0, "-", 2.0, -1.0),
        (3.0, "*", 2.0, 6.0),
        (1.0, "/", 2.0, 0.5),
        (1.0, "/", 0.0, NAN),  # Loki's, not IEEE's
        (0.0, "/", 0.0, NAN),
        (7.0, "%", 3.0, 1.0),
        (-7.0, "%", 3.0, -1.0),  # Go's: the sign of the dividend
        (7.0, "%", -3.0, 1.0),
        (5.5, "%", 2.0, 1.5),
        (1.0, "%", 0.0, NAN),
        (INF, "%", 2.0, NAN),
        (5.0, "%", INF, 5.0),
        (2.0, "^", 10.0, 1024.0),
        (2.0, "^", -1.0, 0.5),
        (-8.0, "^", 1 / 3, NAN),
        (0.0, "^", -1.0, INF),
        (NAN, "^", 0.0, 1.0),
        (1.0, "==", 1.0, 1.0),
        (1.0, "!=", 1.0, 0.0),
        (2.0, ">", 1.0, 1.0),
        (1.0, ">=", 1.0, 1.0),
        (2.0, "<", 1.0, 0.0),
        (2.0, "<=", 1.0, 0.0),
        (NAN, "==", NAN, 0.0),
        (NAN, "!=", NAN, 1.0),
    ],
)
def test_numbers(left: float, op: str, right: float, expected: float) -> None:
    assert number(BinaryOp(op), left, right) == pytest.approx(expected, nan_ok=True)
    assert operate(of(op), left, right) == pytest.approx(expected, nan_ok=True)


PAIR: Rows = [("a=1", [1.0, 6.0]), ("a=2", [4.0, None])]


@pytest.mark.parametrize(
    ("operation", "left", "right", "expected"),
    [
        (of("-"), PAIR, 1.0, [("a=1", [0.0, 5.0]), ("a=2", [3.0, None])]),
        (of("-"), 1.0, PAIR, [("a=1", [0.0, -5.0]), ("a=2", [-3.0, None])]),
        (of("/"), 12.0, PAIR, [("a=1", [12.0, 2.0]), ("a=2", [3.0, None])]),
        # A comparison keeps the series' samples, on whichever side they are.
        (of(">"), PAIR, 3.0, [("a=1", [None, 6.0]), ("a=2", [4.0, None])]),
        (of(">"), 3.0, PAIR, [("a=1", [1.0, None])]),
        (of(">", returns_bool=True), PAIR, 3.0, [("a=1", [0.0, 1.0]), ("a=2", [1.0, None])]),
        (of(">", returns_bool=True), 3.0, PAIR, [("a=1", [1.0, 0.0]), ("a=2", [0.0, None])]),
        (of("=="), PAIR, 9.0, []),
    ],
)
def test_series_and_a_number(
    operation: BinaryOperation, left: Rows | float, right: Rows | float, expected: Rows
) -> None:
    assert result(operation, left, right) == expected


LEFT: Rows = [("a=1 b=1", [8.0, 2.0]), ("a=2 b=1", [6.0, 3.0]), ("a=3 b=1", [1.0, 1.0])]
RIGHT: Rows = [("a=1 b=1", [2.0, 4.0]), ("a=2 b=1", [3.0, None]), ("a=4 b=1", [1.0, 1.0])]
OTHER: Rows = [("a=1 c=x", [2.0, 4.0]), ("a=2 c=y", [3.0, None])]


@pytest.mark.parametrize(
    ("operation", "right", "expected"),
    [
        (of("/"), RIGHT, [("a=1 b=1", [4.0, 0.5]), ("a=2 b=1", [2.0, None])]),
        (of(">"), RIGHT, [("a=1 b=1", [8.0, None]), ("a=2 b=1", [6.0, None])]),
        (of("<", returns_bool=True), RIGHT, [("a=1 b=1", [0.0, 1.0]), ("a=2 b=1", [0.0, None])]),
        (of("+"), OTHER, []),
        (of("+", ON_A), OTHER, [("a=1", [10.0, 6.0]), ("a=2", [9.0, None])]),
        (of("+", Matching(labels=("b", "c"))), OTHER, [("a=1", [10.0, 6.0]), ("a=2", [9.0, None])]),
        (of(">", ON_A), OTHER, [("a=1", [8.0, None]), ("a=2", [6.0, None])]),
        (of("and"), RIGHT, [("a=1 b=1", [8.0, 2.0]), ("a=2 b=1", [6.0, None])]),
        (of("and", ON_A), OTHER, [("a=1 b=1", [8.0, 2.0]), ("a=2 b=1", [6.0, None])]),
        (of("unless"), RIGHT, [("a=2 b=1", [None, 3.0]), ("a=3 b=1", [1.0, 1.0])]),
        (of("unless", ON_A), OTHER, [("a=2 b=1", [None, 3.0]), ("a=3 b=1", [1.0, 1.0])]),
        (of("or"), RIGHT, [*LEFT, ("a=4 b=1", [1.0, 1.0])]),
        (of("or", ON_A), OTHER, LEFT),
        (of("or"), OTHER, [*LEFT, *OTHER]),
        (of("and"), [], []),
        (of("unless"), [], LEFT),
        (of("or"), [], LEFT),
        (of("+"), [], []),
    ],
)
def test_series_and_series(operation: BinaryOperation, right: Rows, expected: Rows) -> None:
    found = operate(operation, matrix(LEFT), matrix(right, steps=2))
    assert isinstance(found, Matrix)
    assert table(found) == expected


MANY: Rows = [("a=1 b=1", [1.0]), ("a=1 b=2", [2.0]), ("a=2 b=1", [3.0])]
ONE: Rows = [("a=1 c=x", [10.0]), ("a=2 c=y", [20.0])]
LEFT_MANY = Matching(on=True, labels=("a",), group=Group.LEFT)


@pytest.mark.parametrize(
    ("operation", "left", "right", "expected"),
    [
        (of("/", LEFT_MANY), MANY, ONE, [("a=1 b=1", [0.1]), ("a=1 b=2", [0.2]), ("a=2 b=1", [0.15])]),
        (
            of("/", Matching(on=True, labels=("a",), group=Group.RIGHT)),
            ONE,
            MANY,
            [("a=1 b=1", [10.0]), ("a=1 b=2", [5.0]), ("a=2 b=1", [20 / 3])],
        ),
        (
            of("*", Matching(on=True, labels=("a",), group=Group.LEFT, include=("c", "b"))),
            [MANY[0], MANY[2]],
            ONE,
            [("a=1 c=x", [10.0]), ("a=2 c=y", [60.0])],  # the one side has no b
        ),
        (of("<", LEFT_MANY), MANY, ONE, MANY),
        (
            of(">", Matching(on=True, labels=("a",), group=Group.RIGHT)),
            ONE,
            MANY,
            [("a=1 b=1", [10.0]), ("a=1 b=2", [10.0]), ("a=2 b=1", [20.0])],  # the left side's, with the right's labels
        ),
    ],
)
def test_many_series_and_one(operation: BinaryOperation, left: Rows, right: Rows, expected: Rows) -> None:
    found = result(operation, left, right)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert np.array([row for _, row in found]) == pytest.approx(np.array([row for _, row in expected]))


EXPLICIT = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
UNIQUE = "multiple matches for labels: grouping labels must ensure unique matches"
MANY_TO_MANY = (
    "found duplicate series on the {} hand-side;many-to-many matching not allowed: "
    "matching labels must be unique on one side"
)


@pytest.mark.parametrize(
    ("matching", "left", "right", "text"),
    [
        (ON_A, MANY, ONE, EXPLICIT),
        (ON_A, ONE, MANY, MANY_TO_MANY.format("right")),
        (LEFT_MANY, ONE, MANY, MANY_TO_MANY.format("right")),
        (Matching(on=True, labels=("a",), group=Group.RIGHT), MANY, ONE, MANY_TO_MANY.format("left")),
        (Matching(on=True, labels=("a",), group=Group.LEFT, include=("b",)), MANY, ONE, UNIQUE),
        (Matching(on=True), MANY, ONE, MANY_TO_MANY.format("right")),
    ],
)
def test_series_that_do_not_pair_in_one_way(matching: Matching, left: Rows, right: Rows, text: str) -> None:
    with pytest.raises(MatchingError) as caught:
        result(of("+", matching), left, right)
    assert str(caught.value) == text


def test_series_pair_step_by_step() -> None:
    """What would be many at one step is one after the other here."""
    left: Rows = [("a=1 b=1", [1.0, None]), ("a=1 b=2", [None, 2.0])]
    right: Rows = [("a=1 c=1", [None, 10.0]), ("a=1 c=2", [20.0, None])]
    assert result(of("+", ON_A), left, right) == [("a=1", [21.0, 12.0])]


def test_what_does_not_match_is_not_missed() -> None:
    assert result(of("+", ON_A), [*MANY[2:], ("b=7", [1.0]), ("b=8", [1.0])], ONE[1:]) == [("a=2", [23.0])]


@pytest.mark.parametrize(("left", "right", "side"), [(PAIR, 2.0, "right"), (2.0, PAIR, "left")])
def test_sets_are_of_series(left: Rows | float, right: Rows | float, side: str) -> None:
    with pytest.raises(MetricError, match=rf"unexpected literal for {side} leg of logical/set .* \(and\): 2.000000"):
        result(of("and"), left, right)


# --- Against Loki's own way: one step after the other ---


def by_steps(operation: BinaryOperation, left: Rows, right: Rows) -> list[dict[str, float]]:
    """The samples of each step, by their labels; raises `MatchingError`."""
    steps = len((left or right)[0][1])
    return [_step(operation, _at(left, step), _at(right, step)) for step in range(steps)]


Vector = list[tuple[dict[str, str], float]]


def _at(rows: Rows, step: int) -> Vector:
    return [(dict(labels(name)), value) for name, row in rows if (value := row[step]) is not None]


def _step(operation: BinaryOperation, left: Vector, right: Vector) -> dict[str, float]:
    matching = operation.matching
    sets = {BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS}
    if operation.op in sets:
        in_left, in_right = ({_key(matching, own) for own, _ in side} for side in (left, right))
        kept = {
            BinaryOp.AND: [sample for sample in left if _key(matching, sample[0]) in in_right],
            BinaryOp.UNLESS: [sample for sample in left if _key(matching, sample[0]) not in in_right],
            BinaryOp.OR: left + [sample for sample in right if _key(matching, sample[0]) not in in_left],
        }[operation.op]
        return {_name(own): value for own, value in kept}
    many, one = (right, left) if matching.group is Group.RIGHT else (left, right)
    partners: dict[tuple[tuple[str, str], ...], tuple[dict[str, str], float]] = {}
    for own, value in one:
        if _key(matching, own) in partners:
            raise MatchingError("many-to-many")
        partners[_key(matching, own)] = (own, value)
    seen: set[object] = set()
    results: dict[str, float] = {}
    for own, value in many:
        key = _key(matching, own)
        if key not in partners:
            continue
        other, other_value = partners[key]
        name = _name(_result(matching, own, other))
        unique: object = key if matching.group is Group.NONE else name
        if unique in seen:
            raise MatchingError("several")
        seen.add(unique)
        sides = (other_value, value) if matching.group is Group.RIGHT else (value, other_value)
        made = number(operation.op, *sides)
        if operation.op is BinaryOp.LESS and not operation.returns_bool:
            if not made:
                continue
            made = sides[0]
        results[name] = made
    return results


def _key(matching: Matching, own: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in own.items() if (item[0] in matching.labels) is matching.on))


def _name(own: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(own.items()))


def _result(matching: Matching, own: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    if matching.group is Group.NONE:
        return dict(_key(matching, own))
    taken = {name: other[name] for name in matching.include if name in other}
    return {name: value for name, value in own.items() if name not in matching.include} | taken


NAMES = [f"a={a} b={b}" for a in (1, 2) for b in (1, 2)] + ["a=1", "b=2", "a=1 c=1", "c=2"]
CELLS = st.one_of(st.none(), st.integers(-3, 3).map(float))


@st.composite
def sides(draw: st.DrawFn) -> Rows:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=4))
    return [(name, draw(st.lists(CELLS, min_size=2, max_size=2))) for name in names]


@st.composite
def operations(draw: st.DrawFn) -> BinaryOperation:
    op = draw(st.sampled_from(["+", "-", "/", "<", "and", "or", "unless"]))
    group = draw(st.sampled_from(Group)) if op not in {"and", "or", "unless"} else Group.NONE
    names = st.lists(st.sampled_from("abc"), unique=True, max_size=2).map(tuple)
    include = draw(names) if group is not Group.NONE else ()
    matching = Matching(draw(st.booleans()), draw(names), group, include)
    return of(op, matching, returns_bool=op == "<" and draw(st.booleans()))


@given(operations(), sides(), sides())
@settings(max_examples=500, deadline=None)
def test_all_steps_at_once_are_every_step_by_itself(operation: BinaryOperation, left: Rows, right: Rows) -> None:
    try:
        expected = by_steps(operation, left, right)
    except MatchingError:
        with pytest.raises(MatchingError):
            operate(operation, matrix(left), matrix(right))
        return
    found = operate(operation, matrix(left), matrix(right))
    assert isinstance(found, Matrix)
    answer = table(found.united())
    for step, wanted in enumerate(expected):
        at_step = {name: row[step] for name, row in answer if row[step] is not None}
        assert at_step == pytest.approx(wanted, nan_ok=True)
