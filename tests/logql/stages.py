"""The stages of a pipeline, one record at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import re2

from aggregator.logql.tree import (
    ERROR,
    ERROR_DETAILS,
    Assignment,
    Decolorize,
    DropLabels,
    JsonParser,
    KeepLabels,
    LabelFilter,
    LabelFormat,
    LineFilter,
    LineFormat,
    LogfmtParser,
    Matcher,
    PatternParser,
    RegexpParser,
    Stage,
    UnpackParser,
)
from tests.logql import extraction, templates
from tests.logql.conditions import line_passes, matches, passes
from tests.logql.labels import Entry, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.tree import LogExpression, Selector

# https://github.com/acarl005/stripansi, as Loki has it.
_ANSI: Final = (
    "[\u001b\u009b][[\\]()#;?]*(?:(?:(?:[a-zA-Z\\d]*(?:;[a-zA-Z\\d]*)*)?\u0007)"
    "|(?:(?:\\d{1,4}(?:;\\d{0,4})*)?[\\dA-PRZcf-ntqry=><~]))"
)


def selected(selector: Selector, record: Record) -> bool:
    """Whether a record is of a stream that is asked for."""
    labels = dict(record.stream)
    return all(matches(matcher, labels.get(matcher.label, "")) for matcher in selector.matchers)


def processed(logs: LogExpression, records: Iterable[Record]) -> list[Entry]:
    """The records that come through, in their order."""
    out = []
    for record in records:
        if not selected(logs.selector, record):
            continue
        entry = Entry(record)
        if all(_process(stage, entry) for stage in logs.stages):
            out.append(entry)
    return out


def _process(stage: Stage, entry: Entry) -> bool:
    match stage:
        case LineFilter():
            return line_passes(stage, entry.line)
        case LabelFilter(condition):
            return passes(condition, entry)
        case _:
            _change(stage, entry)
            return True


def _change(stage: Stage, entry: Entry) -> None:  # noqa: C901, PLR0912 - one case a stage
    match stage:
        case JsonParser(extractions):
            if extractions:
                extraction.take_json_paths(entry, [(one.label, one.expression) for one in extractions])
            else:
                extraction.take_json(entry)
        case LogfmtParser(extractions, strict, keep_empty):
            if extractions:
                wanted = [(one.label, one.expression) for one in extractions]
                extraction.take_logfmt_keys(entry, wanted, strict=strict)
            else:
                extraction.take_logfmt(entry, strict=strict, keep_empty=keep_empty)
        case RegexpParser(expression):
            extraction.take_regexp(entry, expression)
        case PatternParser(expression):
            extraction.take_pattern(entry, expression)
        case UnpackParser():
            extraction.take_packed(entry)
        case LineFormat(template):
            try:
                entry.line = templates.rendered(template, entry, entry.labels())
            except templates.TemplateError as error:
                entry.fail(templates.TEMPLATE_ERROR, str(error))
        case LabelFormat(assignments):
            _format_labels(assignments, entry)
        case Decolorize():
            entry.line = re2.compile(_ANSI).sub("", entry.line)
        case DropLabels(labels):
            for label in labels:
                _drop(label, entry)
        case KeepLabels(labels):
            _keep(labels, entry)
        case _:
            raise TypeError(stage)


def _format_labels(assignments: tuple[Assignment, ...], entry: Entry) -> None:
    """Templates see the labels as they were before the first template of the stage was run."""
    data: dict[str, str] | None = None
    for one in assignments:
        if one.source is not None:
            value = entry.get(one.source)
            if value is not None:
                entry.set(one.label, value)
                entry.delete(one.source)
            continue
        data = entry.labels() if data is None else data
        try:
            value = templates.rendered(one.template or "", entry, data)
        except templates.TemplateError as error:
            entry.fail(templates.TEMPLATE_ERROR, str(error))
        else:
            entry.set(one.label, value)


def _drop(label: str | Matcher, entry: Entry) -> None:
    name = label if isinstance(label, str) else label.label
    special = {ERROR: entry.error, ERROR_DETAILS: entry.details}
    value = special.get(name, entry.get(name) or "")
    if isinstance(label, Matcher) and not matches(label, value):
        return
    if name == ERROR:
        entry.error = ""
    elif name == ERROR_DETAILS:
        entry.details = ""
    else:
        entry.delete(name)


def _keep(labels: tuple[str | Matcher, ...], entry: Entry) -> None:
    for name, value in list(entry.labels().items()):
        if name in {ERROR, ERROR_DETAILS}:
            continue
        kept = any(
            name == label if isinstance(label, str) else name == label.label and matches(label, value)
            for label in labels
        )
        if not kept:
            entry.delete(name)
