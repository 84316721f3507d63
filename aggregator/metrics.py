"""What an operator watches of the way into the store."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_REQUESTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """Everything counted on the way of a batch, registered in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"logboom_aggregator_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"logboom_aggregator_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"logboom_aggregator_{name}", text, buckets=buckets, registry=registry)

        self.batches = counter("batches", "Batches answered, by outcome and the rule or reason.", "outcome", "rule")
        self.unauthorized = counter("unauthorized", "Requests without a right token.", "reason")
        self.received_bytes = counter("received_bytes", "Compressed bytes of batches read in full.")
        self.rows = counter("rows_committed", "Records stored.")
        self.bytes = counter("bytes_committed", "Bytes of records stored.")
        self.trimmed = counter("rows_trimmed", "Records left out because they were stored already.")
        self.expired = counter(
            "rows_expired",
            "Records left out on arrival: older than the retention, or of a time without room.",
            "reason",
        )
        self.cut = counter("rows_cut", "Records put off because a group had too many days in turn.")
        self.commit_seconds = histogram("commit_seconds", "From taking a group to having it durable.", _SECONDS)
        self.group_requests = histogram("group_requests", "Requests committed together.", _REQUESTS)
        self.inserts = counter("inserts", "Inserts into the logs table.")
        self.conflicts = counter("insert_conflicts", "Inserts dropped because another aggregator's came first.")
        self.failures = counter("commit_failures", "Groups that could not be committed, by kind of error.", "kind")
        self.queries_held_s = counter("queries_held_seconds", "Seconds that queries stood still for agents' sake.")
        self.ingest_refused = gauge("ingest_refused", "1 while batches are refused, for this reason; else 0.", "reason")
        self.held_bytes = gauge("held_bytes", "Bytes of requests held in memory.")
        self.held_limit_bytes = gauge("held_limit_bytes", "The most bytes of requests that may be held.")
        self.queued = gauge("queued_requests", "Requests waiting to be committed.")
        self.positions = gauge("positions_cached", "Sources whose committed position is remembered.")
        self.days_dropped = counter(
            "days_dropped", "Days dropped by retention, for their age or the store's size.", "table", "reason"
        )
        self.erased = counter("rows_deleted", "Records deleted out of days, by what asked for it.", "reason")
        self.deletions = gauge("deletions", "Deletions that were asked for, by state.", "state")
        self.floor_seconds = gauge(
            "floor_timestamp_seconds", "Nothing older is kept, for want of room; 0: no limit yet."
        )
        self.store_limit_bytes = gauge("store_limit_bytes", "Bytes that the store may have on disk; 0: any number.")
        self.cold_bytes = counter("cold_moved_bytes", "Bytes moved to the cold tier.")
        self.cold_parts = counter("cold_moved_parts", "Parts moved to the cold tier.")
        self.cold_failures = counter("cold_failures", "Times that something to be done in the cold tier failed.")
        self.cold_last_success = gauge(
            "cold_last_move_timestamp_seconds", "When a part was last moved there; 0: never."
        )
        self.cold_aside = gauge("cold_parts_aside", "Parts that are in no answer until the cold tier is back.")
        self.store_bytes = gauge("store_bytes", "Bytes on disk, and in the cold tier.", "table", "disk")
        self.store_parts = gauge("store_parts", "Active parts.", "table")
        self.store_rows = gauge("store_rows", "Rows.", "table")
        self.parts_set_aside = gauge("parts_set_aside", "Damaged parts that no answer has.")
        self.sources_holed = gauge("sources_with_holes", "Log files of which records are missing, until sent again.")
        self.store_free_bytes = gauge("store_free_bytes", "Bytes left on the store's disk.")
