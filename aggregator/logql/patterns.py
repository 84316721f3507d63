"""Globs and literals into the regular expressions of matchers, and back.

A matcher's expression is RE2 and anchored by whoever runs it; what is built here holds no anchors. Only ASCII
punctuation and control characters are escaped, as RE2's own ``QuoteMeta`` does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.tree import Matcher, MatchOp

if TYPE_CHECKING:
    from collections.abc import Sequence

_PUNCTUATION: Final = r"[\x01-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_SPECIAL: Final = re.compile(_PUNCTUATION)
_WORD: Final = re.compile(r"\w|\w.*\w", re.ASCII | re.DOTALL)
# What an alternation of literals is made of: escaped punctuation, characters that mean themselves, bars.
_LITERAL_TOKEN: Final = re.compile(
    rf"\\(?P<escaped>{_PUNCTUATION})|(?P<plain>[^\\.+*?()|\[\]{{}}^$])|(?P<bar>\|)", re.DOTALL
)


def quoted(text: str) -> str:
    """The expression that matches ``text`` and nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text).replace("\0", r"\x00")


def glob(text: str) -> str:
    """The expression of a glob: ``*`` stands for any characters, also none; everything else for itself."""
    return ".*".join(quoted(part) for part in text.split("*"))


def word(text: str) -> str:
    """The expression of ``text`` where no word goes on before or after it.

    Raises `ValueError` unless ``text`` begins and ends as words do in RE2: with a letter of ASCII, a digit or ``_``.
    """
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} does not begin and end with a letter of ASCII, a digit or _")
    return rf"\b{quoted(text)}\b"


def matcher(label: str, values: Sequence[str]) -> Matcher:
    """A matcher that holds when the label matches any of ``values`` (at least one), each a literal or a glob."""
    if len(values) == 1 and "*" not in values[0]:
        return Matcher(label, MatchOp.EQUAL, values[0])
    return Matcher(label, MatchOp.MATCHES, "|".join(glob(value) for value in values))


def literals(expression: str) -> tuple[str, ...] | None:
    """The texts an expression stands for if it is nothing but alternatives of literals, else None.

    A list can be looked up in the store's sort order, where an expression has to be tried on every value.
    """
    texts = [""]
    at = 0
    while at < len(expression):
        token = _LITERAL_TOKEN.match(expression, at)
        if token is None:
            return None
        if token["bar"]:
            texts.append("")
        else:
            texts[-1] += token["escaped"] or token["plain"]
        at = token.end()
    return tuple(texts)
