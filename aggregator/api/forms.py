"""Parameters in the body of a POST, for queries that are too long for an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

# Twice the longest query (`aggregator.logql.lexer`), percent-encoded.
FORM_BYTES_MAX: Final = 1 << 20
_FORM: Final = "application/x-www-form-urlencoded"


async def query_string(request: web.Request) -> str:
    """The parameters of the address and, of a POST, those of the body. Raises `RefusedError` (413, 415)."""
    address = request.rel_url.raw_query_string
    if request.method != "POST":
        return address
    if request.content_type != _FORM:
        raise RefusedError(
            415, Refusal(f"the body is no form: {request.content_type}", "Content-Type", f"send {_FORM}")
        )
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise RefusedError(
                413, Refusal(f"more than {FORM_BYTES_MAX} bytes of form", "body", "ask for less at once")
            )
    return "&".join(filter(None, (address, body.decode("latin-1"))))
