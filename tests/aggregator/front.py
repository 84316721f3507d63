"""ClickHouse's HTTP interface over the engine in this process: what a server would say to the official client.

Statements in the address, the body or a form, ``param_x``, settings as parameters, inserts with a body, formats,
``X-ClickHouse-Exception-Code``, failures in the middle of an answer, ``query_id`` and KILL. With ``cluster`` it is a
cluster of one shard: what needs Keeper (ON CLUSTER, Replicated) is taken out of statements; Distributed tables are the
engine's own.

``python -m tests.aggregator.front DIRECTORY [clustered]`` is the same as a process of its own: `apart` starts it, so
that what the engine does to its process is a failure of one test that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import chdb
import msgspec
import pyarrow as pa
from aiohttp import web

from aggregator.store.memory import in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# Parameters that are no settings, and one that would have the engine ask itself over the network.
_OWN: Final = frozenset({"query", "database", "query_id", "wait_end_of_query", "client_protocol_version", "compress"})
_NO_SETTINGS: Final = _OWN | {"prefer_localhost_replica"}
_INSERT: Final = re.compile(rb"\s*INSERT INTO (\S+) \((.*?)\) FORMAT (\w+)\s*\n", re.DOTALL)
_FORMAT: Final = re.compile(r"\sFORMAT\s+(\w+)\s*$")
_CODE: Final = re.compile(r"Code: (\d+)\.")
_TAG: Final = "abcdefghijklmnop"
_CONFIG: Final = """<clickhouse><tcp_port>9000</tcp_port><remote_servers>
<one><shard><internal_replication>true</internal_replication><replica><host>localhost</host><port>9000</port></replica></shard></one>
</remote_servers></clickhouse>"""
CLUSTER: Final = "one"
# Asked for, it answers when no insert is under way.
DONE: Final = "/done"
_READONLY: Final = "readonly"
# Statements at a time.
_SEATS_MAX: Final = 16
_START_S: Final = 30.0


class _Column(msgspec.Struct):
    name: str
    type: str


class _Seat:
    """A connection and the one thread that uses it.

    A connection stands no two calls at once: a fetch beside which another thread cancels the result and closes the
    connection may never end (chdb-core 26.9), and the engine's end waits for it.

    ``is_reading``: for requests with `readonly`, which a connection never loses again.
    """

    def __init__(self, address: str, *, is_reading: bool = False) -> None:
        self.is_reading = is_reading
        self._thread = ThreadPoolExecutor(1, "front")
        self._address = address
        self._set: list[str] = []
        self._is_readonly = False
        self.connection: Any = None

    async def run(self, call: Callable[[], Any]) -> Any:
        """Do ``call`` after those before it; whoever is cancelled meanwhile leaves it running."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))

    def prepare(self, asked: dict[str, str]) -> None:
        """Have the database and the settings that a request asks for, and none of the one before."""
        if self.connection is None:
            self.connection = chdb.connect(self._address)
        settings = {name: value for name, value in asked.items() if name not in _NO_SETTINGS and name[:6] != "param_"}
        for name in self._set:
            self.connection.query(f"SET {name} = DEFAULT", "TSV")
        self._set = [name for name in settings if name != _READONLY]
        self.connection.query(f"USE `{asked.get('database') or 'default'}`", "TSV")
        if settings:
            if self._is_readonly:
                del settings[_READONLY]
            self.connection.query("SET " + ", ".join(f"{name} = '{value}'" for name, value in settings.items()), "TSV")
            self._is_readonly = self.is_reading

    def close(self) -> None:
        self._thread.shutdown()
        if self.connection is not None:
            self.connection.close()


