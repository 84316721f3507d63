"""The order of commits: the time that each insert's rows carry, and what was stored last.

``committed_at`` (ms since the epoch) is the clock's time, or one more than the insert before it had: it rises strictly,
also from one process to the next and where the clock goes back. So ``committed_at`` and a record's place make one order
of everything that was ever stored, and "up to this commit" says exactly what.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.store import columns
from aggregator.store.engine import Limits
from aggregator.store.moved import last_commit

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.store.engine import Engine

# Where other aggregators store as well, what they stamp is seen by then; what comes later no tail sees.
SETTLED_S: Final = 5.0
_FOLLOW_EVERY_S: Final = 1.0
# It is asked once, at the start, of the projection: of every source of every part.
_LAST_LIMITS: Final = Limits(time_s=120.0)


class Commit(msgspec.Struct, frozen=True, eq=False):
    """What was stored behind the commit at ``after_ms``, up to and including the one at ``at_ms``.

    ``rows``: all of it, of one ``day`` (counted from 1970-01-01); None if only the store knows, for an insert in
    between may have failed, or not.
    """

    after_ms: int
    at_ms: int
    day: int = 0
    rows: pa.RecordBatch | None = None


class _Last(msgspec.Struct):
    at_ms: int


class Commits:
    """Numbers the inserts into ``logs``, made one after the other, and tells one listener of each that is stored."""

    def __init__(self, last_ms: int) -> None:
        self.last_ms = last_ms
        self._given_ms = last_ms
        self._is_doubtful = False
        self._listener: Callable[[Commit], None] | None = None

    @classmethod
    async def read(cls, engine: Engine) -> Self:
        """The sequence as the store has it so far. Raises `StoreError`."""
        rows = await engine.rows(
            f"SELECT toUnixTimestamp64Milli(at) AS at_ms FROM ({last_commit(engine)})",  # noqa: S608 - own words
            _Last,
            None,
            _LAST_LIMITS,
        )
        return cls(max(row.at_ms for row in rows))

    def listen(self, listener: Callable[[Commit], None]) -> None:
        """Have ``listener`` called for every commit from now on, at once; it must not raise or wait."""
        self._listener = listener

    async def follow(self, clock: Callable[[], float]) -> None:
        """Tell of what every aggregator stores, for ever: of what was stamped `SETTLED_S` ago, each second."""
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_S)
            at_ms = int((clock() - SETTLED_S) * 1000)
            if at_ms > self.last_ms:
                commit, self.last_ms = Commit(self.last_ms, at_ms), at_ms
                if self._listener is not None:
                    self._listener(commit)

    def stamp(self, rows: pa.RecordBatch, now_s: float) -> pa.RecordBatch:
        """``rows`` with the time of the insert that comes next."""
        # The one before was given a time and is not stored, as far as is known.
        self._is_doubtful |= self._given_ms != self.last_ms
        self._given_ms = max(int(now_s * 1000), self._given_ms + 1)
        times = columns.fixed(np.full(rows.num_rows, self._given_ms, np.int64), pa.timestamp("ms", "UTC"))
        return rows.append_column("committed_at", times)

    def stored(self, day: int, rows: pa.RecordBatch) -> None:
        """The insert of ``rows``, as `stamp` gave them last, is in the store."""
        commit = Commit(self.last_ms, self._given_ms, day, None if self._is_doubtful else rows)
        self.last_ms = self._given_ms
        self._is_doubtful = False
        if self._listener is not None:
            self._listener(commit)
