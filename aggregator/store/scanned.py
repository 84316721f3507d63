"""What statements read."""

from __future__ import annotations

import msgspec


class Scanned(msgspec.Struct):
    """Counts up, statement after statement.

    ``rows``, ``bytes``: read from tables, bytes uncompressed; ``parts``: of tables, that were not passed over; None:
    they are not counted, for it takes another statement; ``seconds``: that the engine spent on it, as it says.
    """

    statements: int = 0
    rows: int = 0
    bytes: int = 0
    parts: int | None = None
    seconds: float = 0.0

    def add(self, rows: int, read_bytes: int, seconds: float) -> None:
        """Count what was read since the last time."""
        self.rows += rows
        self.bytes += read_bytes
        self.seconds += seconds
