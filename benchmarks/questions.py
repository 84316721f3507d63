"""What is asked of the stock: each question in LogQL, and as the SQL that one would write by hand for it."""

from __future__ import annotations

from typing import Final

import msgspec

from aggregator.logql.metric import MetricQuery
from aggregator.logql.parser import parse
from aggregator.logql.tree import LogExpression, Query
from aggregator.store.schema import LOGS, STREAMS

_SECOND_NS: Final = 1_000_000_000
_MINUTE_S: Final = 60
NEWEST: Final = 100


class Question(msgspec.Struct, frozen=True):
    """``logql``, and ``sql`` for the bare engine; both over the time from ``{start}`` to ``{end}``, in seconds.

    ``step_s``: of a metric query; 0: one value for all of the time. ``parameters``: the same over HTTP, if `/query` can
    say it. In ``logql`` ``{span}`` is all of the time.
    """

    name: str
    logql: str
    sql: str
    step_s: int = 0
    parameters: str = ""

    def query(self, start_s: int, end_s: int) -> Query | MetricQuery:
        """What the aggregator is asked."""
        expression = parse(self.logql.replace("{span}", f"{end_s - start_s}s"))
        start_ns, end_ns = start_s * _SECOND_NS, end_s * _SECOND_NS
        if isinstance(expression, LogExpression):
            return Query(expression.selector, expression.stages, start_ns, end_ns, NEWEST)
        if not self.step_s:
            return MetricQuery(expression, end_ns, end_ns, _SECOND_NS)
        step_ns = self.step_s * _SECOND_NS
        return MetricQuery(expression, start_ns + step_ns, end_ns, step_ns)

    def bare(self, start_s: int, end_s: int) -> str:
        """What the engine alone is asked."""
        time = f"ts >= toDateTime64({start_s}, 9, 'UTC') AND ts < toDateTime64({end_s}, 9, 'UTC')"
        return self.sql.replace("{time}", time).replace("{span}", str(end_s - start_s))


def _newest(condition: str) -> str:
    """The newest records with the names of their pods."""
    return (
        f"SELECT ts, namespace, pod, container, body FROM (SELECT ts, namespace, stream_id, body FROM {LOGS} "  # noqa: S608 - own words
        f"WHERE {{time}} AND {condition} ORDER BY ts DESC LIMIT {NEWEST}) AS found ANY LEFT JOIN "
        f"(SELECT stream_id, labels['pod'] AS pod, labels['container'] AS container FROM {STREAMS}) AS known "
        "USING stream_id ORDER BY ts DESC"
    )


def _of(label: str, value: str) -> str:
    return f"stream_id IN (SELECT stream_id FROM {STREAMS} WHERE labels['{label}'] = '{value}')"  # noqa: S608 - own words


_EVERY: Final = '{namespace=~".+"}'
_JSON: Final = '{container="api"} | json'
_IS_JSON: Final = _of("container", "api")


