"""Line filters as conditions on ``body``.

A substring becomes ``LIKE '%…%'``, which the engine runs as a plain search and for which it prunes by the token index
with those words of it that are surely whole: its first and last may be cut. A regular expression is run by the engine's
RE2; the words that are whole in it (`aggregator.logql.compiler.words`) are asked for as well, for the index.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.captures import is_long, parts
from aggregator.logql.compiler.words import one_line_dots, whole_words
from aggregator.logql.tree import LineFilter, LineOp

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Parameters


def passes(stage: LineFilter, parameters: Parameters) -> str | None:
    """The condition that a stored line passes; None if there is no SQL that says the same."""
    if any(value.ip for value in stage.values):
        return None
    if stage.op in {LineOp.PATTERN, LineOp.NOT_PATTERN} and any(is_long(value.text) for value in stage.values):
        return None
    tests = " OR ".join(_TESTS[stage.op](value.text, parameters) for value in stage.values)
    return f"NOT ({tests})" if stage.op.negative else f"({tests})"


def contains(text: str, parameters: Parameters) -> str:
    """The condition that a line contains ``text``."""
    return f"body LIKE {parameters.text(_containing(text))}"


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


_TESTS: Final = {
    LineOp.CONTAINS: contains,
    LineOp.LACKS: contains,
    LineOp.MATCHES: _matches,
    LineOp.NOT_MATCHES: _does_match,
    LineOp.PATTERN: _is_like,
    LineOp.NOT_PATTERN: _is_like,
}


def _containing(text: str) -> str:
    return "%" + re.sub(r"[\\%_]", r"\\\g<0>", text) + "%"
