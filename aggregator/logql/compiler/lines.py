"""Line filters as conditions on ``body``.

A substring becomes ``LIKE '%…%'``, which the engine runs as a plain search and for which it prunes by the token index
with those words of it that are surely whole: its first and last may be cut. A regular expression is run by the engine's
RE2; the words that are whole in it (`aggregator.logql.compiler.words`) are asked for as well, for the index.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard

from aggregator.logql.compiler.captures import are_long, parts
from aggregator.logql.compiler.texts import contains, contains_any
from aggregator.logql.compiler.words import one_line_dots, whole_words
from aggregator.logql.patterns import literals
from aggregator.logql.tree import LineFilter, LineOp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.logql.compiler.statement import Parameters
    from aggregator.logql.tree import Stage


def passes(stage: LineFilter, parameters: Parameters) -> str | None:
    """The condition that a stored line passes; None if there is no SQL that says the same."""
    if any(value.ip for value in stage.values):
        return None
    if stage.op in {LineOp.PATTERN, LineOp.NOT_PATTERN} and are_long([value.text for value in stage.values]):
        return None
    texts, others = _sorted(stage)
    tests = [contains_any(texts, parameters, prunes=not stage.op.negative)] if texts else []
    tests += [_TESTS[stage.op](text, parameters) for text in others]
    return f"{'NOT ' if stage.op.negative else ''}({' OR '.join(tests)})"


def merged(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The same pipeline with filters that follow each other, and each lack texts, as one that lacks all of them."""
    found: list[Stage] = []
    for stage in stages:
        before = found[-1] if found else None
        if _lacks_texts(stage) and _lacks_texts(before):
            found[-1] = LineFilter(LineOp.LACKS, (*before.values, *stage.values))
        else:
            found.append(stage)
    return tuple(found)


def _lacks_texts(stage: Stage | None) -> TypeGuard[LineFilter]:
    return isinstance(stage, LineFilter) and stage.op is LineOp.LACKS and not any(value.ip for value in stage.values)


def _sorted(stage: LineFilter) -> tuple[list[str], list[str]]:
    """The texts that a filter looks for as they are, and what else it tests for; each once."""
    values = dict.fromkeys(value.text for value in stage.values)
    if stage.op in {LineOp.CONTAINS, LineOp.LACKS}:
        return list(values), []
    if stage.op in {LineOp.PATTERN, LineOp.NOT_PATTERN}:
        return [], list(values)
    texts: list[str] = []
    others: list[str] = []
    for expression in values:
        alternatives = literals(_ALONE.sub(r"\1", expression.removeprefix("(?s)")))
        if alternatives is None:
            others.append(expression)
        else:
            texts += alternatives
    return texts, others


def _matches(expression: str, parameters: Parameters) -> str:
    words = [f"hasToken(body, {parameters.text(word)})" for word in whole_words(expression)]
    matched = _does_match(expression, parameters)
    return f"({' AND '.join([*words, matched])})" if words else matched


def _does_match(expression: str, parameters: Parameters) -> str:
    # The engine's `.` matches line breaks unless told otherwise.
    return f"match(body, {parameters.text(one_line_dots(expression))})"


def _is_like(pattern: str, parameters: Parameters) -> str:
    """That the literals of a pattern follow each other, each at its first place, with something in between.

    The first one may stand anywhere; what stands after the last capture ends the line. As Loki 3.
    """
    if not pattern:
        return "body = ''"
    first, *literals = (parts(pattern) or (pattern,))[::2]
    tests = [contains(literal, parameters) for literal in (first, *literals) if literal]
    tests.append("body != ''")
    reached = "1"
    if first:
        bound = parameters.text(first)
        reached = parameters.define(f"position(body, {bound}) + length({bound})")
    for literal in literals:
        if literal:
            bound = parameters.text(literal)
            found = parameters.define(f"position(body, {bound}, toUInt64({reached}))")
            tests.append(f"{found} > {reached}")
            reached = parameters.define(f"{found} + length({bound})")
    ends_on_capture = bool(literals) and not literals[-1]
    tests.append(f"{reached} {'<=' if ends_on_capture else '>'} length(body)")
    return f"({' AND '.join(tests)})"


# A group that is all of an expression, without another one in it.
_ALONE: Final = re.compile(r"\A\((?:\?:)?([^()]*)\)\Z")
_TESTS: Final = {
    LineOp.MATCHES: _matches,
    LineOp.NOT_MATCHES: _does_match,
    LineOp.PATTERN: _is_like,
    LineOp.NOT_PATTERN: _is_like,
}
