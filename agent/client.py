"""HTTP to the aggregator: two requests, and what each of their answers means."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from agent.errors import RefusedError, UnavailableError
from service.token import TokenFileError, read_tokens
from wire.answers import STORE_HEADER, Committed, Refusal
from wire.codec import CONTENT_ENCODING, CONTENT_TYPE, POSITION_MAX, RULES

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from agent.batch import Origin

# Answers name each source of a request once: 16,384 chunks of 60 bytes. What is longer is no answer of an aggregator.
_ANSWER_BYTES_MAX: Final = 4 << 20
# A commit takes a fraction of a second; an aggregator under load may make a request wait for its turn.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60.0, sock_connect=5.0)
# Wrong credentials become right only when someone changes them.
_CREDENTIALS_RETRY_S: Final = 30.0
# "Bad request" for reasons that are the agent's or the way's, not the records': waiting, not dropping, is right.
_VERSION_RETRY_S: Final = 30.0
_RETRY_AFTER_MAX_S: Final = 300.0

_COMMITTED: Final = msgspec.json.Decoder(Committed)
_REFUSAL: Final = msgspec.json.Decoder(Refusal)


class Answer(msgspec.Struct, frozen=True):
    """What the store holds. ``store``: which one it is. ``hole``: the batch was not taken, it starts beyond that."""

    store: str
    committed: Mapping[bytes, int]
    hole: bool


class Client:
    """Talks to one aggregator; owns nothing, the session is its maker's."""

    def __init__(self, session: aiohttp.ClientSession, url: str, origin: Origin, token_file: Path | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._origin = origin
        self._token_file = token_file

    async def send(self, data: bytes) -> Answer:
        """POST one compressed batch. Raises `UnavailableError` or `RefusedError`."""
        headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": CONTENT_ENCODING}
        return await self._ask("POST", "/v1/batches", headers, data=data)

    async def positions(self, sources: Collection[bytes]) -> Answer:
        """GET the committed positions of ``sources``; of none, to learn which store it is.

        Raises `UnavailableError`.
        """
        asked = [("cluster", self._origin.cluster), ("node", self._origin.node)]
        try:
            answer = await self._ask(
                "GET", "/v1/positions", {}, params=asked + [("source", source.hex()) for source in sources]
            )
        except RefusedError as error:
            raise UnavailableError(f"positions refused: {error}", _VERSION_RETRY_S) from error
        if not answer.committed.keys() >= set(sources):
            raise UnavailableError(f"{self._url} does not say where to read on", _VERSION_RETRY_S)
        return answer

    async def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        data: bytes | None = None,
        params: list[tuple[str, str]] | None = None,
    ) -> Answer:
        if self._token_file is not None:
            headers |= await asyncio.to_thread(_credentials, self._token_file)
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=data,
                params=params,
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
                skip_auto_headers=["User-Agent"],
            ) as response:
                body = await _body(response)
                return _meaning(response.status, response.headers, body)
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{self._url}: {error or type(error).__name__}") from error
        except TimeoutError as error:
            raise UnavailableError(f"{self._url}: no answer within {_TIMEOUT.total:.0f} s") from error


def _credentials(token_file: Path) -> dict[str, str]:
    """Read for every request: a mounted secret may be rotated at any time."""
    try:
        return {"Authorization": f"Bearer {read_tokens(token_file)[0]}"}
    except TokenFileError as error:
        raise UnavailableError(str(error), _CREDENTIALS_RETRY_S) from error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > _ANSWER_BYTES_MAX:
            raise UnavailableError(f"{response.url} answered more than {_ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _meaning(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    match status:
        case 200 | 409:
            return _answer(status, headers, body)
        case 401 | 403:
            raise UnavailableError(f"{status}: {_refusal(body).error}; see --token-file", _CREDENTIALS_RETRY_S)
        case 413:
            raise RefusedError(_refusal(body).parameter or "size", _refusal(body).error, too_large=True)
        case 400 if _refusal(body).parameter in RULES.keys() - {"version"}:
            raise RefusedError(_refusal(body).parameter, _refusal(body).error)
        case 400 | 404 | 405 | 415:
            raise UnavailableError(f"{status}: {_refusal(body).error}", _VERSION_RETRY_S)
        case _:
            raise UnavailableError(f"{status}: {_refusal(body).error}", _retry_after_s(headers.get("Retry-After")))


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    try:
        committed = {bytes.fromhex(source): at for source, at in _COMMITTED.decode(body).committed.items()}
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors as well
        raise UnavailableError(f"{status} without committed positions: {error}") from error
    if not all(0 <= at <= POSITION_MAX for at in committed.values()):
        raise UnavailableError(f"{status} with positions that no file has")
    store = headers.get(STORE_HEADER)
    if store is None:
        raise UnavailableError(f"{status} without the header {STORE_HEADER}; a proxy may have removed it")
    return Answer(store, committed, status != 200)  # noqa: PLR2004 - 409 is the other


def _refusal(body: bytes) -> Refusal:
    """The aggregator's reason, or the beginning of whatever something between here and there said."""
    try:
        return _REFUSAL.decode(body)
    except (ValueError, RecursionError):
        return Refusal(body[:200].decode("utf-8", "replace").strip() or "no reason given")


def _retry_after_s(value: str | None) -> float | None:
    """The header's seconds, or the seconds until its date; None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), _RETRY_AFTER_MAX_S)
