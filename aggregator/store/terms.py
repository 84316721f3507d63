"""How long what is kept: pure, so that what is dropped and what is refused when it comes late follow the same rule.

Ages count in whole days (UTC) of the records' own time: a day is over when its end lies longer ago than the retention.
The floor is a moment below which nothing is kept any more, whatever its namespace: the store had no room for it
(`aggregator.store.floor`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np

from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

_DAY_S: Final = 86_400
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


def oldest_day(now_s: float, retention_s: float) -> int:
    """The oldest day that is kept, counted from 1970-01-01 UTC: the one that holds the moment ``retention_s`` ago."""
    return max(0, int((now_s - retention_s) // _DAY_S))


def day_name(day: int) -> str:
    """A day, counted from 1970-01-01, as the engine names its partition."""
    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()


def moment(at_ns: int) -> str:
    """A time for a log line: RFC 3339 to the second, UTC."""
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Rule(msgspec.Struct, frozen=True):
    """Records of namespaces that match the glob ``namespaces`` are kept for ``retention_s``."""

    namespaces: str
    retention_s: float

    def __str__(self) -> str:
        return f"{self.namespaces}={self.retention_s:g}s"


class Terms(msgspec.Struct, frozen=True):
    """Records are kept for ``retention_s``, those of a namespace that ``rules`` match as the first of them says."""

    retention_s: float
    rules: tuple[Rule, ...] = ()

    def of(self, namespace: str) -> float:
        """For how many seconds records of ``namespace`` are kept."""
        return next(
            (rule.retention_s for rule in self.rules if fnmatchcase(namespace, rule.namespaces)), self.retention_s
        )

    @property
    def longest_s(self) -> float:
        """What is older than this is of no use to anyone."""
        return max(self.retention_s, *(rule.retention_s for rule in self.rules), 0.0)

    @property
    def shortest_s(self) -> float:
        """What is younger than this is kept, whatever its namespace."""
        return min((self.retention_s, *(rule.retention_s for rule in self.rules)))

    def over(self, namespaces: Iterable[str], day: int, now_s: float) -> tuple[str, ...]:
        """Those of ``namespaces`` whose records of ``day`` are not kept any more."""
        return tuple(name for name in namespaces if oldest_day(now_s, self.of(name)) > day)


class Kept(msgspec.Struct, frozen=True):
    """What is kept of records that come at ``now_s``: by age, and from ``floor_ns`` on (ns since 1970-01-01)."""

    terms: Terms
    now_s: float
    floor_ns: int = 0

    @classmethod
    def everything(cls) -> Self:
        """Whatever its age."""
        return cls(Terms(0.0), 0.0)

    def oldest_days(self, namespaces: Sequence[str]) -> npt.NDArray[np.int64]:
        """int64[n]: the oldest day that is kept of each of ``namespaces``, the floor left aside."""
        known = {name: oldest_day(self.now_s, self.terms.of(name)) for name in set(namespaces)}
        return np.array([known[name] for name in namespaces], np.int64)

    @property
    def floor_day(self) -> int:
        """The day that holds the floor."""
        return self.floor_ns // DAY_NS
