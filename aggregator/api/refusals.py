"""What the engine's failures are in HTTP, naming the limit and the remedy.

504 the time is over; 413 the answer, or what has to be read or held for it, is too large: asking the same again will
not help; 400 the expression is none; 503 somebody ended the query or took the store away, or the cold tier or
the servers are away, or all that runs needs too much memory together. What is not foreseen here is a bug, and a 500.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aggregator.api.parameters import REGEX_HINT
from aggregator.errors import (
    MatchingError,
    MetricError,
    QueryAnswerError,
    QueryCancelledError,
    QueryLengthError,
    QueryMemoryError,
    QueryRegexError,
    QueryRowsError,
    QueryTimeoutError,
    StoreColdError,
    StoreError,
    StoreGoneError,
    StoreMemoryError,
    StoreUnreachableError,
)
from aggregator.logql.compiler.words import one_line_dots
from aggregator.logql.pipeline.stages import StageError
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggregator.store.engine import Limits

_COLD: Final = "the query needs days that lie in the cold tier, which does not answer"
_ONE_EACH: Final = "aggregate that side by the labels that both sides share, or name more of them in on(…)"
_NARROWER: Final = "ask for less time, or name a namespace or pod"


def refused(error: StoreError, limits: Limits) -> RefusedError | None:
    """The answer to a query that ended with ``error`` under ``limits``; None if it is a bug."""
    if isinstance(error, StoreColdError):
        hint = "ask for newer days only, or try again later"
        return RefusedError(503, Refusal(_COLD, "start", hint), {"Retry-After": "10"})
    if isinstance(error, StoreUnreachableError):
        return RefusedError(503, Refusal("the store does not answer", hint="try again later"), {"Retry-After": "5"})
    return _over_limits(error, limits) or _unanswerable(error)


def _over_limits(error: StoreError, limits: Limits) -> RefusedError | None:
    """The answer to a query that would take more than it may."""
    match error:
        case QueryTimeoutError():
            return RefusedError(504, Refusal(f"the query took longer than {limits.time_s:g} s", "time", _NARROWER))
        case QueryMemoryError():
            text = f"the query needs more than {limits.memory_bytes} bytes of memory"
            return RefusedError(413, Refusal(text, "memory", f"{_NARROWER}, or lower limit"))
        case QueryRowsError():
            text = f"the query has to read more than {limits.read_bytes} bytes"
            return RefusedError(413, Refusal(text, "read", _NARROWER))
        case QueryAnswerError():
            hint = "lower limit; or order=desc or limit=0, which are sent as they are found"
            return RefusedError(413, Refusal(str(error), "limit", hint))
        case QueryLengthError():
            text = "the query is longer than the engine can take in"
            return RefusedError(413, Refusal(text, "query", "leave out some of its stages, matchers or labels"))
    return None


def _unanswerable(error: StoreError) -> RefusedError | None:
    """The answer to a query that has none, or has none now."""
    match error:
        case QueryRegexError():
            return RefusedError(400, Refusal(_complaint(error), "regex", REGEX_HINT))
        case MetricError():
            return RefusedError(400, Refusal(str(error), "q", _ONE_EACH if isinstance(error, MatchingError) else ""))
        case StoreMemoryError():
            told = Refusal("the server's memory is full", "memory", f"try again later, or {_NARROWER}")
            return RefusedError(503, told, {"Retry-After": "5"})
        case StoreGoneError():
            hint = "whoever empties a store has to stop the aggregator first"
            return RefusedError(503, Refusal(str(error), hint=hint))
        case QueryCancelledError():
            told = Refusal("the query was ended by the server", hint="try again")
            return RefusedError(503, told, {"Retry-After": "1"})
    return None


@contextlib.contextmanager
def answered(limits: Limits) -> Iterator[None]:
    """Turn what goes wrong with a query inside into its refusal; what is a bug stays as it is."""
    try:
        yield
    except StoreError as error:
        raise refusal_of(error, limits) from error
    except StageError as error:
        raise stage_refused(error) from error


def refusal_of(error: StoreError, limits: Limits) -> Exception:
    """What to raise for ``error``: its refusal, or, if it is a bug, itself."""
    return refused(error, limits) or error


def stage_refused(error: StageError) -> RefusedError:
    """The answer to a query with a stage that makes no sense."""
    return RefusedError(400, Refusal(error.reason, "q", f"look at the stage {error.stage}"))


def _complaint(error: StoreError) -> str:
    """What RE2 has against the expression, without the engine's advice on SQL, and what was put before it."""
    reason = str(error).partition("error: ")[2].partition(". Look at")[0]
    return reason.replace(one_line_dots(""), "", 1) or "the regular expression is not valid"
