r"""Which whole words a regular expression asks of every text it matches: what the token index can be asked for.

The index knows the words of a body: runs of ASCII letters and digits and of all that is not ASCII. A word is whole in
an expression where something stands on both its sides that is no part of words: ``\b``, or a literal like a space or
``=``. Everything that is not understood here gives no words, which is always right.
"""

from __future__ import annotations

import re
from typing import Final

# A boundary, an anchor, an escaped ASCII punctuation character, or a character that means itself.
_TOKEN: Final = re.compile(
    r"(?P<edge>\\b|[\^$])|\\(?P<escaped>[!-/:-@\[-`{-~])|(?P<plain>[^\\.+*?()|\[\]{}^$])", re.DOTALL
)
_WORD: Final = re.compile(r"[0-9A-Za-z]+")
# Stand for what is around a literal: something that ends words, and something unknown.
_EDGE: Final = "\0"
_UNKNOWN: Final = "a"
_REPEATED: Final = frozenset("*?{+")


def whole_words(expression: str) -> tuple[str, ...]:
    """The words that every text matching ``expression`` (RE2, unanchored) holds as whole ones, each once."""
    expression = expression.removeprefix("(?s)")
    if "|" in expression or "(?" in expression or r"\Q" in expression:
        return ()
    found: list[str] = []
    text = _UNKNOWN
    at = depth = 0
    while at < len(expression):
        token = _TOKEN.match(expression, at)
        following = expression[token.end() : token.end() + 1] if token else ""
        if token is None or depth or following in _REPEATED:
            skipped = token.end() if token else _skipped(expression, at)
            if skipped is None:
                return ()
            depth += {"(": 1, ")": -1}.get(expression[at], 0) if token is None else 0
            found += _words(text + _UNKNOWN)
            text = _UNKNOWN
            at = skipped
            continue
        text += _EDGE if token["edge"] else token["escaped"] or token["plain"]
        at = token.end()
    return tuple(dict.fromkeys(found + _words(text + _UNKNOWN)))


def inner_words(text: str) -> list[str]:
    """The words of ``text`` that are whole in whatever contains it: its first and its last may be cut."""
    return _words(_UNKNOWN + text + _UNKNOWN)


def _skipped(expression: str, at: int) -> int | None:
    """Where something that is not a literal ends; None for what only a whole parser of RE2 could tell."""
    match expression[at]:
        case "[":
            end = re.compile(r"\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]", re.DOTALL).match(expression, at)
            return end.end() if end else None
        case "{":
            end = re.compile(r"\{[0-9,]*\}").match(expression, at)
            return end.end() if end else None
        case "\\":
            end = re.compile(r"\\(?:[pP](?:\{\^?\w+\}|.)|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[AzBdDsSwWCntrfvaZ])").match(
                expression, at
            )
            return end.end() if end else None
        case _:
            return at + 1


def _words(text: str) -> list[str]:
    """The ASCII words of ``text`` that nothing of a word stands beside."""
    return [
        word.group()
        for word in _WORD.finditer(text)
        if word.start() > 0
        and word.end() < len(text)
        and text[word.start() - 1].isascii()
        and text[word.end()].isascii()
    ]


def one_line_dots(expression: str) -> str:
    """The expression as the engine is given it: there ``.`` matches line breaks unless told otherwise."""
    return f"(?-s){expression}"
