"""Range functions and unwrap: samples of the last so many seconds, the beginning left out, the end included."""

from tests.logql.case import Case, Failing, Instant, Range

_M = '{namespace="meter"}'
_M0 = '{pod="m-0"} | logfmt | unwrap value'
_OWN_0 = (
    'cluster="test",container="app",detected_level="unknown",namespace="meter",node="node-1",pod="m-0",'
    'stream="stdout",uid="uid-m-0"'
)


def _value(function: str, value: float, *, at: float = 60, close: float = 1e-9) -> Instant:
    """One series: that of m-0."""
    return Instant(f"{function.format(_M0)} by (pod)", at, {'pod="m-0"': value}, close=close)


COUNTS: tuple[Case, ...] = (
    Instant(f"sum by (pod) (count_over_time({_M}[1m]))", 60, {'pod="m-0"': 3, 'pod="m-1"': 2, 'pod="m-2"': 1}),
    Instant(f"sum by (pod) (count_over_time({_M}[1m]))", 0, {'pod="m-0"': 1, 'pod="m-1"': 1, 'pod="m-2"': 1}),
    Instant(f"sum by (pod) (count_over_time({_M}[1m]))", -0.000000001, {}),
    Instant(f"sum by (pod) (count_over_time({_M}[1m]))", 59.999, {'pod="m-0"': 4, 'pod="m-1"': 2, 'pod="m-2"': 2}),
    Instant(f"sum by (pod) (count_over_time({_M}[30s]))", 30, {'pod="m-0"': 2, 'pod="m-1"': 1, 'pod="m-2"': 1}),
    Instant(f"sum by (pod) (count_over_time({_M}[1h]))", 3599, {'pod="m-0"': 5, 'pod="m-1"': 3, 'pod="m-2"': 2}),
    Instant(f"sum by (pod) (count_over_time({_M}[1h]))", 3600, {'pod="m-0"': 4, 'pod="m-1"': 2, 'pod="m-2"': 1}),
    Instant(f"sum(count_over_time({_M}[1m]))", 60, {"": 6}),
    Instant(f"sum by () (count_over_time({_M}[1m]))", 60, {"": 6}),
    Instant('count_over_time({pod="m-0"}[1m])', 60, {_OWN_0: 3}),
    Instant('count_over_time({pod="m-0"}[1s])', 60, {}),
    Instant('count_over_time({pod="m-0"} |= "kind=a" [1m])', 60, {_OWN_0: 1}),
    Instant('count_over_time({pod="m-0"}[1m] |= "kind=a")', 60, {_OWN_0: 1}),
    Instant('count_over_time(({pod="m-0"} |= "kind=a")[1m])', 60, {_OWN_0: 1}),
    Instant('count_over_time({pod="m-0"} | logfmt kind [1m])', 60, {_OWN_0 + ',kind="a"': 1, _OWN_0 + ',kind="b"': 2}),
    Instant('sum by (kind) (count_over_time({pod="m-0"} | logfmt [1m]))', 60, {'kind="a"': 1, 'kind="b"': 2}),
    Instant(
        'sum by (kind) (count_over_time({pod="m-0"} | logfmt | value > 2 [1m]))', 60, {'kind="a"': 1, 'kind="b"': 1}
    ),
    Instant('sum by (nothing) (count_over_time({pod="m-0"}[1m]))', 60, {"": 3}),
    Instant('sum by (pod, nothing) (count_over_time({pod="m-0"}[1m]))', 60, {'pod="m-0"': 3}),
    Instant(
        'sum by (detected_level) (count_over_time({namespace="infra"}[2m]))',
        60,
        {
            'detected_level="info"': 2,
            'detected_level="error"': 1,
            'detected_level="warn"': 1,
            'detected_level="debug"': 1,
            'detected_level="unknown"': 2,
        },
    ),
    Instant(
        'sum by (stream) (count_over_time({namespace="web"}[5m]))', 100, {'stream="stdout"': 9, 'stream="stderr"': 2}
    ),
    Instant('sum(count_over_time({namespace="java"} |~ "Exception" [1m]))', 30, {"": 1}),
    Instant('sum(count_over_time({pod="edge-0"}[10s]))', 10, {"": 3}),
    Instant('sum(count_over_time({pod="edge-0"} |= "" [1m]))', 40, {"": 10}),
    Instant('sum(count_over_time({pod="edge-0"} != "" [1m]))', 40, {}),
    Instant('sum(rate({pod="m-0"}[1m]))', 60, {"": 0.05}),
    Instant('sum(rate({pod="m-0"}[30s]))', 30, {"": 2 / 30}),
    Instant('sum by (pod) (rate({pod=~"m-0|m-1"}[2m]))', 60, {'pod="m-0"': 4 / 120, 'pod="m-1"': 3 / 120}),
    Instant('sum(bytes_over_time({pod="edge-0"}[10s]))', 0, {"": 11}),
    Instant('sum(bytes_over_time({pod="edge-0"} |= "first" [10s]))', 0, {"": 5}),
    Instant('sum(bytes_over_time({pod="edge-0"} |~ "^$" [10s]))', 0, {"": 0}),
    Instant('sum(bytes_over_time({pod="uni-0"}[10s]))', 10, {"": 31}),
    Instant('sum(bytes_over_time({pod="edge-0"} | line_format "xx" [10s]))', 0, {"": 6}),
    Instant('sum(bytes_rate({pod="edge-0"}[10s]))', 0, {"": 1.1}),
    Instant('sum(rate({namespace="web"} | pattern `<_> "<method> <_>` | method="GET" [100s]))', 90, {"": 0.07}),
    Instant(
        'sum by (status) (count_over_time({namespace="web",stream="stdout"} | pattern `<_>" <status> <_>` [5m]))',
        100,
        {
            'status="200"': 4,
            'status="500"': 1,
            'status="404"': 1,
            'status="304"': 1,
            'status="204"': 1,
            'status="503"': 1,
        },
    ),
    Instant(
        'sum by (user_name) (count_over_time({pod="cart-0"} | json | __error__="" [5m]))',
        100,
        {'user_name="Ann"': 1, 'user_name="Bo"': 1, "": 3},
    ),
    Instant(
        'sum by (currency) (count_over_time({pod="pay-0"} | json [5m]))',
        100,
        {'currency="EUR"': 3, 'currency="USD"': 1},
    ),
)

