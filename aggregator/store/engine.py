"""The engine: chDB connections, the threads they are used from, statements, streams and inserts.

A chDB connection takes one call at a time and each call blocks a thread (without the GIL), so there is a pool of
connections, each used from one thread at a time. One more connection belongs to inserts alone, and one to probes:
reading never makes them wait for a free connection. Another one looks at queries that run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import chdb
import msgspec
import pyarrow as pa

from aggregator.errors import QueryCancelledError, StoreError
from aggregator.store import directory
from aggregator.store.aside import Aside
from aggregator.store.bounds import FIRST, in_one_part, limited
from aggregator.store.failures import failure
from aggregator.store.opening import Opening
from aggregator.store.parameters import bind
from aggregator.store.scanned import Scanned
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from aggregator.store.tier import Tier

    Parameters = Mapping[str, str | int | Sequence[str] | Sequence[int]]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_R = TypeVar("_R")

# An insert must become one block, hence one part: above every group the committer makes (`ingest.committer`).
INSERT_ROWS_MAX: Final = 1 << 20
# Most calls are over sooner by themselves; and a query that was told to end, and knew it, has ended by then.
_KILL_AFTER_S: Final = 0.02


class Limits(msgspec.Struct, frozen=True):
    """What one statement may use: seconds, bytes of memory, bytes read (uncompressed; 0: any number), threads.

    ``scanned``: counts what it reads.
    """

    time_s: float = 30.0
    memory_bytes: int = 1 << 30
    read_bytes: int = 0
    threads: int = 2
    scanned: Scanned | None = None


class _Column(msgspec.Struct):
    name: str
    type: str


_COLUMNS: Final = msgspec.json.Decoder(_Column)


class Engine:
    """A store directory, opened. `open` makes one; `close` (idempotent) gives the directory back."""

    def __init__(self, connect: Callable[[], Any], lock: int, path: Path, connections: int) -> None:
        self.path = path
        self.aside = Aside()
        self.has_tier = False
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
    async def open(
        cls,
        url: str,
        connections: int = 6,
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
            engine = opening.open(lambda address: cls(lambda: chdb.connect(address), lock, path, connections))
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
        """Run a statement of the writer's (schema, retention); waits for inserts and makes them wait."""
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
        """What a statement that is no SELECT answers, each row decoded as ``row``; the writer's as in `execute`."""
        answer = await self._run(self._writer_thread, lambda: self._writer.query(sql, "JSONEachRow").bytes())
        return msgspec.json.Decoder(row).decode_lines(answer)

    async def rows(
        self, sql: str, row: type[_T], parameters: Parameters | None = None, limits: Limits | None = None
    ) -> list[_T]:
        """A small result, each row decoded as ``row`` (a msgspec type for the row's JSON object)."""
        data = bytearray()
        async with self.stream(sql, "JSONEachRow", parameters, limits or Limits()) as chunks:
            async for chunk in chunks:
                data += chunk
        return msgspec.json.Decoder(row).decode_lines(data)

    @contextlib.asynccontextmanager
    async def stream(
        self, sql: str, output: str, parameters: Parameters | None, limits: Limits
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A result in the engine's format ``output``, in pieces, as the engine makes them.

        Leaving the context ends the query at once, also when the engine is in the middle of a piece; cancelling does
        the same. Raises a `StoreError` where the engine fails, from the first piece on.
        """
        connection = await self._idle.get()
        mark = uuid.uuid4().hex
        source = _Stream(self, connection, mark, limits.scanned)
        try:
            await source.start(limited(sql, mark, limits, parameters), output, bind(parameters or {}))
            if limits.scanned is not None and limits.scanned.parts is not None:
                limits.scanned.parts += await self._parts(mark)
            yield source.chunks()
        finally:
            await asyncio.shield(self._end(source))

    async def _end(self, source: _Stream) -> None:
        try:
            await source.end()
        finally:
            await self._clear(source)
            self._idle.put_nowait(source.connection)

    async def _clear(self, source: _Stream) -> None:
        """Take from a connection what a failed query left in it.

        chDB (chdb-core 26.9) keeps what a streamed query had written of its output when it failed, an ArrowStream's
        head for instance, and puts it in front of the connection's next result.
        """
        if source.has_failed:
            with contextlib.suppress(StoreError):
                await self.read(lambda: source.connection.query("SELECT 1", "TSV"))

    async def insert(self, table: str, rows: pa.RecordBatch) -> None:
        """Insert ``rows`` durably: one block, one part, fsynced by the table's settings; all of it or nothing.

        ``rows``: at most `INSERT_ROWS_MAX`, and all of one partition.
        """
        if not 0 < rows.num_rows <= INSERT_ROWS_MAX:
            raise ValueError(f"an insert has 1 to {INSERT_ROWS_MAX} rows, found {rows.num_rows}")
        await self._run(self._writer_thread, lambda: self._insert(table, rows))

    def _insert(self, table: str, rows: pa.RecordBatch) -> None:
        self.check()
        # Not `Connection.send_insert`: chdb-core 26.9 reports success there for inserts that failed (no space left, a
        # broken constraint), which would lose the rows.
        with self._file(table, rows) as place:
            columns, settings = ", ".join(rows.schema.names), in_one_part(INSERT_ROWS_MAX)
            sql = f"INSERT INTO {table} ({columns}) SETTINGS {settings} SELECT {columns} FROM {place}"  # noqa: S608 - names of ours
            self._writer.query(sql, "TSV")

    @contextlib.asynccontextmanager
    async def inserted(self, table: str, rows: pa.RecordBatch) -> AsyncIterator[str]:
        """What a statement selects ``rows`` from, as long as this is open; some were inserted into ``table`` before."""
        with contextlib.ExitStack() as stack:
            file = self._file(table, rows)
            yield await asyncio.to_thread(stack.enter_context, file)

    @contextlib.contextmanager
    def _file(self, table: str, rows: pa.RecordBatch) -> Iterator[str]:
        """What a statement selects ``rows`` of ``table`` from: the engine reads them as a file, one in memory."""
        with os.fdopen(os.memfd_create("rows", os.MFD_CLOEXEC), "wb") as file:
            with pa.ipc.new_stream(file, rows.schema) as stream:
                stream.write_batch(rows)
            file.flush()
            types = ", ".join(f"{name} {self._type(table, name)}" for name in rows.schema.names)
            quoted = types.replace("\\", "\\\\").replace("'", "\\'")
            yield f"file('/proc/self/fd/{file.fileno()}', 'ArrowStream', '{quoted}')"

    def _type(self, table: str, column: str) -> str:
        """The type of a column, so that what an insert brings is read as that and never guessed."""
        if table not in self._types:
            described = self._writer.query(f"DESCRIBE TABLE {table}", "JSONEachRow").bytes()
            self._types[table] = {row.name: row.type for row in _COLUMNS.decode_lines(described)}
        return self._types[table][column]

    async def ping(self, time_s: float) -> None:
        """Have the engine answer at all. Raises `StoreError`."""
        sql = f"SELECT 1 SETTINGS max_execution_time = {time_s}"
        await self._run(self._prober_thread, lambda: self._prober.query(sql, "TSV"))

    async def hold_queries(self, time_s: float) -> None:
        """Have queries stand still for so long, as while an insert runs. Raises `StoreError`."""
        sql = f"SELECT sleep({time_s}) SETTINGS {FIRST}"
        await self._run(self._prober_thread, lambda: self._prober.query(sql, "TSV"))

    def check(self) -> None:
        """Look whether the directory is still the one that was opened. Raises `StoreGoneError`."""
        if self._lock is not None:
            directory.check(self.path, self._lock)

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


class _Stream:
    """One running query: owns its connection until `end`."""

    def __init__(self, engine: Engine, connection: Any, mark: str, scanned: Scanned | None) -> None:
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
        def send() -> Any:
            self._engine.check()
            return self.connection.send_query(sql, output, params=parameters)

        self._result = await self._blocking(send)

    async def chunks(self) -> AsyncIterator[bytes]:
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
