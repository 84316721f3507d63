"""An aggregator with the data of the cases in it, behind real HTTP, for as long as a module's tests run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import pytest_asyncio

from aggregator.api.queries import QueryLimits, add_queries
from aggregator.query.live import Live
from tests.aggregator.records import HEADERS, pack
from tests.aggregator.stand import serve_stand
from tests.logql.datasets import RECORDS
from tests.logql.storing import batches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from aiohttp import web

    from tests.aggregator.stand import Stand

_ACCEPTED: Final = 200


class Asked:
    """A client of the aggregator."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, **parameters: str | float) -> tuple[int, bytes]:
        """Status and body."""
        query = {name: str(value) for name, value in parameters.items()}
        async with self._session.get(f"{self._url}{path}", params=query) as response:
            return response.status, await response.read()


def _queries(app: web.Application, stand: Stand) -> None:
    add_queries(app, stand.engine, QueryLimits(), stand.registry, live=Live(stand.engine, stand.commits))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    """The data sent as an agent sends it."""
    path = tmp_path_factory.mktemp("store")
    async with (
        serve_stand(path, add=_queries) as (_, url),
        aiohttp.ClientSession() as session,
    ):
        for batch in batches(list(RECORDS.values())):
            async with session.post(f"{url}/v1/batches", data=pack(batch), headers=HEADERS) as response:
                assert response.status == _ACCEPTED, await response.text()
        yield Asked(session, url)
