"""How ``/delete`` is described."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.api.deletions import DELETE
from aggregator.api.described import TEXT, Json, content, parameters, responses

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON = "application/json"


def deletion_paths(listed: Mapping[str, str], one: Mapping[str, str]) -> Json:
    """The paths; ``listed`` and ``one`` refer to the schemas of all deletions and of one."""
    known = {"name": "id", "in": "path", "required": True, "description": "Id of a deletion.", "schema": TEXT}
    refusal = {"$ref": "#/components/schemas/Refusal"}
    over = content("It is over: what is deleted cannot be brought back.", _JSON, refusal)
    unknown = content("There is no such deletion.", _JSON, refusal)
    asked = parameters(DELETE)
    return {
        "/delete": {
            "post": {
                "summary": "Delete records: what a selector and line filters find in a range, of what is stored by now",
                "description": "Parameters may stand in a form as well. Needs a selector, `start` and `end`.",
                "parameters": asked,
                "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
                "responses": responses(
                    {202: content("Taken.", _JSON, dict(one))}, (400, 401, 403, 408, 413, 415, 429, 503)
                ),
            },
            "get": {
                "summary": "Deletions and how far they are",
                "responses": responses({200: content("The newest first.", _JSON, dict(listed))}, (400, 401, 403)),
            },
        },
        "/delete/{id}": {
            "get": {
                "summary": "How far a deletion is",
                "parameters": [known],
                "responses": responses(
                    {200: content("The deletion.", _JSON, dict(one)), 404: unknown}, (400, 401, 403)
                ),
            },
            "delete": {
                "summary": "Cancel a deletion that is not over",
                "parameters": [known],
                "responses": responses(
                    {200: content("Cancelled.", _JSON, dict(one)), 404: unknown, 409: over}, (400, 401, 403, 503)
                ),
            },
        },
    }
