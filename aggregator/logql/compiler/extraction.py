"""Parsers as SQL: which of them there is SQL for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql.compiler.captures import Captures, Groups, are_long, parts
from aggregator.logql.compiler.fields import InexpressibleError
from aggregator.logql.compiler.properties import Properties
from aggregator.logql.regex import RegexError, compiled
from aggregator.logql.tree import JsonParser, PatternParser, RegexpParser

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.compiler.fields import Extracted
    from aggregator.logql.compiler.statement import Parameters
    from aggregator.logql.tree import Parser


def extracted(
    parser: Parser, parameters: Parameters, texts: Iterable[str] = (), numbers: Iterable[str] = ()
) -> Extracted:
    """What ``parser`` makes of the stored line; raises `InexpressibleError`.

    ``texts``, ``numbers``: the labels that are asked for later, as what.
    """
    match parser:
        case JsonParser(()):
            return Properties(parameters, texts, numbers)
        case RegexpParser(expression):
            try:
                return Groups(expression, compiled(expression).groups, parameters)
            except RegexError as error:
                raise InexpressibleError from error
        case PatternParser(expression):
            found = parts(expression)
            if found is not None and not are_long([expression]):
                return Captures(found, parameters)
    raise InexpressibleError
