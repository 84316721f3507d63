"""What requests to ``/tail`` and ``/context`` ask for, from their parameters."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.api.accept import accepted
from aggregator.api.parameters import (
    AHEAD_NS,
    LINES,
    LOGQL,
    SELECTORS,
    Given,
    Parameter,
    log_query,
)
from aggregator.api.times import DURATION_HINT, duration_ns
from aggregator.logql.tree import TIME_MAX_NS, LogExpression
from aggregator.query.cursor import Cursor, Cursors, ForeignCursorError
from aggregator.store.rendering import Format, Rendering
from aggregator.store.windows import Window
from service.web import RefusedError
from wire.answers import Refusal
from wire.batch import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

# Lines that a tail begins with, or that stand around one on either side: what somebody reads, held in memory.
LINES_MAX: Final = 1000

_COLOR: Final = Parameter("color", "ANSI colours in text.", choices=("always", "never"), default="never")
TAIL: Final = (
    *SELECTORS,
    *LINES,
    *LOGQL,
    Parameter("lines", f"How many of the newest lines come first, 0 to {LINES_MAX}.", default="10"),
    Parameter("since", f"How far back those are looked for: {DURATION_HINT}.", default="1h", example="15m"),
    Parameter("cursor", "Where to go on, from an event of an earlier answer; the header `Last-Event-ID` beats it."),
    Parameter(
        "format",
        "What the answer is made of; beats `Accept`. `sse`: Server-Sent Events.",
        choices=("text", "json", "sse"),
        default="text",
    ),
    _COLOR,
)
CONTEXT: Final = (
    Parameter("source", "The log file of the line in the middle, as `/query` names it.", example="0f" * SOURCE_BYTES),
    Parameter("position", "The position of that line in it.", example="4711"),
    Parameter("before", f"How many lines in front of it, 0 to {LINES_MAX}.", default="10"),
    Parameter("after", f"How many lines behind it, 0 to {LINES_MAX}.", default="10"),
    Parameter("format", "What the answer is made of; beats `Accept`.", choices=("text", "json", "csv"), default="text"),
    _COLOR,
)


class Shape(enum.Enum):
    """What a tail is made of."""

    TEXT = "text"
    JSON = "json"
    EVENTS = "sse"


_TAIL_TYPES: Final = {
    "text/plain": Shape.TEXT,
    "text/*": Shape.TEXT,
    "*/*": Shape.TEXT,
    "application/json": Shape.JSON,
    "application/x-ndjson": Shape.JSON,
    "application/ndjson": Shape.JSON,
    "text/event-stream": Shape.EVENTS,
}
_CONTEXT_TYPES: Final = {
    "text/plain": Format.TEXT,
    "text/*": Format.TEXT,
    "*/*": Format.TEXT,
    "application/json": Format.JSON,
    "application/x-ndjson": Format.JSON,
    "application/ndjson": Format.JSON,
    "text/csv": Format.CSV,
}
_SOURCE: Final = re.compile(rf"[0-9a-f]{{{2 * SOURCE_BYTES}}}")
_POSITION_MAX: Final = (1 << 63) - 1


class TailAsked(msgspec.Struct, frozen=True):
    """What a request to ``/tail`` asks for; ``window``: where the ``lines`` that come first are looked for."""

    expression: LogExpression
    lines: int
    window: Window
    cursor: Cursor | None
    shape: Shape
    colour: bool


class ContextAsked(msgspec.Struct, frozen=True):
    """What a request to ``/context`` asks for; ``source``: 16 bytes."""

    source: bytes
    position: int
    before: int
    after: int
    rendering: Rendering


def tail_asked(query_string: str, headers: Mapping[str, str], cursors: Cursors, now_ns: int) -> TailAsked:
    """What a request to ``/tail`` asks for. Raises `RefusedError` (400, 406; 410 for a cursor of another store)."""
    given = Given(query_string, TAIL)
    wanted = given.one("format")
    hint = "accept text/plain, application/x-ndjson or text/event-stream, or say format=text, json or sse"
    shape = Shape(wanted) if wanted else accepted(headers.get("Accept", ""), _TAIL_TYPES, Shape.TEXT, hint)
    since = given.one("since") or _default(TAIL, "since")
    try:
        start_ns = max(0, now_ns - duration_ns(since))
    except ValueError as error:
        raise _refused("since", str(error), DURATION_HINT) from error
    return TailAsked(
        log_query(given),
        _number(given, TAIL, "lines", LINES_MAX),
        Window(start_ns, min(now_ns + AHEAD_NS, TIME_MAX_NS)),
        _cursor(given, headers, cursors),
        shape,
        _colour(given, is_text=shape is Shape.TEXT),
    )


def context_asked(query_string: str, accept: str) -> ContextAsked:
    """What a request to ``/context`` asks for. Raises `RefusedError` (400, 406)."""
    given = Given(query_string, CONTEXT)
    wanted = given.one("format")
    hint = "accept text/plain, application/x-ndjson or text/csv, or say format=text, json or csv"
    shape = Format(wanted) if wanted else accepted(accept, _CONTEXT_TYPES, Format.TEXT, hint)
    source = given.one("source")
    if source is None:
        raise _refused("source", "source is missing", "give the source that the line has in an answer in JSON")
    if not _SOURCE.fullmatch(source):
        raise _refused("source", f"{source[:64]!r} is no source", "a source is 32 lower-case hexadecimal digits")
    if given.one("position") is None:
        raise _refused("position", "position is missing", "give the position that the line has in an answer in JSON")
    return ContextAsked(
        bytes.fromhex(source),
        _number(given, CONTEXT, "position", _POSITION_MAX),
        _number(given, CONTEXT, "before", LINES_MAX),
        _number(given, CONTEXT, "after", LINES_MAX),
        Rendering(shape, colour=_colour(given, is_text=shape is Format.TEXT)),
    )


def _cursor(given: Given, headers: Mapping[str, str], cursors: Cursors) -> Cursor | None:
    # An EventSource comes again with the address it began with: what it has seen since stands in the header.
    name = "Last-Event-ID"
    text = headers.get(name, "").strip()
    if not text:
        name, text = "cursor", given.one("cursor") or ""
    if not text:
        return None
    try:
        return cursors.read(text)
    except ForeignCursorError as error:
        hint = "the store is another one: begin again without a cursor, or ask /query for what was before"
        raise RefusedError(410, Refusal(str(error), name, hint)) from error
    except ValueError as error:
        raise _refused(name, f"{text[:64]!r}: {error}", "give it as an event had it, or leave it out") from error


def _number(given: Given, known: tuple[Parameter, ...], name: str, most: int) -> int:
    text = given.one(name) or _default(known, name)
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise _refused(name, f"{text[:64]!r} is no {name}", f"it is a whole number, 0 to {most}")
    return int(text)


def _colour(given: Given, *, is_text: bool) -> bool:
    colour = given.one("color") == "always"
    if colour and not is_text:
        raise _refused("color", "there are colours in text only", "leave color out, or say format=text")
    return colour


def _default(known: tuple[Parameter, ...], name: str) -> str:
    return next(parameter.default for parameter in known if parameter.name == name)


def _refused(parameter: str, error: str, hint: str) -> RefusedError:
    return RefusedError(400, Refusal(error, parameter, hint))
