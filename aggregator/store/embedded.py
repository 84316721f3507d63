"""The engine inside this process: chDB connections, the threads they are used from, streams and inserts.

A chDB connection takes one call at a time and each call blocks a thread (without the GIL), so there is a pool of
connections, each used from one thread at a time. One more connection belongs to inserts alone, and one to probes:
reading never makes them wait for a free connection. Another one looks at queries that run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import chdb
import msgspec

from aggregator.errors import StoreError
from aggregator.store import directory, schema
from aggregator.store.arrow import stream_of
from aggregator.store.aside import Aside
from aggregator.store.bounds import FIRST, limited
from aggregator.store.engine import INSERT_SETTINGS, Engine, check_rows
from aggregator.store.failures import failure
from aggregator.store.layout import Layout
from aggregator.store.memory import in_memory
from aggregator.store.opening import Opening
from aggregator.store.parameters import bind
from aggregator.store.running import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import pyarrow as pa

    from aggregator.store.engine import Limits, Parameters, Slot
    from aggregator.store.tier import Tier

_R = TypeVar("_R")
_T = TypeVar("_T")


class _Column(msgspec.Struct):
    name: str
    type: str


_COLUMNS: Final = msgspec.json.Decoder(_Column)


class Embedded(Engine):
    """A store directory, opened. `start` makes one; `close` (idempotent) gives the directory back."""

    layout = Layout(schema.DATABASE)

    def __init__(self, connect: Callable[[], Any], lock: int, path: Path, connections: int) -> None:
        self.path = path
        self.identity = schema.identity(path)
        self.aside = Aside()
        self._lock: int | None = lock
        self._every: list[Any] = []
        self._idle: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(connections):
            connection = connect()
            self._every.append(connection)
            self._idle.put_nowait(connection)
        self._writer = connect()
        self._killer = connect()
        self._prober = connect()
        self._every += [self._writer, self._killer, self._prober]
        self._types: dict[str, dict[str, str]] = {}
        self._threads = ThreadPoolExecutor(connections, "engine")
        self._writer_thread = ThreadPoolExecutor(1, "engine-insert")
        self._killer_thread = ThreadPoolExecutor(1, "engine-kill")
        self._prober_thread = ThreadPoolExecutor(1, "engine-probe")

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        url: str,
        connections: int,
        *,
        make: bool = True,
        reserve_bytes: int | None = None,
        tier: Tier | None = None,
    ) -> AsyncIterator[Self]:
        """Open the store at ``chdb:///absolute/path``; if there is none, ``make`` one.

        ``reserve_bytes``: inserts fail while less than that is free on its disk; None: see `settings.reserve_of`.
        ``tier``: where its old days lie; should that be away, they are set aside (`aggregator.store.aside`).

        Raises `StoreLockedError` if another process has it, `StoreError` for an address or a directory that is none.
        """
        path = directory_of(url)
        engine = await asyncio.to_thread(cls._open, path, connections, make=make, reserve=reserve_bytes, tier=tier)
        try:
            yield engine
        finally:
            await engine.close()

    @classmethod
    def _open(cls, path: Path, connections: int, *, make: bool, reserve: int | None, tier: Tier | None) -> Self:
        if not make and not directory.is_store(path):
            raise StoreError(f"there is no store in {path}; name another one as --store")
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = directory.lock(path)
        except OSError as error:
            raise StoreError(f"the store in {path} cannot be opened: {error.strerror}") from error
        try:
            opening = Opening(path, reserve, tier)
            engine = opening.open(lambda address: cls(lambda: _connect(address), lock, path, connections))
        except StoreError:
            os.close(lock)
            raise
        except (RuntimeError, OSError) as error:
            os.close(lock)
            raise failure(error) from error
        engine.aside, engine.has_tier = opening.aside, opening.has_tier
        return engine

    async def close(self) -> None:
        """Wait for what is running, then close every connection and give the directory back."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        for threads in (self._threads, self._killer_thread, self._prober_thread, self._writer_thread):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self._close_connections)
        os.close(lock)

    def _close_connections(self) -> None:
        for connection in self._every:
            connection.close()

    async def execute(self, sql: str, parameters: Parameters | None = None) -> None:
        """As `Engine.execute`."""
        # The writer's connection: waits for inserts and makes them wait.
        bound = bind(parameters or {})
        await self._run(self._writer_thread, lambda: self._writer.query(sql, "TSV", params=bound))

    async def apart(self, sql: str) -> None:
        """Run a statement that may take long, beside inserts. Cancelled, it ends everybody's moves, for good."""
        connection = await self._idle.get()
        call = asyncio.ensure_future(self.read(lambda: connection.query(sql, "TSV")))
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                await self._run(self._killer_thread, lambda: self._killer.query("SYSTEM STOP MOVES", "TSV"))
            await asyncio.gather(call, return_exceptions=True)
            raise
        finally:
            self._idle.put_nowait(connection)

    async def told(self, sql: str, row: type[_T]) -> list[_T]:
        """As `Engine.told`; on the writer's connection, as `execute`."""
        answer = await self._run(self._writer_thread, lambda: self._writer.query(sql, "JSONEachRow").bytes())
        return msgspec.json.Decoder(row).decode_lines(answer)

    @contextlib.asynccontextmanager
    async def stream(
        self, sql: str, output: str, parameters: Parameters | None, limits: Limits
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `Engine.stream`."""
        connection = await self._idle.get()
        mark = uuid.uuid4().hex
        source = Running(self, connection, mark, limits.scanned)
        try:
            await source.start(limited(sql, mark, limits, parameters), output, bind(parameters or {}))
            if limits.scanned is not None and limits.scanned.parts is not None:
                limits.scanned.parts += await self._parts(mark)
            yield source.chunks()
        finally:
            await asyncio.shield(self._end(source))

    async def _end(self, source: Running) -> None:
        try:
            await source.end()
        finally:
            await self._clear(source)
            self._idle.put_nowait(source.connection)

    async def _clear(self, source: Running) -> None:
        """Take from a connection what a failed query left in it.

        chDB (chdb-core 26.9) keeps what a streamed query had written of its output when it failed, an ArrowStream's
        head for instance, and puts it in front of the connection's next result.
        """
        if source.has_failed:
            with contextlib.suppress(StoreError):
                await self.read(lambda: source.connection.query("SELECT 1", "TSV"))

    async def insert(self, table: str, rows: pa.RecordBatch, slot: Slot | None = None) -> None:
        """As `Engine.insert`."""
        check_rows(rows)
        await self._run(self._writer_thread, lambda: self._insert(table, rows, slot))

    def _insert(self, table: str, rows: pa.RecordBatch, slot: Slot | None) -> None:
        self.check()
        settings = ", ".join(f"{name}={value}" for name, value in INSERT_SETTINGS.items())
        if slot is not None:
            settings += f", insert_deduplication_token='{slot.token}'"
        # Not `Connection.send_insert`: chdb-core 26.9 reports success there for inserts that failed (no space left, a
        # broken constraint), which would lose the rows.
        with self._file(table, rows) as place:
            columns = ", ".join(rows.schema.names)
            sql = f"INSERT INTO {table} ({columns}) SETTINGS {settings} SELECT {columns} FROM {place}"  # noqa: S608 - names of ours
            self._writer.query(sql, "TSV")

    @contextlib.asynccontextmanager
    async def inserted(self, table: str, rows: pa.RecordBatch) -> AsyncIterator[str]:
        """As `Engine.inserted`."""
        with contextlib.ExitStack() as stack:
            file = self._file(table, rows)
            yield await asyncio.to_thread(stack.enter_context, file)

    @contextlib.contextmanager
    def _file(self, table: str, rows: pa.RecordBatch) -> Iterator[str]:
        """What a statement selects ``rows`` of ``table`` from: the engine reads them as a file, one in memory."""
        types = {name: self._type(table, name) for name in rows.schema.names}
        with in_memory(stream_of(rows), types) as place:
            yield place

    def _type(self, table: str, column: str) -> str:
        """The type of a column, so that what an insert brings is read as that and never guessed."""
        if table not in self._types:
            described = self._writer.query(f"DESCRIBE TABLE {table}", "JSONEachRow").bytes()
            self._types[table] = {row.name: row.type for row in _COLUMNS.decode_lines(described)}
        return self._types[table][column]

    async def ping(self, time_s: float) -> None:
        """As `Engine.ping`."""
        sql = f"SELECT 1 SETTINGS max_execution_time = {time_s}"
        await self._run(self._prober_thread, lambda: self._prober.query(sql, "TSV"))

    async def hold_queries(self, time_s: float) -> None:
        """Have queries stand still for so long, as while an insert runs. Raises `StoreError`."""
        sql = f"SELECT sleep({time_s}) SETTINGS {FIRST}"
        await self._run(self._prober_thread, lambda: self._prober.query(sql, "TSV"))

    def check(self) -> None:
        """As `Engine.check`."""
        if self._lock is not None:
            directory.check(self.path, self._lock)

    async def free_bytes(self) -> int:
        """As `Engine.free_bytes`."""
        found = await asyncio.to_thread(os.statvfs, self.path)
        return found.f_bavail * found.f_frsize

    async def kill(self, mark: str) -> None:
        """End the running query marked ``mark``, if it still runs."""
        sql = f"KILL QUERY WHERE Settings['log_comment'] = '{mark}' ASYNC"
        await self._run(self._killer_thread, lambda: self._killer.query(sql, "TSV"))

    async def _parts(self, mark: str) -> int:
        """How many parts of tables the query marked ``mark`` reads.

        The engine knows once it has planned it, and tells as long as it runs: until its last piece is fetched. Another
        statement, 4 ms (chdb-core 26.9): `EXPLAIN ESTIMATE` would take as long as planning the query once more.
        """
        sql = f"SELECT ProfileEvents['SelectedParts'] FROM system.processes WHERE Settings['log_comment'] = '{mark}'"  # noqa: S608 - a mark of our own
        found = await self._run(self._killer_thread, lambda: self._killer.query(sql, "TSV").bytes())
        return int(found or 0)

    async def read(self, call: Callable[[], _R]) -> _R:
        """Run one blocking call of a pooled connection in the pool's threads."""
        return await self._run(self._threads, call)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], _R]) -> _R:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, call)
        except RuntimeError as error:  # chDB raises RuntimeError and its subclass ChdbError
            self.check()
            raise failure(error) from error


def directory_of(url: str) -> Path:
    """The directory that ``chdb:///absolute/path`` names. Raises `StoreError` saying what is wrong with it."""
    scheme, _, path = url.partition("://")
    if scheme != "chdb":
        raise StoreError(f"store {url!r}: only chdb:///absolute/path is supported")
    # The path stands there as it is, not percent-encoded. In the engine's address, of which it becomes a part, a `?`
    # ends the path, and a `&` what follows.
    if not path.startswith("/") or "?" in path or "&" in path:
        raise StoreError(
            f"store {url!r}: a chdb store is a directory, chdb:///absolute/path with three slashes and no ? or &"
        )
    return Path(path)


def _connect(address: str) -> Any:
    connection = chdb.connect(address)
    connection.query(f"CREATE DATABASE IF NOT EXISTS {schema.DATABASE} ENGINE = Atomic", "TSV")
    connection.query(f"USE {schema.DATABASE}", "TSV")
    return connection
