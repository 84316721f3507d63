"""The way to the aggregator, step by step, so that the first one that fails says what is wrong.

The last step sends a batch without a record: an aggregator that takes it speaks this agent's protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

from agent.doctor.report import Aggregator, Step
from agent.doctor.running import reason_of
from agent.errors import RefusedError, UnavailableError
from agent.ship.batch import Unsealed, seal
from wire.codec import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.doctor.report import StepName
    from agent.ship.batch import Origin
    from agent.ship.client import Client
    from agent.ship.trust import Trust

    _Take = Callable[[], Awaitable[tuple[bool | None, str]]]

# Longer than any aggregator that is well takes, short enough to wait for.
_STEP_S: Final = 10.0
_SHOWN_CHARACTERS: Final = 200
_PORTS: Final = {"http": 80, "https": 443}


class _FailedError(Exception):
    """A step that failed; no later one can succeed."""


class Way:
    """Goes the way to the aggregator at ``url``; session and trust, which ``client`` has as well, are its maker's."""

    def __init__(self, url: str, session: aiohttp.ClientSession, trust: Trust, client: Client, origin: Origin) -> None:
        self._url = url
        self._session = session
        self._trust = trust
        self._client = client
        self._origin = origin
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._is_tls = parts.scheme == "https"
        self._address = ""
        self._store = ""

    async def go(self) -> Aggregator:
        """Every step up to the first that fails."""
        steps: list[Step] = []
        failed = False
        way: tuple[tuple[StepName, _Take], ...] = (
            ("name", self._resolve),
            ("connect", self._connect),
            ("tls", self._shake_hands),
            ("status", self._ready),
            ("token", self._authorize),
            ("protocol", self._send),
        )
        for name, take in way:
            if failed:
                steps.append(Step(name, None, "not tried"))
                continue
            try:
                ok, detail = await self._in_time(take)
            except _FailedError as error:
                ok, detail = False, str(error)
            # One that is not ready says more with its next answers.
            failed = ok is False and name != "status"
            steps.append(Step(name, ok, detail))
        return Aggregator(self._url, self._store, tuple(steps))

    async def _in_time(self, take: _Take) -> tuple[bool | None, str]:
        try:
            async with asyncio.timeout(_STEP_S):
                return await take()
        except TimeoutError:
            raise _FailedError(f"no answer within {_STEP_S:.0f} s") from None

    async def _resolve(self) -> tuple[bool | None, str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise _FailedError(f"{self._host}: {reason or error}") from error
        self._address = str(found[0][4][0])
        others = len({each[4][0] for each in found}) - 1
        return True, f"{self._host} is {self._address}" + (f" and {others} more" if others else "")

    async def _connect(self) -> tuple[bool | None, str]:
        await self._open(None)
        return True, f"port {self._port} is open"

    async def _shake_hands(self) -> tuple[bool | None, str]:
        if not self._is_tls:
            return None, "not asked for: the URL begins with http://"
        trusted = await self._trusted()
        return True, await self._open(ssl.create_default_context() if isinstance(trusted, bool) else trusted)

    async def _trusted(self) -> ssl.SSLContext | bool:
        """As aiohttp takes it; of ``http://`` nothing is asked."""
        if not self._is_tls:
            return True
        try:
            return await asyncio.to_thread(self._trust.context)
        except UnavailableError as error:
            raise _FailedError(error.reason) from error

    async def _open(self, context: ssl.SSLContext | None) -> str:
        """Connect and hang up; the version of TLS."""
        try:
            _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except ssl.SSLError as error:
            raise _FailedError(getattr(error, "verify_message", "") or error.reason or str(error)) from error
        except OSError as error:
            raise _FailedError(f"{self._host}:{self._port}: {reason_of(error)}") from error
        found = writer.get_extra_info("ssl_object")
        writer.close()
        with contextlib.suppress(OSError):  # how the other side takes the end does not matter
            await writer.wait_closed()
        return str(found.version()) if found else ""

    async def _ready(self) -> tuple[bool | None, str]:
        trusted = await self._trusted()
        try:
            async with self._session.get(f"{self._url}/readyz", ssl=trusted, allow_redirects=False) as response:
                text = (await response.content.read(_SHOWN_CHARACTERS)).decode("utf-8", "replace").strip()
                return response.status == 200, f"/readyz answers {response.status}: {text}"  # noqa: PLR2004 - HTTP's OK
        except aiohttp.ClientError as error:
            raise _FailedError(str(error) or type(error).__name__) from error

    async def _authorize(self) -> tuple[bool | None, str]:
        try:
            self._store = (await self._client.positions(())).store
        except UnavailableError as error:
            raise _FailedError(error.reason) from error
        return True, "GET /v1/positions is answered"

    async def _send(self) -> tuple[bool | None, str]:
        empty = seal(Unsealed(self._origin, (), ()), 0)
        try:
            await self._client.send(empty.data)
        except (UnavailableError, RefusedError) as error:
            raise _FailedError(str(error)) from error
        return True, f"a batch of version {VERSION} is taken"
