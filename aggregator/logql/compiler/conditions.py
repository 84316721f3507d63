"""Label filters as conditions on rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.fields import Expression, InexpressibleError, either
from aggregator.logql.patterns import literals, quoted
from aggregator.logql.tree import And, CompareOp, Matcher, MatchOp, NumberCondition, Or

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggregator.logql.compiler.fields import Fields
    from aggregator.logql.tree import Condition

_COMPARISONS: Final = {
    CompareOp.EQUAL: "=",
    CompareOp.NOT_EQUAL: "!=",
    CompareOp.GREATER: ">",
    CompareOp.GREATER_OR_EQUAL: ">=",
    CompareOp.LESS: "<",
    CompareOp.LESS_OR_EQUAL: "<=",
}


def meets(condition: Condition, fields: Fields) -> Expression:
    """The condition that a record's labels meet ``condition``; raises `InexpressibleError`."""
    match together(condition):
        case Matcher() as matcher:
            return fields.matches(matcher)
        case NumberCondition(label, op, value) if math.isfinite(value) and not fields.is_of_streams(label):
            number = fields.field(label).number
            bound = fields.parameters.bind(repr(value), "Float64")
            # A record without the label does not pass.
            return Expression(f"ifNull({number.sql} {_COMPARISONS[op]} {bound}, 0)", number.doubt)
        case And() | Or() as operation:
            met = [meets(part, fields) for part in _parts(operation)]
            between = " AND " if isinstance(operation, And) else " OR "
            return Expression(f"({between.join(one.sql for one in met)})", either(one.doubt for one in met))
    raise InexpressibleError


def together(condition: Condition) -> Condition:
    """``condition``, or one comparison where it is nothing but comparisons of one label with texts: a list of them.

    Each comparison by itself looks up, and parses, what the others do as well.
    """
    if isinstance(condition, And | Or):
        parts = _parts(condition)
        return parts[0] if len(parts) == 1 else condition
    return condition


def _parts(condition: And | Or) -> list[Condition]:
    """What has to hold all together or at least in part, comparisons of a label with texts as one."""
    list_op = MatchOp.MATCHES if isinstance(condition, Or) else MatchOp.NOT_MATCHES
    texts: dict[str, list[str]] = {}
    alone: dict[str, Matcher] = {}
    others: list[Condition] = []
    for part in _flat(condition, type(condition)):
        found = _texts(part) if isinstance(part, Matcher) and part.op.negative is list_op.negative else None
        if found is None or not isinstance(part, Matcher):
            others.append(part)
            continue
        if part.label in texts:
            alone.pop(part.label, None)
        else:
            alone[part.label] = part
        texts.setdefault(part.label, []).extend(found)
    lists = {
        label: Matcher(label, list_op, "|".join(map(quoted, dict.fromkeys(all_)))) for label, all_ in texts.items()
    }
    return [*(alone.get(label, one) for label, one in lists.items()), *others]


def _flat(condition: Condition, kind: type[And | Or]) -> Iterator[Condition]:
    """The operands of operations of one ``kind`` that stand in one another."""
    if isinstance(condition, kind):
        yield from _flat(condition.left, kind)
        yield from _flat(condition.right, kind)
    else:
        yield condition


def _texts(matcher: Matcher) -> tuple[str, ...] | None:
    """The texts that a label is compared with, if they are that."""
    return (matcher.value,) if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL} else literals(matcher.value)
