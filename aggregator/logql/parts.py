"""Parts of a tree under construction, with where they stand in the query's text."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from lark import Token

from aggregator.logql.lexer import SyntaxProblem
from aggregator.logql.tree import CompareOp
from aggregator.logql.units import parse_float

# How deep operations stand in one another, in label filters and in metric queries: whoever walks a tree does so by
# recursion, a few frames of Python a level. Parentheses alone are not counted.
DEPTH_MAX: Final = 100


class Part(NamedTuple):
    """``value`` of the tree begins at ``offset``; so ``depth`` do operations stand in it."""

    value: Any
    offset: int
    depth: int = 1


def joined(value: object, offset: int, *parts: Part) -> Part:
    """``value``, made of ``parts``; raises SyntaxProblem if they stand too deep in one another."""
    depth = 1 + max(part.depth for part in parts)
    if depth > DEPTH_MAX:
        raise SyntaxProblem(f"operations stand more than {DEPTH_MAX} deep in one another: split the query", offset)
    return Part(value, offset, depth)


def at(token: Token) -> int:
    """Where the token begins."""
    return token.start_pos or 0


def number_of(token: Token, sign: Token | None = None) -> float:
    """The token's number, with its sign."""
    try:
        value = parse_float(str(token))
    except ValueError as error:
        raise SyntaxProblem(f"unable to parse literal as a float: {error}", at(token)) from None
    return -value if sign == "-" else value


def signed(token: Token, sign: Token | None) -> int:
    """The token's duration, ns, with its sign."""
    duration_ns: int = token.value
    return -duration_ns if sign is not None else duration_ns


def comparison(op: Token) -> CompareOp:
    """``=`` compares numbers as ``==`` does."""
    return CompareOp.EQUAL if op == "=" else CompareOp(str(op))
