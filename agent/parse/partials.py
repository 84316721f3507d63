"""Which partial lines make one line, when it is delivered, and at which position.

A runtime cuts long messages into pieces; stdout and stderr interleave in one file, so lines of the other stream, and
malformed ones, may stand between them. A line is due when its last piece is read:

    position    the end of that piece; or, while another line of the file is open, a *virtual* one inside the first
                piece of the oldest open line:

                    start of the open line + 1 + lines completed since

Reading on from a virtual position is reading on from the start of that open line, without what lies at or below the
position. It gives the same later records, always: lines open then began there or after, so they are read whole, and
what was completed since is counted alike, whatever it was. Pieces of a line that began before that place ended before
the position; read again they make a shorter line, at or below it.

Virtual positions must lie inside the piece. So no piece may stay open for more completed lines than it has bytes: when
one is about to, all that is open in the file is delivered as it stands, at the end of the line just completed (the
younger of two at one more virtual position in the older). That it is every piece, not only the first ones, makes it
happen alike wherever reading began.

This takes a line at a time, where everything else takes a block: there are few partial lines, they are long, and what
stands between two pieces is little. `agent.parse.assemble` passes all other lines by.
"""

from __future__ import annotations

import copy
from typing import Final

import msgspec

from agent.parse.overlong import note
from wire.batch import Flag

# Bytes of a piece that give no position to a completed line: at its end begins what comes after it, and one is kept
# for a younger line delivered along with it.
_POSITIONS_KEPT: Final = 2
# Plain numbers: operations on an enum cost more than all else that is done with a line.
_JOINED: Final = int(Flag.JOINED)
_TRUNCATED: Final = int(Flag.TRUNCATED)
_UNFINISHED: Final = int(Flag.UNFINISHED)
# A malformed line belongs to neither stream, and is complete by itself.
_STREAM: Final = int(Flag.STDERR | Flag.MALFORMED)


class Line(msgspec.Struct, frozen=True):
    """A row of `agent.parse.lines.Lines`; ``text`` is its message, but for ``left_out`` bytes at its end."""

    start: int
    end: int
    time: int
    flags: int
    partial: bool
    text: memoryview
    left_out: int = 0


class Record(msgspec.Struct, frozen=True):
    """A row of `agent.parse.assemble.Records`; its body, where ``left_out`` bytes are missing, says so at its end."""

    time: int
    position: int
    flags: int
    body: bytearray
    start: int
    head: int
    left_out: int = 0


class _OpenLine:
    """What is held of a line whose end has not been read.

    ``start``: offset of its first piece in the file, ``head``: after it; ``time``: of that piece; ``flags``: those it
    would have if it were complete. ``completed``: other lines completed since; ``full``: at how many it is delivered as
    it stands. ``left_out``: bytes of it that are not in ``body``, for there is no room.
    """

    __slots__ = ("body", "completed", "flags", "full", "head", "left_out", "start", "time")

    def __init__(self, first: Line, record_bytes_max: int) -> None:
        self.start = first.start
        self.head = first.end
        self.time = first.time
        self.flags = first.flags
        self.body = bytearray()
        self.completed = 0
        self.full = first.end - first.start - _POSITIONS_KEPT
        self.left_out = 0
        self._keep(first, record_bytes_max)

    def add(self, piece: Line, record_bytes_max: int) -> None:
        self.flags |= _JOINED
        self.full = min(self.full, self.completed + piece.end - piece.start - _POSITIONS_KEPT)
        self._keep(piece, record_bytes_max)

    def copy(self) -> _OpenLine:
        copied = copy.copy(self)
        copied.body = bytearray(self.body)
        return copied

    def _keep(self, piece: Line, record_bytes_max: int) -> None:
        room = record_bytes_max - len(self.body)
        self.body += piece.text[:room]
        self.left_out += max(0, len(piece.text) - room) + piece.left_out

    def record(self, position: int, flags: int = 0) -> Record:
        """The record it makes; to be asked for once."""
        if self.left_out:
            flags |= _TRUNCATED
            self.body += note(self.left_out)
        return Record(self.time, position, self.flags | flags, self.body, self.start, self.head, self.left_out)


class OpenLines:
    """The open partial lines of one file, at most one of stdout and one of stderr."""

    __slots__ = ("_by_stream",)

    def __init__(self) -> None:
        self._by_stream: dict[int, _OpenLine] = {}  # the older first

    def __len__(self) -> int:
        return len(self._by_stream)

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(len(line.body) for line in self._by_stream.values()) if self._by_stream else 0

    @property
    def start(self) -> int | None:
        """Offset in the file of the oldest one; None if none is open."""
        return next(iter(self._by_stream.values())).start if self._by_stream else None

    @property
    def time(self) -> int | None:
        """The time of the first piece of the youngest one, ns; None if none is open."""
        return max((line.time for line in self._by_stream.values()), default=None)

    def copy(self) -> OpenLines:
        """The same lines, which can go on another way."""
        copied = OpenLines()
        copied._by_stream = {stream: line.copy() for stream, line in self._by_stream.items()}
        return copied

    def take(self, line: Line, record_bytes_max: int) -> list[Record]:
        """What the next ``line`` of the file completes, by position.

        A record keeps its first ``record_bytes_max`` bytes; if it had more it is flagged TRUNCATED and says so.
        """
        stream = line.flags & _STREAM
        joined = self._by_stream.get(stream)
        if joined is None:
            joined = _OpenLine(line, record_bytes_max)
        else:
            joined.add(line, record_bytes_max)
        if line.partial:
            self._by_stream[stream] = joined
            return []
        self._by_stream.pop(stream, None)
        if not self._by_stream:
            return [joined.record(line.end)]
        records = [joined.record(self._virtual_position())]
        is_full = False
        for other in self._by_stream.values():
            other.completed += 1
            is_full = is_full or other.completed >= other.full
        return records + self.flush(line.end) if is_full else records

    def flush(self, position: int) -> list[Record]:
        """What is open, as it stands, flagged UNFINISHED, by position; the last one at ``position``."""
        if not self._by_stream:
            return []
        oldest, *younger = self._by_stream.values()
        records = [line.record(self._virtual_position(), _UNFINISHED) for line in younger]
        self._by_stream.clear()
        return [*records, oldest.record(position, _UNFINISHED)]

    def _virtual_position(self) -> int:
        oldest = next(iter(self._by_stream.values()))
        return oldest.start + 1 + oldest.completed
