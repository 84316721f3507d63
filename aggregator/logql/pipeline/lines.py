"""Line filters: ``|=``, ``!=``, ``|~``, ``!~``, ``|>``, ``!>``, chains of ``or``, ``ip()``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql import regex
from aggregator.logql.pipeline import addresses, pattern
from aggregator.logql.pipeline.stages import StageError, Step
from aggregator.logql.tree import LineFilter, LineOp, LineValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.pipeline.labels import Labels

    Test = Callable[[str], bool]


def line_filter(stage: LineFilter) -> Step:
    """The step of a line filter; raises StageError."""
    tests = [_test(stage.op, value) for value in stage.values]
    if len(tests) == 1:
        return _one(tests[0], negative=stage.op.negative)
    negative = stage.op.negative

    def step(_: int, line: str, __: Labels) -> str | None:
        return line if any(test(line) for test in tests) is not negative else None

    return step


def _one(test: Test, *, negative: bool) -> Step:
    if negative:
        return lambda _, line, __: None if test(line) else line
    return lambda _, line, __: line if test(line) else None


def _test(op: LineOp, value: LineValue) -> Test:
    text = value.text
    if value.ip:
        if op not in {LineOp.CONTAINS, LineOp.LACKS}:
            raise StageError(op.value, "ip: invalid operation")
        try:
            return addresses.matcher(text)
        except ValueError as error:
            raise StageError(op.value, str(error)) from None
    if op in {LineOp.PATTERN, LineOp.NOT_PATTERN}:
        return pattern.line_test(text, op.value)
    if op in {LineOp.CONTAINS, LineOp.LACKS}:
        return lambda line: text in line
    try:
        return regex.compiled(text).found
    except regex.RegexError as error:
        raise StageError(op.value, str(error)) from None
