"""What can go wrong in the aggregator, as types; each carries what an answer or a log line needs."""

from __future__ import annotations


class StoreError(Exception):
    """The engine refused or failed; ``code`` is ClickHouse's error code, 0 if it gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StoreLockedError(StoreError):
    """Another process holds the store's directory."""


class StoreGoneError(StoreError):
    """The store's directory is not the one that was opened: somebody emptied or replaced it."""


class StoreUnreachableError(StoreError):
    """The store's server does not answer, or an answer broke off; what it was asked may have been done."""


class StoreBehindError(StoreUnreachableError):
    """The replica that was asked lacks what others have."""


class StoreFullError(StoreError):
    """The disk is full, or so nearly that the engine does not write any more."""


class StoreBusyError(StoreError):
    """The engine takes no inserts for now: its merges or its memory have to catch up."""


class StoreColdError(StoreError):
    """What is needed lies in the cold tier, and that does not answer."""


class StoreMemoryError(StoreBusyError):
    """All that the engine does at once needs more memory than it may have; it is not this statement's fault."""


class MovingError(Exception):
    """A store cannot be exported to, or imported from, a directory as asked."""


class DeletionsFullError(StoreError):
    """So many deletions are open that no more are taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} deletions are not over yet")


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


class QueryDoubtError(QueryError):
    """A statement met a record of which SQL cannot say what it means; going through the records in Python can."""


class QueryRegexError(QueryError):
    """A regular expression is none that RE2 understands."""


class QueryLengthError(QueryError):
    """A statement is longer, or deeper, than the engine can take in."""


class MetricError(QueryError):
    """A metric query has no answer as it was asked; the texts are Loki's where it has one."""


class MatchingError(MetricError):
    """The series of both sides of an operation do not belong together in one way only."""


class PipelineError(MetricError):
    """A record that should become a sample has an ``__error__``; ``error``: which, ``series``: its labels as text."""

    def __init__(self, error: str, series: str) -> None:
        super().__init__(
            f"pipeline error: '{error}' for series: '{series}'.\n"
            f'Use a label filter to intentionally skip this error. (e.g | __error__!="{error}").\n'
            'To skip all potential errors you can match empty errors.(e.g __error__="")\n'
            'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )\n'
        )
        self.error = error
        self.series = series


class SeriesLimitError(MetricError):
    """A metric query makes more than ``limit`` series."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"maximum number of series ({limit}) reached for a single query; consider reducing query cardinality by "
            "adding more specific stream selectors, reducing the time range, or aggregating results with functions "
            "like sum(), count() or topk()"
        )
        self.limit = limit


class StepsLimitError(MetricError):
    """A metric query has more than ``limit`` steps."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"exceeded maximum resolution of {limit:,} points per time series. Try increasing the value of the step "
            "parameter"
        )
        self.limit = limit


class SamplesLimitError(MetricError):
    """A metric query has to hold more than ``limit`` samples, or values to make them of."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"maximum number of samples ({limit}) reached for a single query; consider a longer step, a shorter time "
            "range, more specific stream selectors, or aggregating results by fewer labels"
        )
        self.limit = limit


class LogQLError(Exception):
    """A query is none of the language: ``message`` says why, ``line`` and ``column`` (from 1) where in ``text``."""

    def __init__(self, message: str, line: int, column: int, text: str) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.text = text

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"

    def pointed(self) -> str:
        """The error, the line it is in (what is near it, of a long one), and a caret below the place."""
        lines = self.text.split("\n")
        line = lines[self.line - 1] if self.line <= len(lines) else ""
        first = max(0, self.column - 1 - _SHOWN_EITHER_SIDE)
        last = self.column - 1 + _SHOWN_EITHER_SIDE
        shown = line[first:last].rstrip("\r")
        before = "…" if first else ""
        # A tab above stays one below, for the caret to stand under its place however wide it is shown.
        indent = "".join("\t" if character == "\t" else " " for character in before + shown[: self.column - 1 - first])
        return f"{self}\n{before}{shown}{'…' if last < len(line) else ''}\n{indent}^"


# Characters of a query's line shown on either side of an error: together a terminal's width.
_SHOWN_EITHER_SIDE = 60
