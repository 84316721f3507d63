"""How the routes of Loki's API are described."""

from __future__ import annotations

from typing import Final

from aggregator.api.described import TEXT, Json
from aggregator.api.loki.asked import LIMIT_DEFAULT, LIMIT_MAX

_QUERY: Final = ("query", "LogQL.")
_RANGE: Final = (
    ("start", "ns or s since the epoch, or RFC 3339; an hour ago."),
    ("end", "Likewise; now."),
    ("since", "How far back from `end`, in place of `start`."),
)
_ROUTES: Final = {
    "query_range": (
        "Lines, or samples at steps",
        (
            _QUERY,
            *_RANGE,
            ("step", "Seconds, or a duration."),
            ("limit", f"How many lines, {LIMIT_DEFAULT} by default, at most {LIMIT_MAX}."),
            ("direction", "`backward` or `forward`."),
        ),
    ),
    "query": ("Samples at one instant", (_QUERY, ("time", "When; now."))),
    "labels": ("Names of labels", (_QUERY, *_RANGE)),
    "label": ("Names of labels", (_QUERY, *_RANGE)),
    "label/{name}/values": ("Values of a label", (_QUERY, *_RANGE)),
    "series": ("Labels of streams", (("match[]", "A selector; may be repeated, also as `match`."), *_RANGE)),
    "index/stats": ("How much there is", (_QUERY, *_RANGE)),
    "format_query": ("A query over several lines", (_QUERY,)),
    "status/buildinfo": ("Which Loki this is like", ()),
}


def loki_paths() -> Json:
    """The paths; their answers are Loki's."""
    paths: Json = {
        f"/loki/api/v1/{route}": {
            method: _operation(summary, known, path="{name}" in route) for method in ("get", "post")
        }
        for route, (summary, known) in _ROUTES.items()
    }
    tail = _operation("Follow over a WebSocket", (_QUERY, ("limit", "Lines of before."), _RANGE[0]), path=False)
    upgraded = {"101": {"description": "Messages of JSON follow."}}
    paths["/loki/api/v1/tail"] = {"get": tail | {"responses": upgraded | _refusals()}}
    return paths


def _operation(summary: str, known: tuple[tuple[str, str], ...], *, path: bool) -> Json:
    named: list[Json] = [{"name": name, "in": "query", "description": about, "schema": TEXT} for name, about in known]
    if path:
        named.append({"name": "name", "in": "path", "required": True, "schema": TEXT})
    found = {"description": "As Loki answers.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"summary": summary, "parameters": named, "responses": {"200": found} | _refusals()}


def _refusals() -> Json:
    """As plain text by the routes; as everywhere by what stands before them all, the token's check."""
    text = {"text/plain": {"schema": TEXT}}
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    plain = {"description": "The reason, as plain text.", "content": text}
    either = {"description": "As plain text; where tokens cannot be checked, as JSON.", "content": text | refusal}
    return {
        **dict.fromkeys(("400", "408", "413", "415", "429", "504"), plain),
        "401": {"description": "A token is required.", "content": refusal},
        "403": {"description": "The token is not accepted, or a page of another site asks.", "content": refusal},
        "503": either,
    }
