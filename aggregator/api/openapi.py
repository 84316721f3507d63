"""GET /openapi.json: every path of the aggregator, described from the same tables that requests are read with."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aggregator.api.nodes import CompletenessList, NodeList
from aggregator.api.parameters import CATALOGUE, QUERY
from aggregator.store.rendering import CSV_HEADER, FLAGS
from service.web import json_response
from wire.answers import SOURCES_PER_REQUEST_MAX, STORE_HEADER
from wire.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

from aggregator.api.parameters import Parameter

# JSON is what this module makes: its documents are dictionaries, and stay in here.
Json = dict[str, Any]

_REFUSALS: Final = {
    400: "A parameter, or the body, is not understood; `parameter` names it.",
    401: "A token is required.",
    403: "The token is not accepted.",
    406: "Nothing that is accepted can be answered.",
    408: "The body did not arrive in time.",
    409: "A chunk starts beyond what is committed; nothing of the batch was stored.",
    411: "The request does not say how large its body is.",
    413: "What is asked for, or sent, is too large.",
    415: "The body is not a batch, or not compressed as one.",
    429: "Too many queries are running and waiting.",
    503: "Not now: the store or the memory for batches is full, or the server is stopping.",
    504: "The query took longer than it may.",
}
_QUERY_REFUSALS: Final = (400, 401, 403, 413, 429, 503, 504)


def openapi_handler(rows_max: int) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler that answers with the description; ``rows_max`` is the largest limit."""
    described = document(rows_max)

    async def handler(_: web.Request) -> web.Response:
        return json_response(described)

    return handler


