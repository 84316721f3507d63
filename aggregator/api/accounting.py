"""What is counted about queries, for /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.web import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    from aggregator.api.turnstile import Turnstile

_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_OUTCOMES: Final = {400: "bad_request", 406: "bad_request", 413: "limit", 429: "busy", 503: "ended", 504: "limit"}


def outcome_of(status: int) -> str:
    """How a query that is refused with ``status`` is counted."""
    return _OUTCOMES.get(status, "error" if status >= 500 else "refused")  # noqa: PLR2004 - HTTP's server errors


class AnswerCutError(Exception):
    """An answer that had begun could not be finished.

    ``outcome`` says why, for the count; ``stalled``: its reader takes nothing any more, not even the reason.
    """

    def __init__(self, outcome: str, *, stalled: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.stalled = stalled


class QueryMetrics:
    """The counters; made once per registry."""

    def __init__(self, registry: CollectorRegistry, turnstile: Turnstile) -> None:
        prefix = "logboom_aggregator_"
        self._count = Counter(f"{prefix}queries", "Queries by how they ended.", ("route", "outcome"), registry=registry)
        self._duration = Histogram(
            f"{prefix}query_duration_seconds",
            "From the request to the end of the answer, waiting included.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.rows = Counter(f"{prefix}query_rows", "Records in answers.", registry=registry)
        self.bytes = Counter(f"{prefix}query_bytes", "Bytes of records in answers.", registry=registry)
        running = Gauge(f"{prefix}queries_running", "Queries that have a place.", registry=registry)
        running.set_function(lambda: turnstile.running)
        waiting = Gauge(f"{prefix}queries_waiting", "Queries that wait for a place.", registry=registry)
        waiting.set_function(lambda: turnstile.waiting)

    @contextlib.contextmanager
    def observed(self, route: str) -> Iterator[None]:
        """Count one query and how it ends."""
        began = time.monotonic()
        outcome = "error"
        try:
            yield
            outcome = "ok"
        except RefusedError as error:
            outcome = outcome_of(error.status)
            raise
        except AnswerCutError as error:
            outcome = error.outcome
            raise
        except (asyncio.CancelledError, ConnectionError):
            outcome = "client_gone"
            raise
        finally:
            self._count.labels(route, outcome).inc()
            self._duration.labels(route).observe(time.monotonic() - began)


class TailMetrics:
    """What is counted about tails; made once per registry."""

    def __init__(self, registry: CollectorRegistry, tails: Sized) -> None:
        prefix = "logboom_aggregator_"
        Gauge(f"{prefix}tails", "Tails that are open.", registry=registry).set_function(lambda: len(tails))
        self.lines = Counter(f"{prefix}tail_lines", "Records sent to tails.", registry=registry)
        self.missed = Counter(
            f"{prefix}tail_missed", "Records that readers of tails were told to have missed.", registry=registry
        )
