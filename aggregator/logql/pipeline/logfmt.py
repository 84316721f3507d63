"""``| logfmt``: the keys of a line of ``key=value key="quoted value" key``.

As Loki (pkg/logql/log/logfmt, pkg/logql/log/parser.go). Almost every pair is of a simple form that one expression
takes; what is not is read character by character, so that errors are Loki's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.pipeline import jsontext
from aggregator.logql.pipeline.labels import EXTRACTED, LOGFMT_ERROR, Labels, is_label_name, label_name
from aggregator.logql.pipeline.stages import StageError, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from aggregator.logql.tree import Extraction

_REPLACEMENT: Final = "\ufffd"
# White space here is every character up to the space. A value in quotes need not be followed by any.
_PAIR: Final = re.compile(
    r'[\x00-\x20]*([^\x00-\x20="\ufffd]+)(?:="([^"\\]*)"|=([^\x00-\x20="]*)(?![^\x00-\x20])|(?![^\x00-\x20]))'
)
_SPACE: Final = re.compile(r"[\x00-\x20]*")
_KEY_END: Final = re.compile(r'[\x00-\x20="]|\Z')
_SPACE_END: Final = re.compile(r"[\x00-\x20]|\Z")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# What may be escaped in a quoted value; as in JSON, and an apostrophe.
_APOSTROPHE: Final = re.compile(r"(\\[^'])|\\'", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_EXPRESSION: Final = re.compile(r'[ \t\n]*(?:(?P<field>[A-Za-z_][A-Za-z0-9_]*)|"(?P<key>[^"\]]*)"?)[ \t\n]*')


class LogfmtError(ValueError):
    """A line is no logfmt at ``position`` (bytes, from 1); reading may go on at ``resume`` (characters)."""

    def __init__(self, details: str, position: int, resume: int) -> None:
        super().__init__(f"logfmt syntax error at pos {position} : {details}")
        self.resume = resume


def parser(wanted: Collection[str] | None, *, strict: bool, keep_empty: bool) -> Step:
    """The step of ``| logfmt``; ``wanted``: names that are looked at later, suffixes apart, None all.

    Only ``strict`` stops at an error and says so; otherwise what is wrong is passed over.
    """

    def step(_: int, line: str, labels: Labels) -> str:
        for key, value in _pairs(line, labels, strict=strict):
            if not value and not keep_empty:
                continue
            name = label_name(key)
            if name and (wanted is None or name in wanted):
                labels.extract(name, value.replace(_REPLACEMENT, " "))
        return line

    return step


def extraction_parser(extractions: Sequence[Extraction], *, strict: bool) -> Step:
    """The step of ``| logfmt label="key", …``; raises StageError.

    A key that is not there gives an empty label. Unlike Loki's, which takes one of them at random, two labels of one
    key both get its value.
    """
    targets: dict[str, list[str]] = {}
    for extraction in extractions:
        if not is_label_name(extraction.label):
            raise StageError("logfmt", f"invalid extracted label name '{extraction.label}'")
        found = _EXPRESSION.fullmatch(extraction.expression)
        if found is None:
            raise StageError("logfmt", f"cannot parse expression [{extraction.expression}]: syntax error")
        key = found["field"] if found["field"] is not None else found["key"]
        targets.setdefault(key, []).append(extraction.label)
    names = [extraction.label for extraction in extractions]
    for label in names:
        # A key that is called as one of the labels gives that label its value too, if nothing renames it.
        targets.setdefault(label, [label])

    def step(_: int, line: str, labels: Labels) -> str:
        clashing = {label for label in names if not labels.free(label)}
        for label in names:
            if label not in clashing:
                labels.set(label, "")
        for key, value in _pairs(line, labels, strict=strict):
            for label in targets.get(label_name(key), ()):
                labels.set(label + EXTRACTED if label in clashing else label, "" if _REPLACEMENT in value else value)
        return line

    return step


def _pairs(line: str, labels: Labels, *, strict: bool) -> Iterator[tuple[str, str]]:
    """Keys and values of a line; an error ends it if ``strict``, and sets the error labels then."""
    at = 0
    end = len(line)
    while at < end:
        found = _PAIR.match(line, at)
        if found is not None:
            at = found.end()
            key, quoted, plain = found.groups()
            yield key, quoted or plain or ""
            continue
        try:
            pair, at = _careful_pair(line, at)
        except LogfmtError as error:
            if strict:
                labels.fail(LOGFMT_ERROR, str(error))
                return
            at = error.resume
            continue
        if pair is not None:
            yield pair


def _careful_pair(line: str, at: int) -> tuple[tuple[str, str] | None, int]:
    """The pair that comes next, None at the line's end, and where to go on; raises LogfmtError."""
    start = _end(_SPACE, line, at)
    if start == len(line):
        return None, start
    key_end = _start(_KEY_END, line, start)
    key = line[start:key_end]
    stop = line[key_end : key_end + 1]
    if stop == '"' or not key:
        raise _unexpected(stop, line, key_end)
    if _REPLACEMENT in key:
        raise LogfmtError("invalid key", _position(line, key_end), _skipped(line, key_end) if stop == "=" else key_end)
    value_start = key_end + 1
    if stop != "=" or value_start == len(line) or line[value_start] <= " ":
        return (key, ""), min(value_start if stop == "=" else key_end, len(line))
    if line[value_start] == '"':
        return _quoted_pair(line, key, value_start)
    value_end = _start(_KEY_END, line, value_start)
    stop = line[value_end : value_end + 1]
    if stop and stop > " ":
        raise _unexpected(stop, line, value_end)
    return (key, line[value_start:value_end]), value_end


def _quoted_pair(line: str, key: str, start: int) -> tuple[tuple[str, str], int]:
    found = _QUOTED.match(line, start)
    if found is None:
        raise LogfmtError("unterminated quoted value", _position(line, len(line)), len(line))
    raw = found[1]
    if "\\" not in raw:
        return (key, raw), found.end()
    value = _unquoted(raw)
    if value is None:
        raise LogfmtError("invalid quoted value", _position(line, found.end()), found.end())
    return (key, value), found.end()


def _unquoted(raw: str) -> str | None:
    if _CONTROL.search(raw):
        return None
    try:
        return jsontext.unescaped_strictly(_APOSTROPHE.sub(lambda found: found[1] or "'", raw))
    except jsontext.JsonError:
        return None


def _unexpected(stop: str, line: str, at: int) -> LogfmtError:
    return LogfmtError(f"unexpected '{stop}'", _position(line, at), _skipped(line, at))


def _skipped(line: str, at: int) -> int:
    return _start(_SPACE_END, line, at)


def _position(line: str, at: int) -> int:
    return len(line[:at].encode("utf-8", "surrogatepass")) + 1


def _start(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.search(line, at)
    return found.start() if found else len(line)


def _end(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return found.end() if found else at
