"""What the engine's failures are in HTTP."""

from __future__ import annotations

import pytest

from aggregator.api.accounting import outcome_of
from aggregator.api.refusals import refused
from aggregator.errors import (
    MatchingError,
    QueryAnswerError,
    QueryCancelledError,
    QueryLengthError,
    QueryMemoryError,
    QueryRegexError,
    QueryRowsError,
    QueryTimeoutError,
    SeriesLimitError,
    StoreError,
    StoreMemoryError,
    StoreUnreachableError,
)
from aggregator.store.engine import Limits


@pytest.mark.parametrize(
    ("error", "status", "parameter", "retry"),
    [
        (QueryTimeoutError("x"), 504, "time", False),
        (QueryMemoryError("x"), 413, "memory", False),
        (StoreMemoryError("x"), 503, "memory", True),
        (QueryRowsError("x"), 413, "read", False),
        (QueryAnswerError("x"), 413, "limit", False),
        (QueryLengthError("x"), 413, "query", False),
        (QueryRegexError("error: missing ). Look at"), 400, "regex", False),
        (MatchingError("x"), 400, "q", False),
        (SeriesLimitError(500), 400, "q", False),
        (QueryCancelledError("x"), 503, "", True),
        (StoreUnreachableError("x"), 503, "", True),
    ],
)
def test_a_failure_is_answered_by_name(error: StoreError, status: int, parameter: str, *, retry: bool) -> None:
    found = refused(error, Limits())
    assert found is not None
    assert (found.status, found.refusal.parameter or "") == (status, parameter)
    assert ("Retry-After" in found.headers) is retry


def test_an_expression_that_only_the_engine_refuses_is_told_as_it_was_written() -> None:
    told = "OptimizedRegularExpression: cannot compile re2: (?-s)a(, error: missing ): (?-s)a(. Look at https://x"
    found = refused(QueryRegexError(told), Limits())
    assert found is not None
    assert found.refusal.error == "missing ): a("


def test_memory_that_is_full_is_not_the_querys_fault() -> None:
    found = refused(StoreMemoryError("(total) memory limit exceeded"), Limits())
    assert found is not None
    assert found.refusal.error == "the server's memory is full"


def test_what_is_not_foreseen_is_a_bug() -> None:
    assert refused(StoreError("x"), Limits()) is None


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "bad_request"), (404, "refused"), (410, "refused"), (500, "error"), (503, "ended")]
)
def test_only_bugs_count_as_errors(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
