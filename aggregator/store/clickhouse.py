"""ClickHouse servers as the engine: one, or a cluster of any number behind one address.

Everything goes over HTTP through the official client. A statement may meet any server of the cluster; inserts name
their shard, and that server hands them on to one of its replicas. What a query reads is not counted: the client does
not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import clickhouse_connect
import msgspec

from aggregator.errors import StoreError
from aggregator.store.arrow import blocks, stream_of
from aggregator.store.aside import Aside
from aggregator.store.bounds import limited
from aggregator.store.engine import INSERT_SETTINGS, Engine, Limits, check_rows
from aggregator.store.schema import LOGS
from aggregator.store.server import Server, server_of
from aggregator.store.waiting import Run, answered, coming, until_over
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pyarrow as pa

    from aggregator.store.engine import Parameters, Slot

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_CONNECT_S: Final = 5.0
# What a statement may take beside its own time (`aggregator.store.engine.Limits.time_s`): a server looks at that
# between two blocks only, and may have much to do.
_LATE_S: Final = 30.0
# The client's own patience, which is one for all statements: out of the way of those above.
_SILENCE_S: Final = 86_400.0
# A server that is asked who it is answers at once.
_START_S: Final = 30.0
# Longer than a server waits for the others with what is ON CLUSTER (180 s, `distributed_ddl_task_timeout`), for then it
# says which one is away.
_CHANGE_S: Final = 200.0
# Somebody's turn waits for it, and it matters little: a query ends at its limit.
_END_S: Final = 5.0
# An insert that has not ended by then is given up: the server ends it, and its slot stays taken for long enough
# (`aggregator.store.schema.SLOTS_KEPT_S`) if it does not.
INSERT_S: Final = 60.0
# Connections beside those of statements: inserts, ends of queries, probes.
_OWN_CONNECTIONS: Final = 4
# A setting that came with how 26.9 deduplicates: before, a replica that was behind stored the second insert of a slot,
# and not the one that the others had (ClickHouse issue 41048).
_FIT: Final = "deduplication_hashes_cache_update_wait_ms"
# Settings of every statement that reads. One replica answers for a shard, and not one that is minutes behind: what an
# answer has of a shard is then one state of it. A server ends what only reads when its client is gone.
_READING: Final[dict[str, Any]] = {
    "readonly": 2,
    "cancel_http_readonly_queries_on_client_close": 1,
    "max_replica_delay_for_distributed_queries": 300,
    "fallback_to_stale_replicas_for_distributed_queries": 0,
    "max_parallel_replicas": 1,
    "enable_parallel_replicas": 0,
    "skip_unavailable_shards": 0,
    "distributed_product_mode": "local",
}
# Inserts go to the first replica of a shard that is well, and small answers come from it: what was stored is seen at
# once. Large answers come from any.
_FIRST: Final[dict[str, Any]] = {"load_balancing": "first_or_random", "prefer_localhost_replica": 0}


class ClickHouse(Engine):
    """A client of some servers. `connect` makes one, and closes it."""

    def __init__(self, client: Any, server: Server, connections: int) -> None:
        self.layout = server.layout
        self.aside = Aside()
        self._client = client
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._reading = dict(_READING)
        self._writing: dict[str, Any] = {**INSERT_SETTINGS, "max_execution_time": INSERT_S}
        if server.layout.cluster:
            self._writing |= {"distributed_foreground_insert": 1, **_FIRST}
        if server.quorum:
            self._writing |= {"insert_quorum": server.quorum, "insert_quorum_parallel": 0}
            self._reading["select_sequential_consistency"] = 1

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, url: str, connections: int, password: str) -> AsyncIterator[Self]:
        """Connect to what ``url`` names (`aggregator.store.server`); its database is made if there is none.

        Raises `StoreError` for an address that is none, and where no server answers.
        """
        server = server_of(url)
        async with answered(_START_S):
            client = await clickhouse_connect.get_async_client(
                host=server.host,
                port=server.port,
                username=server.user,
                password=password,
                secure=server.secure,
                ca_cert=server.authority or None,
                compress=False,
                connect_timeout=_CONNECT_S,
                send_receive_timeout=_SILENCE_S,
                connector_limit=connections + _OWN_CONNECTIONS,
                connector_limit_per_host=connections + _OWN_CONNECTIONS,
                form_encode_query_params=True,  # thousands of sources do not fit into an address
                query_retries=0,
                client_name="logboom",
            )
        try:
            engine = cls(client, server, connections)
            await engine._enter_database()
            yield engine
        finally:
            await client.close()

    async def _enter_database(self) -> None:
        """Find out about the cluster, and have the database."""
        name = self.layout.database
        if self.layout.cluster:
            (found,) = await self.rows(
                "SELECT (SELECT toUInt64(uniqExact(shard_num)) FROM system.clusters WHERE cluster = {name:String}) AS "
                "shards, (SELECT count() FROM system.merge_tree_settings WHERE name = {fit:String}) AS is_fit",
                dict[str, int],
                {"name": self.layout.cluster, "fit": _FIT},
            )
            if not found["shards"]:
                raise StoreError(f"the servers know no cluster {self.layout.cluster!r}")
            if not found["is_fit"]:
                raise StoreError("the servers are too old to deduplicate inserts on every replica alike; 26.9 does")
            self.layout = msgspec.structs.replace(self.layout, shards=found["shards"])
        databases = await self.rows(
            "SELECT name FROM system.databases WHERE name = {name:String}", dict[str, str], {"name": name}
        )
        if not databases:
            await self.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`{self.layout.on_cluster} ENGINE = Atomic")
        self._client.database = name

    async def execute(self, sql: str, parameters: Parameters | None = None) -> None:
        """As `Engine.execute`."""
        async with answered(_CHANGE_S):
            await self._client.raw_query(sql, parameters=_bound(parameters))

    async def told(self, sql: str, row: type[_T]) -> list[_T]:
        """As `Engine.told`."""
        async with answered(_CHANGE_S):
            return msgspec.json.Decoder(row).decode_lines(await self._client.raw_query(sql, fmt="JSONEachRow"))

    async def rows(
        self, sql: str, row: type[_T], parameters: Parameters | None = None, limits: Limits | None = None
    ) -> list[_T]:
        """As `Engine.rows`; the server answers once it has all of it, so a failure is never in the middle."""
        limits = limits or Limits()
        async with self._running(limits) as run, answered(limits.time_s + _LATE_S, run):
            data = await self._client.raw_query(
                limited(sql, run.mark, limits, parameters),
                parameters=_bound(parameters),
                settings=self._reading | (_FIRST if self.layout.cluster else {}) | {"query_id": run.mark},
                fmt="JSONEachRow",
            )
            run.is_over = True
        return msgspec.json.Decoder(row).decode_lines(data)

    @contextlib.asynccontextmanager
    async def stream(
        self, sql: str, output: str, parameters: Parameters | None, limits: Limits
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `Engine.stream`."""
        if output != "ArrowStream":
            raise ValueError(f"only ArrowStream tells rows from a failure in the middle, found {output}")
        async with self._running(limits) as run:
            time_s = limits.time_s + _LATE_S
            async with answered(time_s, run):
                answer = await self._client.raw_stream(
                    limited(sql, run.mark, limits, parameters),
                    parameters=_bound(parameters),
                    settings=self._reading | {"query_id": run.mark},
                    fmt=output,
                )
            async with answer:
                yield until_over(blocks(coming(answer, time_s)), run)

    @contextlib.asynccontextmanager
    async def _running(self, limits: Limits) -> AsyncIterator[Run]:
        """A statement's turn; the server is told to end it where it is left before it is over."""
        if limits.scanned is not None:
            limits.scanned.statements += 1
        async with self._free:
            run = Run(uuid.uuid4().hex)
            try:
                yield run
            finally:
                if not run.is_over:
                    await asyncio.shield(self._kill(run.mark))

    async def _kill(self, mark: str) -> None:
        # It reaches the server, if there is one; of several, the one whose client is gone notices that.
        sql = f"KILL QUERY WHERE query_id = '{mark}' ASYNC"
        try:
            async with answered(_END_S):
                await self._client.raw_query(sql)
        except StoreError as error:  # it ends at its own limit
            _log.warning("a query could not be ended", extra=fields(reason=error))

    async def insert(self, table: str, rows: pa.RecordBatch, slot: Slot | None = None) -> None:
        """As `Engine.insert`."""
        check_rows(rows)
        settings = dict(self._writing)
        if slot is None:
            settings["insert_deduplicate"] = 0
        else:
            settings["insert_deduplication_token"] = slot.token
        if table == LOGS and self.layout.cluster:
            settings["insert_shard_id"] = slot.shard if slot is not None else 1
        async with answered(INSERT_S):
            await self._client.raw_insert(table, rows.schema.names, stream_of(rows), settings, "ArrowStream")

    @contextlib.asynccontextmanager
    async def inserted(self, table: str, rows: pa.RecordBatch) -> AsyncIterator[str]:
        """As `Engine.inserted`."""
        # They are read back: a statement brings no rows of its own over HTTP.
        at_ms = rows.column("committed_at")[0].value
        yield f"(SELECT * FROM {table} WHERE committed_at = fromUnixTimestamp64Milli({at_ms}, 'UTC'))"  # noqa: S608 - own words

    async def ping(self, time_s: float) -> None:
        """As `Engine.ping`."""
        async with answered(time_s):
            await self._client.raw_query(f"SELECT 1 SETTINGS max_execution_time = {time_s}")

    async def hold_queries(self, time_s: float) -> None:
        """Nothing: queries take no core from this process, and servers have a scheduling of their own."""

    def check(self) -> None:
        """Servers are asked each time: there is nothing to look at."""

    async def free_bytes(self) -> int:
        """As `Engine.free_bytes`."""
        (found,) = await self.rows(
            f"SELECT toUInt64(min(unreserved_space)) AS free FROM {self.layout.disks}",  # noqa: S608 - own words
            dict[str, int],
        )
        return found["free"]


def _bound(parameters: Parameters | None) -> dict[str, Any]:
    """Parameters as the client takes them: a tuple would become one of SQL, which is no array."""
    return {name: value if isinstance(value, str | int) else list(value) for name, value in (parameters or {}).items()}
