"""``| unpack``: the labels and the line that were packed as one JSON object.

As Loki (pkg/logql/log/parser.go): members that are strings become labels, ``_entry`` the line; without ``_entry``
nothing does.
"""

from __future__ import annotations

from typing import Final

from aggregator.logql.pipeline import jsontext
from aggregator.logql.pipeline.jsontext import JsonError, Kind
from aggregator.logql.pipeline.labels import JSON_ERROR, Labels, label_name

ENTRY: Final = "_entry"
# The numbers are those of Loki's library.
NO_OBJECT: Final = "expecting json object(6), but it is not"


def step(_: int, line: str, labels: Labels) -> str:
    """The step of ``| unpack``."""
    if not line:
        return line
    if line[0] != "{":
        labels.fail(JSON_ERROR, NO_OBJECT)
        return line
    entry = None
    found: dict[str, str] = {}
    try:
        for key, kind, start, end in jsontext.members(line, 0, len(line)):
            if kind is not Kind.STRING:
                continue
            if key == ENTRY:
                entry = jsontext.unescaped_strictly(line[start:end])
            elif name := label_name(key):
                found[name] = jsontext.unescaped(line[start:end])
    except JsonError as error:
        labels.fail(JSON_ERROR, error.details)
        return line
    if entry is None:
        return line
    for name, value in found.items():
        labels.extract(name, value)
    return entry
