"""ClickHouse's HTTP interface over the engine in this process: what a server would say to the official client.

Statements in the address, the body or a form, ``param_x``, settings as parameters, inserts with a body, formats,
``X-ClickHouse-Exception-Code``, failures in the middle of an answer, ``query_id`` and KILL. With ``cluster`` it is a
cluster of one shard: what needs Keeper (ON CLUSTER, Replicated) is taken out of statements; Distributed tables are the
engine's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import chdb
import msgspec
import pyarrow as pa
from aiohttp import web

from aggregator.store.memory import in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

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


class _Column(msgspec.Struct):
    name: str
    type: str


class Front:
    """Answers as a server.

    ``before``: awaited with each insert's statement before it is done, which it is whether the client still waits or
    not. ``lost``: says of a statement that was done whether its answer is lost.
    """

    def __init__(self, path: Path, *, cluster: bool) -> None:
        config = path / "front.xml"
        path.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG if cluster else "<clickhouse/>")
        self._address = f"{path / 'engine'}?config-file={quote(str(config))}"
        self._cluster = cluster
        # One stays open: with the last one the engine would end.
        self._keeper = chdb.connect(self._address)
        self._killer = chdb.connect(self._address)
        self._threads = ThreadPoolExecutor(16, "front")
        self.before: Callable[[str], Awaitable[None]] = _at_once
        self.lost: Callable[[str], bool] = lambda _: False
        self._inserts: set[asyncio.Task[None]] = set()
        self.url = ""

    def close(self) -> None:
        self._threads.shutdown()
        self._killer.close()
        self._keeper.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = dict(request.query)
        body = b""
        if request.content_type == "multipart/form-data":
            asked |= {name: str(value) for name, value in (await request.post()).items()}
        else:
            body = await request.read()
        insert = _INSERT.match(body) if not asked.get("query") else None
        sql = asked.get("query") or (insert[0] if insert else body).decode()
        try:
            if insert:
                task = asyncio.create_task(self._inserted(asked, sql, insert, body))
                self._inserts.add(task)
                task.add_done_callback(self._inserts.discard)
                await asyncio.shield(task)
                answer = web.Response(text="", headers={"X-ClickHouse-Summary": "{}"})
            elif sql.startswith("KILL QUERY"):
                await self._run(self._kill, sql)
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
        await self._run(self._insert, asked, insert[1].decode(), insert[2].decode(), body[insert.end() :])

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def _connect(self, asked: dict[str, str]) -> Any:
        connection = chdb.connect(self._address)
        try:
            if asked.get("database"):
                connection.query(f"USE `{asked['database']}`", "TSV")
            settings = {
                name: value for name, value in asked.items() if name not in _NO_SETTINGS and name[:6] != "param_"
            }
            if settings:
                connection.query("SET " + ", ".join(f"{name} = '{value}'" for name, value in settings.items()), "TSV")
        except RuntimeError:
            connection.close()
            raise
        return connection

    def _kill(self, sql: str) -> None:
        self._killer.query(self._local(sql).replace("query_id =", "Settings['log_comment'] ="), "TSV")

    def _local(self, sql: str) -> str:
        """``sql`` without what needs Keeper."""
        if not self._cluster:
            return sql
        return re.sub(
            r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?", r"\1(", sql.replace(f" ON CLUSTER `{CLUSTER}`", "")
        )

    def _insert(self, asked: dict[str, str], table: str, names: str, rows: bytes) -> None:
        connection = self._connect(asked)
        try:
            described = connection.query(f"DESCRIBE TABLE {table}", "JSONEachRow").bytes()
            types = {row.name: row.type for row in msgspec.json.Decoder(_Column).decode_lines(described)}
            columns = [name.strip(" `") for name in names.split(",")]
            with in_memory(rows, {name: types[name] for name in columns}) as place:
                connection.query(f"INSERT INTO {table} ({names}) SELECT {names} FROM {place}", "TSV")  # noqa: S608 - a test's
        finally:
            connection.close()

    async def _select(self, request: web.Request, asked: dict[str, str], sql: str) -> web.StreamResponse:
        found = _FORMAT.search(sql)
        output = found[1] if found else asked.get("default_format", "TSV")
        sql = self._local(sql[: found.start()] if found else sql)
        bound = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        connection = await self._run(self._connect, asked)
        try:
            if output != "ArrowStream":
                data = (await self._run(lambda: connection.query(sql, output, params=bound))).bytes()
                return web.Response(body=data or b"", headers={"X-ClickHouse-Format": output})
            return await self._stream(request, connection, sql, bound)
        finally:
            await asyncio.shield(self._run(connection.close))

    async def _stream(
        self, request: web.Request, connection: Any, sql: str, bound: dict[str, str]
    ) -> web.StreamResponse:
        result = await self._run(lambda: connection.send_query(sql, "ArrowStream", params=bound))
        response = web.StreamResponse(headers={"X-ClickHouse-Exception-Tag": _TAG})
        head = b""
        try:
            while True:
                piece = await self._run(_fetch, result)
                if piece is None:
                    break
                # Each piece of the embedded engine is a stream of its own; a server's answer is one.
                with pa.ipc.open_stream(piece) as reader:
                    batches, schema = list(reader), reader.schema
                if not response.prepared:
                    await response.prepare(request)
                    head = schema.serialize().to_pybytes()
                    await response.write(head)
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
        finally:
            with contextlib.suppress(RuntimeError):
                await asyncio.shield(self._run(result.cancel))
        await response.write_eof()
        return response


async def _at_once(_: str) -> None:
    pass


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
    runner = web.AppRunner(app, handler_cancellation=True)
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
