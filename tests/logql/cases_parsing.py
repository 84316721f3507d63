"""Which labels: json, logfmt, regexp, pattern, unpack."""

from tests.logql.case import Case, Keeps, Labels, Parsed

_CART = '{namespace="shop",pod="cart-0"}'
_GATE = '{namespace="infra"}'
_WEB = '{namespace="web",pod="web-0"}'
_BROKEN = {"__error__": "JSONParserErr"}

JSON: tuple[Case, ...] = (
    Parsed(
        _CART + ' |= "placed" | json',
        (
            # Objects become names with an underscore; arrays and null are left out; numbers stay as they are written.
            {
                "level": "info",
                "msg": "order placed",
                "user_id": "42",
                "user_name": "Ann",
                "total": "19.90",
                "paid": "true",
            },
        ),
    ),
    Parsed(
        _CART + ' |= "failed" | json',
        (
            {
                "level": "error",
                "msg": "payment failed",
                "user_id": "7",
                "user_name": "Bo",
                "total": "5",
                "paid": "false",
                "latency": "250ms",
            },
        ),
    ),
    Parsed(
        _CART + ' |= "slow" | json',
        (
            # A label that the stream has is kept; what a label cannot have in its name is an underscore.
            {
                "level": "warn",
                "msg": "slow reply",
                "latency": "1.5s",
                "namespace_extracted": "inner",
                "path": "/a/b",
                "req_id": "x-9",
                "size": "2KB",
            },
        ),
    ),
    Parsed(_CART + ' |= "plain" | json', (_BROKEN,)),
    # What stands before the broken place is taken.
    Parsed(_CART + ' |= "truncated" | json', ({"level": "info", "msg": "truncated"} | _BROKEN,)),
    Parsed(
        _CART + ' |= "emoji" | json',
        ({"level": "info", "msg": "grüße ☃", "emoji": "😀", "esc": 'aé\n"q"', "_9lives": "cat"},),
    ),
    Parsed(_CART + ' |~ "^\\\\{\\\\}$" | json', ({},)),
    Parsed('{pod="edge-0"} |= "first" | json', (_BROKEN,)),
    Parsed('{pod="edge-0"} |~ "^$" | json', (_BROKEN, _BROKEN)),
    Parsed(_CART + ' |= "placed" | json msg', ({"msg": "order placed"},)),
    Parsed(_CART + ' |= "placed" | json m="msg"', ({"m": "order placed"},)),
    Parsed(_CART + ' |= "placed" | json who="user.name"', ({"who": "Ann"},)),
    Parsed(_CART + ' |= "placed" | json who="user[\\"name\\"]"', ({"who": "Ann"},)),
    Parsed(_CART + ' |= "placed" | json who=`user["name"]`, id=`["user"].id`', ({"who": "Ann", "id": "42"},)),
    Parsed(_CART + ' |= "placed" | json first="items[0].sku"', ({"first": "a-1"},)),
    Parsed(_CART + ' |= "placed" | json second="items[1]"', ({"second": '{"sku":"b-2","qty":1}'},)),
    Parsed(_CART + ' |= "placed" | json all="items"', ({"all": '[{"sku":"a-1","qty":2},{"sku":"b-2","qty":1}]'},)),
    Parsed(_CART + ' |= "placed" | json user="user"', ({"user": '{"id":42,"name":"Ann"}'},)),
    Parsed(_CART + ' |= "placed" | json t="total", p="paid"', ({"t": "19.90", "p": "true"},)),
    # Not there, and null: empty.
    Parsed(_CART + ' |= "placed" | json none="nothing.at.all"', ({"none": ""},)),
    Parsed(_CART + ' |= "placed" | json none="items[7]"', ({"none": ""},)),
    Parsed(_CART + ' |= "placed" | json none="coupon"', ({"none": ""},)),
    Parsed(_CART + ' |= "slow" | json namespace="namespace"', ({"namespace_extracted": "inner"},)),
    Parsed(_CART + ' |= "slow" | json id="[\\"req-id\\"]"', ({"id": "x-9"},)),
    Parsed(_CART + ' |= "emoji" | json e="esc"', ({"e": 'aé\n"q"'},)),
    Parsed(_CART + ' |= "plain" | json m="msg"', (_BROKEN,)),
    # Paths look no further than they must: what breaks off elsewhere is no error.
    Parsed(_CART + ' |= "truncated" | json m="msg"', ({"m": "truncated"},)),
    Parsed(_CART + ' |= "truncated" | json n="nothing"', ({"n": ""},)),
    Parsed(_CART + ' |= "truncated" | json u="user"', ({"u": ""} | _BROKEN,)),
    Parsed('{pod="edge-0"} |~ "^$" | json m="msg"', ({}, {})),
    # Two parsers: the second adds.
    Parsed(
        '{namespace="pack"} |= "none" | json | logfmt --keep-empty',
        ({"app": "none"},),
    ),
    Keeps(_CART + ' | json | __error__=""', "cart-0@0 cart-0@10 cart-0@20 cart-0@50 cart-0@60"),
    Keeps(_CART + ' | json | __error__!=""', "cart-0@30 cart-0@40"),
    Keeps(_CART + ' | json | __error__="JSONParserErr"', "cart-0@30 cart-0@40"),
    Keeps(_CART + ' | json | __error__=~"JSON.*"', "cart-0@30 cart-0@40"),
    Keeps(_CART + ' | json | level="info"', "cart-0@0 cart-0@40 cart-0@50"),
    Keeps(_CART + ' | json | user_name=~"A.*|B.*"', "cart-0@0 cart-0@10"),
    Keeps(_CART + ' | json | user_name=""', "cart-0@20 cart-0@30 cart-0@40 cart-0@50 cart-0@60"),
    Keeps(_CART + ' | json | namespace="inner"', ""),
    Keeps(_CART + ' | json | namespace_extracted="inner"', "cart-0@20"),
)

