"""The tokens of Go's text templates. Source: https://pkg.go.dev/text/template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN: Final = re.compile(r"\{\{(- )?[ \t\r\n]*(/\*)?|\{\{(-)(?=[\t\r\n])[ \t\r\n]*(/\*)?")
_COMMENT_END: Final = re.compile(r"\*/(?:[ \t\r\n]+-)?\}\}")
_TOKEN: Final = re.compile(
    r"""(?P<close>[ \t\r\n]+-\}\}|\}\})
    |(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<character>'(?:[^'\\\n]|\\.[^'\n]*)')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<declare>:=)
    |(?P<sign>[=|(),])""",
    re.VERBOSE,
)
_SPACE: Final = " \t\r\n"
# What must not follow a field, variable, word or number at once.
_JOINING: Final = frozenset({"string", "character", "number", "word", "variable"})
_NAMES: Final = frozenset({"field", "variable", "word", "number", "character", "string"})


class ScanError(ValueError):
    """A template is none at ``at``."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


class Token(msgspec.Struct, frozen=True):
    """A token: ``kind`` is text, close, or a name of `_TOKEN`; ``at`` where it begins; ``spaced``: after a space."""

    kind: str
    text: str
    at: int
    spaced: bool = False


def tokens(template: str) -> Iterator[Token]:  # noqa: C901, PLR0912 - texts, comments, actions
    """Texts, and the tokens of actions, each action ended by ``close``; raises ScanError."""
    at = 0
    trim = False
    while True:
        opened = _OPEN.search(template, at)
        end = opened.start() if opened else len(template)
        text = template[at:end]
        if trim:
            text = text.lstrip(_SPACE)
        if opened and (opened[1] or opened[3]):
            text = text.rstrip(_SPACE)
        if text:
            yield Token("text", text, at)
        if opened is None:
            return
        if opened[2] or opened[4]:
            closed = _COMMENT_END.search(template, opened.end())
            if closed is None:
                raise ScanError("unclosed comment", opened.start())
            at, trim = closed.end(), "-" in closed[0]
            continue
        at = opened.end()
        previous, spaced = "", False
        while True:
            found = _TOKEN.match(template, at)
            if found is None or found.lastgroup is None:
                raise ScanError(_trouble(template, at), opened.start())
            kind = found.lastgroup
            if kind == "space":
                spaced = True
            else:
                if not spaced and kind in _JOINING and previous in _NAMES:
                    raise ScanError(f"bad character {template[at]!r}", at)
                yield Token(kind, found[0], at, spaced)
                previous, spaced = kind, False
            at = found.end()
            if kind == "close":
                trim = "-" in found[0]
                break


def _trouble(template: str, at: int) -> str:
    rest = template[at : at + 1]
    if not rest:
        return "unclosed action"
    if rest in {'"', "`"}:
        return "unterminated quoted string" if rest == '"' else "unterminated raw quoted string"
    if rest == "'":
        return "unterminated character constant"
    return f"unexpected {rest!r} in command"
