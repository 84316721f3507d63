"""Records that Python finished, shown as `aggregator.store.rendering` shows those that the engine did.

JSON has one key more where stages made labels: ``labels``, an object of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.tree import LEVEL, LEVEL_UNKNOWN
from aggregator.store.rendering import FLAGS, Format, Rendering
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggregator.query.entry import Entry

_SECOND_NS: Final = 1_000_000_000
# What a terminal would obey: C0 and C1 control characters, DEL.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
# What bytes that are not UTF-8 are decoded to; several together are shown as one character, as the engine does.
_ESCAPED: Final = re.compile("[\udc80-\udcff]+")
_LABELS: Final = ("pod", "container", "node", "stream", "cluster", "uid")

_DIM: Final = b"\x1b[2m"
_BLUE: Final = b"\x1b[34m"
_PLAIN: Final = b"\x1b[0m"
_GAP_COLOUR: Final = b"\x1b[35m"
_COLOURS: Final = {
    "fatal": b"\x1b[1;31m",
    "error": b"\x1b[31m",
    "warn": b"\x1b[33m",
    "debug": b"\x1b[36m",
    "trace": b"\x1b[2m",
}


class Piece(msgspec.Struct, frozen=True):
    """Rendered records, one after the other: how many, and their bytes."""

    rows: int
    data: memoryview


class _Gap(msgspec.Struct):
    """The body of a gap record (`wire.batch.Flag.GAP`)."""

    reason: str
    bytes: int | None = None


def shown(entries: Iterable[Entry], rendering: Rendering) -> Piece:
    """The lines of ``entries``, in their order."""
    show = _shape(rendering)
    lines = [show(entry) for entry in entries]
    return Piece(len(lines), memoryview(b"".join(lines)))


def line_of(rendering: Rendering) -> Callable[[Entry], bytes]:
    """What shows one record."""
    return _shape(rendering)


def _shape(rendering: Rendering) -> Callable[[Entry], bytes]:
    match rendering.format:
        case Format.TEXT:
            return _coloured if rendering.colour else _text
        case Format.JSON:
            return _json
        case Format.CSV:
            return _csv


def _time(ts_ns: int) -> bytes:
    seconds, rest = divmod(ts_ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z".encode()


def _name(labels: Mapping[str, str], name: str, missing: str = "?") -> bytes:
    return _CONTROLS.sub("\ufffd", labels.get(name, "") or missing).encode()


def _origin(entry: Entry) -> bytes:
    names = (_name(entry.stream, "namespace", ""), _name(entry.stream, "pod"), _name(entry.stream, "container"))
    return b"/".join(names)


def _line(entry: Entry) -> bytes:
    if not entry.flags & Flag.GAP:
        return entry.line
    try:
        gap = msgspec.json.decode(entry.line, type=_Gap)
    except msgspec.DecodeError:
        # A stage made something else of it.
        return entry.line
    lost = "an unknown number of" if gap.bytes is None else str(gap.bytes)
    return f"[gap: {lost} bytes lost: {gap.reason}]".encode()


def _text(entry: Entry) -> bytes:
    return b"%s %s %s\n" % (_time(entry.ts_ns), _origin(entry), _line(entry))


def _coloured(entry: Entry) -> bytes:
    colour = _GAP_COLOUR if entry.flags & Flag.GAP else _COLOURS.get(_level(entry), b"")
    head = b"".join((_DIM, _time(entry.ts_ns), _PLAIN, b" ", _BLUE, _origin(entry), _PLAIN, b" "))
    return b"".join((head, colour, _line(entry), _PLAIN, b"\n"))


def _level(entry: Entry) -> str:
    return entry.metadata.get(LEVEL, LEVEL_UNKNOWN)


def _flags(entry: Entry) -> list[str]:
    return [name for flag, name in FLAGS if entry.flags & flag]


def _json(entry: Entry) -> bytes:
    shown_as = {
        "ts": _time(entry.ts_ns).decode(),
        "namespace": entry.stream.get("namespace", ""),
        **{name: entry.stream.get(name, "") for name in _LABELS},
        "level": _level(entry),
        "line": _ESCAPED.sub("\ufffd", entry.line.decode(errors="surrogateescape")),
        "source": entry.source.hex(),
        "position": entry.position,
        "flags": _flags(entry),
    }
    if entry.parsed:
        shown_as["labels"] = dict(entry.parsed)
    return msgspec.json.encode(shown_as) + b"\n"


def _csv(entry: Entry) -> bytes:
    texts = [_quoted(entry.stream.get(name, "").encode()) for name in ("namespace", *_LABELS)]
    last = (entry.source.hex(), str(entry.position), " ".join(_flags(entry)))
    cells = [_time(entry.ts_ns), *texts, _level(entry).encode(), _quoted(entry.line), *(one.encode() for one in last)]
    return b",".join(cells) + b"\n"


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b'"', b'""') + b'"'
