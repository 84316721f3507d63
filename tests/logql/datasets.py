"""What the cases are asked of: records of many kinds, each kind in a namespace of its own.

A record is named by its pod and its second: ``web-0@10``; further ones of the same second by a letter: ``edge-0@0b``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.aggregator.records import NOW_NS
from tests.logql.labels import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

START_NS: Final = NOW_NS
SECOND_NS: Final = 1_000_000_000

Told = tuple[int, str, str | bytes]


def _access(second: int, address: str, user: str, request: str, answer: str, agent: str) -> Told:
    time = f"04/Oct/2024:12:{second // 60:02d}:{second % 60:02d} +0000"
    return second, "", f'{address} - {user} [{time}] "{request}" {answer} "-" "{agent}"'


_WEB_0: Final = (
    _access(0, "10.0.0.1", "alice", "GET /index.html HTTP/1.1", "200 512", "curl/8.0"),
    _access(10, "10.0.0.2", "-", "GET /api/cart?id=7 HTTP/1.1", "200 1024", "Mozilla/5.0"),
    _access(20, "192.168.4.5", "bob", "POST /api/pay HTTP/1.1", "500 97", "Mozilla/5.0"),
    _access(30, "10.0.0.1", "alice", "GET /missing HTTP/1.1", "404 153", "curl/8.0"),
    _access(40, "2001:db8::1", "-", "GET /index.html HTTP/2.0", "304 0", "Go-http-client/2.0"),
    _access(70, "10.0.0.2", "-", "DELETE /api/cart HTTP/1.1", "204 0", "Mozilla/5.0"),
)
_WEB_1: Final = (
    _access(5, "10.0.1.9", "-", "GET /healthz HTTP/1.1", "200 2", "kube-probe/1.29"),
    _access(15, "10.0.1.9", "-", "GET /healthz HTTP/1.1", "200 2", "kube-probe/1.29"),
    _access(25, "10.0.1.9", "-", "GET /healthz HTTP/1.1", "503 19", "kube-probe/1.29"),
)
_WEB_1_ERRORS: Final = (
    (26, "error", "2024/10/04 12:00:26 [error] 31#31: *7 connect() failed (111: Connection refused) to upstream"),
    (27, "warn", "2024/10/04 12:00:27 [warn] 31#31: *8 upstream server temporarily disabled"),
)
_CART: Final = (
    (
        0,
        "info",
        (
            '{"level":"info","msg":"order placed","user":{"id":42,"name":"Ann"},'
            '"items":[{"sku":"a-1","qty":2},{"sku":"b-2","qty":1}],"total":19.90,"paid":true,"coupon":null}'
        ),
    ),
    (
        10,
        "error",
        '{"level":"error","msg":"payment failed","user":{"id":7,"name":"Bo"},"total":5,"paid":false,"latency":"250ms"}',
    ),
    (
        20,
        "warn",
        (
            '{"level":"warn","msg":"slow reply","latency":"1.5s","namespace":"inner","path":"/a/b","req-id":"x-9",'
            '"size":"2KB"}'
        ),
    ),
    (30, "", "plain text, no JSON"),
    (40, "info", '{"level":"info","msg":"truncated","user":{"id":1'),
    (50, "info", '{"level":"info","msg":"grüße ☃","emoji":"😀","esc":"a\\u00e9\\n\\"q\\"","9lives":"cat"}'),
    (60, "", "{}"),
)
_PAY: Final = (
    (5, "info", '{"level":"info","msg":"charged","amount":10,"currency":"EUR","took_ms":12.5}'),
    (15, "info", '{"level":"info","msg":"charged","amount":30,"currency":"USD","took_ms":7.5}'),
    (25, "error", '{"level":"error","msg":"declined","amount":20,"currency":"EUR","took_ms":101}'),
    (35, "info", '{"level":"info","msg":"charged","amount":"abc","currency":"EUR","took_ms":3}'),
)
_GATE: Final = (
    (
        0,
        "info",
        (
            "ts=2024-10-04T12:00:00Z level=info caller=http.go:88 method=GET path=/api/orders status=200 duration=12ms "
            "bytes=1.5KB"
        ),
    ),
    (
        10,
        "error",
        (
            'ts=2024-10-04T12:00:10Z level=error caller=db.go:12 msg="query failed: \\"orders\\"" err=timeout '
            "duration=2s status=500 bytes=10MB"
        ),
    ),
    (
        20,
        "warn",
        (
            'ts=2024-10-04T12:00:20Z level=warn caller=http.go:90 msg="slow" method=POST path=/api/pay status=200 '
            "duration=900ms bytes=512B"
        ),
    ),
    (30, "info", 'level=info msg= empty="" flag debug=true pod=inner'),
    (40, "", 'a=1 b="unclosed'),
    (50, "", '=x c=3 d"e f=4'),
    (60, "debug", "level=debug method=GET path=/healthz status=200 duration=300us bytes=2"),
)
_SCHEDULER: Final = (
    (0, "info", 'I1004 12:00:00.000001       1 scheduler.go:74] "Attempting to schedule pod" pod="shop/cart-0"'),
    (10, "warn", "W1004 12:00:10.100000       1 reflector.go:561] failed to list *v1.Node: nodes is forbidden"),
    (20, "error", "E1004 12:00:20.200000       1 leaderelection.go:332] error retrieving lock kube-system/sched"),
    (30, "fatal", "F1004 12:00:30.300000       1 main.go:9] cannot start"),
)
_ORDER: Final = (
    (0, "info", "2024-10-04 12:00:00.000  INFO 1 --- [main] c.s.Order : started in 3.2 seconds"),
    (
        10,
        "error",
        (
            "2024-10-04 12:00:10.000 ERROR 1 --- [exec-1] c.s.Order : failed\n"
            "java.lang.IllegalStateException: no stock\n"
            "\tat c.s.Order.take(Order.java:42)\n"
            "\tat c.s.Api.post(Api.java:17)\n"
            "Caused by: java.sql.SQLException: timeout\n"
            "\t... 2 more"
        ),
    ),
    (20, "warn", "2024-10-04 12:00:20.000  WARN 1 --- [exec-2] c.s.Order : retry 1 of 3"),
)
_UNICODE: Final = (
    (0, "", "naïve café — Größe 10 µm"),
    (10, "", "日本語のログ 処理完了"),
    (20, "", "emoji 😀 and 👩‍👩‍👧 family"),
    (30, "", "ПРИВЕТ мир"),
    (40, "", b"broken \xff bytes"),
)
_ANSI: Final = (
    (0, "", "\x1b[31mERROR\x1b[0m disk full"),
    (10, "", "plain"),
    (20, "", "\x1b[1;33mwarn:\x1b[0m \x1b[4mhot\x1b[24m"),
)
# Empty lines, equal times, a clock that goes back; what the file has first has the lower position.
_EDGE: Final = (
    (0, "", ""),
    (0, "", "first"),
    (0, "", "second"),
    (10, "", "later"),
    (5, "", "earlier"),
    (10, "", "again"),
    (20, "", "   "),
    (20, "", ""),
    (30, "", "tab\tseparated"),
    (30, "", 'a "quoted" `ticked` \\ back'),
)
_METER_0: Final = (
    (0, "", "value=1 counter=10 size=1KB took=100ms kind=a"),
    (15, "", "value=2 counter=20 size=2KB took=200ms kind=b"),
    (30, "", "value=4 counter=35 size=1KiB took=1s kind=a"),
    (45, "", "value=8 counter=5 size=500B took=1m kind=b"),
    (75, "", "value=16 counter=15 size=3MB took=250us kind=a"),
)
_METER_1: Final = (
    (0, "", "value=10 counter=1 size=1B took=1s kind=a"),
    (30, "", "value=20 counter=2 size=2B took=2s kind=a"),
    (60, "", "value=-30 counter=3 size=3B took=3s kind=a"),
)
_METER_BAD: Final = ((0, "", "value=bad size=big took=long kind=c"), (10, "", "kind=c"))
_PACKED: Final = (
    (0, "info", '{"_entry":"GET /x level=info","app":"web","pod":"other"}'),
    (10, "", '{"app":"none"}'),
    (20, "", "not packed"),
)


def stream(namespace: str, pod: str, container: str, name: str = "stdout") -> tuple[tuple[str, str], ...]:
    """The labels of a stream."""
    labels = {
        "cluster": "test",
        "node": "node-1",
        "namespace": namespace,
        "pod": pod,
        "uid": f"uid-{pod}",
        "container": container,
        "stream": name,
    }
    return tuple(sorted(labels.items()))


STREAMS: Final[tuple[tuple[tuple[tuple[str, str], ...], Sequence[Told]], ...]] = (
    (stream("web", "web-0", "nginx"), _WEB_0),
    (stream("web", "web-1", "nginx"), _WEB_1),
    (stream("web", "web-1", "nginx", "stderr"), _WEB_1_ERRORS),
    (stream("shop", "cart-0", "app"), _CART),
    (stream("shop", "pay-0", "app"), _PAY),
    (stream("infra", "gate-0", "gate"), _GATE),
    (stream("kube", "sched-0", "scheduler", "stderr"), _SCHEDULER),
    (stream("java", "order-0", "app"), _ORDER),
    (stream("text", "uni-0", "app"), _UNICODE),
    (stream("text", "ansi-0", "app"), _ANSI),
    (stream("text", "edge-0", "app"), _EDGE),
    (stream("meter", "m-0", "app"), _METER_0),
    (stream("meter", "m-1", "app"), _METER_1),
    (stream("meter", "m-2", "app"), _METER_BAD),
    (stream("pack", "pk-0", "app"), _PACKED),
)


def _records() -> dict[str, Record]:
    named: dict[str, Record] = {}
    for labels, told in STREAMS:
        for second, level, line in told:
            name = f"{dict(labels)['pod']}@{second}"
            letter = next(one for one in ("", *"bcdefgh") if name + one not in named)
            body = line if isinstance(line, bytes) else line.encode()
            named[name + letter] = Record(START_NS + second * SECOND_NS, labels, level, body)
    return named


RECORDS: Final = _records()
