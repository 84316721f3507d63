"""The text of a query into its tree."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from lark import Lark, Token, UnexpectedToken

from aggregator.errors import LogQLError
from aggregator.logql.lexer import FUNCTIONS, IDENTIFIER, SYMBOLS, TERMINALS, WORDS, QueryLexer, SyntaxProblem
from aggregator.logql.metric import BinaryOp
from aggregator.logql.metric_construction import Construction
from aggregator.logql.parts import Part
from aggregator.logql.tree import LogExpression, Selector

if TYPE_CHECKING:
    from aggregator.logql.metric import Expression

# Loki's own limit: long enough for lists of thousands of pods, short enough to be read in about a second.
QUERY_BYTES_MAX: Final = 128 << 10

_END: Final = "$END"
_FOUND_CHARACTERS_MAX: Final = 40
# More are no help; what closes the part that was begun comes first.
_EXPECTED_MAX: Final = 6
_CLOSING: Final = ("_CLOSE_BRACE", "_RPAR", "_COMMA")
_OPERATORS: Final = frozenset({**SYMBOLS, **WORDS}[op.value] for op in BinaryOp)
_FILTERS: Final = frozenset({"PIPE_EXACT", "PIPE_MATCH", "PIPE_PATTERN", "NPA", "NRE"})
_PARSERS: Final = frozenset({"_JSON", "_LOGFMT", "_REGEXP", "_PATTERN", "_UNPACK"})
_STAGES: Final = _PARSERS | {"_LINE_FORMAT", "_LABEL_FORMAT", "_DECOLORIZE", "_DROP", "_KEEP", IDENTIFIER}
_COMPARISONS: Final = frozenset({"EQ", "NEQ", "GT", "GTE", "LT", "LTE", "CMP_EQ"})
_METRICS: Final = frozenset({"RANGE_OP", "VECTOR_OP", "_LABEL_REPLACE", "_VECTOR"})
# Where all of a group can stand, the group is named.
_GROUPS: Final = (
    (_STAGES, "a stage such as json, line_format or a label filter"),
    (_METRICS | {"OPEN_BRACE"}, 'a query such as {namespace="default"} or rate({namespace="default"}[5m])'),
    (_METRICS, "a metric query such as rate({…}[5m])"),
    (_FILTERS, "a line filter such as |="),
    (_OPERATORS - {"NEQ"}, "an operator"),
    (_COMPARISONS - {"NEQ"}, "a comparison such as = or >"),
)
_NAMES: Final = {
    IDENTIFIER: "a label name",
    "STRING": "a string in quotes",
    "NUMBER": "a number",
    "DURATION": "a duration such as 5m",
    "BYTES": "a size such as 5KB",
    "RANGE": "a range such as [5m]",
    "FLAG": "--strict or --keep-empty",
    "OPEN_BRACE": 'a selector such as {namespace="default"}',
    "RANGE_OP": "a range function such as rate(",
    "VECTOR_OP": "an aggregation such as sum(",
    "CONVERSION": "bytes(, duration( or duration_seconds(",
    "IP": 'ip("…")',
    "_LABEL_REPLACE": "label_replace(",
    "_VECTOR": "vector(",
    _END: "the end of the query",
    **{kind: f'"{symbol}"' for symbol, kind in SYMBOLS.items() if kind != "OPEN_BRACE"},
    **{kind: f'"{word}"' for word, kind in WORDS.items()},
}


def parse(text: str) -> Expression:
    """The tree of a log query or a metric query; raises LogQLError with the place and the remedy."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise _error("the query is not Unicode text", error.start, text) from None
    if size_bytes > QUERY_BYTES_MAX:
        raise LogQLError(f"input size too long ({size_bytes} > {QUERY_BYTES_MAX}): shorten the query", 1, 1, text)
    try:
        result: Any = _parser().parse(text)
    except SyntaxProblem as problem:
        raise _error(problem.message, problem.offset, text) from None
    except UnexpectedToken as unexpected:
        raise _unexpected(unexpected, text) from None
    if isinstance(result, Part):
        result = result.value
    expression: Expression = result
    return expression


def parse_log(text: str) -> LogExpression:
    """The tree of a log query; a metric query is an error."""
    expression = parse(text)
    if not isinstance(expression, LogExpression):
        raise _error("only log queries are answered here, and this is a metric query", 0, text)
    return expression


def parse_selector(text: str) -> Selector:
    """The selector that the text is; anything more is an error."""
    expression = parse(text)
    if not isinstance(expression, LogExpression) or expression.stages:
        raise _error('only label matchers are supported: {namespace="default", …}', 0, text)
    return expression.selector


@functools.cache
def _parser() -> Lark:
    """The grammar's tables and actions; they hold no state, so threads may share them."""
    grammar = files("aggregator.logql").joinpath("grammar.lark").read_text(encoding="utf-8")
    declared = "".join(f"%declare {terminal}\n" for terminal in TERMINALS)
    return Lark(
        grammar + declared,
        parser="lalr",
        lexer=QueryLexer,
        transformer=Construction(),
        maybe_placeholders=True,
        propagate_positions=False,
    )


def _error(message: str, offset: int, text: str) -> LogQLError:
    before = text[:offset]
    return LogQLError(message, before.count("\n") + 1, offset - before.rfind("\n"), text)


def _unexpected(unexpected: UnexpectedToken, text: str) -> LogQLError:
    token: Token = unexpected.token
    accepted = set(unexpected.interactive_parser.accepts()) if unexpected.interactive_parser else unexpected.expected
    if token.type == _END:
        offset = len(text.rstrip())
        found = "the end of the query" if text.strip() else "an empty query"
    else:
        offset = token.start_pos or 0
        found = text[offset : token.end_pos]
        if len(found) > _FOUND_CHARACTERS_MAX:
            found = found[:_FOUND_CHARACTERS_MAX] + "…"
        if token.type != "STRING":
            found = f'"{found}"'
    message = f"expected {_listed(accepted)}, found {found}"
    if hint := _hint(token, accepted):
        message += f": {hint}"
    return _error(message, offset, text)


def _listed(accepted: set[str]) -> str:
    wanted = set(accepted)
    names = [_NAMES[kind] for kind in _CLOSING if kind in wanted]
    wanted -= set(_CLOSING)
    for kinds, name in _GROUPS:
        if kinds <= wanted:
            names.append(name)
            wanted -= kinds | {"NEQ", "NRE"}
    names += sorted(_NAMES[kind] for kind in wanted - {_END})
    if len(names) > _EXPECTED_MAX:
        names = [*names[:_EXPECTED_MAX], "…"]
    if _END in wanted:
        names.append(_NAMES[_END])
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _hint(token: Token, accepted: set[str]) -> str:
    if token.type == "STRING" and "NUMBER" in accepted:
        return "a number stands without quotes; texts compare with =, !=, =~ and !~"
    if token.type in _OPERATORS and "PIPE_EXACT" in accepted:
        return "operators stand between metric queries, such as rate({…}[5m]), not log queries"
    if token.type == "RANGE":
        return "a range stands in a range function, such as count_over_time({…}[5m])"
    if token.type == IDENTIFIER and str(token).lower() in FUNCTIONS:
        return f'"(" is missing after {token}'
    return ""
