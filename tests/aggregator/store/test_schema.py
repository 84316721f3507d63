from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from aggregator.store import columns, schema
from tests.aggregator.engines import BOTH
from wire.batch import Flag

if TYPE_CHECKING:
    from pathlib import Path

    from aggregator.store.engine import Engine


class Level(msgspec.Struct):
    position: int
    level: str


LEVELS = {
    b"level=warn msg=x": "warn",
    b'{"level":"error","msg":"x"}': "error",
    b'{"ts":1,"severity":"WARNING"}': "warn",
    b"2024-01-01 INFO started": "info",
    b"[notice] hello": "info",
    b"<debug> x": "debug",
    b"E0405 12:00:00.000000 1 file.go:1] klog": "error",
    b"W0405 12:00:00.000000 1 file.go:1] klog": "warn",
    b"PANIC: runtime": "fatal",
    b"errors=0 informational": "",
    b"path/error/log": "",
    b"plain": "",
    b"\xff\xfe error \x00": "error",
    b"x" * schema.LEVEL_HEAD_BYTES + b" error": "",
    b"": "",
}


@BOTH
async def test_levels_are_found_at_insert(engine: Engine) -> None:
    bodies = [*LEVELS, b'{"bytes":1,"reason":"error"}']
    flags = np.array([0] * len(LEVELS) + [int(Flag.GAP)], np.uint8)
    count = len(bodies)
    arrays = {
        "namespace": columns.strings(["shop"] * count),
        "stream_id": columns.fixed(np.zeros(count, np.uint64), pa.uint64()),
        "ts": columns.fixed(np.zeros(count, np.int64), pa.timestamp("ns", "UTC")),
        "source": columns.fixed(np.zeros(count, "V16"), pa.binary(16)),
        "position": columns.fixed(np.arange(count, dtype=np.uint64), pa.uint64()),
        "flags": columns.fixed(flags, pa.uint8()),
        "body": columns.variable(np.array([len(body) for body in bodies]), b"".join(bodies), pa.binary()),
    }
    await engine.insert(schema.LOGS, pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays)))
    rows = await engine.rows(f"SELECT position, level FROM {schema.LOGS} ORDER BY position", Level)  # noqa: S608 - a table name
    assert {bodies[row.position]: row.level for row in rows} == {**LEVELS, bodies[-1]: ""}


@BOTH
async def test_creating_again_changes_nothing(engine: Engine) -> None:
    await schema.create(engine)


@pytest.mark.parametrize("again", [False, True])
def test_a_store_keeps_its_identity_until_it_is_wiped(tmp_path: Path, *, again: bool) -> None:
    first = schema.identity(tmp_path)
    if again:
        (tmp_path / "store-id").unlink()
    assert (schema.identity(tmp_path) == first) is not again
