r"""Strings as Go writes and reads them: ``"…"`` with escapes, and raw ones in backquotes.

Source: https://go.dev/ref/spec#String_literals, https://pkg.go.dev/strconv#Quote.
"""

from __future__ import annotations

import re
from typing import Final

_SHORT_ESCAPES: Final = {
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
    "\\": b"\\",
    '"': b'"',
}
_SHORT_NAMES: Final = {value.decode(): name for name, value in _SHORT_ESCAPES.items()}
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<short>[abfnrtv\\\"])|x(?P<byte>[\da-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"
    r"|u(?P<short_rune>[\da-fA-F]{4})|U(?P<rune>[\da-fA-F]{8})|(?P<invalid>.|\Z))",
    re.DOTALL | re.ASCII,
)
_LAST_RUNE: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
_BYTE_MAX: Final = 0x7F
_SHORT_RUNE_MAX: Final = 0xFFFF


class EscapeError(ValueError):
    """What is wrong, and at which character of the literal."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.offset = offset


def quoted(text: str) -> str:
    """The literal that means ``text``, as Go's ``strconv.Quote`` writes it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_written(character) for character in text) + '"'


def _written(character: str) -> str:
    if character in _SHORT_NAMES:
        return "\\" + _SHORT_NAMES[character]
    if character.isprintable():
        return character
    rune = ord(character)
    if rune <= _BYTE_MAX:
        return f"\\x{rune:02x}"
    return f"\\u{rune:04x}" if rune <= _SHORT_RUNE_MAX else f"\\U{rune:08x}"


def unquoted(literal: str) -> str:
    """What a whole literal means, in either quotes; raises EscapeError, also if its bytes are not UTF-8."""
    body = literal[1:-1]
    if literal[0] == "`" or "\\" not in body:
        return body
    pieces: list[bytes] = []
    at = 0
    for escape in _ESCAPE.finditer(body):
        pieces += (body[at : escape.start()].encode(), _meant(escape))
        at = escape.end()
    pieces.append(body[at:].encode())
    try:
        return b"".join(pieces).decode()
    except UnicodeDecodeError:
        raise EscapeError("the escapes of the string do not make UTF-8 text", 0) from None


def _meant(escape: re.Match[str]) -> bytes:
    if escape["short"]:
        return _SHORT_ESCAPES[escape["short"]]
    if escape["byte"]:
        return bytes((int(escape["byte"], 16),))
    if escape["octal"]:
        return bytes((int(escape["octal"], 8),))
    if escape["invalid"] is None:
        rune = int(escape["short_rune"] or escape["rune"], 16)
        if rune <= _LAST_RUNE and rune not in _SURROGATES:
            return chr(rune).encode()
    raise EscapeError(
        f"invalid escape {escape[0]!s} in a string: write \\\\ for a backslash, or put the string in backquotes",
        escape.start() + 1,
    )
