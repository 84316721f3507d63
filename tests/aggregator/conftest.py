"""A real, fresh store for each test that asks for one. A process can have one store open at a time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from aggregator.store import schema
from aggregator.store.streams import stream_id
from tests.aggregator.engines import open_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from aggregator.store.engine import Engine

DAY_NS = 86_400_000_000_000
LABELS = {
    "cluster": "test",
    "node": "node-1",
    "namespace": "shop",
    "pod": "cart-0",
    "uid": "u",
    "container": "app",
    "stream": "stdout",
}


@pytest.fixture
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """A new store with its tables, embedded, or what `tests.aggregator.engines.EVERY` asks for."""
    async with open_engine(getattr(request, "param", "embedded"), tmp_path) as opened:
        await schema.create(opened)
        yield opened


@functools.cache
def numbered(labels: tuple[tuple[str, str], ...]) -> int:
    return stream_id(dict(labels))


@pytest.fixture
def put(engine: Engine) -> Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]:
    """Stores rows, given by what is particular about them.

    A row's keys: ``body`` (bytes), ``ts`` (ns), ``position``, ``flags``, ``source`` (16 bytes), any label, ``meta``
    (structured metadata), and ``unknown`` (true: the stream's labels are not written). Positions count
    up where none is given.
    """

    async def store(rows: Sequence[Mapping[str, Any]]) -> None:
        for day in sorted({row["ts"] // DAY_NS for row in rows}):
            chosen = [(number, row) for number, row in enumerate(rows) if row["ts"] // DAY_NS == day]
            labels = [LABELS | {name: row[name] for name in LABELS if name in row} for _, row in chosen]
            ids = [numbered(tuple(one.items())) for one in labels]
            known = {
                number: one for number, one, (_, row) in zip(ids, labels, chosen, strict=True) if not row.get("unknown")
            }
            if known:
                await engine.insert(
                    schema.STREAMS,
                    pa.record_batch(
                        {
                            "day": pa.array([day] * len(known), pa.int32()),
                            "stream_id": pa.array(list(known), pa.uint64()),
                            "labels": pa.array(
                                [list(one.items()) for one in known.values()], pa.map_(pa.string(), pa.string())
                            ),
                        }
                    ),
                )
            await engine.insert(
                schema.LOGS,
                pa.record_batch(
                    {
                        "namespace": pa.array([one["namespace"] for one in labels]),
                        "stream_id": pa.array(ids, pa.uint64()),
                        "ts": pa.array([row["ts"] for _, row in chosen], pa.int64()).cast(pa.timestamp("ns", "UTC")),
                        "source": pa.array([row.get("source", bytes(16)) for _, row in chosen], pa.binary(16)),
                        "position": pa.array([row.get("position", n + 1) for n, row in chosen], pa.uint64()),
                        "flags": pa.array([row.get("flags", 0) for _, row in chosen], pa.uint8()),
                        "body": pa.array([row["body"] for _, row in chosen], pa.binary()),
                        "meta": pa.array(
                            [list(row.get("meta", {}).items()) for _, row in chosen], pa.map_(pa.string(), pa.string())
                        ),
                    }
                ),
            )

    return store
