"""A query that runs in the embedded engine: its pieces one by one, and its end at any time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aggregator.errors import QueryCancelledError, StoreError
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aggregator.store.embedded import Embedded
    from aggregator.store.scanned import Scanned

_log = logging.getLogger(__name__)

_R = TypeVar("_R")

# Most calls are over sooner by themselves; and a query that was told to end, and knew it, has ended by then.
_KILL_AFTER_S: Final = 0.02


class Running:
    """One running query: owns its connection until `end`."""

    def __init__(self, engine: Embedded, connection: Any, mark: str, scanned: Scanned | None) -> None:
        self.connection = connection
        self._scanned = scanned
        if scanned is not None:
            scanned.statements += 1
        self._engine = engine
        self._mark = mark
        self._result: Any = None
        self._call: asyncio.Future[Any] | None = None
        self._has_failed = False

    @property
    def has_failed(self) -> bool:
        """Whether a call of its raised what the engine had to say."""
        return self._has_failed

    async def start(self, sql: str, output: str, parameters: dict[str, str]) -> None:
        """Begin with ``sql``, for pieces in the format ``output``."""

        def send() -> Any:
            self._engine.check()
            return self.connection.send_query(sql, output, params=parameters)

        self._result = await self._blocking(send)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces, as the engine makes them."""
        while (chunk := await self._blocking(self._fetch)) is not None:
            if chunk:
                yield chunk

    def _fetch(self) -> bytes | None:
        # Not `fetch`: it keeps the last piece, an empty one, to itself, and with it what was read for that.
        piece = self._result._conn.streaming_fetch_result(self._result._result)  # noqa: SLF001 - no other way
        if self._scanned is not None:
            self._scanned.add(piece.storage_rows_read(), piece.storage_bytes_read(), piece.elapsed())
        if piece.rows_read():
            return bytes(piece.bytes())
        self._result._exhausted = True  # noqa: SLF001 - as `fetch` does
        return None

    async def _blocking(self, call: Callable[[], _R]) -> _R:
        """Run ``call`` so that a cancelled waiter leaves the call itself to `end`."""
        task = asyncio.ensure_future(self._engine.read(call))
        self._call = task
        try:
            return await asyncio.shield(task)
        except StoreError:
            self._has_failed = True
            raise

    async def end(self) -> None:
        """End it now, wherever it is; the connection is free then."""
        if self._call is not None:
            # What the interrupted call raised has nobody left to hear it.
            heard = await self._over(self._call)
            self._has_failed |= isinstance(heard, BaseException)
            if self._result is None and not isinstance(heard, BaseException):
                self._result = heard
        if self._result is not None:
            # Waits for the engine's next piece, which may be far away.
            heard = await self._over(asyncio.ensure_future(self._engine.read(self._result.cancel)))
            self._has_failed |= isinstance(heard, BaseException)
            if isinstance(heard, BaseException) and not isinstance(heard, QueryCancelledError):
                raise heard

    async def _over(self, call: asyncio.Future[Any]) -> Any:
        """What ``call`` gave or raised, soon: the engine is told to end the query, again if it did not know it yet."""
        while not (await asyncio.wait([call], timeout=_KILL_AFTER_S))[0]:
            try:
                await self._engine.kill(self._mark)
            except StoreError as error:  # the connection is in use until the call is over, whatever that takes
                _log.warning("a query could not be ended yet", extra=fields(reason=error))
        return (await asyncio.gather(call, return_exceptions=True))[0]
