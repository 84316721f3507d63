"""Parameters in the body of a POST, for queries that are too long for an address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

# Twice the longest query (`aggregator.logql.lexer`), percent-encoded.
FORM_BYTES_MAX: Final = 1 << 20
# A form is small: whoever takes longer to send one is gone, or means no good.
FORM_TIME_S: Final = 30.0
_FORM: Final = "application/x-www-form-urlencoded"


async def query_string(request: web.Request, time_s: float = FORM_TIME_S) -> str:
    """The parameters of the address and, of a POST, those of the body. Raises `RefusedError` (408, 413, 415)."""
    address = request.rel_url.raw_query_string
    if request.method != "POST" or not request.can_read_body:
        return address
    if request.content_type != _FORM:
        raise RefusedError(
            415, Refusal(f"the body is no form: {request.content_type}", "Content-Type", f"send {_FORM}")
        )
    body = bytearray()
    try:
        async with asyncio.timeout(time_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > FORM_BYTES_MAX:
                    told = Refusal(f"more than {FORM_BYTES_MAX} bytes of form", "body", "ask for less at once")
                    raise RefusedError(413, told)
    except TimeoutError as error:
        told = Refusal(f"the form did not arrive within {time_s:g} s", "body", "send again")
        raise RefusedError(408, told, {"Connection": "close"}) from error
    return "&".join(filter(None, (address, body.decode("latin-1"))))
