r"""Regular expressions of queries: RE2, the dialect that the engine's ``match`` speaks too.

RE2 runs in time linear to the text and in bounded memory, whatever a user writes. Subjects are UTF-8 bytes, or str;
bytes that are none match no character but ``\C``.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

import re2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of one compiled expression, program and cached states together: RE2's own default, enough for Unicode classes that
# are repeated; what needs more is refused as too large.
EXPRESSION_MEMORY_BYTES_MAX: Final = 8 << 20
# Expressions kept compiled, so that their memory together stays below a quarter of a gigabyte.
COMPILED_MAX: Final = 32
# RE2's work at compiling grows with the length of the expression, before its memory is bounded.
EXPRESSION_CHARACTERS_MAX: Final = 16 << 10

# What may hold the text of a named group without being one, and named groups.
_NAMED_GROUP: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\\\]])*\]|\(\?P?<(?P<name>\w+)>", re.DOTALL
)


class RegexError(ValueError):
    """``expression`` is none that RE2 understands, or is too large; ``reason`` says why in RE2's words."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"invalid regular expression {expression!r}: {reason}")
        self.expression = expression
        self.reason = reason


class Regex:
    """A compiled expression; immutable, may be used from several threads."""

    def __init__(self, expression: str, program: re2._Regexp) -> None:
        self.expression = expression
        self._program = program
        # Named groups, each with its number; of several of one name (`repeated_group`) the first.
        self.groups: dict[str, int] = dict(program.groupindex)
        self.group_count: int = program.groups

    def search(self, text: str | bytes) -> re.Match[Any] | None:
        """The first match anywhere in ``text``: groups as those of `re`, spans by number alone."""
        found: re.Match[Any] | None = self._program.search(text)
        return found

    def found(self, text: str | bytes) -> bool:
        """Whether it matches anywhere in ``text``."""
        return self._program.search(text) is not None

    def matches(self, text: str | bytes) -> bool:
        """Whether it matches the whole of ``text``."""
        return self._program.fullmatch(text) is not None

    def full_match(self, text: str | bytes) -> re.Match[Any] | None:
        """The match of the whole of ``text``."""
        found: re.Match[Any] | None = self._program.fullmatch(text)
        return found

    def find_all(self, text: str) -> Iterator[re.Match[str]]:
        """All matches that do not overlap."""
        found: Iterator[re.Match[str]] = self._program.finditer(text)
        return found

    def sub(self, replace: Callable[[re.Match[str]], str], text: str) -> str:
        """``text`` with every match replaced by what ``replace`` gives for it."""
        result: str = self._program.sub(replace, text)
        return result


@functools.lru_cache(maxsize=COMPILED_MAX)
def compiled(expression: str) -> Regex:
    """The expression as it is written: ``.`` matches no line break, nothing is anchored; raises RegexError."""
    return _compile(expression, expression)


@functools.lru_cache(maxsize=COMPILED_MAX)
def anchored(expression: str) -> Regex:
    """The expression of a label matcher: against the whole value, ``.`` matches line breaks; raises RegexError."""
    compiled(expression)
    return _compile(anchored_text(expression), expression)


def anchored_text(expression: str) -> str:
    """What `anchored` compiles, for whoever has it run elsewhere."""
    return f"^(?s:{expression})$"


def repeated_group(expression: str) -> str | None:
    """A name that two groups of a valid expression have; Go's RE2 refuses that, the one at work here does not."""
    seen = set()
    for token in _NAMED_GROUP.finditer(expression):
        name = token["name"]
        if name in seen:
            return name
        if name:
            seen.add(name)
    return None


def _compile(text: str, expression: str) -> Regex:
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise RegexError(expression[:80] + "…", f"longer than {EXPRESSION_CHARACTERS_MAX} characters")
    options = re2.Options()
    options.max_mem = EXPRESSION_MEMORY_BYTES_MAX
    options.log_errors = False
    try:
        # Past re2's own cache: it would keep four times as many.
        return Regex(expression, re2._Regexp(text, options))  # noqa: SLF001 - the documented way caches
    except (re2.error, UnicodeEncodeError) as error:
        raise RegexError(expression, _reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "not Unicode text"
    reason = error.args[0] if error.args else "not understood"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
