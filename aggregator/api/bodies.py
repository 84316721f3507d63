"""Bodies of requests that are small: read whole, within a size and a time. Batches have their own way in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

# Whoever takes longer to send something small is gone, or means no good.
BODY_TIME_S: Final = 30.0


async def read_body(request: web.Request, bytes_max: int, time_s: float = BODY_TIME_S) -> bytes:
    """The body. Raises `RefusedError`: 413 for more than ``bytes_max``, 408 if it takes longer than ``time_s``."""
    body = bytearray()
    try:
        async with asyncio.timeout(time_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > bytes_max:
                    raise RefusedError(413, Refusal(f"more than {bytes_max} bytes", "body", "send less at once"))
    except TimeoutError as error:
        told = Refusal(f"the body did not arrive within {time_s:g} s", "body", "send it again")
        raise RefusedError(408, told, {"Connection": "close"}) from error
    return bytes(body)
