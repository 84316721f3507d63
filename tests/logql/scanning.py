"""JSON as Loki reads it: one value after the other, believing what it sees until it cannot go on.

What stands before a broken place has been read by then; what stands after an object's end is not looked at; a number
is any word that begins like one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD: Final = re.compile(r"[^ \t\n\r,}\]]+")

OBJECT: Final = "object"
ARRAY: Final = "array"
STRING: Final = "string"
NUMBER: Final = "number"
BOOLEAN: Final = "boolean"
NULL: Final = "null"


class BrokenError(Exception):
    """No further; if it is a member's value that breaks off: its name, and the text from there."""

    def __init__(self, name: str | None = None, text: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.text = text


class Value(msgspec.Struct, frozen=True):
    """A value: its kind, and its text as it is written (of a string: between the quotes)."""

    kind: str
    text: str


def members(text: str) -> Iterator[tuple[str, Value]]:
    """Names and values of the object that ``text`` begins with; raises `BrokenError` where it breaks."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise BrokenError
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        name = _STRING.match(text, at)
        if not name:
            raise BrokenError
        at = _skip(text, name.end())
        if text[at : at + 1] != ":":
            raise BrokenError
        start = _skip(text, at + 1)
        try:
            value, at = _value(text, start)
        except BrokenError as error:
            raise BrokenError(unescaped(name[1]), text[start:]) from error
        yield unescaped(name[1]), value
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "}":
            raise BrokenError


def elements(text: str) -> list[Value]:
    """What the array ``text`` has; up to where it breaks."""
    found: list[Value] = []
    at = _skip(text, 1)
    while at < len(text) and text[at] != "]":
        try:
            value, at = _value(text, at)
        except BrokenError:
            break
        found.append(value)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return found


def unescaped(text: str) -> str:
    """What stands between quotes, as it is meant; empty if it is no JSON string."""
    if "\\" not in text:
        return text
    try:
        meant = str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return ""
    return "" if re.search("[\ud800-\udfff]", meant) else meant


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int) -> tuple[Value, int]:
    first = text[at : at + 1]
    if first == '"':
        found = _STRING.match(text, at)
        if not found:
            raise BrokenError
        return Value(STRING, found[1]), found.end()
    if first in {"{", "["} and first:
        end = _block(text, at, first, "}" if first == "{" else "]")
        return Value(OBJECT if first == "{" else ARRAY, text[at:end]), end
    word = _WORD.match(text, at)
    if not word:
        raise BrokenError
    if word[0] in {"true", "false"}:
        return Value(BOOLEAN, word[0]), word.end()
    if word[0] == "null":
        return Value(NULL, ""), word.end()
    if first in "-0123456789":
        return Value(NUMBER, word[0]), word.end()
    raise BrokenError


def _block(text: str, at: int, opening: str, closing: str) -> int:
    level = 0
    while at < len(text):
        if text[at] == '"':
            found = _STRING.match(text, at)
            if not found:
                break
            at = found.end()
            continue
        level += (text[at] == opening) - (text[at] == closing)
        at += 1
        if not level:
            return at
    raise BrokenError
