"""The texts, characters and numbers that stand in a template. Source: https://go.dev/ref/spec#Lexical_elements."""

from __future__ import annotations

import re
from typing import Final

from aggregator.logql import units
from aggregator.logql.pipeline import values
from aggregator.logql.pipeline.scanner import ScanError, Token

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'\"]))", re.DOTALL
)
_SIMPLE_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BACKSLASH_LEFT: Final = re.compile(r"(?:\\x..|\\u.{4}|\\U.{8}|\\[0-7]{3}|\\[abfnrtv\\'\"]|[^\\])*", re.DOTALL)


def unquoted(token: Token) -> str:
    """The text of a string or character; raises ScanError."""
    body = token.text[1:-1]
    if token.text[0] == "`":
        return body
    left = _BACKSLASH_LEFT.fullmatch(body)
    if left is None:
        raise ScanError(f"invalid syntax: {token.text}", token.at)
    try:
        return _ESCAPE.sub(_unescaped, body)
    except (ValueError, OverflowError):
        raise ScanError(f"invalid syntax: {token.text}", token.at) from None


def _unescaped(found: re.Match[str]) -> str:
    byte, short, long, octal, simple = found.groups()
    if simple:
        return _SIMPLE_ESCAPES.get(simple, simple)
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    if 0xD800 <= code < 0xE000:  # noqa: PLR2004 - surrogates are no characters
        raise ValueError("surrogate")
    return chr(code)


def character(token: Token) -> int:
    """The code of a character; raises ScanError."""
    text = unquoted(token)
    if len(text) != 1:
        raise ScanError(f"malformed character constant: {token.text}", token.at)
    return ord(text)


def number(token: Token) -> int | float:
    """An integer or float; raises ScanError."""
    integer = values.parse_int(token.text)
    if integer is not None:
        return integer
    try:
        value = units.parse_float(token.text)
    except ValueError:
        raise ScanError(f'bad number syntax: "{token.text}"', token.at) from None
    # Go takes a whole number for an integer wherever one is wanted; printed they look the same.
    return value
