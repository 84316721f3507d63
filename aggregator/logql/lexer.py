"""The text of a query into tokens, as Loki's scanner does.

Words of the language are words in any case, and functions only where a parenthesis or a grouping follows. Beyond Loki:
where nothing but a name can stand, any word is a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from lark import Token
from lark.lexer import Lexer, LexerState

from aggregator.logql.metric import Conversion, RangeOp, VectorOp
from aggregator.logql.quoting import EscapeError, unquoted
from aggregator.logql.units import parse_duration, parse_range, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lark.common import LexerConf

IDENTIFIER: Final = "IDENTIFIER"

SYMBOLS: Final = {
    "{": "OPEN_BRACE",
    "}": "_CLOSE_BRACE",
    "(": "_LPAR",
    ")": "_RPAR",
    ",": "_COMMA",
    "|": "_PIPE",
    "|=": "PIPE_EXACT",
    "|~": "PIPE_MATCH",
    "|>": "PIPE_PATTERN",
    "!>": "NPA",
    "=": "EQ",
    "!=": "NEQ",
    "=~": "RE",
    "!~": "NRE",
    "==": "CMP_EQ",
    ">": "GT",
    ">=": "GTE",
    "<": "LT",
    "<=": "LTE",
    "+": "ADD",
    "-": "SUB",
    "*": "MUL",
    "/": "DIV",
    "%": "MOD",
    "^": "POW",
}
WORDS: Final = {
    "and": "AND",
    "or": "OR",
    "unless": "UNLESS",
    "by": "BY",
    "without": "WITHOUT",
    "bool": "BOOL",
    "on": "ON",
    "ignoring": "IGNORING",
    "group_left": "GROUP_LEFT",
    "group_right": "GROUP_RIGHT",
    "offset": "_OFFSET",
    "unwrap": "_UNWRAP",
    "json": "_JSON",
    "logfmt": "_LOGFMT",
    "regexp": "_REGEXP",
    "pattern": "_PATTERN",
    "unpack": "_UNPACK",
    "line_format": "_LINE_FORMAT",
    "label_format": "_LABEL_FORMAT",
    "decolorize": "_DECOLORIZE",
    "drop": "_DROP",
    "keep": "_KEEP",
}
FUNCTIONS: Final = {
    **{op.value: "RANGE_OP" for op in RangeOp},
    **{op.value: "VECTOR_OP" for op in VectorOp},
    **{conversion.value: "CONVERSION" for conversion in Conversion if conversion.value},
    "label_replace": "_LABEL_REPLACE",
    "vector": "_VECTOR",
    "ip": "IP",
}
VALUES: Final = (IDENTIFIER, "STRING", "NUMBER", "DURATION", "BYTES", "RANGE", "FLAG")
TERMINALS: Final = (*VALUES, *SYMBOLS.values(), *WORDS.values(), *dict.fromkeys(FUNCTIONS.values()))

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_WORD: Final = re.compile(r"[^\W\d]\w*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CALLED: Final = re.compile(r"\s*(?:\(|(?:by|without)\s*\()", re.IGNORECASE)
_NUMBER: Final = re.compile(
    r"0[xX][\da-fA-F_]*\.?[\da-fA-F_]*[pP][+-]?\d+|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?", re.ASCII
)
_DURATION_TAIL: Final = re.compile(r"[\d.nsuµμmhdwy]*", re.ASCII)
_SIZE_TAIL: Final = re.compile(r"[\d.BikKMGTP]*", re.ASCII)
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`')
_FLAG: Final = re.compile(r"--(?:strict|keep-empty)(?![\w-])")
_SYMBOL: Final = re.compile("|".join(re.escape(symbol) for symbol in sorted(SYMBOLS, key=len, reverse=True)))


class SyntaxProblem(Exception):  # noqa: N818 - becomes a LogQLError where text and position meet
    """What is wrong at ``offset`` of the query's text."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class QueryLexer(Lexer):
    """Cuts a query into tokens; without state of its own."""

    __future_interface__ = 2

    def __init__(self, lexer_conf: LexerConf) -> None:
        """Needs nothing of the grammar."""

    def lex(self, lexer_state: LexerState, parser_state: Any) -> Iterator[Token]:
        """The tokens of the whole text, each as it is wanted; raises SyntaxProblem."""
        text: str = lexer_state.text.text
        states = parser_state.parse_conf.states
        at = 0
        while True:
            if blank := _BLANK.match(text, at):
                at = blank.end()
            if at == len(text):
                return
            kind, value, end = _token(text, at)
            accepted = states[parser_state.position]
            if kind not in accepted and IDENTIFIER in accepted and _NAME.fullmatch(text, at, end):
                kind, value = IDENTIFIER, text[at:end]
            token = Token(kind, value, start_pos=at, end_pos=end)
            lexer_state.last_token = token
            yield token
            at = end


