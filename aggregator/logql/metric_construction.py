"""Metric queries that the parser has read into a tree: an action for every rule of the grammar's lower half."""

# ruff: noqa: D102 - the grammar describes the rules that the methods are named after

from __future__ import annotations

from typing import Final, NamedTuple

from lark import Token, v_args

from aggregator.logql import checks
from aggregator.logql.construction import LogConstruction
from aggregator.logql.lexer import SyntaxProblem
from aggregator.logql.metric import (
    BinaryOp,
    BinaryOperation,
    Conversion,
    Group,
    Grouping,
    LabelReplace,
    Literal,
    Matching,
    RangeAggregation,
    RangeOp,
    Unwrap,
    Vector,
    VectorAggregation,
    VectorOp,
)
from aggregator.logql.parts import Part, at, joined, number_of, signed
from aggregator.logql.tree import CompareOp, LabelFilter, LogExpression, Selector, Stage

_COMPARING: Final = frozenset(op.value for op in CompareOp)
_LOGICAL: Final = frozenset({BinaryOp.AND, BinaryOp.OR, BinaryOp.UNLESS})
# As many series as anyone looks at, and as fit an int32 wherever they are counted.
PICKED_MAX: Final = (1 << 31) - 1


class Range(NamedTuple):
    """What stands in the parentheses of a range function."""

    logs: LogExpression
    range_ns: int
    offset_ns: int = 0
    unwrap: Unwrap | None = None


