"""Label filters: conditions on the labels as they are when the stage is reached.

As Loki 3 (pkg/logql/log/label_filter.go): a text compares the value, empty where there is no label; a number, duration
or size does not hold where there is no label, and where the value cannot be read it holds, with the error labels set
unless they are already. Both sides of ``and`` are looked at, the right one of ``or`` only if need be.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final

from aggregator.logql import regex, units
from aggregator.logql.pipeline import addresses
from aggregator.logql.pipeline.labels import CONDITION_ERROR, Labels
from aggregator.logql.pipeline.stages import StageError, Step
from aggregator.logql.tree import (
    ERROR,
    And,
    BytesCondition,
    CompareOp,
    Condition,
    DurationCondition,
    IpCondition,
    LabelFilter,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
)

Holds = Callable[[Labels], bool]

_COMPARE: Final[dict[CompareOp, Callable[[float, float], bool]]] = {
    CompareOp.EQUAL: operator.eq,
    CompareOp.NOT_EQUAL: operator.ne,
    CompareOp.GREATER: operator.gt,
    CompareOp.GREATER_OR_EQUAL: operator.ge,
    CompareOp.LESS: operator.lt,
    CompareOp.LESS_OR_EQUAL: operator.le,
}


def label_filter(stage: LabelFilter) -> Step:
    """The step of a label filter; raises StageError."""
    holds = condition(stage.condition)
    return lambda _, line, labels: line if holds(labels) else None


def condition(tree: Condition) -> Holds:  # noqa: PLR0911 - one of each kind
    """Whether a condition holds for labels, whose error it may set; raises StageError."""
    match tree:
        case Matcher():
            return _matcher(tree)
        case NumberCondition():
            return _comparison(tree.label, tree.op, tree.value, units.parse_float)
        case DurationCondition():
            return _comparison(tree.label, tree.op, tree.value_ns, units.parse_duration)
        case BytesCondition():
            return _comparison(tree.label, tree.op, tree.value_bytes, units.parse_size)
        case IpCondition():
            return _ip(tree)
        case And():
            left, right = condition(tree.left), condition(tree.right)
            return lambda labels: left(labels) & right(labels)
        case Or():
            either, other = condition(tree.left), condition(tree.right)
            return lambda labels: either(labels) or other(labels)


def value_test(matcher: Matcher) -> Callable[[str], bool]:
    """Whether a value is as a matcher says; raises StageError."""
    wanted = matcher.value
    if matcher.op is MatchOp.EQUAL:
        return lambda value: value == wanted
    if matcher.op is MatchOp.NOT_EQUAL:
        return lambda value: value != wanted
    try:
        matches = regex.anchored(wanted).found
    except regex.RegexError as error:
        raise StageError(f"{matcher.label}{matcher.op.value}", str(error)) from None
    if matcher.op is MatchOp.MATCHES:
        return matches
    return lambda value: not matches(value)


def condition_labels(tree: Condition) -> set[str]:
    """The labels that a condition looks at."""
    if isinstance(tree, And | Or):
        return condition_labels(tree.left) | condition_labels(tree.right)
    return {tree.label}


def _matcher(matcher: Matcher) -> Holds:
    test = value_test(matcher)
    if matcher.label == ERROR:
        return lambda labels: test(labels.error)
    name = matcher.label
    return lambda labels: test(labels.get(name) or "")


def _comparison(name: str, op: CompareOp, wanted: float, read: Callable[[str], float]) -> Holds:
    compare = _COMPARE[op]

    def holds(labels: Labels) -> bool:
        text = labels.get(name)
        if text is None:
            return False
        try:
            value = read(text)
        except ValueError as error:
            if not labels.error:
                labels.fail(CONDITION_ERROR, str(error))
            return True
        return compare(value, wanted)

    return holds


def _ip(tree: IpCondition) -> Holds:
    try:
        found = addresses.matcher(tree.text)
    except ValueError as error:
        raise StageError(f"{tree.label} {'!=' if tree.negative else '='} ip", str(error)) from None
    name, negative = tree.label, tree.negative

    def holds(labels: Labels) -> bool:
        if labels.error:
            # Once there is an error only texts decide.
            return True
        value = labels.get(name)
        return value is not None and found(value) is not negative

    return holds
