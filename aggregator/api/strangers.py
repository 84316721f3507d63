"""Keeps pages of other sites out where no token does: a browser sends what they ask, from behind every firewall.

They could not read an answer, but have something deleted, and follow a WebSocket, to which browsers apply no
same-origin rule. Browsers say where a page comes from: ``Origin`` with every WebSocket and whatever changes something
(Fetch, 3.1; RFC 6455, 10.2), ``Sec-Fetch-Site`` on HTTPS and on this machine. Programs send neither, or the address
that they ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

_OWN_SITES: Final = frozenset({"same-origin", "none"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


@web.middleware
async def strangers_refused(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware that refuses (403) what a page of another site asks for; a link may still lead here."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        hint = "open a page of the aggregator's own address; a proxy in between has to pass on Host"
        raise RefusedError(403, Refusal("a page of another site asks for this", "Origin", hint))
    if request.method not in _SAFE_METHODS and request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        hint = "send it from a program, or from a page of the aggregator"
        raise RefusedError(403, Refusal("a page of another site asks for this", "Sec-Fetch-Site", hint))
    return await handler(request)
