"""The shell of an HTTP server: errors as JSON, health, metrics, and serving until told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from service.logs import fields
from service.options import Address
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

_log = logging.getLogger(__name__)

_MALFORMED: Final = web.AppKey("malformed", Counter)
# What a stranger sent may stand in a reason: enough of it to know it by.
_REASON_CHARACTERS_MAX: Final = 200


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
            if request.writer.output_size:
                raise ConnectionAbortedError("the answer has begun already") from error
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


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp's server logs: of what is not even HTTP one line, counted, in place of a traceback."""

    def __init__(self, malformed: Counter | None) -> None:
        super().__init__(logging.getLogger("aiohttp.server"), {})
        self._malformed = malformed

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, as the methods for each level do."""
        error = kwargs.get("exc_info")
        if not isinstance(error, HttpProcessingError):
            super().log(level, msg, *args, **kwargs)
            return
        if self._malformed is not None:
            self._malformed.inc()
        reason = str(error.message).partition("\n")[0].strip()[:_REASON_CHARACTERS_MAX]
        _log.warning("a request is not HTTP", extra=fields(client=args[0] if args else "", reason=reason))


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
    """``/metrics``: everything in ``registry``, in Prometheus' text format; also counts there what `serve` refuses."""
    app[_MALFORMED] = Counter("logboom_http_malformed_requests", "Requests that were not HTTP.", registry=registry)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app.router.add_get("/metrics", metrics)


@contextlib.asynccontextmanager
async def serve(app: web.Application, address: Address) -> AsyncIterator[Address]:
    """Serve ``app``; gives the address really bound, and closes every connection at the end.

    A handler is cancelled when its client goes away. Raises `OSError` where it cannot listen.
    """
    # Bodies arrive as they were sent: whoever reads one decompresses it, within its own limits.
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=5.0,
        auto_decompress=False,
        logger=_ServerLog(app.get(_MALFORMED)),
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            # asyncio puts the address, as Python writes it, and the number of the error into the text.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise OSError(error.errno, f"cannot listen on {address.host}:{address.port}: {reason}") from error
        host, port = runner.addresses[0][:2]
        yield Address(host, port)
    finally:
        await runner.cleanup()