class Front:
    """Answers as a server.

    ``before``: awaited with each insert's statement before it is done, which it is whether the client still waits or
    not. ``lost``: says of a statement that was done whether its answer is lost. ``instead``: awaited with each
    statement; what is answered instead of doing it, if anything. ``cut``: streams end in the middle of a block.
    """

    def __init__(self, path: Path, *, cluster: bool) -> None:
        config = path / "front.xml"
        path.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG if cluster else "<clickhouse/>")
        self._address = f"{path / 'engine'}?config-file={quote(str(config))}"
        self._cluster = cluster
        # One stays open: with the last one the engine would end.
        self._keeper = chdb.connect(self._address)
        self._killer = _Seat(self._address)
        self._free: list[_Seat] = []
        self._seats: list[_Seat] = []
        self._turn = asyncio.Semaphore(_SEATS_MAX)
        self.before: Callable[[str], Awaitable[None]] = _at_once
        self.lost: Callable[[str], bool] = lambda _: False
        self.instead: Callable[[str], Awaitable[web.Response | None]] = _nothing
        self.cut = False
        self._inserts: set[asyncio.Task[None]] = set()
        self.url = ""

    def close(self) -> None:
        for seat in (self._killer, *self._seats):
            seat.close()
        self._keeper.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == DONE:
            await self.done()
            return web.Response(text="")
        asked = dict(request.query)
        body = b""
        if request.content_type == "multipart/form-data":
            asked |= {name: str(value) for name, value in (await request.post()).items()}
        else:
            body = await request.read()
        insert = _INSERT.match(body) if not asked.get("query") else None
        sql = asked.get("query") or (insert[0] if insert else body).decode()
        if (other := await self.instead(sql)) is not None:
            return other
        try:
            if insert:
                task = asyncio.create_task(self._inserted(asked, sql, insert, body))
                self._inserts.add(task)
                task.add_done_callback(self._inserts.discard)
                await asyncio.shield(task)
                answer = web.Response(text="", headers={"X-ClickHouse-Summary": "{}"})
            elif sql.startswith("KILL QUERY"):
                await self._kill(sql)
                answer = web.Response(text="")
            else:
                return await self._select(request, asked, sql)
        except RuntimeError as error:
            return _refused(error)
        if self.lost(sql):
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def done(self) -> None:
        """Wait for inserts that are under way."""
        while self._inserts:
            await asyncio.wait(self._inserts)

    async def _inserted(self, asked: dict[str, str], sql: str, insert: re.Match[bytes], body: bytes) -> None:
        await self.before(sql)
        async with self._seat(asked) as seat:
            await seat.run(lambda: self._insert(seat, asked, insert, body[insert.end() :]))

    @contextlib.asynccontextmanager
    async def _seat(self, asked: dict[str, str]) -> AsyncIterator[_Seat]:
        """A seat that nobody else has; a query whose client has left is ended before it is free."""
        is_reading = _READONLY in asked
        async with self._turn:
            seat = next((one for one in self._free if one.is_reading == is_reading), None)
            if seat is None:
                seat = _Seat(self._address, is_reading=is_reading)
                self._seats.append(seat)
            else:
                self._free.remove(seat)
            try:
                yield seat
            except asyncio.CancelledError:
                await asyncio.shield(self._end(seat, asked.get("query_id", "")))
                raise
            finally:
                self._free.append(seat)

    async def _end(self, seat: _Seat, mark: str) -> None:
        over = asyncio.ensure_future(seat.run(lambda: None))
        while not (await asyncio.wait([over], timeout=0.05))[0]:
            await self._kill(f"KILL QUERY WHERE query_id = '{mark}' ASYNC")

    async def _kill(self, sql: str) -> None:
        def kill() -> None:
            self._killer.prepare({})
            self._killer.connection.query(self._local(sql).replace("query_id =", "Settings['log_comment'] ="), "TSV")

        await self._killer.run(kill)

    def _local(self, sql: str) -> str:
        """``sql`` without what needs Keeper."""
        if not self._cluster:
            return sql
        return re.sub(
            r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?", r"\1(", sql.replace(f" ON CLUSTER `{CLUSTER}`", "")
        )

    def _insert(self, seat: _Seat, asked: dict[str, str], insert: re.Match[bytes], rows: bytes) -> None:
        seat.prepare(asked)
        table, names = insert[1].decode(), insert[2].decode()
        described = seat.connection.query(f"DESCRIBE TABLE {table}", "JSONEachRow").bytes()
        types = {row.name: row.type for row in msgspec.json.Decoder(_Column).decode_lines(described)}
        columns = [name.strip(" `") for name in names.split(",")]
        with in_memory(rows, {name: types[name] for name in columns}) as place:
            seat.connection.query(f"INSERT INTO {table} ({names}) SELECT {names} FROM {place}", "TSV")  # noqa: S608 - a test's

    async def _select(self, request: web.Request, asked: dict[str, str], sql: str) -> web.StreamResponse:
        found = _FORMAT.search(sql)
        output = found[1] if found else asked.get("default_format", "TSV")
        sql = self._local(sql[: found.start()] if found else sql)
        bound = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        async with self._seat(asked) as seat:
            await seat.run(lambda: seat.prepare(asked))
            if output != "ArrowStream":
                data = await seat.run(lambda: seat.connection.query(sql, output, params=bound).bytes())
                return web.Response(body=data or b"", headers={"X-ClickHouse-Format": output})
            return await self._stream(request, seat, sql, bound, asked.get("query_id", ""))

    async def _stream(
        self, request: web.Request, seat: _Seat, sql: str, bound: dict[str, str], mark: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-ClickHouse-Exception-Tag": _TAG})
        running: list[Any] = []
        try:
            await seat.run(lambda: running.append(seat.connection.send_query(sql, "ArrowStream", params=bound)))
            while (piece := await seat.run(lambda: _fetch(running[0]))) is not None:
                # Each piece of the embedded engine is a stream of its own; a server's answer is one.
                with pa.ipc.open_stream(piece) as reader:
                    batches, schema = list(reader), reader.schema
                if not response.prepared:
                    await response.prepare(request)
                    await response.write(schema.serialize().to_pybytes())
                if self.cut:
                    await response.write(batches[0].serialize().to_pybytes()[:-100])
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                for batch in batches:
                    await response.write(batch.serialize().to_pybytes())
            if not response.prepared:
                await response.prepare(request)
            await response.write(b"\xff\xff\xff\xff\0\0\0\0")
        except RuntimeError as error:
            if not response.prepared:
                return _refused(error)
            await response.write(
                f"\r\n__exception__\r\n{_TAG}\r\n{error}\n{len(str(error))} {_TAG}\r\n__exception__\r\n".encode()
            )
        except asyncio.CancelledError:
            await asyncio.shield(self._end(seat, mark))
            raise
        finally:
            with contextlib.suppress(RuntimeError):
                await seat.run(lambda: [result.cancel() for result in running])
        await response.write_eof()
        return response


async def _at_once(_: str) -> None:
    pass


async def _nothing(_: str) -> None:
    return None


def _fetch(result: Any) -> bytes | None:
    piece = result._conn.streaming_fetch_result(result._result)
    return bytes(piece.bytes()) if piece.rows_read() else None


def _refused(error: RuntimeError) -> web.Response:
    found = _CODE.search(str(error))
    return web.Response(
        text=str(error), status=500, headers={"X-ClickHouse-Exception-Code": found[1] if found else "1002"}
    )


@contextlib.asynccontextmanager
async def serving(path: Path, *, cluster: bool = False) -> AsyncIterator[Front]:
    """A front on the engine in ``path``."""
    front = Front(path, cluster=cluster)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", front.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        front.url = f"clickhouse://127.0.0.1:{port}/logboom" + (f"?cluster={CLUSTER}" if cluster else "")
        yield front
    finally:
        await front.done()
        await runner.cleanup()
        await asyncio.to_thread(front.close)


@contextlib.asynccontextmanager
async def apart(path: Path, *, cluster: bool = False) -> AsyncIterator[str]:
    """The address of a front that is a process of its own, on the engine in ``path``. It ends with this process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.aggregator.front",
        str(path),
        *(["clustered"] if cluster else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            url = (await child.stdout.readline()).decode().strip()
        assert url, f"the front ended with {await child.wait()} before it listened"
        yield url
        assert child.returncode is None, f"the front ended with {child.returncode} in the middle of the test"
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _main(path: Path, *, cluster: bool) -> None:
    async with serving(path, cluster=cluster) as front:
        print(front.url, flush=True)  # noqa: T201 - whoever started it reads this
        left = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), left.set)
        await left.wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), cluster=len(sys.argv) > 2))
