"""What one query may use, over all its statements, and what it has used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from aggregator.errors import QueryAnswerError, QueryTimeoutError
from aggregator.store.scanned import Scanned

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.store.engine import Limits


class Budget:
    """Limits of a query; time runs from when it is made.

    ``answer_bytes``: how much of an answer may be held until its first byte can be sent. ``scanned``: what the query's
    statements have read; ``counts_parts``: the parts of tables, too, which takes some milliseconds a statement.
    """

    def __init__(
        self,
        limits: Limits,
        answer_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        counts_parts: bool = False,
    ) -> None:
        self.answer_bytes = answer_bytes
        self.scanned = Scanned(parts=0 if counts_parts else None)
        self._held_bytes = 0
        self._limits = limits
        self._clock = clock
        self._until = clock() + limits.time_s

    def hold(self, size_bytes: int) -> None:
        """Count what is held of an answer. Raises `QueryAnswerError` if it is more than ``answer_bytes``."""
        self._held_bytes += size_bytes
        if self._held_bytes > self.answer_bytes:
            raise QueryAnswerError(f"the answer is larger than {self.answer_bytes} bytes")

    def left(self) -> Limits:
        """What the next statement may use. Raises `QueryTimeoutError` when the time is over."""
        time_s = self._until - self._clock()
        if time_s <= 0:
            raise QueryTimeoutError("the query's time is over")
        return msgspec.structs.replace(self._limits, time_s=time_s, scanned=self.scanned)
