"""A pipeline: stages compiled once, then run on each record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql.pipeline import (
    conditions,
    formats,
    json_parser,
    lines,
    logfmt,
    pattern,
    regexp,
    unpack,
)
from aggregator.logql.pipeline.labels import EXTRACTED, Labels
from aggregator.logql.pipeline.template import Template
from aggregator.logql.tree import (
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

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from aggregator.logql.pipeline.stages import Step

Wanted = frozenset[str] | None


class Pipeline:
    """Compiled stages.

    ``wanted``: the labels, beside the error ones, that the caller will look at, None all; parsers may leave out any
    other that no stage looks at. ``now_ns``: what ``now`` gives in templates, ns since the epoch. Raises StageError.
    """

    def __init__(self, stages: Sequence[Stage], *, wanted: Collection[str] | None = None, now_ns: int = 0) -> None:
        needed: Wanted = None if wanted is None else frozenset(wanted)
        steps: list[Step] = []
        # From the back: what a stage leaves out depends on those that follow.
        for stage in reversed(stages):
            step, needed = _compiled(stage, needed, now_ns)
            steps.append(step)
        self._steps = tuple(reversed(steps))

    def process(self, ts_ns: int, line: str, labels: Labels) -> tuple[str, Labels] | None:
        """The line and labels that a record comes out with, None if it is dropped; ``labels`` is changed."""
        current = line
        for step in self._steps:
            result = step(ts_ns, current, labels)
            if result is None:
                return None
            current = result
        return current, labels


def _compiled(  # noqa: C901, PLR0911, PLR0912 - one of each kind
    stage: Stage, needed: Wanted, now_ns: int
) -> tuple[Step, Wanted]:
    """A stage as a step, and the labels needed before it."""
    match stage:
        case LineFilter():
            return lines.line_filter(stage), needed
        case JsonParser():
            if stage.extractions:
                return json_parser.extraction_parser(stage.extractions), needed
            return json_parser.parser(_parsed_names(needed)), needed
        case LogfmtParser():
            if stage.extractions:
                return logfmt.extraction_parser(stage.extractions, strict=stage.strict), needed
            names = _parsed_names(needed)
            return logfmt.parser(names, strict=stage.strict, keep_empty=stage.keep_empty), needed
        case RegexpParser():
            return regexp.parser(stage.expression), needed
        case PatternParser():
            return pattern.parser(stage.expression), needed
        case UnpackParser():
            return unpack.step, needed
        case LabelFilter():
            return conditions.label_filter(stage), _with(needed, conditions.condition_labels(stage.condition))
        case LineFormat():
            template = Template(stage.template, "line_format", "line", now_ns)
            return formats.line_format(template), _with(needed, template.fields)
        case LabelFormat():
            return _label_format(stage.assignments, needed, now_ns)
        case Decolorize():
            return formats.decolorize, needed
        case DropLabels():
            return formats.drop(stage.labels), _with(needed, _matched(stage.labels))
        case KeepLabels():
            return formats.keep(stage.labels), _with(needed, _matched(stage.labels))


def _label_format(assignments: Sequence[Assignment], needed: Wanted, now_ns: int) -> tuple[Step, Wanted]:
    parts: list[tuple[Assignment, Template | None]] = []
    for assignment in assignments:
        template = None
        if assignment.template is not None:
            template = Template(assignment.template, "label_format", "label", now_ns)
            needed = _with(needed, template.fields)
        else:
            needed = _with(needed, {assignment.source or ""})
        parts.append((assignment, template))
    return formats.label_format(parts), needed


def _matched(labels: Sequence[str | Matcher]) -> set[str]:
    return {label.label for label in labels if isinstance(label, Matcher)}


def _with(needed: Wanted, names: Collection[str] | None) -> Wanted:
    return None if needed is None or names is None else needed | frozenset(names)


def _parsed_names(needed: Wanted) -> Wanted:
    """The names, before any suffix, under which a parser may find what is needed."""
    return None if needed is None else needed | {name.removesuffix(EXTRACTED) for name in needed}
