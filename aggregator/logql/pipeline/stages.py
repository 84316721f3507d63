"""What a compiled stage is, and the error of one that cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable

from aggregator.logql.pipeline.labels import Labels

# (ns since the epoch, line, labels, which it changes) -> line, or None: the record is dropped.
Step = Callable[[int, str, Labels], str | None]


class StageError(ValueError):
    """The stage written ``stage`` (``json``, ``line_format``, ``|~``, …) makes no sense; ``reason`` says why."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason
