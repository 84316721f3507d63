"""What descriptions of paths are made of: parameters, contents, refusals.

JSON is what this module and those that use it make: their documents are dictionaries, and stay in there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.api.parameters import Parameter

Json = dict[str, Any]

_REFUSALS: Final = {
    400: "A parameter, or the body, is not understood; `parameter` names it.",
    401: "A token is required.",
    403: "The token is not accepted.",
    404: "There is no such line.",
    406: "Nothing that is accepted can be answered.",
    408: "The body did not arrive in time.",
    409: "A chunk starts beyond what is committed; nothing of the batch was stored.",
    410: "The cursor is one of another store.",
    411: "The request does not say how large its body is.",
    413: "What is asked for, or sent, is too large.",
    415: "The body is of another type than the path takes.",
    429: "Too many queries are running and waiting, or too many deletions are open.",
    503: "Not now: the store or the memory for batches is full, or the server is stopping.",
    504: "The query took longer than it may.",
}
QUERY_REFUSALS: Final = (400, 401, 403, 413, 429, 503, 504)
TEXT: Final = {"type": "string"}


def parameters(known: Iterable[Parameter]) -> list[Json]:
    """Parameters of a path."""
    return [_parameter(parameter) for parameter in known]


def _parameter(parameter: Parameter) -> Json:
    value: Json = {"type": "string"}
    if parameter.choices:
        value["enum"] = list(parameter.choices)
    if parameter.default:
        value["default"] = parameter.default
    described: Json = {"name": parameter.name, "in": "query", "description": parameter.about, "schema": value}
    if parameter.repeatable:
        described["schema"] = {"type": "array", "items": value}
    if parameter.example:
        described["example"] = [parameter.example] if parameter.repeatable else parameter.example
    return described


def content(description: str, media_type: str, schema: Json) -> Json:
    """An answer of one kind."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def responses(found: dict[int, Json], refusals: Iterable[int]) -> Json:
    """All answers of a path, by status."""
    schema = {"$ref": "#/components/schemas/Refusal"}
    told = {status: content(_REFUSALS[status], "application/json", schema) for status in refusals}
    return {str(status): answer for status, answer in sorted((found | told).items())}