def document(rows_max: int) -> Json:
    """The description, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "logboom aggregator",
            "version": version("logboom"),
            "summary": "The logs of every pod of a cluster, in one place that answers over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _query_paths(rows_max) | _node_paths() | _agent_paths() | _operation_paths(),
        "components": {
            "schemas": {"Refusal": _REFUSAL, "Record": _RECORD, "Committed": _COMMITTED} | _NODE_SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_TEXT: Final = {"type": "string"}
_REFUSAL: Final = {
    "type": "object",
    "description": "Why a request was refused.",
    "properties": {
        "error": _TEXT,
        "parameter": {"type": "string", "description": "The parameter, field or limit."},
        "hint": {"type": "string", "description": "What to do about it."},
    },
    "required": ["error"],
}
_RECORD: Final = {
    "type": "object",
    "description": "One record; a line of the NDJSON answer.",
    "properties": {
        "ts": {"type": "string", "format": "date-time", "description": "UTC, nine digits after the second."},
        **dict.fromkeys(("namespace", "pod", "container", "node", "stream", "cluster", "uid", "level"), _TEXT),
        "line": {
            "type": "string",
            "description": "Bytes that are not UTF-8 are shown as U+FFFD. Of a gap: JSON with `bytes` and `reason`.",
        },
        "source": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The log file."},
        "position": {"type": "integer", "minimum": 0, "description": "Where that file is read on after the record."},
        "flags": {
            "type": "array",
            "items": {"type": "string", "enum": [name for _, name in FLAGS]},
            "description": "What is unusual about the record.",
        },
    },
    "required": CSV_HEADER.decode().strip().split(","),
}
_COMMITTED: Final = {
    "type": "object",
    "properties": {
        "committed": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    },
    "required": ["committed"],
}
_NODE_REFERENCES, _node_schemas = msgspec.json.schema_components(
    (NodeList, CompletenessList, Heartbeat), ref_template="#/components/schemas/{name}"
)
_NODE_SCHEMAS: Final[Json] = msgspec.json.decode(msgspec.json.encode(_node_schemas))  # default values as JSON has them


def _query_paths(rows_max: int) -> Json:
    records = {
        "text/plain": {"schema": _TEXT},
        "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Record"}},
        "text/csv": {"schema": _TEXT},
    }
    query_parameters = _parameters(QUERY)
    for parameter in query_parameters:
        if parameter["name"] == "limit":
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": rows_max, "default": 1000}
    name = {"name": "name", "in": "path", "required": True, "description": "Name of a label.", "schema": _TEXT}
    return {
        "/": {"get": _operation("What this is", {200: _content("A page for people.", "text/plain", _TEXT)})},
        "/query": {
            "get": {
                "summary": "Records, the newest ones",
                "parameters": query_parameters,
                "responses": _responses(
                    {200: {"description": "Records, in order.", "content": records}}, (*_QUERY_REFUSALS, 406)
                ),
            }
        },
        "/labels": {"get": _catalogue("Names of labels", "labels", _TEXT, [])},
        "/labels/{name}/values": {"get": _catalogue("Values of a label", "values", _TEXT, [name])},
        "/streams": {
            "get": _catalogue(
                "Labels of every stream", "streams", {"type": "object", "additionalProperties": _TEXT}, []
            )
        },
    }


def _node_paths() -> Json:
    nodes, completeness, heartbeat = _NODE_REFERENCES
    json = "application/json"
    return {
        "/nodes": {
            "get": {
                "summary": "Every agent, as it spoke last",
                "responses": _responses({200: _content("Heard within a day.", json, nodes)}, (400, 401, 403)),
            }
        },
        "/completeness": {
            "get": {
                "summary": "What each container's node has, what is stored, what is lost",
                "parameters": _parameters(CATALOGUE),
                "responses": _responses({200: _content("By container.", json, completeness)}, _QUERY_REFUSALS),
            }
        },
        "/v1/heartbeats": {
            "post": {
                "summary": "Hear what an agent says of itself",
                "requestBody": {"required": True, "content": {json: {"schema": heartbeat}}},
                "responses": _responses({204: {"description": "Heard."}}, (400, 401, 403, 408, 413)),
            }
        },
    }


def _agent_paths() -> Json:
    store = {STORE_HEADER: {"schema": _TEXT, "description": "Changes when agents must ask for positions again."}}
    committed = {
        "description": "Positions that are committed.",
        "headers": store,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Committed"}}},
    }
    batch = {"schema": {"type": "string", "contentMediaType": "application/x-logboom-batch"}}
    return {
        "/v1/batches": {
            "post": {
                "summary": "Store a batch of an agent",
                "requestBody": {"required": True, "content": {"application/x-logboom-batch": batch}},
                "responses": _responses({200: committed, 409: committed}, (400, 401, 403, 408, 411, 413, 415, 503)),
            }
        },
        "/v1/positions": {
            "get": {
                "summary": "Committed positions of sources",
                "parameters": [
                    {
                        "name": "source",
                        "in": "query",
                        "description": "A source; without any, the answer's header still names the store.",
                        "schema": {
                            "type": "array",
                            "maxItems": SOURCES_PER_REQUEST_MAX,
                            "items": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                        },
                    },
                    {"name": "cluster", "in": "query", "schema": _TEXT, "description": "The asking agent's cluster."},
                    {"name": "node", "in": "query", "schema": _TEXT, "description": "The asking agent's node."},
                ],
                "responses": _responses({200: committed}, (400, 401, 403, 503)),
            }
        },
    }


def _operation_paths() -> Json:
    open_to_all: Json = {"security": [{}]}
    ok = _content("It does.", "text/plain", _TEXT)
    why = _content("It does not, and why.", "text/plain", _TEXT)
    figures = _content("Prometheus' text format.", "text/plain", _TEXT)
    return {
        "/healthz": {"get": _operation("Whether the process answers", {200: ok}) | open_to_all},
        "/readyz": {"get": _operation("Whether the store answers", {200: ok, 503: why}) | open_to_all},
        "/metrics": {"get": _operation("Figures of the process", {200: figures}) | open_to_all},
        "/openapi.json": {
            "get": _operation("This description", {200: _content("OpenAPI.", "application/json", {"type": "object"})})
        },
    }


def _operation(summary: str, responses: dict[int, Json]) -> Json:
    return {"summary": summary, "responses": _responses(responses, ())}


def _catalogue(summary: str, key: str, item: Json, path_parameters: list[Json]) -> Json:
    answer = {
        "type": "object",
        "properties": {key: {"type": "array", "items": item}, "truncated": {"type": "boolean"}},
        "required": [key, "truncated"],
    }
    found = _content("What there is on the days of the range.", "application/json", answer)
    return {
        "summary": summary,
        "parameters": [*path_parameters, *_parameters(CATALOGUE)],
        "responses": _responses({200: found}, _QUERY_REFUSALS),
    }


def _parameters(known: Iterable[Parameter]) -> list[Json]:
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


def _content(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _responses(found: dict[int, Json], refusals: Iterable[int]) -> Json:
    schema = {"$ref": "#/components/schemas/Refusal"}
    told = {status: _content(_REFUSALS[status], "application/json", schema) for status in refusals}
    return {str(status): answer for status, answer in sorted((found | told).items())}