UNWRAPPED: tuple[Case, ...] = (
    Instant(f"sum(sum_over_time({_M0} [1m]))", 60, {"": 14}),
    Instant(f"sum by (pod) (sum_over_time({_M0} [1m]))", 60, {'pod="m-0"': 14}),
    Instant(f"sum_over_time({_M0} [1m])", 0, {_OWN_0 + ',counter="10",size="1KB",took="100ms",kind="a"': 1}),
    _value("avg_over_time({} [1m])", 14 / 3),
    _value("min_over_time({} [1m])", 2),
    _value("max_over_time({} [1m])", 8),
    _value("first_over_time({} [1m])", 2),
    _value("last_over_time({} [1m])", 8),
    _value("stdvar_over_time({} [1m])", 56 / 9),
    _value("stddev_over_time({} [1m])", 2.494438257849294),
    _value("quantile_over_time(0.5, {} [1m])", 4),
    _value("quantile_over_time(0.9, {} [1m])", 7.2),
    _value("quantile_over_time(0, {} [1m])", 2),
    _value("quantile_over_time(1, {} [1m])", 8),
    _value("quantile_over_time(0.25, {} [1m])", 3),
    _value("avg_over_time({} [1m])", 28 / 3, at=75),
    _value("min_over_time({} [2m])", 1, at=75),
    _value("max_over_time({} [2m])", 16, at=75),
    _value("stdvar_over_time({} [10s])", 0, at=0),
    _value("quantile_over_time(0.99, {} [10s])", 1, at=0),
    Instant('min_over_time({pod="m-1"} | logfmt | unwrap value [2m]) by (pod)', 60, {'pod="m-1"': -30}),
    Instant('max_over_time({pod="m-1"} | logfmt | unwrap value [10s]) by (pod)', 60, {'pod="m-1"': -30}),
    Instant(
        'avg_over_time({pod=~"m-0|m-1"} | logfmt | unwrap value [1m]) by (kind)', 60, {'kind="a"': -2, 'kind="b"': 5}
    ),
    Instant('max_over_time({pod=~"m-0|m-1"} | logfmt | unwrap value [1m]) by ()', 60, {"": 20}),
    Instant(
        'max_over_time({pod="m-0"} | logfmt kind, value | unwrap value [1m]) without (cluster, container, namespace, '
        "node, stream, uid, detected_level)",
        60,
        {'pod="m-0",kind="a"': 4, 'pod="m-0",kind="b"': 8},
    ),
    Instant(
        'max_over_time({pod="m-0"} | logfmt kind, value | keep pod, value | unwrap value [1m])', 60, {'pod="m-0"': 8}
    ),
    Instant('sum(rate({pod="m-0"} | logfmt | unwrap value [1m]))', 60, {"": 14 / 60}),
    Instant(
        'sum(rate_counter({pod="m-0"} | logfmt counter | keep counter | unwrap counter [1m]))',
        60,
        {"": 40 / 60},  # 20 seen over 30 s, and as much again on either side
    ),
    Instant(
        'rate_counter({pod="m-1"} | logfmt counter | keep counter | unwrap counter [2m])',
        60,
        {"": 3 / 120},  # from zero, 30 s before
    ),
    Instant('rate_counter({pod="m-1"} | logfmt counter | keep counter | unwrap counter [10s])', 60, {"": 0}),
    # What has no such label, or an empty one, has no sample.
    Instant('sum(sum_over_time({pod="m-0"} | unwrap value [1m]))', 60, {}),
    Instant('sum(sum_over_time({pod="m-2"} |= "=c" != "bad" | logfmt | unwrap value [1m]))', 60, {}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap value | value > 3 [1m]))', 60, {"": 12}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap value | kind="b" [1m]))', 60, {"": 10}),
    Instant('sum(sum_over_time({namespace="meter"} | logfmt | unwrap value | __error__="" [2m]))', 60, {"": 15}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap bytes(size) [1m]))', 60, {"": 3524}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap bytes(size) [10s]))', 75, {"": 3_000_000}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap duration(took) [1m]))', 60, {"": 61.2}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap duration_seconds(took) [1m]))', 60, {"": 61.2}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap duration(took) [10s]))', 75, {"": 0.00025}),
    Instant(
        'max_over_time({pod="pay-0"} | json | unwrap took_ms [1m]) by (currency)',
        30,
        {'currency="EUR"': 101, 'currency="USD"': 7.5},
    ),
    Instant('sum(sum_over_time({pod="pay-0"} | json | unwrap amount | __error__="" [1m]))', 40, {"": 60}),
    Instant(
        'sum(sum_over_time({namespace="web"} | pattern `<_>" <status> <size> <_>` | unwrap size [5m]))', 100, {"": 1809}
    ),
    Instant('sum(sum_over_time({pod="web-0"} | regexp `" \\d+ (?P<size>\\d+)` | unwrap size [5m]))', 100, {"": 1786}),
    Instant('sum(sum_over_time({pod="cart-0"} | json | unwrap total | __error__="" [5m]))', 100, {"": 24.9}),
    Instant(
        'avg_over_time({pod="m-0"} | logfmt | label_format half="{{ divf .value 2 }}" | unwrap half [1m]) by (pod)',
        60,
        {'pod="m-0"': 7 / 3},
    ),
)

