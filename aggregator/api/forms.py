"""Parameters in the body of a POST, for queries that are too long for an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.api.bodies import BODY_TIME_S, read_body
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

# Twice the longest query (`aggregator.logql.lexer`), percent-encoded.
FORM_BYTES_MAX: Final = 1 << 20
_FORM: Final = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)


def broken_escape(text: str) -> str | None:
    """The first ``%`` of ``text`` that no two hexadecimal digits follow, with what does; None if there is none.

    RFC 3986, 2.1. Taken as it stands, what was cut or encoded wrongly would be searched for, and not found.
    """
    found = _BROKEN_ESCAPE.search(text)
    return found[0] if found else None


async def query_string(request: web.Request, time_s: float = BODY_TIME_S) -> str:
    """The parameters of the address and, of a POST, those of the body. Raises `RefusedError` (408, 413, 415)."""
    address = request.rel_url.raw_query_string
    if request.method != "POST" or not request.can_read_body:
        return address
    if request.content_type != _FORM:
        raise RefusedError(
            415, Refusal(f"the body is no form: {request.content_type}", "Content-Type", f"send {_FORM}")
        )
    body = await read_body(request, FORM_BYTES_MAX, time_s)
    return "&".join(filter(None, (address, body.decode("latin-1"))))
