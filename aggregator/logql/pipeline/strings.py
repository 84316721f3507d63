"""Go's functions on strings, where Python's differ; and the bound on what templates make.

Sources: https://pkg.go.dev/strings, https://pkg.go.dev/regexp, https://pkg.go.dev/net/url.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggregator.logql import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

# No text that a template makes of a record, nor any on the way to it, may be longer: a line is 1 MiB at most, and so
# memory is bounded whatever is repeated, padded or replaced.
TEXT_CHARACTERS_MAX: Final = 1 << 20

_GROUP: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)
_NOT_QUERY: Final = re.compile(rb"[^A-Za-z0-9_.~-]")
_ESCAPED: Final = re.compile(rb"%([0-9a-fA-F]{2})")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}", re.DOTALL)
_WORDS_BEGIN: Final = re.compile(r"(?<![^\W])\w")


class TooLongError(ValueError):
    """A text would be longer than `TEXT_CHARACTERS_MAX`."""

    def __init__(self) -> None:
        super().__init__(f"the text would be longer than {TEXT_CHARACTERS_MAX} characters")


def check_length(characters: int) -> None:
    """Refuse to make a text of so many characters; raises TooLongError."""
    if characters > TEXT_CHARACTERS_MAX:
        raise TooLongError


def upper(text: str) -> str:
    """Upper case, character by character."""
    return text.upper() if text.isascii() else "".join(_one(character, character.upper()) for character in text)


def lower(text: str) -> str:
    """Lower case, character by character."""
    if text.isascii():
        return text.lower()
    return "".join("i" if character == "\u0130" else _one(character, character.lower()) for character in text)


def title(text: str) -> str:
    """The first letter of every word in title case; letters, digits and underscores make words."""
    return _WORDS_BEGIN.sub(lambda found: _one(found[0], found[0].title()), text)


def _one(character: str, changed: str) -> str:
    return changed if len(changed) == 1 else character


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    """``text`` with ``old`` replaced, all of them if ``count`` is negative; raises TooLongError."""
    if len(new) > len(old):
        times = text.count(old)
        check_length(len(text) + (times if count < 0 else min(times, count)) * (len(new) - len(old)))
    return text.replace(old, new, count)


def repeat(count: int, text: str) -> str:
    """``text`` so often; raises ValueError."""
    if count < 0:
        raise ValueError("strings: negative Repeat count")
    check_length(count * len(text))
    return text * count


def indent(spaces: int, text: str) -> str:
    """Every line moved to the right; raises ValueError."""
    pad = repeat(spaces, " ")
    return pad + replace(text, "\n", "\n" + pad)


def align_left(count: int, text: str) -> str:
    """Exactly so many characters, cut or filled on the right; raises TooLongError."""
    check_length(count)
    return text if count < 0 else text[:count].ljust(count)


def align_right(count: int, text: str) -> str:
    """Exactly so many characters, cut or filled on the left; raises TooLongError."""
    check_length(count)
    return text if count < 0 else text[max(0, len(text) - count) :].rjust(count)


def part(text: str, start: int, end: int) -> str:
    """Bytes ``start`` to ``end`` of ``text``, as Go slices; raises ValueError."""
    data = text if text.isascii() else text.encode("utf-8", "surrogatepass")
    if end > len(data):
        raise ValueError(f"runtime error: slice bounds out of range [:{end}] with length {len(data)}")
    if not 0 <= start <= end:
        raise ValueError(f"runtime error: slice bounds out of range [{start}:{end}]")
    piece = data[start:end]
    return piece if isinstance(piece, str) else piece.decode("utf-8", "replace")


def substr(start: int, end: int, text: str) -> str:
    """Bytes of ``text``; from the beginning if ``start`` is negative, to the end if ``end`` is or lies beyond."""
    size = byte_length(text)
    if start < 0:
        return part(text, 0, end)
    return part(text, start, size if end < 0 or end > size else end)


def trunc(count: int, text: str) -> str:
    """The first bytes, or the last if ``count`` is negative."""
    size = byte_length(text)
    if count < 0 < size + count:
        return part(text, size + count, size)
    return part(text, 0, count) if 0 <= count < size else text


def byte_length(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def matches(expression: str, text: str) -> Iterator[re.Match[str]]:
    """All matches that do not overlap, as Go finds them: no empty one right after another; raises RegexError."""
    compiled = regex.compiled(expression)
    before = -1
    for found in compiled.find_all(text):
        if found.end() == found.start() == before:
            continue
        before = found.end()
        yield found


def regex_replace(expression: str, text: str, replacement: str, *, literal: bool) -> str:
    """Every match replaced; unless ``literal``, ``$1`` and ``${name}`` stand for groups; raises ValueError."""
    out: list[str] = []
    length = at = 0
    for found in matches(expression, text):
        new = replacement if literal else _expanded(replacement, found)
        out += (text[at : found.start()], new)
        length += found.start() - at + len(new)
        check_length(length)
        at = found.end()
    out.append(text[at:])
    return "".join(out)


def _expanded(replacement: str, found: re.Match[str]) -> str:
    named = found.re.groupindex

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        number = int(name[:4]) if name.isdigit() else named.get(name, -1)
        return (found.group(number) or "") if 0 <= number <= found.re.groups else ""

    return _GROUP.sub(group, replacement)


def query_escaped(text: str) -> str:
    """Percent-encoded for a query, spaces as ``+``."""
    data = text.encode("utf-8", "surrogatepass")
    return _NOT_QUERY.sub(lambda found: b"+" if found[0] == b" " else b"%%%02X" % found[0][0], data).decode()


def query_unescaped(text: str) -> str:
    """The text that was percent-encoded; raises ValueError."""
    bad = _BAD_ESCAPE.search(text)
    if bad is not None:
        raise ValueError(f'invalid URL escape "{bad[0]}"')
    data = text.replace("+", " ").encode("utf-8", "surrogatepass")
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), data).decode("utf-8", "replace")
