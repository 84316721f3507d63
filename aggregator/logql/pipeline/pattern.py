"""Patterns: literals and captures ``<name>``, ``<_>``, of ``| pattern``, ``|>`` and ``!>``.

As Loki's pkg/logql/log/pattern: a capture goes up to the first place where the next literal stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.pipeline.stages import StageError, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.pipeline.labels import Labels

_CAPTURE: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
_UNNAMED: Final = "_"


def parser(expression: str) -> Step:
    """The step of ``| pattern``; raises StageError."""
    parts = _parts(expression)
    names = [name for name in parts[1::2] if name != _UNNAMED]
    if not expression:
        raise StageError("pattern", "the pattern is empty")
    if not names:
        raise StageError("pattern", "at least one capture is required")
    _check_apart("pattern", parts)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StageError("pattern", f"duplicate capture name ({twice}): invalid expression")
    first = parts[0]
    pairs = [
        (None if name == _UNNAMED else name, literal) for name, literal in zip(parts[1::2], parts[2::2], strict=True)
    ]

    def step(_: int, line: str, labels: Labels) -> str:
        if not line or not line.startswith(first):
            return line
        at = len(first)
        for name, literal in pairs:
            end = line.find(literal, at) if literal else -1
            if name is not None:
                labels.extract(name, line[at:] if end < 0 else line[at:end])
            if end < 0:
                break
            at = end + len(literal)
        return line

    return step


def line_test(expression: str, stage: str) -> Callable[[str], bool]:
    """Whether a line is as the pattern of ``|>`` says; raises StageError.

    An empty pattern is an empty line. A capture is never empty. The first literal may stand anywhere: so Loki does.
    """
    if not expression:
        return lambda line: not line
    parts = _parts(expression)
    _check_apart(stage, parts)
    if any(name != _UNNAMED for name in parts[1::2]):
        named = next(name for name in parts[1::2] if name != _UNNAMED)
        raise StageError(stage, f"named captures are not allowed: found '<{named}>'")
    first = parts[0]
    rest = [literal for literal in parts[2::2] if literal]
    ends_on_capture = not parts[-1]

    def test(line: str) -> bool:
        if not line:
            return False
        at = 0
        if first:
            at = line.find(first)
            if at < 0:
                return False
            at += len(first)
        for literal in rest:
            found = line.find(literal, at)
            if found <= at:
                # Not there, or right here: then the capture before it would be empty.
                return False
            at = found + len(literal)
        return ends_on_capture == (at < len(line))

    return test


def literals(expression: str) -> list[str]:
    """The texts that stand between the captures, each in every line that the pattern passes."""
    return [literal for literal in _parts(expression)[::2] if literal]


def _parts(expression: str) -> list[str]:
    """Literal, name, literal, name, …, literal; literals may be empty."""
    return _CAPTURE.split(expression)


def _check_apart(stage: str, parts: list[str]) -> None:
    for index in range(2, len(parts) - 1, 2):
        if not parts[index]:
            both = f"<{parts[index - 1]}><{parts[index + 1]}>"
            raise StageError(stage, f"found consecutive capture '{both}': invalid expression")
