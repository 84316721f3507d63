"""The aggregator against the plain evaluator, on queries and data made by chance: line by line, sample by sample.

LOGBOOM_EXAMPLES tells how many queries of each kind are tried.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, reject, settings

from aggregator.errors import MetricError
from aggregator.logql.tree import ERROR_DETAILS
from aggregator.query import logs, metrics
from aggregator.query.budget import Budget
from aggregator.store import schema
from aggregator.store.engine import Engine, Limits
from aggregator.store.streams import stream_id
from tests.logql import generated, querying
from tests.logql.datasets import SECOND_NS, START_NS
from tests.logql.evaluator import log_query, metric_query
from tests.logql.series import EvaluationError, UndecidedError
from tests.logql.table import same
from wire.batch import DAY_NS, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aggregator.logql.metric import MetricQuery
    from aggregator.logql.tree import Query
    from tests.logql.labels import Record
    from tests.logql.series import Labels

EXAMPLES: Final = int(os.environ.get("LOGBOOM_EXAMPLES", "300"))
CHANCE: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
ANSWER_BYTES: Final = 1 << 20
NOW_NS: Final = START_NS + generated.SPAN_S * SECOND_NS


def _in_order(records: list[Record]) -> list[Record]:
    """As the store orders them: by time, then stream; those of one stream as they stand in its file."""
    return sorted(records, key=lambda record: (record.ts, stream_id(dict(record.stream))))


DATA: Final = {f"g{number}": _in_order(generated.records(number)) for number in range(generated.DATASETS)}


class Store:
    """An engine with all the data in it, and the loop it lives in."""

    def __init__(self, engine: Engine, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.engine = engine
        self.run = run

    def budget(self) -> Budget:
        return Budget(Limits(time_s=30.0), ANSWER_BYTES)

    def lines(self, query: Query) -> list[tuple[int, bytes, dict[str, str]]]:
        async def all_() -> list[tuple[int, bytes, dict[str, str]]]:
            found = logs.entries(self.engine, query, self.budget(), NOW_NS)
            return [(one.ts_ns, one.line, _plain(one.labels)) async for some in found for one in some]

        answer: list[tuple[int, bytes, dict[str, str]]] = self.run(all_())
        return answer

    def samples(self, query: MetricQuery) -> dict[Labels, list[tuple[int, float]]]:
        """Raises `MetricError`."""
        value = self.run(metrics.evaluate(self.engine, query, self.budget(), NOW_NS)).value
        steps = range(query.start_ns, query.end_ns + 1, query.step_ns)
        if isinstance(value, float):
            return {(): [(at, value) for at in steps]}
        out = {}
        for labels, numbers, present in zip(value.labels, value.values, value.present, strict=True):
            found = [
                (at, float(number)) for at, number, is_there in zip(steps, numbers, present, strict=True) if is_there
            ]
            if found:
                out[tuple(labels)] = found
        return out


def _plain(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != ERROR_DETAILS}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with asyncio.Runner() as runner:
        opened = Engine.open(f"chdb://{tmp_path_factory.mktemp('agreement')}/store")
        engine = runner.run(opened.__aenter__())
        try:
            runner.run(_fill(engine))
            yield Store(engine, runner.run)
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _fill(engine: Engine) -> None:
    await schema.create(engine)
    records = [record for number in range(generated.DATASETS) for record in generated.records(number)]
    streams = sorted({record.stream for record in records})
    maps = pa.array([list(one) for one in streams], pa.map_(pa.string(), pa.string()))
    ids = {one: stream_id(dict(one)) for one in streams}
    await engine.insert(
        schema.STREAMS,
        pa.record_batch(
            {
                "day": pa.array([START_NS // DAY_NS] * len(streams), pa.int32()),
                "stream_id": pa.array([ids[one] for one in streams], pa.uint64()),
                "labels": maps,
            }
        ),
    )
    # The level as chance has it, whatever stands in the line.
    await engine.insert(
        schema.LOGS,
        pa.record_batch(
            {
                "namespace": pa.array([dict(one.stream)["namespace"] for one in records]),
                "stream_id": pa.array([ids[one.stream] for one in records], pa.uint64()),
                "ts": pa.array([one.ts for one in records], pa.int64()).cast(pa.timestamp("ns", "UTC")),
                "source": pa.array([bytes(16)] * len(records), pa.binary(16)),
                "position": pa.array(range(1, len(records) + 1), pa.uint64()),
                "level": pa.array([one.level for one in records]),
                "flags": pa.array(
                    [int(Flag.STDERR) if dict(one.stream)["stream"] == "stderr" else 0 for one in records], pa.uint8()
                ),
                "body": pa.array([one.line for one in records], pa.binary()),
            }
        ),
    )


def _data(query: Any) -> list[Record]:
    """Only what can be meant: the first matcher of every selector names the dataset."""
    text = repr(query)
    return [record for name, records in DATA.items() if f"value='{name}'" in text for record in records]


def _is_broken(line: bytes) -> bool:
    """Whether a line is JSON that breaks off."""
    if not line.startswith(b"{"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _is_undecided(query: Any) -> bool:
    """Whether paths are looked for in JSON that breaks off: how far Loki reads then is not known well enough."""
    return "JsonParser(extractions=(Extraction" in repr(query) and any(_is_broken(one.line) for one in _data(query))


@CHANCE
@given(query=querying.log_queries())
def test_log_queries_line_by_line(store: Store, query: Query) -> None:
    if _is_undecided(query):
        reject()
    wanted = [(one.ts, one.line, _plain(one.labels)) for one in log_query(query, _data(query))]
    event("lines" if wanted else "no lines")
    assert store.lines(query) == wanted, query


@CHANCE
@given(query=querying.metric_queries())
def test_metric_queries_sample_by_sample(store: Store, query: MetricQuery) -> None:
    if _is_undecided(query):
        reject()
    try:
        wanted = metric_query(query, sorted(_data(query), key=lambda record: record.ts))
    except UndecidedError:
        reject()
    except EvaluationError:
        event("failing")
        with pytest.raises(MetricError):
            store.samples(query)
        return
    event("samples" if wanted else "no samples")
    given_ = store.samples(query)
    assert sorted(given_) == sorted(wanted), query
    for labels, samples in wanted.items():
        assert [at for at, _ in given_[labels]] == [at for at, _ in samples], query
        for (at, value), (_, other) in zip(samples, given_[labels], strict=True):
            assert same(value, other), (query, labels, at, value, other)