LOGFMT: tuple[Case, ...] = (
    Parsed(
        _GATE + ' |= "orders" |= "GET" | logfmt',
        (
            {
                "ts": "2024-10-04T12:00:00Z",
                "level": "info",
                "caller": "http.go:88",
                "method": "GET",
                "path": "/api/orders",
                "status": "200",
                "duration": "12ms",
                "bytes": "1.5KB",
            },
        ),
    ),
    Parsed(
        _GATE + ' |= "query failed" | logfmt',
        (
            {
                "ts": "2024-10-04T12:00:10Z",
                "level": "error",
                "caller": "db.go:12",
                "msg": 'query failed: "orders"',
                "err": "timeout",
                "duration": "2s",
                "status": "500",
                "bytes": "10MB",
            },
        ),
    ),
    # Empty values and keys without one are left out, unless they are to be kept.
    Parsed(_GATE + ' |= "flag" | logfmt', ({"level": "info", "debug": "true", "pod_extracted": "inner"},)),
    Parsed(
        _GATE + ' |= "flag" | logfmt --keep-empty',
        ({"level": "info", "msg": "", "empty": "", "flag": "", "debug": "true", "pod_extracted": "inner"},),
    ),
    # What is not logfmt is stepped over, unless it is to be an error.
    Parsed(_GATE + ' |= "unclosed" | logfmt', ({"a": "1"},)),
    Parsed(_GATE + ' |= "unclosed" | logfmt --strict', ({"a": "1", "__error__": "LogfmtParserErr"},)),
    Parsed(_GATE + ' |= "c=3" | logfmt', ({"c": "3", "f": "4"},)),
    Parsed(_GATE + ' |= "c=3" | logfmt --strict', ({"__error__": "LogfmtParserErr"},)),
    Parsed(_GATE + ' |= "flag" | logfmt --strict --keep-empty | keep empty, debug', ({"empty": "", "debug": "true"},)),
    Parsed(_GATE + ' |= "healthz" | logfmt method, status', ({"method": "GET", "status": "200"},)),
    Parsed(_GATE + ' |= "healthz" | logfmt verb="method", code="status"', ({"verb": "GET", "code": "200"},)),
    Parsed(_GATE + ' |= "healthz" | logfmt none="nothing"', ({"none": ""},)),
    Parsed(_GATE + ' |= "flag" | logfmt pod="pod"', ({"pod_extracted": "inner"},)),
    Parsed(_GATE + ' |= "query failed" | logfmt m="msg"', ({"m": 'query failed: "orders"'},)),
    Parsed('{pod="edge-0"} |= "first" | logfmt', ({},)),
    Parsed('{pod="edge-0"} |= "first" | logfmt --keep-empty', ({"first": ""},)),
    Parsed('{pod="edge-0"} |~ "^$" | logfmt', ({}, {})),
    Parsed('{pod="uni-0"} |= "Größe" | logfmt', ({},)),
    Keeps(_GATE + ' | logfmt | level="error"', "gate-0@10"),
    Keeps(_GATE + ' | logfmt --strict | __error__!=""', "gate-0@40 gate-0@50"),
    Keeps(_GATE + ' | logfmt | __error__!=""', ""),
    Keeps(_GATE + ' | logfmt | method="GET" | path!="/healthz"', "gate-0@0"),
)

