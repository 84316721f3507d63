"""Label filters as conditions on rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.fields import Expression, InexpressibleError, either
from aggregator.logql.tree import And, CompareOp, Matcher, NumberCondition, Or

if TYPE_CHECKING:
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
    match condition:
        case Matcher():
            return fields.matches(condition)
        case NumberCondition(label, op, value) if math.isfinite(value) and not fields.is_of_streams(label):
            number = fields.field(label).number
            bound = fields.parameters.bind(repr(value), "Float64")
            # A record without the label does not pass.
            return Expression(f"ifNull({number.sql} {_COMPARISONS[op]} {bound}, 0)", number.doubt)
        case And(left, right):
            one, other = meets(left, fields), meets(right, fields)
            return Expression(f"({one.sql} AND {other.sql})", either((one.doubt, other.doubt)))
        case Or(left, right):
            one, other = meets(left, fields), meets(right, fields)
            return Expression(f"({one.sql} OR {other.sql})", either((one.doubt, other.doubt)))
    raise InexpressibleError
