"""The yardstick of the aggregator: its rows in a Parquet file, and the engine inserting them from there.

``python -m benchmarks.parquet export <store> <file>`` and ``… insert <new store> <file>``, which prints CPU seconds: of
the insert, and of the merges after it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from aggregator.store.engine import Engine
from aggregator.store.schema import LOGS, create

_COLUMNS = "namespace, stream_id, ts, source, position, framing, flags, body"


async def export(store: Path, file: Path) -> None:
    """Write every record of ``store`` to ``file``, in the order of the table."""
    async with Engine.open(f"chdb://{store}") as engine:
        await engine.execute(
            f"INSERT INTO FUNCTION file('{file}', Parquet) SELECT {_COLUMNS} FROM {LOGS}"  # noqa: S608 - our own names
        )


async def insert(store: Path, file: Path) -> tuple[float, float]:
    """CPU seconds: inserting ``file`` into a new store until the insert returned, and from then until merges ended."""
    async with Engine.open(f"chdb://{store}") as engine:
        await create(engine)
        began = time.process_time()
        await engine.execute(
            f"INSERT INTO {LOGS} ({_COLUMNS}) SELECT {_COLUMNS} FROM file('{file}', Parquet)"  # noqa: S608 - our own names
        )
        inserted = time.process_time()
        merges = "SELECT count() AS running FROM system.merges"
        while (await engine.rows(merges, dict[str, int]))[0]["running"]:  # noqa: ASYNC110 - asks the engine
            await asyncio.sleep(0.2)
        return inserted - began, time.process_time() - inserted


if __name__ == "__main__":
    action, where, which = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if action == "export":
        asyncio.run(export(where, which))
    else:
        print(*asyncio.run(insert(where, which)))
