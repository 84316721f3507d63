"""A tree into text: on one line, and over several as Loki's ``format_query`` lays them out.

Both are LogQL that Loki reads too, and what is read of them is the tree again. Label filters and operations stand in
parentheses wherever two meet, as Loki writes them, so that nobody has to know what binds tighter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.logql.metric import (
    BinaryOperation,
    Conversion,
    Group,
    Grouping,
    LabelReplace,
    Literal,
    RangeAggregation,
    Unwrap,
    Vector,
    VectorAggregation,
)
from aggregator.logql.quoting import quoted
from aggregator.logql.tree import (
    And,
    BytesCondition,
    Condition,
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
    LineValue,
    LogExpression,
    LogfmtParser,
    Matcher,
    NumberCondition,
    Or,
    PatternParser,
    RegexpParser,
    Selector,
    Stage,
    UnpackParser,
)
from aggregator.logql.units import MILLISECOND_NS, duration_text, float_text, range_text, size_text

if TYPE_CHECKING:
    from aggregator.logql.metric import Expression

# What is longer is laid out over several lines.
LINE_CHARACTERS_MAX: Final = 100
_INDENT: Final = "  "


def printed(expression: Expression) -> str:
    """The expression on one line."""
    match expression:
        case LogExpression(selector, stages):
            return " ".join((printed_selector(selector), *map(printed_stage, stages)))
        case RangeAggregation():
            return (
                f"{expression.op.value}({_parameter(expression)}{_range(expression)}){_grouping(expression.grouping)}"
            )
        case VectorAggregation(op, inner, parameter, grouping):
            count = "" if parameter is None else f"{parameter},"
            return f"{op.value}{_grouping(grouping)}({count}{printed(inner)})"
        case BinaryOperation(_, left, right):
            return f"({printed(left)} {_operator(expression)} {printed(right)})"
        case LabelReplace():
            return f"label_replace({printed(expression.inner)},{','.join(_replacement(expression))})"
        case Vector(value):
            return f"vector({float_text(value)})"
        case Literal(value):
            return float_text(value)


def formatted(expression: Expression) -> str:
    """The expression over as many lines as it takes for none to be long, indented."""
    return _laid_out(expression, 0)


# --- On one line ---


def printed_selector(selector: Selector) -> str:
    """``{a="b", c=~"d"}``."""
    return "{" + ", ".join(_matcher(matcher) for matcher in selector.matchers) + "}"


def printed_stage(stage: Stage) -> str:
    """``| json``; ``|= "x" or "y"``."""
    if isinstance(stage, LineFilter):
        return f"{stage.op.value} {' or '.join(_line_value(value) for value in stage.values)}"
    return f"| {_stage(stage)}"


def _stage(stage: Stage) -> str:
    match stage:
        case JsonParser(extractions):
            return " ".join(("json", *_extractions(extractions)))
        case LogfmtParser(extractions, strict, keep_empty):
            flags = (["--strict"] if strict else []) + (["--keep-empty"] if keep_empty else [])
            return " ".join(("logfmt", *flags, *_extractions(extractions)))
        case RegexpParser(expression):
            return f"regexp {quoted(expression)}"
        case PatternParser(expression):
            return f"pattern {quoted(expression)}"
        case UnpackParser():
            return "unpack"
        case LabelFilter(condition):
            return printed_condition(condition)
        case LineFormat(template):
            return f"line_format {quoted(template)}"
        case LabelFormat(assignments):
            return "label_format " + ",".join(
                f"{each.label}={each.source if each.template is None else quoted(each.template)}"
                for each in assignments
            )
        case Decolorize():
            return "decolorize"
        case DropLabels(labels):
            return "drop " + _named(labels)
        case KeepLabels(labels):
            return "keep " + _named(labels)
        case LineFilter():
            return printed_stage(stage)


def printed_condition(condition: Condition) -> str:
    """``( a="b" , c>5 )``."""
    match condition:
        case And(left, right):
            return f"( {printed_condition(left)} , {printed_condition(right)} )"
        case Or(left, right):
            return f"( {printed_condition(left)} or {printed_condition(right)} )"
        case Matcher():
            return _matcher(condition)
        case NumberCondition(label, op, value):
            return f"{label}{op.value}{float_text(value)}"
        case DurationCondition(label, op, value_ns):
            return f"{label}{op.value}{duration_text(value_ns)}"
        case BytesCondition(label, op, value_bytes):
            return f"{label}{op.value}{size_text(value_bytes)}"
        case IpCondition(label, negative, text):
            return f"{label}{'!=' if negative else '='}ip({quoted(text)})"


def _matcher(matcher: Matcher) -> str:
    return f"{matcher.label}{matcher.op.value}{quoted(matcher.value)}"


def _line_value(value: LineValue) -> str:
    return f"ip({quoted(value.text)})" if value.ip else quoted(value.text)


def _extractions(extractions: tuple[Extraction, ...]) -> tuple[str, ...]:
    if not extractions:
        return ()
    return (",".join(f"{each.label}={quoted(each.expression)}" for each in extractions),)


def _named(labels: tuple[str | Matcher, ...]) -> str:
    return ",".join(label if isinstance(label, str) else _matcher(label) for label in labels)


def _parameter(aggregation: RangeAggregation) -> str:
    return "" if aggregation.parameter is None else f"{float_text(aggregation.parameter)},"


def _range(aggregation: RangeAggregation) -> str:
    unwrap = "" if aggregation.unwrap is None else " " + " ".join(_unwrap(aggregation.unwrap))
    return f"{printed(aggregation.logs)}{unwrap}[{range_text(aggregation.range_ns)}]{_offset(aggregation)}"


def _unwrap(unwrap: Unwrap) -> tuple[str, ...]:
    label = unwrap.label
    if unwrap.conversion is not Conversion.NUMBER:
        label = f"{unwrap.conversion.value}({label})"
    return (f"| unwrap {label}", *map(printed_stage, unwrap.filters))


def _offset(aggregation: RangeAggregation) -> str:
    offset_ns = aggregation.offset_ns
    if offset_ns == 0:
        return ""
    return f" offset {duration_text(offset_ns) if offset_ns % MILLISECOND_NS else range_text(offset_ns)}"


def _grouping(grouping: Grouping | None, separator: str = ",") -> str:
    if grouping is None:
        return ""
    return f" {'without' if grouping.without else 'by'} ({separator.join(grouping.labels)})"


def _operator(operation: BinaryOperation, separator: str = ",") -> str:
    matching = operation.matching
    words = [operation.op.value]
    if operation.returns_bool:
        words.append("bool")
    if matching.on or matching.labels or matching.group is not Group.NONE:
        words.append(f"{'on' if matching.on else 'ignoring'} ({separator.join(matching.labels)})")
    if matching.group is not Group.NONE:
        # The parentheses also where they are empty: those of an operand that follows would be taken for them.
        words.append(f"{matching.group.value} ({separator.join(matching.include)})")
    return " ".join(words)


def _replacement(replace: LabelReplace) -> tuple[str, ...]:
    return tuple(map(quoted, (replace.target, replace.replacement, replace.source, replace.expression)))


# --- Over several lines ---


def _laid_out(expression: Expression, level: int) -> str:
    indent = _INDENT * level
    line = printed(expression)
    if len(line) <= LINE_CHARACTERS_MAX:
        return indent + line
    match expression:
        case LogExpression(selector, stages):
            return "\n".join((indent + printed_selector(selector), *_stage_lines(stages, level + 1)))
        case RangeAggregation():
            return _called(
                expression.op.value,
                [*_first(_parameter(expression).rstrip(","), level), _range_laid_out(expression, level + 1)],
                level,
            ) + _grouping(expression.grouping, ", ")
        case VectorAggregation(op, inner, parameter, grouping):
            count = "" if parameter is None else str(parameter)
            function = op.value + _grouping(grouping, ", ")
            return _called(function, [*_first(count, level), _laid_out(inner, level + 1)], level)
        case BinaryOperation():
            return _operation_laid_out(expression, level)
        case LabelReplace(inner):
            texts = (_INDENT * (level + 1) + text for text in _replacement(expression))
            return _called("label_replace", [_laid_out(inner, level + 1), *texts], level)
        case Vector() | Literal():
            return indent + line


def _stage_lines(stages: tuple[Stage, ...], level: int) -> list[str]:
    return [_INDENT * level + printed_stage(stage) for stage in stages]


def _range_laid_out(aggregation: RangeAggregation, level: int) -> str:
    text = _laid_out(aggregation.logs, level)
    if aggregation.unwrap is not None:
        text = "\n".join((text, *(_INDENT * (level + 1) + line for line in _unwrap(aggregation.unwrap))))
    return f"{text} [{range_text(aggregation.range_ns)}]{_offset(aggregation)}"


def _operation_laid_out(operation: BinaryOperation, level: int) -> str:
    # Parentheses around an operation that is an operand; the outermost one needs none.
    sides = []
    for side in (operation.left, operation.right):
        text = _laid_out(side, level + 1)
        if isinstance(side, BinaryOperation) and len(printed(side)) > LINE_CHARACTERS_MAX:
            text = f"{_INDENT * (level + 1)}(\n{_laid_out(side, level + 2)}\n{_INDENT * (level + 1)})"
        sides.append(text)
    return f"{sides[0]}\n{_INDENT * level}{_operator(operation, ', ')}\n{sides[1]}"


def _first(parameter: str, level: int) -> list[str]:
    return [_INDENT * (level + 1) + parameter] if parameter else []


def _called(function: str, arguments: list[str], level: int) -> str:
    indent = _INDENT * level
    return f"{indent}{function}(\n" + ",\n".join(arguments) + f"\n{indent})"
