"""The aggregator's HTTP application: which paths there are, who may use them, what every answer carries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from aggregator.api.positions import positions_handler
from aggregator.api.strangers import strangers_refused
from service.logs import fields
from service.token import Access, TokenFileError, Tokens
from service.web import RefusedError, add_health, add_metrics, errors_as_json
from wire.answers import STORE_HEADER, Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler, Middleware
    from prometheus_client import CollectorRegistry

    from aggregator.api.batches import Batches
    from aggregator.metrics import Metrics
    from aggregator.store.positions import Positions

_log = logging.getLogger(__name__)

# For probes and scrapers, who have no token.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})


def application(
    *,
    batches: Batches,
    positions: Positions,
    store: str,
    tokens: Tokens | None,
    not_ready: Callable[[], Awaitable[str | None]],
    remark: Callable[[], Awaitable[str | None]],
    metrics: Metrics,
    registry: CollectorRegistry,
) -> web.Application:
    """The application, without the query side (`aggregator.api.queries.add_queries`).

    ``store``: the value of `wire.answers.STORE_HEADER`. ``tokens``: None leaves everything open, but not to pages of
    other sites.
    """
    guard = strangers_refused if tokens is None else _token_required(tokens, metrics)
    app = web.Application(middlewares=[errors_as_json(registry), guard])
    app.router.add_post("/v1/batches", batches.post)
    app.router.add_get("/v1/positions", positions_handler(positions))
    add_health(app, not_ready, remark)
    add_metrics(app, registry)

    async def name_store(request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/v1/"):
            response.headers[STORE_HEADER] = store

    app.on_response_prepare.append(name_store)
    return app


def _token_required(tokens: Tokens, metrics: Metrics) -> Middleware:
    """Middleware that lets requests in that bear a right token: before their body is read."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            await _check(tokens, request, metrics)
        return await handler(request)

    return middleware


async def _check(tokens: Tokens, request: web.Request, metrics: Metrics) -> None:
    try:
        access = await tokens.check(request.headers.get("Authorization"))
    except TokenFileError as error:
        _log.error("nobody is let in", extra=fields(reason=error))
        hint = "the aggregator's log says what is wrong with its --token-file"
        raise RefusedError(
            503, Refusal("tokens cannot be checked", "Authorization", hint), {"Retry-After": "5"}
        ) from error
    match access:
        case Access.GRANTED:
            return
        case Access.MISSING:
            metrics.unauthorized.labels("missing").inc()
            refusal = Refusal("a token is required", "Authorization", "send Authorization: Bearer <token>")
            raise RefusedError(401, refusal, {"WWW-Authenticate": "Bearer"})
        case Access.WRONG:
            metrics.unauthorized.labels("wrong").inc()
            raise RefusedError(403, Refusal("the token is not accepted", "Authorization", "use the aggregator's token"))
