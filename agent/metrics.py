"""What an operator watches. No label carries a pod or a file: their number has no limit. `/status` has those."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from agent.ship.batch import Sealed


class Metrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.read_bytes = Counter("logboom_agent_read_bytes", "Bytes of log files parsed.", registry=registry)
        self.read_errors = Counter(
            "logboom_agent_read_errors", "Log files that could not be opened or read.", registry=registry
        )
        self.truncations = Counter("logboom_agent_truncations", "Log files found shortened.", registry=registry)
        self.gaps = Counter("logboom_agent_gaps", "Gaps: parts of logs that are lost.", ["reason"], registry=registry)
        self.gap_bytes = Counter(
            "logboom_agent_gap_bytes",
            "Bytes of logs that are lost, where their number is known.",
            ["reason"],
            registry=registry,
        )
        self.unfinished_records = Counter(
            "logboom_agent_unfinished_records",
            "Records delivered before their end was read, by why: overdue, rotated, or memory.",
            ["reason"],
            registry=registry,
        )
        self.carried_records = Counter(
            "logboom_agent_carried_records",
            "Records that go on in the next file after a rotation, read as one.",
            registry=registry,
        )
        self.truncated_records = Counter(
            "logboom_agent_truncated_records", "Records that were cut, for they are too long.", registry=registry
        )
        self.truncated_bytes = Counter(
            "logboom_agent_truncated_bytes", "Bytes left out of records that are too long.", registry=registry
        )
        self.batches = Counter(
            "logboom_agent_batches", "Answers to batches, by what they said.", ["outcome"], registry=registry
        )
        self.records = Counter("logboom_agent_committed_records", "Records committed.", registry=registry)
        self.record_bytes = Counter(
            "logboom_agent_committed_bytes", "Bytes of batches committed, before compression.", registry=registry
        )
        self.sent_bytes = Counter(
            "logboom_agent_sent_bytes", "Bytes of batches committed, compressed.", registry=registry
        )
        self.refused_records = Counter(
            "logboom_agent_refused_records",
            "Records that became a gap record, for they were refused.",
            registry=registry,
        )
        self.rewinds = Counter(
            "logboom_agent_rewinds", "Times reading went back to what the store holds.", registry=registry
        )
        self.store_changes = Counter(
            "logboom_agent_store_changes",
            "Times the aggregator or its store was not the one before.",
            registry=registry,
        )
        self.in_flight = Gauge("logboom_agent_batches_in_flight", "Batches sent, not answered.", registry=registry)
        self.answer_seconds = Histogram(
            "logboom_agent_answer_seconds",
            "From sending a batch to its answer.",
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.scan_seconds = Histogram(
            "logboom_agent_scan_seconds",
            "Time of one scan for new and renamed files.",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )
        self.dropped_records = Counter(
            "logboom_agent_dropped_records", "Records left out, as the rules say.", registry=registry
        )
        self.redacted_records = Counter(
            "logboom_agent_redacted_records",
            "Records that something was replaced in, by the redaction's name; custom: a regex of one's own.",
            ["pattern"],
            registry=registry,
        )
        self.sieve_seconds = Counter(
            "logboom_agent_sieve_seconds", "Seconds spent on dropping and redacting.", registry=registry
        )
        self.excluded_containers = Gauge(
            "logboom_agent_excluded_containers",
            "Containers that are not to be collected.",
            registry=registry,
        )
        self.deferred_containers = Gauge(
            "logboom_agent_deferred_containers",
            "Containers of pods that are over their rate.",
            registry=registry,
        )
        self.deferred_bytes = Gauge(
            "logboom_agent_deferred_bytes", "Bytes not read yet, for their pod is over its rate.", registry=registry
        )
        self.files = Gauge("logboom_agent_files", "Log files followed.", registry=registry)
        self.ignored_files = Gauge(
            "logboom_agent_ignored_files",
            "Files in containers' directories that look like logs, but are not named like them.",
            registry=registry,
        )
        self.open_files = Gauge("logboom_agent_open_files", "Log files held open.", registry=registry)
        self.lag_bytes = Gauge(
            "logboom_agent_lag_bytes",
            "Bytes of whole lines in log files, not yet committed; NaN while none are known of, but not of all files.",
            registry=registry,
        )
        self.lag_bytes.set(math.nan)
        self.lag_seconds = Gauge(
            "logboom_agent_lag_seconds",
            "For how long, at least, the oldest byte not yet committed has been in its file; NaN as the bytes.",
            registry=registry,
        )
        self.lag_seconds.set(math.nan)
        self.unplaced_files = Gauge(
            "logboom_agent_unplaced_files",
            "Log files of which the aggregator has not said yet what is stored; their bytes are not in the lag.",
            registry=registry,
        )
        self.rotation_forecast = Gauge(
            "logboom_agent_rotation_forecast_seconds",
            "Until the first bytes not committed are rotated away, of the container with the least time; else +Inf.",
            registry=registry,
        )
        self.rotation_forecast.set(math.inf)
        self.open_line_bytes = Gauge(
            "logboom_agent_open_line_bytes", "Bytes held of lines whose end has not been read.", registry=registry
        )
        self.inotify = Gauge(
            "logboom_agent_inotify", "1 if inotify tells of new files, 0 if only scans find them.", registry=registry
        )
        self.inotify_overflows = Counter(
            "logboom_agent_inotify_overflows",
            "Times the kernel's queue was full and dropped events.",
            registry=registry,
        )

    def batch(self, sealed: Sealed, outcome: str, seconds: float) -> None:
        """Count one answered batch."""
        self.batches.labels(outcome).inc()
        self.answer_seconds.observe(seconds)
        if outcome == "committed":
            self.records.inc(sealed.rows)
            self.record_bytes.inc(sealed.size_bytes)
            self.sent_bytes.inc(len(sealed.data))