def questions(trace: str) -> tuple[Question, ...]:
    """All of them; ``trace``: the needle."""
    return (
        Question("newest 100 of a pod", '{pod="api-045"}', _newest(_of("pod", "api-045")), parameters="pod=api-045"),
        Question("newest 100 of everything", _EVERY, _newest("1"), parameters="pod=*"),
        Question(
            "needle, a trace id",
            f'{_EVERY} |~ "\\\\b{trace}\\\\b"',
            _newest(f"hasToken(body, '{trace}')"),
            parameters=f"regex=%5Cb{trace}%5Cb",
        ),
        Question(
            "needle, as a bare substring",
            f'{_EVERY} |= "{trace}"',
            _newest(f"body LIKE '%{trace}%'"),
            parameters=f"grep={trace}",
        ),
        Question(
            "substring of a rare word",
            f'{_EVERY} |= "eadloc"',
            _newest("body LIKE '%eadloc%'"),
            parameters="grep=eadloc",
        ),
        Question(
            "substring of a common word",
            f'{_EVERY} |= "eques"',
            _newest("body LIKE '%eques%'"),
            parameters="grep=eques",
        ),
        Question(
            "lines with a common substring, counted",
            f'sum(count_over_time({_EVERY} |= "eques" [{{span}}]))',
            f"SELECT count() FROM {LOGS} WHERE {{time}} AND body LIKE '%eques%'",  # noqa: S608 - own words
        ),
        Question(
            "regex",
            f'{_EVERY} |~ "table_[0-9]+7"',
            _newest("match(body, 'table_[0-9]+7')"),
            parameters="regex=table_%5B0-9%5D%2B7",
        ),
        Question(
            "filter by a JSON number, newest 100",
            f"{_JSON} | latency > 785.2",
            _newest(f"{_IS_JSON} AND JSONExtractFloat(body, 'latency') > 785.2"),
        ),
        Question(
            "counts per minute by level",
            f"sum by (detected_level) (count_over_time({_EVERY}[1m]))",
            f"SELECT toStartOfMinute(ts) AS t, level, count() FROM {LOGS} WHERE {{time}} GROUP BY t, level ORDER BY t",  # noqa: S608 - own words
            _MINUTE_S,
        ),
        Question(
            "counts per 5 minutes by pod",
            f"sum by (pod) (count_over_time({_EVERY}[5m]))",
            "SELECT t, labels['pod'] AS pod, sum(n) FROM "  # noqa: S608 - own words
            "(SELECT toStartOfFiveMinutes(ts) AS t, stream_id, count() AS n "
            f"FROM {LOGS} WHERE {{time}} GROUP BY t, stream_id) AS counted "
            f"ANY LEFT JOIN {STREAMS} AS known USING stream_id GROUP BY t, pod ORDER BY t",
            5 * _MINUTE_S,
        ),
        Question(
            "rate per 5 minutes with all labels",
            'rate({namespace="shop"}[5m])',
            "SELECT t, labels, level, n / 300 FROM "  # noqa: S608 - own words
            "(SELECT toStartOfFiveMinutes(ts) AS t, stream_id, level, count() AS n "
            f"FROM {LOGS} WHERE {{time}} AND namespace = 'shop' GROUP BY t, stream_id, level) AS counted "
            f"ANY LEFT JOIN {STREAMS} AS known USING stream_id ORDER BY t",
            5 * _MINUTE_S,
        ),
        Question(
            "topk by a JSON field",
            f"topk(10, sum by (route) (count_over_time({_JSON} [{{span}}])))",
            f"SELECT JSONExtractString(body, 'route') AS route, count() AS n FROM {LOGS} "  # noqa: S608 - own words
            f"WHERE {{time}} AND {_IS_JSON} GROUP BY route ORDER BY n DESC LIMIT 10",
        ),
        Question(
            'the same, | __error__=""',
            f'topk(10, sum by (route) (count_over_time({_JSON} | __error__="" [{{span}}])))',
            f"SELECT JSONExtractString(body, 'route') AS route, count() AS n FROM {LOGS} "  # noqa: S608 - own words
            f"WHERE {{time}} AND {_IS_JSON} GROUP BY route ORDER BY n DESC LIMIT 10",
        ),
        Question(
            "counts by a JSON key with _ in its name",
            f"sum by (status_code) (count_over_time({_JSON} [{{span}}]))",
            f"SELECT JSONExtractString(body, 'status_code') AS code, count() FROM {LOGS} "  # noqa: S608 - own words
            f"WHERE {{time}} AND {_IS_JSON} GROUP BY code",
        ),
        Question(
            "p99 of an unwrapped JSON number",
            f"quantile_over_time(0.99, {_JSON} | unwrap latency [{{span}}]) by (namespace)",
            f"SELECT namespace, quantileExactInclusive(0.99)(JSONExtractFloat(body, 'latency')) FROM {LOGS} "  # noqa: S608 - own words
            f"WHERE {{time}} AND {_IS_JSON} GROUP BY namespace",
        ),
    )
