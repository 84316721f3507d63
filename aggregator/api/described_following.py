"""How ``/tail`` and ``/context`` are described."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.api.described import QUERY_REFUSALS, TEXT, Json, parameters, responses
from aggregator.api.following import CONTEXT, LINES_MAX, TAIL

if TYPE_CHECKING:
    from aggregator.api.parameters import Parameter

_NUMBERS = {"lines": LINES_MAX, "before": LINES_MAX, "after": LINES_MAX}


def following_paths() -> Json:
    """The paths."""
    record = {"$ref": "#/components/schemas/Record"}
    cursor = {"type": "string", "description": "Where to go on behind this."}
    missed = {
        "type": "object",
        "description": "Said to a slow reader: so many lines were left out here.",
        "properties": {"missed": {"type": ["integer", "null"], "minimum": 1}, "cursor": cursor},
        "required": ["missed", "cursor"],
    }
    line = {"anyOf": [{"allOf": [record, {"type": "object", "properties": {"cursor": cursor}}]}, missed]}
    followed = {
        "text/plain": {"schema": TEXT},
        "application/x-ndjson": {"schema": line},
        "text/event-stream": {"schema": TEXT},
    }
    around = {
        "text/plain": {"schema": TEXT},
        "application/x-ndjson": {"schema": record},
        "text/csv": {"schema": TEXT},
    }
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The cursor of the last event, as an EventSource sends it.",
        "schema": TEXT,
    }
    return {
        "/tail": {
            "get": {
                "summary": "Records as they are committed",
                "parameters": [*_numbered(TAIL), last],
                "responses": responses(
                    {200: {"description": "Records, without end.", "content": followed}}, (*QUERY_REFUSALS, 406, 410)
                ),
            }
        },
        "/context": {
            "get": {
                "summary": "A line and those around it",
                "parameters": _numbered(CONTEXT, ("source", "position")),
                "responses": responses(
                    {200: {"description": "Records, in order.", "content": around}}, (*QUERY_REFUSALS, 404, 406)
                ),
            }
        },
    }


def _numbered(known: tuple[Parameter, ...], required: tuple[str, ...] = ()) -> list[Json]:
    """The parameters, those that are numbers as such."""
    found = parameters(known)
    for parameter in found:
        if parameter["name"] in _NUMBERS:
            most = _NUMBERS[parameter["name"]]
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": most, "default": 10}
        if parameter["name"] == "position":
            parameter["schema"] = {"type": "integer", "minimum": 0}
            parameter["example"] = int(parameter["example"])
        if parameter["name"] == "source":
            parameter["schema"] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
        if parameter["name"] in required:
            parameter["required"] = True
    return found