ABSENT: tuple[Case, ...] = (
    Instant('absent_over_time({namespace="nowhere"}[1m])', 60, {'namespace="nowhere"': 1}),
    Instant('absent_over_time({namespace="nowhere",pod="x"}[1m])', 60, {'namespace="nowhere",pod="x"': 1}),
    Instant('absent_over_time({namespace="nowhere",pod=~"x.*",stream!="y"}[1m])', 60, {'namespace="nowhere"': 1}),
    Instant('absent_over_time({namespace="meter"}[1m])', 60, {}),
    Instant('absent_over_time({namespace="meter"}[1m])', 1000, {'namespace="meter"': 1}),
    Instant('absent_over_time({namespace="meter"} |= "zzz" [1m])', 60, {'namespace="meter"': 1}),
    Range('absent_over_time({pod="m-1"}[10s])', 0, 60, 20, {'pod="m-1"': {20: 1, 40: 1}}),
    Instant('sum(absent_over_time({namespace="nowhere"}[1m]))', 60, {"": 1}),
)

OFFSETS: tuple[Case, ...] = (
    Instant('sum(count_over_time({pod="m-0"}[1m] offset 1m))', 120, {"": 3}),
    Instant('sum(count_over_time({pod="m-0"}[1m] offset 1m30s))', 90, {"": 1}),
    Instant('sum(count_over_time({pod="m-0"}[1m] offset -1m))', 0, {"": 3}),
    Instant('sum(count_over_time({pod="m-0"} |= "kind=b" [1m] offset 1m))', 120, {"": 2}),
    Instant('sum(sum_over_time({pod="m-0"} | logfmt | unwrap value [1m] offset 1h))', 3660, {"": 14}),
    Instant('absent_over_time({pod="m-0"}[1m] offset 1h)', 60, {'pod="m-0"': 1}),
)

