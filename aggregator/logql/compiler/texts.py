"""That a line contains any of several texts: one search for a list, not one for each of its texts.

A chain of ``LIKE`` is planned text by text, and the search that the engine makes of it (``multiSearchAny``) slows down
where lines have much of many texts. RE2's alternations do so too: of half a million lines a thousand trace ids take
minutes, with ``multiMatchAny`` half a second. That one does not prune by the token index; a hint beside it does, by
those words of the texts that are surely whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.words import inner_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aggregator.logql.compiler.statement import Parameters

# Below this many each text is searched for by itself, which prunes by itself.
TOGETHER_MIN: Final = 4
# Texts of one search: `multiSearchAny` takes at most 255, and what `multiMatchAny` needs to compile a list grows faster
# than the list: of 250 trace ids 0.15 s, of 500 0.5 s. Of texts with other than printable ASCII 50 take 0.06 s and
# 250 1.5 s.
TOGETHER_MAX: Final = 250
_STRANGE_MAX: Final = 50

# What LIKE gives a meaning to.
_WILD: Final = re.compile(r"[\\%_]")
# What an expression gives a meaning to. Escapes by number make compiling ten times as slow.
_SPECIAL: Final = re.compile(r"[.*+?^$|(){}\[\]\\]")
_PLAIN: Final = re.compile(r"[\x20-\x7e]*")


def contains(text: str, parameters: Parameters) -> str:
    """The condition that a line contains ``text``."""
    escaped = _WILD.sub(r"\\\g<0>", text)
    return f"body LIKE {parameters.text(f'%{escaped}%')}"


def contains_any(texts: Sequence[str], parameters: Parameters, *, prunes: bool = True) -> str:
    """The condition that a line contains any of ``texts``; ``prunes``: it is asked for, not what lacks it."""
    if "" in texts:
        return "1"
    if len(texts) < TOGETHER_MIN:
        return " OR ".join(contains(text, parameters) for text in texts)
    prunes = prunes and all(map(inner_words, texts))
    distinct = dict.fromkeys(texts)
    plain = [text for text in distinct if _PLAIN.fullmatch(text)]
    strange = [text for text in distinct if not _PLAIN.fullmatch(text)]
    groups = [*_cut(plain, TOGETHER_MAX), *_cut(strange, _STRANGE_MAX)]
    return " OR ".join(_together(group, parameters, prunes=prunes) for group in groups)


def _cut(texts: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(texts), most):
        yield tuple(texts[first : first + most])


def _together(texts: tuple[str, ...], parameters: Parameters, *, prunes: bool) -> str:
    expressions = tuple(_SPECIAL.sub(r"\\\g<0>", text).replace("\0", r"\x00") for text in texts)
    found = f"multiMatchAny(body, {parameters.bind(expressions, 'Array(String)')})"
    if not prunes:
        return found
    return f"({found} AND indexHint(multiSearchAny(body, {parameters.bind(texts, 'Array(String)')})))"
