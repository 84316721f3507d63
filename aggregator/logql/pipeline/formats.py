"""``line_format``, ``label_format``, ``decolorize``, ``drop`` and ``keep``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.pipeline.actions import TemplateError
from aggregator.logql.pipeline.conditions import value_test
from aggregator.logql.pipeline.labels import TEMPLATE_ERROR, Labels
from aggregator.logql.pipeline.stages import StageError, Step
from aggregator.logql.tree import ERROR, ERROR_DETAILS, Matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.logql.pipeline.template import Template
    from aggregator.logql.tree import Assignment

# Loki's (pkg/logql/log/fmt.go), which is that of https://github.com/acarl005/stripansi.
_ANSI: Final = re.compile(
    "[\x1b\x9b][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\x07)"
    "|(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))"
)
_ANSI_BEGIN: Final = ("\x1b", "\x9b")


def line_format(template: Template) -> Step:
    """The step of ``line_format``: a line that cannot be written stays, with the error labels."""

    def step(ts_ns: int, line: str, labels: Labels) -> str:
        try:
            return template.written(ts_ns, line, labels)
        except TemplateError as error:
            labels.fail(TEMPLATE_ERROR, str(error))
            return line

    return step


def label_format(assignments: Sequence[tuple[Assignment, Template | None]]) -> Step:
    """The step of ``label_format``, for assignments with their compiled templates; raises StageError.

    In order. All templates see the labels as they were before the first of them.
    """
    names: set[str] = set()
    for assignment, _ in assignments:
        if assignment.label == ERROR:
            raise StageError("label_format", f"{ERROR} cannot be formatted")
        if assignment.label in names:
            reason = f"multiple label name '{assignment.label}' not allowed in a single format operation"
            raise StageError("label_format", reason)
        names.add(assignment.label)
    parts = [(assignment.label, assignment.source or "", template) for assignment, template in assignments]
    several = sum(template is not None for _, _, template in parts) > 1

    def step(ts_ns: int, line: str, labels: Labels) -> str:
        before = None
        for name, source, template in parts:
            if template is None:
                value = labels.get(source)
                if value is not None:
                    labels.set(name, value)
                    labels.remove(source)
                continue
            if before is None:
                before = labels.copy() if several else labels
            try:
                labels.set(name, template.written(ts_ns, line, before))
            except TemplateError as error:
                labels.fail(TEMPLATE_ERROR, str(error))
        return line

    return step


def decolorize(_: int, line: str, __: Labels) -> str:
    """The step of ``decolorize``."""
    if _ANSI_BEGIN[0] in line or _ANSI_BEGIN[1] in line:
        return _ANSI.sub("", line)
    return line


def drop(labels_dropped: Sequence[str | Matcher]) -> Step:
    """The step of ``drop``; raises StageError."""
    drops = [_drop(label) for label in labels_dropped]

    def step(_: int, line: str, labels: Labels) -> str:
        for one in drops:
            one(labels)
        return line

    return step


def _drop(label: str | Matcher) -> Callable[[Labels], None]:
    name = label if isinstance(label, str) else label.label
    test = value_test(label) if isinstance(label, Matcher) else None

    def one(labels: Labels) -> None:
        if name == ERROR:
            if test is None or test(labels.error):
                labels.error = ""
        elif name == ERROR_DETAILS:
            if test is None or test(labels.error_details):
                labels.error_details = ""
        else:
            value = labels.get(name)
            if value is not None and (test is None or test(value)):
                labels.remove(name)

    return one


def keep(labels_kept: Sequence[str | Matcher]) -> Step:
    """The step of ``keep``, which leaves the error labels alone; raises StageError."""
    names = frozenset(label for label in labels_kept if isinstance(label, str))
    tests = [(label.label, value_test(label)) for label in labels_kept if isinstance(label, Matcher)]

    def step(_: int, line: str, labels: Labels) -> str:
        for name in labels.names():
            if name in names:
                continue
            value = labels.get(name) or ""
            if not any(label == name and test(value) for label, test in tests):
                labels.remove(name)
        return line

    return step
