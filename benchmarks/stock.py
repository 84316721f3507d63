"""Millions of lines in a store, made inside the engine: what queries are measured on.

200 pods of five namespaces, the busiest with a hundred times the lines of the quietest; four kinds of lines: access
logs, JSON with numbers, logfmt and klog, 90 to 400 bytes each. Lines arrive at an even pace, ten million of them in two
days, and are inserted in the order of time as an aggregator commits them: each insert has lines of every pod, and with
each insert every pod begins another log file. The same number of a line always makes the same line.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.store.schema import LOGS
from aggregator.store.streams import Stream, Streams
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from aggregator.store.engine import Engine

PODS: Final = 200
NAMESPACES: Final = ("shop", "payments", "search", "platform", "kube-system")
# What a pod's container is called says what its lines are.
ACCESS, JSON, LOGFMT, KLOG = CONTAINERS = ("nginx", "api", "worker", "controller")
# A midnight, UTC.
START_NS: Final = 20_400 * DAY_NS
LINES_A_DAY: Final = 5_000_000
# Every so many lines one has the rare words in it.
RARE_EVERY: Final = 100_000
_INSERT_LINES: Final = 500_000
# What a line's file has in front of and behind its message.
_FRAMING_BYTES: Final = 41
# The number of the line with the needle.
_NEEDLE: Final = 200_002
_STEP_NS: Final = DAY_NS // LINES_A_DAY

_HASH: Final = "cityHash64(n, 7)"
_BODY: Final = r"""multiIf(
    kind = 0,
    format('10.{}.{}.{} - - [24/Nov/2026:10:{}:{} +0000] "{} {}?page={} HTTP/1.1" {} {} "{}" "{}" rt={}',
        toString(h % 16), toString(h % 251), toString(h % 253), leftPad(toString(h % 60), 2, '0'),
        leftPad(toString(h % 59), 2, '0'), ['GET', 'GET', 'GET', 'POST', 'PUT', 'DELETE'][h % 6 + 1], route,
        toString(h % 90), toString(status), toString(h % 90000),
        'https://shop.example.com/', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36', toString(latency)),
    kind = 1,
    format('{{"time":"{}","level":"{}","msg":"{}","trace_id":"{}","route":"{}","status_code":{},"latency":{},"cache_hit":{},"user":{{"id":{},"plan":"{}"}}}}',
        toString(ts), word, message, trace, route, toString(status), toString(latency), if(h % 7 = 0, 'false', 'true'),
        toString(h % 50000), ['free', 'team', 'enterprise'][h % 3 + 1]),
    kind = 2,
    format('ts={} level={} component=queue msg="{}" trace_id={} took={}ms attempt={} queue={}',
        toString(ts), word, message, trace, toString(latency), toString(h % 4), splitByChar('/', route)[4]),
    format('{}1124 10:{}:{}.{} 1 controller.go:{}] "{}" pod="{}/worker-{}" err="{}"',
        upper(substring(word, 1, 1)), leftPad(toString(h % 60), 2, '0'), leftPad(toString(h % 59), 2, '0'),
        leftPad(toString(h % 1000000), 6, '0'), toString(h % 900 + 100), message, 'shop', toString(h % 400),
        if(word = 'error', 'context deadline exceeded', '')))"""
_MESSAGE: Final = f"""if(n % {RARE_EVERY} = 777, format('deadlock found on table_{{}}', toString(h % 1000)),
    ['request completed', 'connection accepted from upstream', 'retrying after failure', 'item processed',
     'cache refreshed for tenant', 'lease renewed', 'session opened', 'checkpoint written to storage'][h % 8 + 1])"""
_ROUTE: Final = (
    "concat('/api/v1/', ['orders', 'carts', 'users', 'items', 'search', 'login', 'prices', 'stock'][h % 8 + 1], '/', "
    "['list', 'get', 'update'][h % 3 + 1])"
)
# Of a hundred lines one is an error, four are warnings, fifteen debugging.
_WORD: Final = "multiIf(h % 100 = 0, 'error', h % 100 < 5, 'warn', h % 100 < 20, 'debug', 'info')"
_STATUS: Final = "multiIf(h % 97 = 0, 503, h % 31 = 0, 404, h % 11 = 0, 201, 200)"
_TRACE: Final = "lower(hex(MD5(toString(n))))"


class _Range(msgspec.Struct):
    running: int


def stream(pod: int) -> Stream:
    """The stream of a pod."""
    namespace = NAMESPACES[pod % len(NAMESPACES)]
    container = CONTAINERS[pod // len(NAMESPACES) % len(CONTAINERS)]
    labels = {
        "cluster": "main",
        "namespace": namespace,
        "pod": f"{container}-{pod:03}",
        "container": container,
        "node": f"node-{pod % 12}",
        "stream": "stdout",
        "uid": f"00000000-0000-4000-8000-{pod:012}",
    }
    return Stream.of(labels)


def needle() -> str:
    """The trace id of a line that has one, early on."""
    return hashlib.md5(str(_NEEDLE).encode(), usedforsecurity=False).hexdigest()


class Stock:
    """Fills the store of ``engine``, whose tables are there and have ``lines`` of it: whole inserts."""

    def __init__(self, engine: Engine, lines: int = 0) -> None:
        self.lines = lines
        self._engine = engine
        self._streams = Streams(engine)
        self._known = [stream(pod) for pod in range(PODS)]

    @property
    def files(self) -> int:
        """How many log files there were."""
        return self.lines // _INSERT_LINES * PODS

    @property
    def end_ns(self) -> int:
        """Just after the last line."""
        return START_NS + self.lines * _STEP_NS

    async def grow(self, lines: int) -> None:
        """Add lines until there are ``lines``, and wait until what merges then is merged."""
        while self.lines < lines:
            day_end = (self.lines // LINES_A_DAY + 1) * LINES_A_DAY
            end = min(self.lines + _INSERT_LINES, lines, day_end)
            await self._streams.write((START_NS + self.lines * _STEP_NS) // DAY_NS, self._known)
            await self._insert(self.lines, end)
            self.lines = end
        while (await self._engine.rows("SELECT count() AS running FROM system.merges", _Range))[0].running:  # noqa: ASYNC110 - asks the engine
            await asyncio.sleep(0.2)

    async def _insert(self, first: int, end: int) -> None:
        await self._engine.execute(
            f"INSERT INTO {LOGS} (namespace, stream_id, ts, source, position, framing, flags, body) "  # noqa: S608 - own words
            f"SELECT namespace, stream_id, ts, source, position, {_FRAMING_BYTES}, flags, body FROM ({_SELECT}) "
            "SETTINGS max_insert_threads = 1, max_block_size = 1048576, min_insert_block_size_rows = 1048576, "
            "min_insert_block_size_bytes = 0, max_threads = 2",
            {
                "first": first,
                "files": self.files,
                "count": end - first,
                "streams": [one.number for one in self._known],
                "namespaces": [one.labels["namespace"] for one in self._known],
            },
        )


_SELECT: Final = f"""WITH
    {_HASH} AS h,
    toUInt32(pow((cityHash64(n, 1) % 1000000) / 1000000, 2) * {PODS}) AS pod,
    intDiv(pod, {len(NAMESPACES)}) % {len(CONTAINERS)} AS kind,
    {_WORD} AS word, {_STATUS} AS status, {_ROUTE} AS route, {_MESSAGE} AS message, {_TRACE} AS trace,
    round(exp((h % 10000) / 1500), 3) AS latency
SELECT
    {{namespaces:Array(String)}}[pod + 1] AS namespace, {{streams:Array(UInt64)}}[pod + 1] AS stream_id,
    fromUnixTimestamp64Nano(toInt64({START_NS} + n * {_STEP_NS} + h % {_STEP_NS}), 'UTC') AS ts,
    toUInt128({{files:UInt64}} + pod + 1) AS source, toUInt8(0) AS flags, {_BODY} AS body,
    toUInt64(sum(length(body) + {_FRAMING_BYTES}) OVER (PARTITION BY pod ORDER BY n ROWS UNBOUNDED PRECEDING))
        AS position
FROM (SELECT number AS n FROM numbers({{first:UInt64}}, {{count:UInt64}}))"""  # noqa: S608 - own words
