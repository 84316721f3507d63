"""What can go wrong in the aggregator, as types; each carries what an answer or a log line needs."""

from __future__ import annotations


class StoreError(Exception):
    """The engine refused or failed; ``code`` is ClickHouse's error code, 0 if it gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StoreLockedError(StoreError):
    """Another process holds the store's directory."""


class StoreFullError(StoreError):
    """The disk is full, or so nearly that the engine does not write any more."""


class StoreBusyError(StoreError):
    """The engine takes no inserts for now: its merges or its memory have to catch up."""


class StoreMemoryError(StoreBusyError):
    """All that the engine does at once needs more memory than it may have; it is not this statement's fault."""


class QueryError(StoreError):
    """A query ended at one of its limits, or could not be run as asked."""


class QueryTimeoutError(QueryError):
    """A query ran longer than it may."""


class QueryMemoryError(QueryError):
    """A query needed more memory than it may have."""


class QueryRowsError(QueryError):
    """A query read or gave more rows or bytes than it may."""


class QueryAnswerError(QueryError):
    """An answer that must be held before it can be sent is larger than it may be."""


class QueryCancelledError(QueryError):
    """A query was cancelled, because whoever asked went away."""


class QueryRegexError(QueryError):
    """A regular expression is none that RE2 understands."""
