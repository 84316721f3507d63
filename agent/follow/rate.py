"""How fast the logs of a pod are read, if that has a limit: what is over it stays in the files, and is read later.

A pod has a bucket of bytes that fills at its rate up to a second's worth. Reading takes what it takes, even more than
there is, and waits until that is made up for: so the mean is exact, however much is read at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.follow.logfile import LogFile
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)

# What a pod may write in a burst before it waits, in seconds of its rate.
BURST_S: Final = 1.0
# Of a pod that stays over its rate, it is said once in this time.
SAY_AGAIN_AFTER_S: Final = 300.0


class _Bucket(msgspec.Struct):
    """``level``: bytes that may be read, below 0 what is to be made up for, at ``at_s``."""

    level: float
    at_s: float
    said_s: float


class Rates:
    """The buckets of the pods that are read at a limited rate; containers of a pod with the same rate share one."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._buckets: dict[tuple[str, int], _Bucket] = {}

    def defers(self, file: LogFile, now_s: float) -> bool:
        """Whether ``file`` is not to be read now."""
        rate = file.treatment.rate_bytes_per_s
        if rate is None:
            return False
        bucket = self._buckets.get((file.container.uid, rate))
        if bucket is None:
            return False
        _fill(bucket, rate, now_s)
        if bucket.level > 0:
            return False
        if now_s - bucket.said_s > SAY_AGAIN_AFTER_S:
            bucket.said_s = now_s
            pod = f"{file.container.namespace}/{file.container.pod}"
            _log.warning("pod writes faster than it is read", extra=fields(pod=pod, rate_bytes_per_s=rate))
        return True

    def take(self, file: LogFile, size_bytes: int, now_s: float) -> None:
        """Account for what was read of ``file``."""
        rate = file.treatment.rate_bytes_per_s
        if rate is not None:
            key = file.container.uid, rate
            bucket = self._buckets.setdefault(key, _Bucket(rate * BURST_S, now_s, now_s - 2 * SAY_AGAIN_AFTER_S))
            _fill(bucket, rate, now_s)
            bucket.level -= size_bytes

    def measure(self, deferred: Sequence[LogFile], now_s: float) -> None:
        """Bring the gauges up to date, and forget the pods that have been within their rate for long."""
        self._metrics.deferred_containers.set(len({file.directory for file in deferred}))
        self._metrics.deferred_bytes.set(sum(file.size - file.read for file in deferred))
        for (uid, rate), bucket in list(self._buckets.items()):
            _fill(bucket, rate, now_s)
            if bucket.level >= rate * BURST_S and now_s - bucket.said_s > SAY_AGAIN_AFTER_S:
                del self._buckets[uid, rate]


def _fill(bucket: _Bucket, rate: int, now_s: float) -> None:
    bucket.level = min(rate * BURST_S, bucket.level + (now_s - bucket.at_s) * rate)
    bucket.at_s = now_s
