"""What the aggregator asks of an engine: statements, streams of results, inserts.

There are two: ClickHouse inside this process (`aggregator.store.embedded`) and ClickHouse servers
(`aggregator.store.clickhouse`). Tables and SQL are the same; `aggregator.store.layout` says what is not.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from aggregator.errors import StoreError
from aggregator.store.bounds import in_one_part
from aggregator.store.scanned import Scanned
from aggregator.store.server import names_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import pyarrow as pa

    from aggregator.store.aside import Aside
    from aggregator.store.layout import Layout
    from aggregator.store.tier import Tier

    Parameters = Mapping[str, str | int | Sequence[str] | Sequence[int]]

_T = TypeVar("_T")

# An insert must become one block, hence one part: above every group the committer makes (`ingest.committer`).
INSERT_ROWS_MAX: Final = 1 << 20
INSERT_SETTINGS: Final = in_one_part(INSERT_ROWS_MAX)


class Limits(msgspec.Struct, frozen=True):
    """What one statement may use: seconds, bytes of memory, bytes read (uncompressed; 0: any number), threads.

    ``scanned``: counts what it reads.
    """

    time_s: float = 30.0
    memory_bytes: int = 1 << 30
    read_bytes: int = 0
    threads: int = 2
    scanned: Scanned | None = None


class Slot(msgspec.Struct, frozen=True):
    """A place for one insert: of all inserts with one ``token`` and day, the first counts.

    ``shard``: the shard's number, from 1; 0 where there are no shards.
    """

    token: str
    shard: int = 0


class Engine(ABC):
    """A store, opened. `open` makes one; what `open` gives is closed when its context ends.

    ``layout``: which tables there are, and where. ``identity``: the store's random id, known once the tables are made.
    ``has_tier``: whether days may lie in the cold tier; ``aside``: those of them that cannot be read now.
    """

    layout: Layout
    identity: str = ""
    has_tier: bool = False
    aside: Aside

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(
        url: str,
        connections: int = 6,
        password: str = "",
        *,
        make: bool = True,
        reserve_bytes: int | None = None,
        tier: Tier | None = None,
    ) -> AsyncIterator[Engine]:
        """Open the store that ``url`` names; ``connections``: statements at a time.

        ``make``: a new one where there is none; ``reserve_bytes``: inserts fail while less is free on its disk (None:
        see `settings.reserve_of`); ``tier``: where old days lie. These are of the embedded engine.

        Raises `StoreError` for what is no address, and what cannot be opened.
        """
        if names_servers(url):
            try:
                from aggregator.store.clickhouse import ClickHouse  # noqa: PLC0415 - need not be installed
            except ModuleNotFoundError as error:
                if error.name != "clickhouse_connect":
                    raise
                hint = "pip install 'logboom[clickhouse]'"
                raise StoreError(f"servers are reached with a package that is not installed: {hint}") from error

            async with ClickHouse.connect(url, connections, password) as server:
                yield server
        else:
            from aggregator.store.embedded import Embedded  # noqa: PLC0415 - large, and of no use with servers

            start = Embedded.start(url, connections, make=make, reserve_bytes=reserve_bytes, tier=tier)
            async with start as embedded:
                yield embedded

    @abstractmethod
    async def execute(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement that gives nothing (schema, retention)."""

    @abstractmethod
    async def told(self, sql: str, row: type[_T]) -> list[_T]:
        """What a statement that is no SELECT answers, each row decoded as ``row``."""

    async def rows(
        self, sql: str, row: type[_T], parameters: Parameters | None = None, limits: Limits | None = None
    ) -> list[_T]:
        """A small result, each row decoded as ``row`` (a msgspec type for the row's JSON object)."""
        data = bytearray()
        async with self.stream(sql, "JSONEachRow", parameters, limits or Limits()) as chunks:
            async for chunk in chunks:
                data += chunk
        return msgspec.json.Decoder(row).decode_lines(data)

    @abstractmethod
    def stream(
        self, sql: str, output: str, parameters: Parameters | None, limits: Limits
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A result in the engine's format ``output``, in pieces, as the engine makes them.

        A piece of ``ArrowStream`` is a whole stream of one or more blocks; a piece of another format may end anywhere.
        Leaving the context ends the query at once, also when the engine is in the middle of a piece; cancelling does
        the same. Raises a `StoreError` where the engine fails, from the first piece on.
        """

    @abstractmethod
    async def insert(self, table: str, rows: pa.RecordBatch, slot: Slot | None = None) -> None:
        """Insert ``rows`` durably: one block, one part, fsynced by the table's settings; all of it or nothing.

        ``rows``: at most `INSERT_ROWS_MAX`, and all of one partition. With a ``slot`` that is taken nothing is
        inserted, and nothing says so.
        """

    @abstractmethod
    def inserted(self, table: str, rows: pa.RecordBatch) -> contextlib.AbstractAsyncContextManager[str]:
        """What a statement selects ``rows`` from, as long as this is open; some were inserted into ``table`` before."""

    @abstractmethod
    async def ping(self, time_s: float) -> None:
        """Have the engine answer at all. Raises `StoreError`."""

    @abstractmethod
    async def hold_queries(self, time_s: float) -> None:
        """Have queries that run in this process stand still for so long, as while an insert runs.

        Raises `StoreError`.
        """

    @abstractmethod
    def check(self) -> None:
        """Look whether the store is still the one that was opened. Raises `StoreGoneError`."""

    @abstractmethod
    async def free_bytes(self) -> int:
        """Bytes left to the store on its disk, or on the fullest of its disks."""


def check_rows(rows: pa.RecordBatch) -> None:
    """Raise ValueError for rows that are none, or too many for an insert."""
    if not 0 < rows.num_rows <= INSERT_ROWS_MAX:
        raise ValueError(f"an insert has 1 to {INSERT_ROWS_MAX} rows, found {rows.num_rows}")