def _token(text: str, at: int) -> tuple[str, Any, int]:
    """Kind, value and end of the token at ``at``."""
    first = text[at]
    if first in '"`':
        return _string(text, at)
    if first == "[":
        return _range(text, at)
    if number := _NUMBER.match(text, at):
        return _number(text, number)
    if word := _WORD.match(text, at):
        return _word(text, word)
    if flag := _FLAG.match(text, at):
        return "FLAG", flag[0], flag.end()
    if symbol := _SYMBOL.match(text, at):
        return SYMBOLS[symbol[0]], symbol[0], symbol.end()
    if first == "'":
        raise SyntaxProblem('strings stand in "double quotes" or `backquotes`', at)
    if first == "$":
        raise SyntaxProblem(
            f"{text[at : at + 12].split(maxsplit=1)[0]} is a variable of Grafana, not of the query language", at
        )
    raise SyntaxProblem(f"unexpected character {first!r}", at)


def _string(text: str, at: int) -> tuple[str, Any, int]:
    literal = _STRING.match(text, at)
    if literal is None:
        raise SyntaxProblem(f"the string that begins here has no closing {text[at]}", at)
    try:
        return "STRING", unquoted(literal[0]), literal.end()
    except EscapeError as error:
        raise SyntaxProblem(str(error), at + error.offset) from None


def _range(text: str, at: int) -> tuple[str, Any, int]:
    end = text.find("]", at)
    if end < 0:
        raise SyntaxProblem('the range that begins here has no closing "]"', at)
    written = text[at + 1 : end].strip()
    try:
        duration_ns = parse_range(written)
    except ValueError as error:
        reason = "subqueries are not part of the query language" if ":" in written else str(error)
        if written.startswith("$"):
            reason = "it is a variable of Grafana, not of the query language"
        raise SyntaxProblem(f"[{_shortened(written)}] is no range, such as [5m] or [1h30m]: {reason}", at) from None
    if duration_ns == 0:
        raise SyntaxProblem("a range must be longer than nothing", at)
    return "RANGE", duration_ns, end + 1


def _number(text: str, number: re.Match[str]) -> tuple[str, Any, int]:
    at = number.start()
    readings: tuple[tuple[str, re.Pattern[str], Callable[[str], int]], ...] = (
        ("DURATION", _DURATION_TAIL, _duration),
        ("BYTES", _SIZE_TAIL, parse_size),
    )
    for kind, tail, parse in readings:
        found = tail.match(text, number.end())
        if found is not None and found[0]:
            try:
                return kind, parse(text[at : found.end()]), found.end()
            except ValueError:
                continue
    if (word := _WORD.match(text, number.end())) and word[0].lower() not in WORDS:
        written = _shortened(text[at : word.end()])
        raise SyntaxProblem(f"{written} is no number, no duration (1h30m, 250ms) and no size (5KB, 1.5MiB)", at)
    return "NUMBER", number[0], number.end()


def _duration(text: str) -> int:
    """As Prometheus writes durations, else as Go does."""
    try:
        return parse_range(text)
    except ValueError:
        return parse_duration(text)


def _word(text: str, word: re.Match[str]) -> tuple[str, Any, int]:
    lower = word[0].lower()
    if lower in FUNCTIONS and _CALLED.match(text, word.end()):
        return FUNCTIONS[lower], lower, word.end()
    if lower in WORDS:
        return WORDS[lower], lower, word.end()
    if not _NAME.fullmatch(word[0]):
        raise SyntaxProblem(
            f"{_shortened(word[0])} is no label name: letters A-Z, a-z, digits and _ alone", word.start()
        )
    return IDENTIFIER, word[0], word.end()


def _shortened(text: str, characters_max: int = 40) -> str:
    return text if len(text) <= characters_max else text[:characters_max] + "…"
