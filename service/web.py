"""The shell of an HTTP server: errors as JSON, health, metrics, and serving until told to stop."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from service.logs import fields
from service.options import Address
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is answered with an error; carries the whole answer."""

    def __init__(self, status: int, refusal: Refusal, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {refusal.error}")
        self.status = status
        self.refusal = refusal
        self.headers = dict(headers or {})


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """``value``, anything msgspec encodes, as a JSON answer."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def errors_as_json(registry: CollectorRegistry) -> Middleware:
    """Middleware that answers every error with a `Refusal`; what nobody foresaw is logged and answered 500."""
    unexpected = Counter("logboom_http_unexpected_errors", "Requests that failed for a bug.", registry=registry)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as error:
            return json_response(error.refusal, error.status, error.headers)
        except web.HTTPException as error:
            kept = {name: value for name, value in error.headers.items() if name in {"Allow", "Location"}}
            return json_response(_refusal(request, error), error.status, kept)
        except ConnectionError:
            raise  # the client is gone; there is nobody to answer
        except Exception as error:  # the last resort of a server: logged in full, counted, answered
            unexpected.inc()
            _log.exception("request failed", extra=fields(method=request.method, path=request.path))
            if request.writer.output_size:
                # An answer has begun. Only a cut connection tells its reader that it is not whole.
                raise ConnectionAbortedError("the answer has begun already") from error
            return json_response(Refusal("internal error", hint="the server's log has the details"), 500)

    return middleware


def _refusal(request: web.Request, error: web.HTTPException) -> Refusal:
    match error:
        case web.HTTPNotFound():
            return Refusal(f"there is no {request.path}", "path", "GET / lists what there is")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Refusal(f"{request.method} is not allowed here", "method", f"use {allowed}")
        case web.HTTPRequestEntityTooLarge():
            return Refusal("the request body is too large", "body", "send less at a time")
        case _:
            return Refusal(error.reason)


def add_health(
    app: web.Application,
    not_ready: Callable[[], Awaitable[str | None]],
    remark: Callable[[], Awaitable[str | None]] | None = None,
) -> None:
    """``/healthz``: the process answers. ``/readyz``: 503 with the reason that ``not_ready`` gives, if it gives one.

    ``remark``: what is worth knowing of a process that is ready, if anything.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = await not_ready()
        if reason:
            return web.Response(text=f"{reason}\n", status=503)
        known = await remark() if remark else None
        return web.Response(text=f"ok: {known}\n" if known else "ok\n")

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)


def add_metrics(app: web.Application, registry: CollectorRegistry) -> None:
    """``/metrics``: everything in ``registry``, in Prometheus' text format."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app.router.add_get("/metrics", metrics)


@contextlib.asynccontextmanager
async def serve(app: web.Application, address: Address) -> AsyncIterator[Address]:
    """Serve ``app``; gives the address really bound, and closes every connection at the end.

    A handler is cancelled when its client goes away.
    """
    # Bodies arrive as they were sent: whoever reads one decompresses it, within its own limits.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=5.0, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, reuse_address=True)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield Address(host, port)
    finally:
        await runner.cleanup()
