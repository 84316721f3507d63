r"""Regular expressions that search many records at once and find what they would find in each alone.

The records stand one after another, each followed by a *separator*: a byte that none of them has. An expression is
translated once for that separator, so that

- what matches any byte, a negated class or one of its own does not match the separator: no match crosses a border;
- ``^ $ \A \Z`` match at the separators, as they do at the ends of a record.

Everything else (alternatives, groups, lookarounds, backreferences, repeats) then sees the same bytes and the same ends
as in the record alone. Expressions match bytes: ``.`` is one byte, and a class lists bytes.
"""

from __future__ import annotations

import re
import warnings
from re import _constants as constants
from re import _parser as parser
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# Bytes that UTF-8 never has. The first that the records at hand do not have either becomes the separator.
SEPARATORS: Final = (0xFF, 0xFE, 0xC0, 0xC1, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD)
# Longer ones nobody can read; it bounds what compiling takes.
EXPRESSION_BYTES_MAX: Final = 4 << 10

_TOKEN: Final = re.compile(
    rb"""
      (?P<escape> \\[0-7]{3} | \\x[0-9a-fA-F]{2} | \\0[0-7]? | \\[1-9][0-9]? | \\. )
    | (?P<class> \[ \^? \]? (?: \\. | [^]\\] )* \] )
    | (?P<comment> \(\?\# [^)]* \) )
    | (?P<flags> \(\? (?P<on> [aimsx]* ) (?: - (?P<off> [imsx]+ ) )? (?P<scoped> [:)] ) )
    | (?P<open> \( (?: \?P?<[a-zA-Z_]\w*> | \?P=\w+ | \?\(\w+\) | \?<?[=!] | \?> )? )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
# Python up to 3.11.3 may take a byte where what a possessive quantifier repeats fails in a negative lookahead.
POSSESSIVE_IS_SOUND: Final = re.findall(rb"(?:(?!a))?+", b"a")[0] == b""
_BYTES_OTHER_THAN: Final = {b"\\D": b"\\d", b"\\S": b"\\s", b"\\W": b"\\w"}


class ExpressionError(ValueError):
    """Not a regular expression that can be used; says where and why."""


class Expression:
    """One regular expression over bytes, by its ``text``. Raises `ExpressionError`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.alone = _compiled(text)
        source = text.encode()
        self._source = source
        if not POSSESSIVE_IS_SOUND and _repeats_a_refusal(parser.parse(translated(source, SEPARATORS[0]))):
            reason = "has a possessive quantifier around a negative lookahead or \\B, which this Python gets wrong"
            raise ExpressionError(f"{reason}; write (?>…): {text!r}")
        self._translated: dict[int, re.Pattern[bytes]] = {}
        # A separator that the text names might be meant to match, and would.
        self.separators = tuple(byte for byte in SEPARATORS if not _names(source, byte))
        if not self.separators:
            raise ExpressionError(f"names every byte that UTF-8 never has: {text!r}")

    def over(self, separator: int) -> re.Pattern[bytes]:
        """The expression for records that are each followed by ``separator``, one of `separators`."""
        found = self._translated.get(separator)
        if found is None:
            found = self._translated[separator] = re.compile(translated(self._source, separator))
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def translated(source: bytes, separator: int) -> bytes:
    """``source``, which compiles, for records that are each followed by ``separator``, which it does not name."""
    apart = b"\\x%02x" % separator
    multiline = dotall = verbose = False
    outer: list[tuple[bool, bool, bool]] = []
    pieces: list[bytes] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ExpressionError(f"is not understood at position {at}: {source.decode()!r}")
        token = match[0]
        at = match.end()
        if match["flags"] is not None:
            scoped = match["scoped"] == b":"
            if scoped:
                outer.append((multiline, dotall, verbose))
            on, off = match["on"], match["off"] or b""
            multiline = (multiline or b"m" in on) and b"m" not in off
            dotall = (dotall or b"s" in on) and b"s" not in off
            verbose = (verbose or b"x" in on) and b"x" not in off
        elif match["open"] is not None:
            outer.append((multiline, dotall, verbose))
        elif token == b")" and outer:
            multiline, dotall, verbose = outer.pop()
        elif verbose and token == b"#":
            end = source.find(b"\n", at)
            at = len(source) if end < 0 else end
            continue
        elif match["class"] is not None:
            token = _class(token, apart, separator)
        elif token in _BYTES_OTHER_THAN:
            token = b"[^%s%s]" % (_BYTES_OTHER_THAN[token], apart)
        else:
            token = {
                b".": b"[^%s]" % apart if dotall else b"[^\\n%s]" % apart,
                b"^": b"(?<![^\\n%s])" % apart if multiline else b"(?<![^%s])" % apart,
                b"$": b"(?=[\\n%s])" % apart if multiline else b"(?=\\n?%s)" % apart,
                b"\\A": b"(?<![^%s])" % apart,
                b"\\Z": b"(?=%s)" % apart,
                # Not in an empty record, as nowhere in empty bytes.
                b"\\B": b"(?!(?<![^%s])%s)\\B" % (apart, apart),
            }.get(token, token)
        pieces.append(token)
    return b"".join(pieces)


def _class(token: bytes, apart: bytes, separator: int) -> bytes:
    """A class that does not match the separator."""
    if token.startswith(b"[^"):
        rest = token[2:]
        # What may stand at the beginning of a class only.
        return b"[^" + apart + (b"\\" if rest[:1] in {b"]", b"-"} else b"") + rest
    if re.fullmatch(token, bytes([separator])):
        return b"(?:(?!%s)%s)" % (apart, token)
    return token


def _compiled(text: str) -> re.Pattern[bytes]:
    try:
        source = text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("is not UTF-8") from None
    if len(source) > EXPRESSION_BYTES_MAX:
        raise ExpressionError(f"has {len(source)} bytes, at most {EXPRESSION_BYTES_MAX} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a later Python will read otherwise
            pattern = re.compile(source)
    except re.error as error:
        where = "" if error.pos is None else f" at position {len(source[: error.pos].decode(errors='ignore'))}"
        raise ExpressionError(f"is not a regular expression: {error.msg}{where}: {text!r}") from None
    except (Warning, RecursionError, OverflowError, ValueError) as error:
        raise ExpressionError(f"is not a regular expression: {error}: {text!r}") from None
    if pattern.flags & re.LOCALE:
        raise ExpressionError(f"depends on the locale, leave out the flag L: {text!r}")
    return pattern


def _repeats_a_refusal(tree: Iterable[Any], *, is_repeated: bool = False) -> bool:
    """Whether a negative lookahead stands in what a possessive quantifier repeats. ``tree``: a part of a parsed one."""
    for part in tree:
        if isinstance(part, tuple) and part and part[0] is constants.ASSERT_NOT and is_repeated:
            return True
        inside = is_repeated or (isinstance(part, tuple) and part[:1] == (constants.POSSESSIVE_REPEAT,))
        if isinstance(part, (tuple, list, parser.SubPattern)) and _repeats_a_refusal(part, is_repeated=inside):
            return True
    return False


def _names(source: bytes, byte: int) -> bool:
    return bytes([byte]) in source or b"\\x%02x" % byte in source.lower() or b"\\%o" % byte in source
