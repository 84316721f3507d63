"""``label_replace``: a label made of another by a regular expression."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.errors import MetricError
from aggregator.logql.regex import RegexError, compiled
from aggregator.logql.vector.matrix import Matrix

if TYPE_CHECKING:
    from aggregator.logql.metric import LabelReplace
    from aggregator.logql.regex import Regex
    from aggregator.logql.vector.matrix import Labels

# What Go's regexp.Expand looks for: $$, ${name}, $name with the longest name of letters, digits and underscores.
_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<plain>\w+))")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def label_replace(call: LabelReplace, inner: Matrix) -> Matrix:
    """``inner`` with the label ``target``: gone if it becomes empty, as it was where the expression does not match.

    Raises `MetricError` for an expression that is no RE2.
    """
    try:
        expression = compiled(call.expression)
    except RegexError as error:
        raise MetricError(str(error)) from error
    labels = tuple(_replaced(call, expression, own) for own in inner.labels)
    return Matrix(inner.times, labels, inner.values, inner.present)


def _replaced(call: LabelReplace, expression: Regex, labels: Labels) -> Labels:
    named = dict(labels)
    found = expression.full_match(named.get(call.source, ""))
    if found is None:
        return labels
    named[call.target] = _expanded(call.replacement, expression, found)
    return tuple(sorted((name, value) for name, value in named.items() if value))


def _expanded(replacement: str, expression: Regex, found: re.Match[str]) -> str:
    def text(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["plain"]
        number = int(name) if _NUMBER.fullmatch(name) else expression.groups.get(name, -1)
        return (found.group(number) or "") if 0 <= number <= expression.group_count else ""

    return _REFERENCE.sub(text, replacement)
