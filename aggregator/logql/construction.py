"""Log queries that the parser has read into a tree: an action for every rule of the grammar's upper half."""

# ruff: noqa: D102 - the grammar describes the rules that the methods are named after

from __future__ import annotations

from typing import Any, NamedTuple

from lark import Token, Transformer, v_args

from aggregator.logql import checks
from aggregator.logql.lexer import SyntaxProblem
from aggregator.logql.parts import Part, at, comparison, joined, number_of, signed
from aggregator.logql.tree import (
    And,
    Assignment,
    BytesCondition,
    Decolorize,
    DropLabels,
    DurationCondition,
    Extraction,
    IpCondition,
    JsonParser,
    KeepLabels,
    LabelFilter,
    LabelFormat,
    LineFilter,
    LineFormat,
    LineOp,
    LineValue,
    LogExpression,
    LogfmtParser,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
    PatternParser,
    RegexpParser,
    Selector,
    Stage,
    UnpackParser,
)


class Value(NamedTuple):
    """What a line filter tests for, and where it stands."""

    value: LineValue
    offset: int


@v_args(inline=True)
class LogConstruction(Transformer[Token, Any]):
    """Makes the tree of a log query; without state."""

    def log_expression(self, selector: Selector, stages: list[Stage] | None) -> LogExpression:
        checks.pipeline(stages or ())
        return LogExpression(selector, tuple(stages or ()))

    def selector(self, brace: Token, matchers: tuple[Matcher, ...] | None) -> Selector:
        checks.count("matchers in one selector", len(matchers or ()), checks.MATCHERS_MAX, at(brace))
        if all(checks.matches_empty(matcher) for matcher in matchers or ()):
            raise SyntaxProblem(checks.EMPTY_COMPATIBLE, at(brace))
        return Selector(matchers or ())

    def matchers(self, *matchers: Matcher) -> tuple[Matcher, ...]:
        return matchers

    def matcher(self, label: Token, op: Token, value: Token) -> Matcher:
        matcher = Matcher(str(label), MatchOp(str(op)), value.value)
        if matcher.op in {MatchOp.MATCHES, MatchOp.NOT_MATCHES}:
            checks.label_expression(matcher.value, at(value))
        return matcher

    def first(self, stage: Stage) -> list[Stage]:
        return [stage]

    def further(self, stages: list[Stage], stage: Stage) -> list[Stage]:
        stages.append(stage)
        return stages

    def line_filter(self, op: Token, *values: Value | Token) -> LineFilter:
        line_op = LineOp(str(op))
        wanted = [value for value in values if isinstance(value, Value)]
        for value in wanted:
            checks.line_value(line_op, value.value, value.offset)
        return LineFilter(line_op, tuple(value.value for value in wanted))

    def line_value(self, text: Token) -> Value:
        return Value(LineValue(text.value), at(text))

    def line_ip(self, _ip: Token, text: Token) -> Value:
        return Value(LineValue(text.value, ip=True), at(text))

    def json(self, extractions: tuple[Extraction, ...] | None) -> JsonParser:
        return JsonParser(extractions or ())

    def flags(self, *flags: Token) -> frozenset[str]:
        return frozenset(str(flag) for flag in flags)

    def logfmt(self, flags: frozenset[str], extractions: tuple[Extraction, ...] | None) -> LogfmtParser:
        return LogfmtParser(extractions or (), strict="--strict" in flags, keep_empty="--keep-empty" in flags)

    def extractions(self, *parts: Part) -> tuple[Extraction, ...]:
        checks.distinct("extracted label", ((part.value.label, part.offset) for part in parts))
        return tuple(part.value for part in parts)

    def extraction(self, label: Token, _eq: Token | None, expression: Token | None) -> Part:
        return Part(Extraction(str(label), str(label) if expression is None else expression.value), at(label))

    def regexp(self, expression: Token) -> RegexpParser:
        checks.regexp_parser(expression.value, at(expression))
        return RegexpParser(expression.value)

    def pattern(self, expression: Token) -> PatternParser:
        checks.pattern_parser(expression.value, at(expression))
        return PatternParser(expression.value)

    def unpack(self) -> UnpackParser:
        return UnpackParser()

    def line_format(self, template: Token) -> LineFormat:
        return LineFormat(template.value)

    def decolorize(self) -> Decolorize:
        return Decolorize()

    def label_format(self, *parts: Part) -> LabelFormat:
        checks.distinct("label", ((part.value.label, part.offset) for part in parts))
        return LabelFormat(tuple(part.value for part in parts))

    def assignment(self, label: Token, _eq: Token, value: Token) -> Part:
        checks.formatted_label(str(label), at(label))
        if value.type == "STRING":
            return Part(Assignment(str(label), template=value.value), at(label))
        return Part(Assignment(str(label), source=str(value)), at(label))

    def name(self, label: Token) -> str:
        return str(label)

    def drop(self, *labels: str | Matcher) -> DropLabels:
        return DropLabels(labels)

    def keep(self, *labels: str | Matcher) -> KeepLabels:
        return KeepLabels(labels)

    # --- Label filters ---

    def label_filter(self, condition: Part) -> LabelFilter:
        return LabelFilter(condition.value)

    def either(self, left: Part, _or: Token, right: Part) -> Part:
        return joined(Or(left.value, right.value), left.offset, left, right)

    def both(self, left: Part, _and: Token, right: Part) -> Part:
        return joined(And(left.value, right.value), left.offset, left, right)

    def beside(self, left: Part, right: Part) -> Part:
        return joined(And(left.value, right.value), left.offset, left, right)

    def text_test(self, matcher: Matcher) -> Part:
        return Part(matcher, 0)

    def ip_test(self, label: Token, op: Token, _ip: Token, text: Token) -> Part:
        checks.address(text.value, at(text))
        return Part(IpCondition(str(label), str(op) == "!=", text.value), at(label))

    def number_test(self, label: Token, op: Token, sign: Token | None, number: Token) -> Part:
        return Part(NumberCondition(str(label), comparison(op), number_of(number, sign)), at(label))

    def duration_test(self, label: Token, op: Token, sign: Token | None, duration: Token) -> Part:
        return Part(DurationCondition(str(label), comparison(op), signed(duration, sign)), at(label))

    def bytes_test(self, label: Token, op: Token, size: Token) -> Part:
        return Part(BytesCondition(str(label), comparison(op), size.value), at(label))
