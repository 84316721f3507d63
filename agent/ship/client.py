"""HTTP to the aggregator: three requests, and what each of their answers means."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from agent.errors import BodyLimitError, OtherBuildError, RefusedError, UnavailableError
from agent.ship.trust import Trust
from service.token import TokenFileError, read_tokens
from wire.answers import STORE_HEADER, Committed, Refusal
from wire.codec import BUILD_RULES, CONTENT_ENCODING, CONTENT_TYPE, POSITION_MAX, RULES

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from aiohappyeyeballs import AddrInfoType

    from agent.ship.batch import Origin

# Answers name each source of a request once: 16,384 chunks of 60 bytes. What is longer is no answer of an aggregator.
_ANSWER_BYTES_MAX: Final = 4 << 20
# A commit takes a fraction of a second; an aggregator under load may make a request wait for its turn.
TIMEOUT_S: Final = 60.0
_CONNECT_S: Final = 5.0
# A peer that has vanished without a word (its machine lost power, a firewall drops packets) is given up by the kernel
# after this long; one that is there, and slow, has all the time above.
_VANISHED_AFTER_S: Final = 10
_PROBE_EVERY_S: Final = 3
_RETRY_AFTER_MAX_S: Final = 300.0

# Taken; or not known to an aggregator of a former version, which is as good.
_HEARD: Final = frozenset({204, 404})

# Unless told, nginx takes 1 MiB. The largest batch that an aggregator takes has half of what is asked for here.
_BODY_LIMIT: Final = (
    "a proxy in between limits the size of a body: raise its limit to 64 MiB (nginx: client_max_body_size 64m)"
)

_COMMITTED: Final = msgspec.json.Decoder(Committed)
_REFUSAL: Final = msgspec.json.Decoder(Refusal)


class Answer(msgspec.Struct, frozen=True):
    """What the store holds. ``store``: which one it is. ``hole``: the batch was not taken, it starts beyond that."""

    store: str
    committed: Mapping[bytes, int]
    hole: bool


class Client:
    """Talks to one aggregator; owns nothing, the session is its maker's."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        origin: Origin,
        token_file: Path | None,
        *,
        trust: Trust | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._origin = origin
        self._token_file = token_file
        self._trust = trust or Trust(None)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)

    async def send(self, data: bytes) -> Answer:
        """POST one compressed batch. Raises `UnavailableError`, of which `BodyLimitError` is one, or `RefusedError`."""
        headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": CONTENT_ENCODING}
        return _meaning(*await self._ask("POST", "/v1/batches", headers, data=data))

    async def positions(self, sources: Collection[bytes]) -> Answer:
        """GET the committed positions of ``sources``; of none, to learn which store it is.

        Raises `UnavailableError`.
        """
        asked = [("cluster", self._origin.cluster), ("node", self._origin.node)]
        try:
            asked += [("source", source.hex()) for source in sources]
            answer = _meaning(*await self._ask("GET", "/v1/positions", {}, params=asked))
        except RefusedError as error:
            raise UnavailableError(f"positions refused: {error}") from error
        if not answer.committed.keys() >= set(sources):
            raise UnavailableError(f"{self._url} does not say where to read on")
        return answer

    async def heartbeat(self, data: bytes) -> None:
        """POST one encoded heartbeat. Raises `UnavailableError` or `RefusedError` if it was not taken."""
        status, headers, body = await self._ask(
            "POST", "/v1/heartbeats", {"Content-Type": "application/json"}, data=data
        )
        if status not in _HEARD:
            _meaning(status, headers, body)

    async def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        data: bytes | None = None,
        params: list[tuple[str, str]] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer. Raises `UnavailableError` if there is none."""
        if self._token_file is not None:
            headers |= await asyncio.to_thread(_credentials, self._token_file)
        trusted = await asyncio.to_thread(self._trust.context) if self._url.startswith("https:") else True
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=data,
                params=params,
                headers=headers,
                timeout=self._timeout,
                ssl=trusted,
                allow_redirects=False,
                skip_auto_headers=["User-Agent"],
            ) as response:
                return response.status, response.headers, await _body(response)
        except aiohttp.ClientConnectorCertificateError as error:
            raise UnavailableError(_mistrust(self._url, error.certificate_error)) from error
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{self._url}: {error or type(error).__name__}") from error
        except TimeoutError as error:
            raise UnavailableError(f"{self._url}: no answer within {self._timeout.total:g} s") from error


def connector() -> aiohttp.TCPConnector:
    """For the session of a `Client`: names are looked up anew for every connection, and vanished peers are noticed."""
    return aiohttp.TCPConnector(use_dns_cache=False, socket_factory=_socket)


def _socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_AFTER_S * 1000)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_EVERY_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
    return made


def _mistrust(url: str, error: Exception) -> str:
    reason = getattr(error, "verify_message", "") or str(error)
    return f"{url}: its certificate is not trusted: {reason}; see --ca-file"


def _credentials(token_file: Path) -> dict[str, str]:
    """Read for every request: a mounted secret may be rotated at any time."""
    try:
        return {"Authorization": f"Bearer {read_tokens(token_file)[0]}"}
    except TokenFileError as error:
        raise UnavailableError(str(error)) from error


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
            raise UnavailableError(f"{status}: {_refusal(body).error}; see --token-file")
        case 413 if _refusal(body).parameter in RULES:
            raise RefusedError(_refusal(body).parameter, _refusal(body).error, too_large=True)
        case 413:
            raise BodyLimitError(f"413: {_refusal(body).error}; {_BODY_LIMIT}")
        case 400 if _refusal(body).parameter in BUILD_RULES:
            raise OtherBuildError(f"{status}: {_refusal(body).error}; agent and aggregator are of different versions")
        case 400 if _refusal(body).parameter in RULES:
            raise RefusedError(_refusal(body).parameter, _refusal(body).error)
        case _:  # also 400 for reasons that are the agent's or the way's, not the records': waiting loses nothing
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
