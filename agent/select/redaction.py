"""What is found in records and replaced, or what makes them be left out. Knows records one by one or joined as text.

Joined text is what `agent.select.expression` searches: records one after another, each followed by a separator.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from agent.select.expression import Expression
from agent.select.hints import Letters, Offsets, offsets

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the replacements of one redaction may add to the records of a round; of what goes beyond only nothing is left.
# A round's records have a megabyte, so it takes an expression that finds nearly every byte.
GROWTH_BYTES_MAX: Final = 4 << 20
# More than a match may have in front of a hint.
LEAD_MAX: Final = 80
# Of a replacement, for the same reason.
REPLACEMENT_BYTES_MAX: Final = 256

# What may be special in a template, but for octal escapes, which `agent.select.rules` refuses.
_TOKEN: Final = re.compile(rb"\\(?:g<(\w+)>|([1-9][0-9]?)|([abfnrtv\\]))")
_ESCAPES: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
}


class Redaction(msgspec.Struct, frozen=True, eq=False):
    """Replaces what ``expression`` finds by ``replacement``, a template as `re.sub` takes it.

    ``name``: what it is counted under. ``hint``: where to look; None for everywhere. A match can only begin where it
    points, or, where bytes of ``lead`` stand right before that, at the first of them, of which no more than `LEAD_MAX`
    are looked at. ``accepts``: says of a match whether it is one.
    """

    name: str
    expression: Expression
    replacement: bytes
    hint: Callable[[Letters], Offsets] | None = None
    lead: bytes = b""
    accepts: Callable[[re.Match[bytes]], bool] | None = None

    def replace(self, record: bytes) -> tuple[bytes, int]:
        """A record by itself, and how many of its places were replaced."""
        text, starts = self._replaced(record, self.expression.alone.finditer(record))
        return text, len(starts)

    def replace_joined(self, text: bytes, separator: int) -> tuple[bytes, list[int]]:
        """Joined records, and the offsets in ``text`` of what was replaced, rising."""
        return self._replaced(text, self._matches(self.expression.over(separator), text))

    def _matches(self, pattern: re.Pattern[bytes], text: bytes) -> Iterator[re.Match[bytes]]:
        if self.hint is None:
            for match in pattern.finditer(text):
                if match.start() < len(text):  # behind the last separator there is no record
                    yield match
            return
        reached = 0
        for hint in offsets(text, [self.hint])[0].tolist():
            if hint < reached:
                continue
            begin = hint
            if self.lead:
                begin = max(0, hint - LEAD_MAX)
                begin += len(text[begin:hint].rstrip(self.lead))
                if begin < reached:
                    continue
            found = pattern.match(text, begin)
            if found is not None:
                yield found
                reached = found.end()

    def _replaced(self, text: bytes, matches: Iterator[re.Match[bytes]]) -> tuple[bytes, list[int]]:
        template = _template(self.replacement)
        pieces: list[bytes] = []
        starts: list[int] = []
        reached = growth = 0
        for match in matches:
            if self.accepts is not None and not self.accepts(match):
                continue
            begin, end = match.span()
            new = b"".join([each if isinstance(each, bytes) else match[each] or b"" for each in template])
            growth += len(new) - (end - begin)
            pieces += text[reached:begin], new if growth <= GROWTH_BYTES_MAX else b""
            starts.append(begin)
            reached = end
        if not starts:
            return text, starts
        return b"".join([*pieces, text[reached:]]), starts


def _template(replacement: bytes) -> list[bytes | int | str]:
    """The text in a template of `re.sub`, and the groups between. `re.Match.expand` would parse it for every match."""
    pieces: list[bytes | int | str] = []
    at = 0
    for token in _TOKEN.finditer(replacement):
        group = token[1] or token[2]
        pieces.append(replacement[at : token.start()])
        if group is None:
            pieces.append(_ESCAPES[token[3]])
        else:
            pieces.append(int(group) if group.isdigit() else group.decode())
        at = token.end()
    pieces.append(replacement[at:])
    return [piece for piece in pieces if piece != b""]


def found_in(expression: Expression, text: bytes, separator: int) -> list[int]:
    """Offsets in joined ``text`` where ``expression`` finds something: the first one in each record that has one."""
    search = expression.over(separator).search
    apart = bytes([separator])
    starts: list[int] = []
    at = 0
    while at < len(text):
        match = search(text, at)
        if match is None or match.start() == len(text):
            break
        starts.append(match.start())
        at = text.index(apart, match.start()) + 1
    return starts
