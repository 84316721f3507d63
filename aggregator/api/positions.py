"""`GET /v1/positions`: what the store holds of some sources; an agent asks when it starts.

An agent with nothing to send asks about none, to see from `wire.answers.STORE_HEADER` that the store is still the one
it was.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from aggregator.errors import StoreError, StoreGoneError
from service.logs import fields
from service.web import RefusedError, json_response
from wire.answers import SOURCES_PER_REQUEST_MAX, Committed, Refusal
from wire.batch import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from aggregator.store.positions import Positions

_log = logging.getLogger(__name__)

# ``cluster`` and ``node`` say who asks; the sources alone decide.
PARAMETERS: Final = ("cluster", "node", "source")
_SOURCE: Final = re.compile(rf"[0-9a-f]{{{2 * SOURCE_BYTES}}}")
_RETRY: Final = {"Retry-After": "2"}


def positions_handler(positions: Positions) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler that answers from ``positions``."""

    async def get(request: web.Request) -> web.Response:
        sources = _sources(request)
        try:
            found = await positions.of(sources)
        except StoreError as error:
            _log.error("committed positions could not be read", extra=fields(reason=error))
            hint = "the agent asks again; the aggregator's log has the reason"
            if isinstance(error, StoreGoneError):  # in our own words, not the engine's
                hint = str(error)
            raise RefusedError(503, Refusal("the store does not answer", hint=hint), _RETRY) from error
        return json_response(Committed({source.hex(): position for source, position in found.items()}))

    return get


def _sources(request: web.Request) -> list[bytes]:
    unknown = sorted(set(request.query) - set(PARAMETERS))
    if unknown:
        raise _refused(f"there is no parameter {unknown[0]!r}", unknown[0], f"there are {', '.join(PARAMETERS)}")
    texts = request.query.getall("source", [])
    if len(texts) > SOURCES_PER_REQUEST_MAX:
        hint = f"ask about at most {SOURCES_PER_REQUEST_MAX} at a time"
        raise _refused(f"{len(texts)} sources are too many", "source", hint)
    wrong = next((text for text in texts if not _SOURCE.fullmatch(text)), None)
    if wrong is not None:
        raise _refused(f"{wrong[:64]!r} is no source", "source", "a source is 32 lower-case hexadecimal digits")
    return [bytes.fromhex(text) for text in texts]


def _refused(error: str, parameter: str, hint: str) -> RefusedError:
    return RefusedError(400, Refusal(error, parameter, hint))