REGEXP: tuple[Case, ...] = (
    Parsed(
        _WEB + ' |= "POST" | regexp "\\"(?P<method>\\\\w+) (?P<path>[^ ]+)"', ({"method": "POST", "path": "/api/pay"},)
    ),
    Parsed(_WEB + ' |= "POST" | regexp `"(?P<method>\\w+) (?P<path>[^ ]+)`', ({"method": "POST", "path": "/api/pay"},)),
    Parsed(_WEB + ' |= "POST" | regexp `" (?P<status>\\d{3}) (?P<size>\\d+)`', ({"status": "500", "size": "97"},)),
    Parsed(_WEB + ' |= "POST" | regexp `(?P<nothing>zzz)`', ({},)),
    # A group that took no part is empty.
    Parsed(_WEB + ' |= "POST" | regexp `(?P<post>POST)|(?P<get>GET)`', ({"post": "POST", "get": ""},)),
    Parsed(_WEB + ' |= "POST" | regexp `^(?P<pod>\\S+) - (\\S+)`', ({"pod_extracted": "192.168.4.5"},)),
    Parsed(
        '{namespace="kube"} |= "forbidden" '
        "| regexp `^(?P<severity>\\w)(?P<date>\\d{4}) \\S+ +(?P<thread>\\d+) (?P<at>[^\\]]+)\\]`",
        ({"severity": "W", "date": "1004", "thread": "1", "at": "reflector.go:561"},),
    ),
    Parsed('{pod="uni-0"} |= "Größe" | regexp `(?P<size>Größe \\d+)`', ({"size": "Größe 10"},)),
    Parsed(
        '{namespace="java"} |= "SQL" | regexp `(?P<exception>\\w+Exception)`', ({"exception": "IllegalStateException"},)
    ),
    Keeps(_WEB + ' | regexp `" (?P<status>\\d{3}) ` | status=~"4..|5.."', "web-0@20 web-0@30"),
    Keeps(_WEB + ' | regexp `(?P<client>curl|Mozilla)` | client=""', "web-0@40"),
)

