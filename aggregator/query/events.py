"""What a tail is sent, as bytes: records, how many it missed, and that it still lives.

TEXT    a record's line as in answers to queries; ``[tail: 12 lines missed; go on with cursor=…]``
JSON    one object a line: a record's as in answers to queries, and ``cursor``; ``{"missed":12,"cursor":"…"}``
EVENTS  Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): ``id`` is the cursor,
        ``data`` the object of JSON; the event ``missed``; a comment as a sign of life, with a cursor that goes on
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.query.cursor import Cursor
from aggregator.query.entry import Entry
from aggregator.query.shown import line_of
from aggregator.store.rendering import Format, Rendering

if TYPE_CHECKING:
    from aggregator.query.cursor import Cursors

# How a record is written; equal ones are written once for all tails. Must not change the entry.
Form = Callable[[Entry, Cursor], bytes]

# How long an EventSource waits before it comes again.
_RETRY_MS: Final = 2000


class _Missed(msgspec.Struct, frozen=True):
    """``missed``: null where nobody counted."""

    missed: int | None
    cursor: str


class Events:
    """Writes what tails of one store are sent, in one format: text, with or without colours, JSON lines, or events."""

    def __init__(self, cursors: Cursors, format_: Format, *, colour: bool = False, sse: bool = False) -> None:
        self._cursors = cursors
        self._format = format_
        self._sse = sse
        self._line = line_of(Rendering(format_, colour=colour))

    def record(self, entry: Entry, cursor: Cursor) -> bytes:
        """One record; ``cursor``: behind it."""
        line = self._line(entry)
        if self._format is Format.TEXT:
            return line
        text = self._cursors.text(cursor)
        data = b'%s,"cursor":"%s"}' % (line.removesuffix(b"}\n"), text.encode())
        return b"id: %s\ndata: %s\n\n" % (text.encode(), data) if self._sse else data + b"\n"

    def missed(self, count: int | None, cursor: Cursor) -> bytes:
        """So many records were left out behind ``cursor``; None: nobody knows how many."""
        text = self._cursors.text(cursor)
        if self._format is Format.TEXT:
            lines = "lines" if count is None else "1 line" if count == 1 else f"{count} lines"
            return f"[tail: {lines} missed; go on with cursor={text}]\n".encode()
        data = msgspec.json.encode(_Missed(count, text))
        return b"event: missed\nid: %s\ndata: %s\n\n" % (text.encode(), data) if self._sse else data + b"\n"

    def begin(self) -> bytes:
        """What stands in front."""
        return b"retry: %d\n\n" % _RETRY_MS if self._sse else b""

    def alive(self, cursor: Cursor) -> bytes:
        """A sign of life, of events only."""
        return b": alive\nid: %s\n\n" % self._cursors.text(cursor).encode() if self._sse else b""

    def error(self, refusal: object) -> bytes:
        """Why it ends, if it has to."""
        data = msgspec.json.encode(refusal)
        return b"event: error\ndata: %s\n\n" % data if self._sse else data + b"\n"
