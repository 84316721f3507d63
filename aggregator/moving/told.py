"""What is said at the end, as types, and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exported(msgspec.Struct, frozen=True):
    """An export that is finished: ``rows`` of ``days`` in files of ``bytes``, ``written`` now or ``kept``.

    ``set_aside``: damaged parts of the store, whose records could not be exported.
    """

    directory: str
    days: int
    rows: int
    bytes: int
    written: int
    kept: int
    set_aside: int

    def lines(self) -> Iterator[str]:
        """For people."""
        files = f"{self.written + self.kept:,} files of {self.bytes:,} bytes"
        yield f"exported {self.rows:,} rows of {self.days:,} days"
        yield f"to {self.directory}: {files}, {self.written:,} written, {self.kept:,} kept"
        if self.set_aside:
            yield f"WITHOUT what was in {self.set_aside:,} damaged parts: see `logboom-aggregator check`"


class Day(msgspec.Struct, frozen=True):
    """A day of the export, verified: of its ``rows`` ``brought`` are new, now or in a run before.

    ``more``: rows that the store has got otherwise since the import began; with such the sums are not compared.
    """

    day: str
    rows: int
    brought: int
    more: int


class Imported(msgspec.Struct, frozen=True):
    """An import that is finished. ``files``: log files, which stand where they stood, or farther."""

    store: str
    days: tuple[Day, ...]
    log_files: int
    deletions_queued: int

    def lines(self) -> Iterator[str]:
        """For people."""
        for day in self.days:
            had = "" if day.brought == day.rows else f", the store had {day.rows - day.brought:,} of them"
            sums = "sums agree" if not day.more else f"{day.more:,} more since it began: has an aggregator run?"
            yield f"{day.day}  {day.rows:,} rows{had}; {sums}"
        yield f"positions   {self.log_files:,} log files go on where they were, or farther on"
        if self.deletions_queued:
            yield f"deletions   {self.deletions_queued:,} are done again by the aggregator: the store had records"
        brought = sum(day.brought for day in self.days)
        yield f"imported    {brought:,} rows of {len(self.days):,} days to {self.store}"