PATTERN: tuple[Case, ...] = (
    Parsed(
        _WEB + ' |= "POST" | pattern `<ip> - <user> [<_>] "<method> <path> <_>" <status> <size> "<_>" "<agent>"`',
        (
            {
                "ip": "192.168.4.5",
                "user": "bob",
                "method": "POST",
                "path": "/api/pay",
                "status": "500",
                "size": "97",
                "agent": "Mozilla/5.0",
            },
        ),
    ),
    Parsed(_WEB + ' |= "POST" | pattern "<ip> - <user> "', ({"ip": "192.168.4.5", "user": "bob"},)),
    Parsed(_WEB + ' |= "POST" | pattern "<pod> - <_>"', ({"pod_extracted": "192.168.4.5"},)),
    Parsed(_WEB + ' |= "POST" | pattern "192.168.<rest> - <_>"', ({"rest": "4.5"},)),
    # A literal at the beginning stands at the beginning.
    Parsed(_WEB + ' |= "POST" | pattern "168.<rest> - <_>"', ({},)),
    # A literal that is not found: the capture before it is the rest, and those after it are not made.
    Parsed(
        '{pod="web-1",stream="stderr"} |= "warn" | pattern "<date> <time> [<level>] <pid>#<x>: <rest>"',
        (
            {
                "date": "2024/10/04",
                "time": "12:00:27",
                "level": "warn",
                "pid": "31",
                "x": "31",
                "rest": "*8 upstream server temporarily disabled",
            },
        ),
    ),
    Parsed(
        '{pod="web-1",stream="stderr"} |= "warn" | pattern "<date> <time> [<level>] <rest>zzz<more>"',
        (
            {
                "date": "2024/10/04",
                "time": "12:00:27",
                "level": "warn",
                "rest": "31#31: *8 upstream server temporarily disabled",
            },
        ),
    ),
    Parsed('{pod="edge-0"} |~ "^$" | pattern "<all>"', ({}, {})),
    Parsed('{pod="edge-0"} |= "first" | pattern "<all>"', ({"all": "first"},)),
    Parsed('{pod="edge-0"} |= "first" | pattern "first<rest>"', ({"rest": ""},)),
    Parsed('{pod="edge-0"} |= "first" | pattern "<a>i<b>"', ({"a": "f", "b": "rst"},)),
    Parsed('{pod="uni-0"} |= "ログ" | pattern "<a> <b>"', ({"a": "日本語のログ", "b": "処理完了"},)),
    Keeps(_WEB + ' | pattern `<_> "<method> <_>` | method="GET"', "web-0@0 web-0@10 web-0@30 web-0@40"),
)

UNPACK: tuple[Case, ...] = (
    Parsed('{namespace="pack"} |= "_entry" | unpack', ({"app": "web", "pod_extracted": "other"},)),
    # Not packed: nothing is taken.
    Parsed('{namespace="pack"} |= "none" | unpack', ({},)),
    Parsed('{namespace="pack"} |= "not packed" | unpack', (_BROKEN,)),
    Parsed(
        '{namespace="pack"} |= "_entry" | unpack | logfmt', ({"app": "web", "pod_extracted": "other", "level": "info"},)
    ),
    Parsed('{namespace="pack"} |= "_entry" | unpack |= "_entry"', ()),
    Parsed('{namespace="pack"} |= "_entry" | unpack |= "GET /x"', ({"app": "web", "pod_extracted": "other"},)),
)

_OWN = {
    "cluster": "test",
    "node": "node-1",
    "namespace": "infra",
    "pod": "gate-0",
    "uid": "uid-gate-0",
    "container": "gate",
    "stream": "stdout",
}

ALL: tuple[Case, ...] = (
    Labels('{namespace="infra"} |= "query failed"', (_OWN | {"detected_level": "error"},)),
    Labels('{namespace="infra"} |= "unclosed"', (_OWN | {"detected_level": "unknown"},)),
    Labels('{namespace="infra"} |= "unclosed" | logfmt a', (_OWN | {"detected_level": "unknown", "a": "1"},)),
    Keeps('{namespace=~"infra|kube"} | detected_level="error"', "gate-0@10 sched-0@20"),
    Keeps('{namespace=~"infra|kube"} | detected_level=~"error|fatal"', "gate-0@10 sched-0@20 sched-0@30"),
    Keeps('{namespace="infra"} | detected_level="unknown"', "gate-0@40 gate-0@50"),
    Keeps('{namespace="infra"} | detected_level=""', ""),
    Keeps('{namespace="infra"} | level="error"', ""),
    Keeps('{namespace="java"} | detected_level="warn"', "order-0@20"),
    Keeps('{namespace="shop"} | detected_level="error"', "cart-0@10 pay-0@25"),
)

CASES = JSON + LOGFMT + REGEXP + PATTERN + UNPACK + ALL
