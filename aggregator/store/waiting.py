"""Waiting for a server: no longer than it may take, whatever it says; one that is cut off says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError

from aggregator.errors import StoreError, StoreUnreachableError
from aggregator.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator


_UNREACHED: Final = "the servers of --store do not answer"


class Run(msgspec.Struct):
    """A statement by the mark it runs under."""

    mark: str
    is_over: bool = False


async def coming(chunks: AsyncIterable[bytes], time_s: float) -> AsyncIterator[bytes]:
    """``chunks``, each of which may take ``time_s``."""
    source = aiter(chunks)
    while True:
        async with answered(time_s):
            chunk = await anext(source, None)
        if chunk is None:
            return
        yield chunk


async def until_over(chunks: AsyncIterator[bytes], run: Run) -> AsyncIterator[bytes]:
    """``chunks``, with the last of which ``run`` is over, or with a failure."""
    try:
        async for chunk in chunks:
            yield chunk
    except StoreError:
        run.is_over = True
        raise
    run.is_over = True


@contextlib.asynccontextmanager
async def answered(time_s: float, run: Run | None = None) -> AsyncIterator[None]:
    """Around what the client is asked, and nothing else: it takes ``time_s`` at most, and raises exceptions of ours.

    ``run`` is over with one: it failed, or there is no server that could be told to end it.
    """
    try:
        async with asyncio.timeout(time_s):
            yield
    except (ClickHouseError, aiohttp.ClientError, TimeoutError) as error:
        if run is not None:
            run.is_over = True
        raise _meant(error, time_s) from error


def _meant(error: Exception, time_s: float) -> StoreError:
    if isinstance(error, ClickHouseError):
        found = failure(error, of_servers=True)
        return found if found.code or type(found) is not StoreError else StoreUnreachableError(f"{_UNREACHED}: {error}")
    if isinstance(error, TimeoutError):
        return StoreUnreachableError(f"the store's server has not answered for {time_s:g} s")
    return StoreUnreachableError(f"{_UNREACHED}: {error!r}")