@v_args(inline=True)
class Construction(LogConstruction):
    """Makes the tree of any query; without state."""

    # --- Range functions ---

    def range_last(
        self,
        brace: Selector,
        stages: list[Stage] | None,
        unwrap: Unwrap | None,
        range_: Token,
        offset_ns: int | None,
    ) -> Range:
        return Range(self.log_expression(brace, stages), range_.value, offset_ns or 0, unwrap)

    def range_unwrapped(self, selector: Selector, range_: Token, offset_ns: int | None, unwrap: Unwrap) -> Range:
        return self.range_staged(selector, range_, offset_ns, None, unwrap)

    def range_staged(
        self,
        selector: Selector,
        range_: Token,
        offset_ns: int | None,
        stages: list[Stage] | None,
        unwrap: Unwrap | None = None,
    ) -> Range:
        return Range(self.log_expression(selector, stages), range_.value, offset_ns or 0, unwrap)

    def same(self, inner: Range) -> Range:
        return inner

    def offset(self, sign: Token | None, duration: Token) -> int:
        return signed(duration, sign)

    def unwrap_plain(self, label: Token) -> Unwrap:
        return Unwrap(str(label))

    def unwrap_converted(self, conversion: Token, label: Token) -> Unwrap:
        return Unwrap(str(label), Conversion(str(conversion)))

    def unwrap_filtered(self, unwrap: Unwrap, condition: Part) -> Unwrap:
        filters = (*unwrap.filters, LabelFilter(condition.value))
        checks.pipeline(filters)
        return Unwrap(unwrap.label, unwrap.conversion, filters)

    def range_aggregation(
        self, function: Token, parameter: Token | None, inner: Range, grouping: Grouping | None
    ) -> Part:
        op = RangeOp(str(function))
        value = None
        if op is RangeOp.QUANTILE:
            if parameter is None:
                raise SyntaxProblem(f"parameter required for operation {op.value}: {op.value}(0.99, …)", at(function))
            value = number_of(parameter)
            if value > 1:
                raise SyntaxProblem(f"{op.value} takes a number from 0 to 1, such as 0.99", at(parameter))
        elif parameter is not None:
            raise SyntaxProblem(f"parameter {parameter} not supported for operation {op.value}", at(parameter))
        checks.range_function(op, unwrapped=inner.unwrap is not None, grouped=grouping is not None, offset=at(function))
        aggregation = RangeAggregation(op, inner.logs, inner.range_ns, inner.offset_ns, inner.unwrap, value, grouping)
        return Part(aggregation, at(function))

    # --- Vector aggregations ---

    def grouped_before(self, function: Token, grouping: Grouping | None, parameter: Token | None, inner: Part) -> Part:
        op = VectorOp(str(function))
        if op in checks.SORTING and grouping is not None and grouping.labels:
            raise SyntaxProblem("sort and sort_desc doesn't allow grouping by: group what is sorted", at(function))
        aggregation = VectorAggregation(op, inner.value, _picked(op, function, parameter), grouping)
        return joined(aggregation, at(function), inner)

    def grouped_after(self, function: Token, parameter: Token | None, inner: Part, grouping: Grouping) -> Part:
        return self.grouped_before(function, grouping, parameter, inner)

    def grouping(self, word: Token, labels: tuple[str, ...]) -> Grouping:
        return Grouping(labels, without=word == "without")

    def label_list(self, *labels: Token | None) -> tuple[str, ...]:
        checks.count("labels in one list", len(labels), checks.LABELS_MAX, next((at(one) for one in labels if one), 0))
        return tuple(str(label) for label in labels if label is not None)

    # --- Operations ---

    def operation(self, left: Part, operator: Token, modifier: tuple[bool, Matching], right: Part) -> Part:
        op = BinaryOp(str(operator))
        if op in _LOGICAL:
            for side, part in (("left", left), ("right", right)):
                if isinstance(part.value, Literal):
                    raise SyntaxProblem(
                        f"unexpected literal for {side} leg of logical/set binary operation ({op.value}): "
                        f"it needs series, such as vector({part.value.value:g})",
                        part.offset,
                    )
        returns_bool, matching = modifier
        # Loki reads `bool` behind every operator, and heeds it behind comparisons.
        returns_bool = returns_bool and op.value in _COMPARING
        return joined(BinaryOperation(op, left.value, right.value, matching, returns_bool), left.offset, left, right)

    def modifier(self, word: Token | None, matching: Matching | None) -> tuple[bool, Matching]:
        return word is not None, matching or Matching()

    def matching(self, word: Token, labels: tuple[str, ...], group: tuple[Group, tuple[str, ...]] | None) -> Matching:
        many, include = group or (Group.NONE, ())
        return Matching(word == "on", labels, many, include)

    def group(self, word: Token, include: tuple[str, ...] | None) -> tuple[Group, tuple[str, ...]]:
        return Group(str(word)), include or ()

    # --- Functions and numbers ---

    def label_replace(self, inner: Part, target: Token, replacement: Token, source: Token, expression: Token) -> Part:
        checks.label_name(target.value, at(target))
        checks.label_expression(expression.value, at(expression))
        value = LabelReplace(inner.value, target.value, replacement.value, source.value, expression.value)
        return joined(value, inner.offset, inner)

    def vector(self, value: Token) -> Part:
        return Part(Vector(number_of(value)), at(value))

    def literal(self, *tokens: Token | None) -> Part:
        *signs, value = (token for token in tokens if token is not None)
        return Part(Literal(number_of(value, *signs)), at((*signs, value)[0]))


def _picked(op: VectorOp, function: Token, parameter: Token | None) -> int | None:
    if op not in checks.PICKING:
        if parameter is not None:
            raise SyntaxProblem(f"unsupported parameter for operation {op.value}({parameter},", at(parameter))
        return None
    if parameter is None:
        raise SyntaxProblem(f"parameter required for operation {op.value}: {op.value}(10, …)", at(function))
    text = str(parameter)
    if not (text.isascii() and text.isdigit()):
        raise SyntaxProblem(f"invalid parameter {op.value}({text}, : it takes a whole number", at(parameter))
    count = int(text[:20])
    if not 0 < count <= PICKED_MAX:
        raise SyntaxProblem(
            f"invalid parameter (must be greater than 0, at most {PICKED_MAX}) {op.value}({text},", at(parameter)
        )
    return count
