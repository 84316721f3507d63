"""One tail: what waits for its reader, bounded, and what it had to leave out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.query.cursor import Cursor

if TYPE_CHECKING:
    from aggregator.logql.tree import LogExpression
    from aggregator.query.events import Form

# What waits for one reader: some ten thousand lines. A thousand readers that all stand still hold 2 GiB at most, most
# of it shared with those who ask the same.
WAITING_BYTES_MAX: Final = 2 << 20


class Piece(msgspec.Struct, frozen=True):
    """Records of one commit, written: how many, their bytes, and the cursor behind the last of them."""

    records: int
    data: bytes
    cursor: Cursor


class Missed(msgspec.Struct, frozen=True):
    """Records that are left out here (None: nobody knows how many), and the cursor in front of the first of them."""

    records: int | None
    cursor: Cursor


class Tail:
    """What `aggregator.query.live.Live` has for one reader, who takes it. Whoever got it from there gives it back."""

    def __init__(self, expression: LogExpression, form: Form, since_ms: int, waiting_bytes: int) -> None:
        """``since_ms``: the last commit that is none of its; all later ones are."""
        self.expression = expression
        self.form = form
        self._limit = waiting_bytes
        self._arrived = asyncio.Event()
        self._closed = False
        self.restart(since_ms)

    def restart(self, since_ms: int) -> None:
        """Forget what waits, and begin behind another commit."""
        self.since_ms = since_ms
        self._waiting: deque[Piece | Missed] = deque()
        self._bytes = 0
        self._reached = Cursor(since_ms)
        self._is_missing = False
        self._missing: int | None = 0

    @property
    def has_missed(self) -> bool:
        """Whether something was left out that its reader was not told of."""
        return self._is_missing or any(isinstance(one, Missed) for one in self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether its reader has all that there was for it."""
        return not self._waiting and not self._is_missing

    def offer(self, piece: Piece) -> None:
        """Keep ``piece`` for the reader if there is room; nothing of a commit that is none of its."""
        if piece.cursor.commit_ms <= self.since_ms:
            return
        # Once it is full it has to become half empty: else every other piece would be missed, and told.
        limit = self._limit // 2 if self._is_missing else self._limit
        if self._bytes and self._bytes + len(piece.data) > limit:
            self._miss(piece.records)
            return
        if self._is_missing:
            self._waiting.append(self._told())
        self._waiting.append(piece)
        self._bytes += len(piece.data)
        self._reached = piece.cursor
        self._arrived.set()

    def miss(self, at_ms: int) -> None:
        """Nobody knows what of the commits up to this one there would have been for it."""
        if at_ms > self.since_ms:
            self._miss(None)

    def _miss(self, records: int | None) -> None:
        self._missing = None if records is None or self._missing is None else self._missing + records
        self._is_missing = True
        self._arrived.set()

    def _told(self) -> Missed:
        missed = Missed(self._missing, self._reached)
        self._is_missing, self._missing = False, 0
        return missed

    async def take(self) -> Piece | Missed | None:
        """What comes next, as soon as there is something; None once it is over. Cancelling loses nothing."""
        while self.is_empty and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        if self._waiting:
            first = self._waiting.popleft()
            self._bytes -= len(first.data) if isinstance(first, Piece) else 0
            return first
        return self._told() if self._is_missing else None

    def close(self) -> None:
        """Have the reader take what there is, and then end."""
        self._closed = True
        self._arrived.set()
