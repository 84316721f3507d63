"""The table of cases, asked of the plain evaluator and of the aggregator over HTTP."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from aggregator.errors import LogQLError
from aggregator.logql.metric import MetricQuery
from aggregator.logql.parser import parse
from aggregator.logql.printer import printed
from aggregator.logql.tree import ERROR_DETAILS, LEVEL_UNKNOWN, Direction, LogExpression, Query
from tests.logql import table
from tests.logql.case import HOUR_S, Case, Failing, Instant, Keeps, Labels, Lines, Parsed, Range, Refused, Scalar, at
from tests.logql.datasets import RECORDS, SECOND_NS, START_NS
from tests.logql.evaluator import log_query, metric_query
from tests.logql.series import EvaluationError
from tests.logql.table import Answered, Samples, check_lines, check_samples

if TYPE_CHECKING:
    from tests.logql.conftest import Asked

ALL: Final = list(RECORDS.values())
CASES_MIN: Final = 300
OK: Final = 200
BAD: Final = 400
NOT_FOUND: Final = 404
LIMIT: Final = 1_000
MS_NS: Final = 1_000_000


def cases(some: tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(one, id=table.name(one)) for one in some])


def test_the_table_is_large_and_says_nothing_twice() -> None:
    names = [table.name(case) for case in table.CASES]
    assert len(names) >= CASES_MIN
    assert sorted({one for one in names if names.count(one) > 1}) == []


def test_every_query_is_read_back_as_it_is_printed() -> None:
    for case in table.CASES:
        if not isinstance(case, Refused):
            assert parse(printed(parse(case.query))) == parse(case.query), case.query


# --- The evaluator ---


@cases(table.LOGS)
def test_lines_by_the_evaluator(case: Case) -> None:
    expression = parse(case.query)
    assert isinstance(expression, LogExpression)
    start, end, limit, backward = _window(case)
    direction = Direction.BACKWARD if backward else Direction.FORWARD
    query = Query(expression.selector, expression.stages, start, end, limit, direction)
    answer = log_query(query, ALL)[:: -1 if backward else 1]
    check_lines(case, [Answered(one.ts, one.line.decode(errors="replace"), _plain(one.labels)) for one in answer])


@cases(table.METRICS)
def test_samples_by_the_evaluator(case: Case) -> None:
    expression = parse(case.query)
    assert not isinstance(expression, LogExpression)
    start, end, step = _steps(case)
    given = metric_query(MetricQuery(expression, start, end, step), ALL)
    check_samples(_wanted(case), {labels: dict(samples) for labels, samples in given.items()}, _close(case))
    if isinstance(case, Instant) and case.ordered:
        assert list(given) == [table.series(one) for one in case.values]


@cases(tuple(case for case in table.REFUSED if not case.late))
def test_refused_by_the_parser(case: Refused) -> None:
    with pytest.raises(LogQLError):
        parse(case.query)


@cases(table.FAILING)
def test_failing_in_the_evaluator(case: Failing) -> None:
    expression = parse(case.query)
    assert not isinstance(expression, LogExpression)
    with pytest.raises(EvaluationError, match=case.why):
        metric_query(MetricQuery(expression, at(case.at), at(case.at), SECOND_NS), ALL)


# --- HTTP ---


@pytest.mark.asyncio(loop_scope="module")
async def test_the_data_is_stored_as_it_is_told(asked: Asked) -> None:
    """Times, labels, lines and above all the levels that the cases count on."""
    status, body = await asked.get("/query", start=START_NS, end=at(HOUR_S), limit=LIMIT, format="json")
    assert status == OK, body
    names = ("cluster", "node", "namespace", "pod", "uid", "container", "stream")
    stored = sorted(
        (_time(row["ts"]), tuple(row[name] for name in names), row["level"], row["line"])
        for row in map(json.loads, body.splitlines())
        if "line" in row
    )
    told = sorted(
        (one.ts, tuple(dict(one.stream)[name] for name in names), one.level or LEVEL_UNKNOWN, table.text(one))
        for one in ALL
    )
    assert stored == told


# --- HTTP: Loki's API ---


@pytest.mark.asyncio(loop_scope="module")
@cases(table.LOGS)
async def test_lines_by_loki_query_range(case: Case, asked: Asked) -> None:
    await _route(asked, "/loki/api/v1/query_range")
    start, end, limit, backward = _window(case)
    status, body = await asked.get(
        "/loki/api/v1/query_range",
        query=case.query,
        start=start,
        end=end,
        limit=limit or LIMIT,
        direction="backward" if backward else "forward",
    )
    assert status == OK, body
    data = json.loads(body)["data"]
    assert data["resultType"] == "streams"
    check_lines(case, _of_streams(data["result"])[:: -1 if backward else 1])


@pytest.mark.asyncio(loop_scope="module")
@cases(table.METRICS)
async def test_samples_by_loki(case: Case, asked: Asked) -> None:
    await _route(asked, "/loki/api/v1/query_range")
    start, end, step = _steps(case)
    if isinstance(case, Range):
        status, body = await asked.get(
            "/loki/api/v1/query_range", query=case.query, start=start, end=end, step=f"{step // MS_NS}ms"
        )
        kinds = {"matrix"}
    else:
        status, body = await asked.get("/loki/api/v1/query", query=case.query, time=start)
        kinds = {"scalar"} if isinstance(case, Scalar) else {"vector"}
    assert status == OK, body
    data = json.loads(body)["data"]
    assert data["resultType"] in kinds
    wanted = {
        labels: {time // MS_NS: value for time, value in samples.items()} for labels, samples in _wanted(case).items()
    }
    check_samples(wanted, _of_result(data), _close(case))
    if isinstance(case, Instant) and case.ordered:
        assert [_labels(one["metric"]) for one in data["result"]] == [table.series(one) for one in case.values]


@pytest.mark.asyncio(loop_scope="module")
@cases((*table.REFUSED, *table.FAILING))
async def test_refused_by_loki(case: Refused | Failing, asked: Asked) -> None:
    await _route(asked, "/loki/api/v1/query_range")
    time = at(case.at if isinstance(case, Failing) else 0)
    for path, times in (
        ("/loki/api/v1/query_range", {"start": time, "end": time + SECOND_NS, "step": "1m"}),
        ("/loki/api/v1/query", {"time": time}),
    ):
        status, body = await asked.get(path, query=case.query, **times)
        assert status == BAD, body


# --- HTTP: ours ---


@pytest.mark.asyncio(loop_scope="module")
@cases(table.LOGS)
async def test_lines_by_query(case: Case, asked: Asked) -> None:
    await _route(asked, "/query", q='{namespace="nowhere"}', end=START_NS)
    start, end, limit, backward = _window(case)
    # A limit keeps the newest lines here; the oldest ones are the first of all.
    kept = limit if backward else LIMIT
    status, body = await asked.get("/query", q=case.query, start=start, end=end, limit=kept, format="json")
    assert status == OK, body
    rows = [row for row in map(json.loads, body.splitlines()) if "line" in row][: limit or LIMIT]
    answer = [Answered(_time(row["ts"]), row["line"], {"pod": row.get("pod", "")}) for row in rows]
    if isinstance(case, (Keeps, Lines)):
        check_lines(case, answer)
    else:
        assert isinstance(case, (Parsed, Labels))
        assert len(answer) == len(case.labels)


# --- Between a case and a request ---


async def _route(asked: Asked, path: str, **parameters: str | int) -> None:
    """Skip where this aggregator has no such route; what has one runs."""
    status, _ = await asked.get(path, **parameters)
    if status == NOT_FOUND or (parameters and status != OK):
        pytest.skip(f"no {path}")


def _time(shown: str) -> int:
    """The ns of ``2024-10-04T12:00:00.000000000Z``."""
    whole, _, fraction = shown.rstrip("Z").partition(".")
    return int(dt.datetime.fromisoformat(whole + "+00:00").timestamp()) * SECOND_NS + int(fraction.ljust(9, "0"))


def _window(case: Case) -> tuple[int, int, int, bool]:
    if isinstance(case, Lines):
        return at(case.start), at(case.end), case.limit, case.backward
    return START_NS, at(HOUR_S), 0, False


def _steps(case: Case) -> tuple[int, int, int]:
    if isinstance(case, Range):
        return at(case.start), at(case.end), round(case.step * SECOND_NS)
    time = at(case.at) if isinstance(case, Instant) else START_NS
    return time, time, SECOND_NS


def _wanted(case: Case) -> Samples:
    match case:
        case Instant():
            return {table.series(one): {at(case.at): value} for one, value in case.values.items()}
        case Range():
            return {
                table.series(one): {at(time): value for time, value in values.items()}
                for one, values in case.values.items()
            }
        case Scalar():
            return {(): {START_NS: case.value}}
    raise TypeError(case)


def _close(case: Case) -> float:
    return case.close if isinstance(case, Instant) else 1e-9


def _plain(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != ERROR_DETAILS}


def _labels(metric: dict[str, str]) -> table.Series:
    return tuple(sorted(metric.items()))


def _of_streams(result: list[dict[str, Any]]) -> list[Answered]:
    return [
        Answered(int(value[0]), value[1], _plain(stream["stream"])) for stream in result for value in stream["values"]
    ]


def _of_result(data: dict[str, Any]) -> Samples:
    """By ms; values are texts, as Prometheus has them."""
    if data["resultType"] == "scalar":
        time, value = data["result"]
        return {(): {round(float(time) * 1_000): float(value)}}
    return {
        _labels(one["metric"]): {
            round(float(time) * 1_000): float(value) for time, value in one.get("values") or [one["value"]]
        }
        for one in data["result"]
    }
