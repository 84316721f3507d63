"""How many bytes of requests may be held at once, from the first byte read to the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class MemoryFullError(Exception):
    """Taking ``wanted`` bytes more would exceed ``limit``; come back when some are committed."""

    def __init__(self, wanted: int, held: int, limit: int) -> None:
        super().__init__(f"{wanted} bytes wanted, {held} of {limit} held")
        self.wanted = wanted
        self.held = held
        self.limit = limit


class Admission:
    """Counts the bytes that requests hold. Never waits: who does not fit is told so at once."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def check(self, size_bytes: int) -> None:
        """Raises `MemoryFullError` if there is no room for ``size_bytes`` now; holds nothing."""
        if self.held_bytes + size_bytes > self.limit_bytes:
            raise MemoryFullError(size_bytes, self.held_bytes, self.limit_bytes)

    def hold(self, size_bytes: int) -> Held:
        """Hold ``size_bytes`` until the result is released. Raises `MemoryFullError`."""
        held = Held(self)
        held.more(size_bytes)
        return held


class Held:
    """What one request holds: a context manager that gives it back; `release` is idempotent."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def more(self, size_bytes: int) -> None:
        """Hold ``size_bytes`` on top. Raises `MemoryFullError` and holds what it held before."""
        self._admission.check(size_bytes)
        self._admission.held_bytes += size_bytes
        self._bytes += size_bytes

    def release(self) -> None:
        """Give everything back."""
        self._admission.held_bytes -= self._bytes
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
