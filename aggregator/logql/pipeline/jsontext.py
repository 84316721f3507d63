"""JSON as Loki reads it: leniently, from the front, and every value as the text that stands there.

Loki's library (https://github.com/buger/jsonparser) takes what is no JSON to the letter: anything after the object, any
token that begins like a number, control characters in strings; and what it found before an error counts. Almost every
line is plain JSON, though, for which the decoder of the standard library gives the same in a fraction of the time:
`decoded`. `members` is the slow way for the others.
"""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Objects within objects that are looked into; the standard library's decoder and Loki's have a stack, so a limit too.
NESTING_MAX: Final = 64

# The library's own words, which `__error_details__` shows.
NO_OBJECT: Final = "Value looks like object, but can't find closing '}' symbol"
NO_ARRAY: Final = "Value is array, but can't find closing ']' symbol"
NO_STRING: Final = "Value is string, but can't find closing '\"' symbol"
NO_JSON: Final = "Malformed JSON error"
NO_ESCAPE: Final = "Encountered an invalid escape sequence in a string"
NO_TYPE: Final = "Unknown value type"
TOO_DEEP: Final = f"objects are nested deeper than {NESTING_MAX}"

# What plain JSON is not: surrogates and U+FFFD, which Loki replaces, written as such or escaped.
_REPLACEMENT: Final = "\ufffd"
_DOUBTFUL_ESCAPE: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|[fF]{3}[dD])")
_WHITE_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_TOKEN: Final = re.compile(r"[^ \n\r\t,}\]]*")
# A bracket, or a string; an open string has no second quote.
_OBJECT_PARTS: Final = re.compile(r'[{}]|"[^"\\]*(?:\\.[^"\\]*)*("?)', re.DOTALL)
_ARRAY_PARTS: Final = re.compile(r'[\[\]]|"[^"\\]*(?:\\.[^"\\]*)*("?)', re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([\"\\/bfnrt])|)", re.DOTALL
)
_SIMPLE_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

# An object: its members in order, each a key and a value; strings and numbers are str, arrays lists.
Pairs = tuple[tuple[str, Any], ...]


class JsonError(ValueError):
    """What was read is no JSON, not even for Loki; ``key``: whose value it is, if it is one's."""

    def __init__(self, details: str, key: str | None = None) -> None:
        super().__init__(details)
        self.details = details
        self.key = key


class Kind(enum.Enum):
    """What a value is."""

    STRING = enum.auto()
    NUMBER = enum.auto()
    BOOLEAN = enum.auto()
    NULL = enum.auto()
    OBJECT = enum.auto()
    ARRAY = enum.auto()


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_decoder: Final[Any] = json.JSONDecoder(
    object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=_refuse, strict=False
)
_scan: Final = _decoder.scan_once


def decoded(text: str) -> Pairs | None:
    """The object that ``text`` begins with, if it is plain JSON; None: `members` has to look."""
    if _REPLACEMENT in text or ("\\u" in text and _DOUBTFUL_ESCAPE.search(text)):
        return None
    start = 0 if text.startswith("{") else after_space(text, 0, len(text))
    if not text.startswith("{", start):
        return None
    try:
        value, _ = _scan(text, start)
    except (StopIteration, ValueError, RecursionError):
        return None
    pairs: Pairs = value
    return pairs


def after_space(text: str, start: int, end: int) -> int:
    """Where white space from ``start`` on ends."""
    found = _WHITE_SPACE.match(text, start, end)
    return found.end() if found else start


def members(  # noqa: C901 - every place where an object may end wrongly
    text: str, start: int, end: int
) -> Iterator[tuple[str, Kind, int, int]]:
    """The members of the object that ``text[start:end]`` begins with: key, kind, where its value's text is.

    A string's text is what stands between its quotes, escaped. Raises JsonError where it is no JSON any more.
    """
    at = after_space(text, start, end)
    if at >= end or text[at] != "{":
        raise JsonError(NO_OBJECT)
    at = after_space(text, at + 1, end)
    if at >= end:
        raise JsonError(NO_JSON)
    while True:
        if at < end and text[at] == "}":
            return
        if at >= end or text[at] != '"':
            raise JsonError(NO_OBJECT)
        found = _STRING.match(text, at, end)
        if found is None:
            raise JsonError(NO_JSON)
        key = _key(found[1])
        at = after_space(text, found.end(), end)
        if at >= end or text[at] != ":":
            raise JsonError(NO_JSON)
        try:
            kind, value_start, value_end, at = value(text, at + 1, end)
        except JsonError as error:
            raise JsonError(error.details, key) from None
        yield key, kind, value_start, value_end
        at = after_space(text, at, end)
        if at >= end:
            raise JsonError(NO_ARRAY)
        if text[at] == "}":
            return
        if text[at] != ",":
            raise JsonError(NO_OBJECT)
        at = after_space(text, at + 1, end)
        if at >= end:
            raise JsonError(NO_ARRAY)


def elements(text: str, start: int, end: int) -> Iterator[tuple[Kind, int, int]]:
    """The elements of the array that begins at ``start``: kind, where its text is; ends where it is none any more."""
    at = after_space(text, start + 1, end)
    if at < end and text[at] == "]":
        return
    while True:
        try:
            kind, value_start, value_end, at = value(text, at, end)
        except JsonError:
            return
        yield kind, value_start, value_end
        at = after_space(text, at, end)
        if at >= end or text[at] != ",":
            return
        at += 1


def value(text: str, start: int, end: int) -> tuple[Kind, int, int, int]:
    """The value that comes next: kind, where its text is, where it ends; raises JsonError."""
    at = after_space(text, start, end)
    if at >= end:
        raise JsonError(NO_JSON)
    first = text[at]
    if first == '"':
        found = _STRING.match(text, at, end)
        if found is None:
            raise JsonError(NO_STRING)
        return Kind.STRING, at + 1, found.end() - 1, found.end()
    if first in "{[":
        block_end = _block_end(text, at, end)
        return (Kind.OBJECT if first == "{" else Kind.ARRAY), at, block_end, block_end
    token = _TOKEN.match(text, at, end)
    token_end = token.end() if token else at
    word = text[at:token_end]
    if word in {"true", "false"}:
        kind = Kind.BOOLEAN
    elif word == "null":
        kind = Kind.NULL
    elif first in "-0123456789":
        kind = Kind.NUMBER
    else:
        raise JsonError(NO_TYPE)
    return kind, at, token_end, token_end


def unescaped(raw: str) -> str:
    """A string's value, U+FFFD as a space; empty where an escape is none, as Loki has it."""
    try:
        return unescaped_strictly(raw).replace(_REPLACEMENT, " ")
    except JsonError:
        return ""


def unescaped_strictly(raw: str) -> str:
    """A string's value; raises JsonError."""
    return _ESCAPE.sub(_unescape, raw) if "\\" in raw else raw


def _unescape(found: re.Match[str]) -> str:
    high, low, single, simple = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00))
    if simple:
        return _SIMPLE_ESCAPES.get(simple, simple)
    if single and single[0] + single[1] not in _SURROGATES:
        return chr(int(single, 16))
    raise JsonError(NO_ESCAPE)


_SURROGATES: Final = frozenset(d + digit for d in "dD" for digit in "89abcdefABCDEF")


def _key(raw: str) -> str:
    return unescaped_strictly(raw)


def _block_end(text: str, start: int, end: int) -> int:
    is_object = text[start] == "{"
    level = 0
    for found in (_OBJECT_PARTS if is_object else _ARRAY_PARTS).finditer(text, start, end):
        part = found[0]
        if part[0] == '"':
            if not found[1]:
                break
        elif part in "{[":
            level += 1
        else:
            level -= 1
            if level == 0:
                return found.end()
    raise JsonError(NO_OBJECT if is_object else NO_ARRAY)
