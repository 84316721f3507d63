"""GET /openapi.json: every path of the aggregator, described from the same tables that requests are read with."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.api.deletions import DeletionList, DeletionState
from aggregator.api.described import QUERY_REFUSALS, TEXT, Json, content, parameters, responses
from aggregator.api.described_deletions import deletion_paths
from aggregator.api.described_following import following_paths
from aggregator.api.histogram import Histogram
from aggregator.api.loki.described import loki_paths
from aggregator.api.nodes import CompletenessList, NodeList
from aggregator.api.parameters import CATALOGUE, HISTOGRAM, QUERY
from aggregator.store.rendering import CSV_HEADER, FLAGS
from service.web import json_response
from wire.answers import SOURCES_PER_REQUEST_MAX, STORE_HEADER
from wire.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web


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
        "paths": _query_paths(rows_max)
        | following_paths()
        | _node_paths()
        | deletion_paths(_REFERENCES[4], _REFERENCES[5])
        | loki_paths()
        | _agent_paths()
        | _operation_paths(),
        "components": {
            "schemas": {"Refusal": _REFUSAL, "Record": _RECORD, "Committed": _COMMITTED} | _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_REFUSAL: Final = {
    "type": "object",
    "description": "Why a request was refused.",
    "properties": {
        "error": TEXT,
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
        **dict.fromkeys(("namespace", "pod", "container", "node", "stream", "cluster", "uid", "level"), TEXT),
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
_REFERENCES, _schemas = msgspec.json.schema_components(
    (NodeList, CompletenessList, Heartbeat, Histogram, DeletionList, DeletionState),
    ref_template="#/components/schemas/{name}",
)
_SCHEMAS: Final[Json] = msgspec.json.decode(msgspec.json.encode(_schemas))  # default values as JSON has them


def _query_paths(rows_max: int) -> Json:
    records = {
        "text/plain": {"schema": TEXT},
        "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Record"}},
        "text/csv": {"schema": TEXT},
    }
    query_parameters = parameters(QUERY)
    for parameter in query_parameters:
        if parameter["name"] == "limit":
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": rows_max, "default": 1000}
    found = {"description": "Records or samples, in order.", "content": records}
    query: Json = {
        "summary": "Records, the newest ones; samples of a metric query",
        "parameters": query_parameters,
        "responses": responses({200: found}, (*QUERY_REFUSALS, 406)),
    }
    counts = {"$ref": "#/components/schemas/Histogram"}
    name = {"name": "name", "in": "path", "required": True, "description": "Name of a label.", "schema": TEXT}
    return {
        "/": {"get": _operation("What this is", {200: content("A page for people.", "text/plain", TEXT)})},
        "/query": {
            "get": query,
            "post": query
            | {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}}
            | {"responses": responses({200: found}, (*QUERY_REFUSALS, 406, 415))},
        },
        "/histogram": {
            "get": {
                "summary": "How many records there are, step by step",
                "parameters": parameters(HISTOGRAM),
                "responses": responses({200: content("Counts.", "application/json", counts)}, (*QUERY_REFUSALS, 406)),
            }
        },
        "/labels": {"get": _catalogue("Names of labels", "labels", TEXT, [])},
        "/labels/{name}/values": {"get": _catalogue("Values of a label", "values", TEXT, [name])},
        "/streams": {
            "get": _catalogue("Labels of every stream", "streams", {"type": "object", "additionalProperties": TEXT}, [])
        },
    }


def _node_paths() -> Json:
    nodes, completeness, heartbeat = _REFERENCES[:3]
    json = "application/json"
    return {
        "/nodes": {
            "get": {
                "summary": "Every agent, as it spoke last",
                "responses": responses({200: content("Heard within a day.", json, nodes)}, (400, 401, 403)),
            }
        },
        "/completeness": {
            "get": {
                "summary": "What each container's node has, what is stored, what is lost",
                "parameters": parameters(CATALOGUE),
                "responses": responses({200: content("By container.", json, completeness)}, QUERY_REFUSALS),
            }
        },
        "/v1/heartbeats": {
            "post": {
                "summary": "Hear what an agent says of itself",
                "requestBody": {"required": True, "content": {json: {"schema": heartbeat}}},
                "responses": responses({204: {"description": "Heard."}}, (400, 401, 403, 408, 413)),
            }
        },
    }


def _agent_paths() -> Json:
    store = {STORE_HEADER: {"schema": TEXT, "description": "Changes when agents must ask for positions again."}}
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
                "responses": responses({200: committed, 409: committed}, (400, 401, 403, 408, 411, 413, 415, 503)),
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
                    {"name": "cluster", "in": "query", "schema": TEXT, "description": "The asking agent's cluster."},
                    {"name": "node", "in": "query", "schema": TEXT, "description": "The asking agent's node."},
                ],
                "responses": responses({200: committed}, (400, 401, 403, 503)),
            }
        },
    }


def _operation_paths() -> Json:
    open_to_all: Json = {"security": [{}]}
    ok = content("It does.", "text/plain", TEXT)
    why = content("It does not, and why.", "text/plain", TEXT)
    figures = content("Prometheus' text format.", "text/plain", TEXT)
    return {
        "/healthz": {"get": _operation("Whether the process answers", {200: ok}) | open_to_all},
        "/readyz": {"get": _operation("Whether the store answers", {200: ok, 503: why}) | open_to_all},
        "/metrics": {"get": _operation("Figures of the process", {200: figures}) | open_to_all},
        "/openapi.json": {
            "get": _operation("This description", {200: content("OpenAPI.", "application/json", {"type": "object"})})
        },
    }


def _operation(summary: str, found: dict[int, Json]) -> Json:
    return {"summary": summary, "responses": responses(found, ())}


def _catalogue(summary: str, key: str, item: Json, path_parameters: list[Json]) -> Json:
    answer = {
        "type": "object",
        "properties": {key: {"type": "array", "items": item}, "truncated": {"type": "boolean"}},
        "required": [key, "truncated"],
    }
    found = content("What there is on the days of the range.", "application/json", answer)
    return {
        "summary": summary,
        "parameters": [*path_parameters, *parameters(CATALOGUE)],
        "responses": responses({200: found}, QUERY_REFUSALS),
    }
