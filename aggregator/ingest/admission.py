"""How many bytes of requests may be held at once, from the first byte read to the commit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryFullError(Exception):
    """Taking ``wanted`` bytes more would exceed ``limit``; come back when some are committed."""

    def __init__(self, wanted: int, held: int, limit: int) -> None:
        super().__init__(f"{wanted} bytes wanted, {held} of {limit} held")
        self.wanted = wanted
        self.held = held
        self.limit = limit


class Admission:
    """Counts the bytes held. One request is always let in, so that none is too large to ever enter."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @contextlib.contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Hold ``size_bytes`` for the length of the context. Raises `MemoryFullError` at once, never waits."""
        if self.held_bytes and self.held_bytes + size_bytes > self.limit_bytes:
            raise MemoryFullError(size_bytes, self.held_bytes, self.limit_bytes)
        self.held_bytes += size_bytes
        try:
            yield
        finally:
            self.held_bytes -= size_bytes
