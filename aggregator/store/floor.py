"""The floor: the moment before which nothing is kept any more, because the store would have become too large.

It only rises, and is durable before anything below it is dropped: also the next process refuses to store again what
agents, whose sources have lost their positions with the rows, still offer of that time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.store import columns
from aggregator.store.schema import FLOORS

if TYPE_CHECKING:
    from aggregator.store.engine import Engine

_NAME: Final = "size"


class _Floor(msgspec.Struct):
    at_ns: int


class Floor:
    """``at_ns``: ns since 1970-01-01; 0 if nothing was ever dropped for want of room."""

    def __init__(self, engine: Engine, at_ns: int = 0) -> None:
        self._engine = engine
        self.at_ns = at_ns

    @classmethod
    async def read(cls, engine: Engine) -> Self:
        """The floor as the store has it; servers have none, for nothing is dropped there for want of room.

        Raises `StoreError`.
        """
        if engine.layout.shared:
            return cls(engine)
        rows = await engine.rows(f"SELECT max(floor_ns) AS at_ns FROM {FLOORS}", _Floor)  # noqa: S608 - a table name
        return cls(engine, max(row.at_ns for row in rows))

    async def lift(self, at_ns: int) -> None:
        """Make a higher floor durable, then let it be heard of. Raises `StoreError`."""
        if at_ns <= self.at_ns:
            return
        arrays = {
            "name": columns.strings([_NAME]),
            "floor_ns": columns.fixed(np.array([at_ns], np.int64), pa.int64()),
        }
        await self._engine.insert(FLOORS, pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays)))
        self.at_ns = at_ns