STEPS: tuple[Case, ...] = (
    Range('sum(count_over_time({pod="m-0"}[30s]))', 0, 90, 30, {"": {0: 1, 30: 2, 60: 1, 90: 1}}),
    Range('sum(count_over_time({pod="m-0"}[1m]))', 0, 120, 30, {"": {0: 1, 30: 3, 60: 3, 90: 2, 120: 1}}),
    Range('sum(count_over_time({pod="m-0"}[10s]))', 0, 90, 30, {"": {0: 1, 30: 1}}),
    Range('sum(count_over_time({pod="m-0"}[10s]))', 5, 85, 10, {"": {5: 1, 15: 1, 35: 1, 45: 1, 75: 1}}),
    Range(
        'sum by (pod) (count_over_time({namespace="meter"}[30s]))',
        0,
        60,
        30,
        {'pod="m-0"': {0: 1, 30: 2, 60: 1}, 'pod="m-1"': {0: 1, 30: 1, 60: 1}, 'pod="m-2"': {0: 1, 30: 1}},
    ),
    Range(
        'sum by (detected_level) (count_over_time({namespace="infra"}[20s]))',
        0,
        60,
        20,
        {
            'detected_level="info"': {0: 1, 40: 1},
            'detected_level="error"': {20: 1},
            'detected_level="warn"': {20: 1},
            'detected_level="unknown"': {40: 1, 60: 1},
            'detected_level="debug"': {60: 1},
        },
    ),
    Range('sum(rate({pod="m-0"}[1m]))', 60, 120, 60, {"": {60: 0.05, 120: 1 / 60}}),
    Range(
        'max_over_time({pod="m-0"} | logfmt | unwrap value [30s]) by (pod)',
        0,
        90,
        15,
        {'pod="m-0"': {0: 1, 15: 2, 30: 4, 45: 8, 60: 8, 75: 16, 90: 16}},
    ),
    Range(
        'quantile_over_time(0.5, {pod="m-0"} | logfmt | unwrap value [1m]) by (pod)',
        15,
        75,
        30,
        {'pod="m-0"': {15: 1.5, 45: 3, 75: 8}},
    ),
    Range(
        'first_over_time({pod="m-0"} | logfmt | unwrap value [30s]) by (pod)',
        0,
        90,
        30,
        {'pod="m-0"': {0: 1, 30: 2, 60: 8, 90: 16}},
    ),
    Range('sum(bytes_over_time({pod="edge-0"}[10s]))', 0, 30, 10, {"": {0: 11, 10: 17, 20: 3, 30: 39}}),
    Range('sum(count_over_time({pod="m-0"}[30s] offset 30s))', 0, 90, 30, {"": {30: 1, 60: 2, 90: 1}}),
    Range('sum(count_over_time({pod="m-0"}[1m]))', 60, 60, 30, {"": {60: 3}}),
    Range('sum(count_over_time({pod="m-0"}[1m]))', 60, 80, 30, {"": {60: 3}}),
    Range('sum(count_over_time({pod="none"}[1m]))', 0, 60, 30, {}),
)

ERRORS: tuple[Case, ...] = (
    # A record that went wrong has no place among samples.
    Failing('count_over_time({pod="cart-0"} | json [5m])', "JSONParserErr", at=100),
    Failing('count_over_time({namespace="infra"} | logfmt --strict [5m])', "LogfmtParserErr", at=100),
    Failing('sum_over_time({namespace="meter"} | logfmt | unwrap value [5m])', "SampleExtractionErr", at=100),
    Failing('count_over_time({namespace="meter"} | logfmt | value > 1 [5m])', "LabelFilterErr", at=100),
    Failing('absent_over_time({pod="cart-0"} | json [5m])', "JSONParserErr", at=100),
    # Only where a range has it.
    Instant(
        'sum by (level) (count_over_time({pod="cart-0"} | json [15s]))', 20, {'level="error"': 1, 'level="warn"': 1}
    ),
    Instant(
        'sum by (level) (count_over_time({pod="cart-0"} | json | drop __error__, __error_details__ [5m]))',
        100,
        {'level="info"': 3, 'level="error"': 1, 'level="warn"': 1, "": 2},
    ),
    Instant(
        'sum by (__error__) (count_over_time({pod="cart-0"} | json [5m]))', 100, {'__error__="JSONParserErr"': 2, "": 5}
    ),
    Instant('sum(count_over_time({pod="cart-0"} | json | __error__!="" [5m]))', 100, {"": 2}),
)

CASES = COUNTS + UNWRAPPED + ABSENT + OFFSETS + STEPS + ERRORS
