"""``| regexp``: the named groups of an expression as labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql import regex
from aggregator.logql.pipeline.labels import is_label_name
from aggregator.logql.pipeline.stages import StageError, Step

if TYPE_CHECKING:
    from aggregator.logql.pipeline.labels import Labels


def parser(expression: str) -> Step:
    """The step of ``| regexp``; raises StageError.

    A line that does not match stays as it is; a group that took no part gives an empty label.
    """
    try:
        compiled = regex.compiled(expression)
    except regex.RegexError as error:
        raise StageError("regexp", str(error)) from None
    if not compiled.groups:
        raise StageError("regexp", "at least one named capture must be supplied")
    twice = regex.repeated_group(expression)
    if twice is not None:
        raise StageError("regexp", f"duplicate extracted label name '{twice}'")
    for name in compiled.groups:
        if not is_label_name(name):
            raise StageError("regexp", f"invalid extracted label name '{name}'")
    groups = sorted((number, name) for name, number in compiled.groups.items())
    search = compiled.search

    def step(_: int, line: str, labels: Labels) -> str:
        found = search(line)
        if found is not None:
            for number, name in groups:
                labels.extract(name, found.group(number) or "")
        return line

    return step
