"""What is lost for good, and said so: a gap record in the container's own stream, a metric, a warning.

A gap lies in a source from the position that is shipped to the end of what is lost, which is the position of its
record; so it is stored once, whatever is sent again. Its file is gone, hence the gap is kept here until the store has
it. When reading goes back, what was read of the file and is not stored is lost as well: the gap begins where the store
ends. Where that is not known, it is asked first.

A gap is declared a while before it is said: until then the file may turn up again, renamed or as a copy (`cancel`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from agent.follow.rounds import Part, Round
from agent.parse.assemble import Records
from service.logs import fields
from wire.batch import Flag
from wire.codec import TIME_NS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.follow.logfile import LogFile, Loss
    from agent.metrics import Metrics
    from agent.report.accounts import Accounts

_log = logging.getLogger(__name__)

# Gaps kept at most, of a kilobyte each: a node's containers several times over. Beyond it the oldest are no more than
# counted and logged.
GAPS_MAX: Final = 2_000
# Longer than it takes a scan to find a renamed file or a copy, and the next look to know it.
DUE_AFTER_S: Final = 5.0


class _Gap:
    """One gap. ``file``: whose container and run it is, closed; ``start``: what the file's shipped position was."""

    __slots__ = ("committed", "counted", "due_s", "end", "file", "is_exact", "loss", "placed", "sent", "start")

    def __init__(self, file: LogFile, end: int, loss: Loss, due_s: float, *, is_exact: bool) -> None:
        self.file = file
        self.start = file.shipped
        self.committed = file.committed
        self.end = end
        self.is_exact = is_exact
        self.loss = loss
        self.due_s = due_s
        self.placed = file.placed
        self.sent = False
        self.counted: int | None = None

    @property
    def lost_bytes(self) -> int | None:
        """None where it is not known."""
        return self.end - self.start if self.is_exact else None


class Gaps:
    """The gaps of files that are gone, by source, until the store has them."""

    def __init__(self, metrics: Metrics, accounts: Accounts) -> None:
        self._metrics = metrics
        self._accounts = accounts
        self._gaps: dict[bytes, _Gap] = {}

    def declare(self, file: LogFile, extent: int | None, loss: Loss, now_s: float) -> None:
        """``file``, no one else's and with a source, is lost from what is shipped of it up to ``extent``, if known.

        What is shipped and not committed is lost as well, should it have to be sent again.
        """
        if file.source is None:
            raise ValueError(f"a gap of {file.entry.path}, which has no source")
        if extent is not None and extent <= file.committed:
            return
        end = file.shipped + 1 if extent is None else extent
        if len(self._gaps) >= GAPS_MAX and file.source not in self._gaps:
            oldest = self._gaps.pop(next(iter(self._gaps)))
            self._count(oldest)
            _log.error(
                "too many gaps are not stored yet, no record will tell of this one",
                extra=fields(path=oldest.file.entry.path),
            )
        self._gaps[file.source] = _Gap(file, end, loss, now_s + DUE_AFTER_S, is_exact=extent is not None)

    def cancel(self, source: bytes, reach: int | None = None) -> None:
        """What was declared lost of ``source`` has turned up; where ``reach`` is given, only if it goes as far."""
        gap = self._gaps.get(source)
        if gap is not None and not gap.sent and (reach is None or reach >= gap.end):
            del self._gaps[source]

    @property
    def waiting(self) -> bool:
        """Whether the aggregator is to be asked for some position."""
        return any(not gap.placed for gap in self._gaps.values())

    def unplaced(self) -> list[bytes]:
        """Sources whose committed positions are not known."""
        return [source for source, gap in self._gaps.items() if not gap.placed]

    def place(self, positions: Mapping[bytes, int]) -> None:
        """Take what the store holds, by source."""
        for source in self._gaps.keys() & positions.keys():
            gap = self._gaps[source]
            gap.committed = positions[source]
            if gap.committed >= gap.end:
                del self._gaps[source]
            elif not gap.placed:
                gap.placed, gap.start = True, gap.committed

    def rewind(self) -> None:
        """What was sent and is not committed is sent again."""
        for gap in self._gaps.values():
            gap.sent = False
            if gap.placed:
                gap.start = gap.committed

    def displace(self) -> None:
        """The store may not be the one it was."""
        for gap in self._gaps.values():
            gap.placed = gap.sent = False

    def settle(self, now_s: float) -> None:
        """Count and log what is due, also while nothing can be sent."""
        for gap in self._due(now_s):
            if gap.counted != gap.end - gap.start:
                self._count(gap)

    def rounds(self, now_s: float) -> list[Round]:
        """The gap records that are due and not sent."""
        gaps = [gap for gap in self._due(now_s) if not gap.sent]
        if not gaps:
            return []
        self.settle(now_s)
        for gap in gaps:
            gap.sent = True
        return [gap_round([(gap.file, gap.start, gap.end, gap.lost_bytes, gap.loss) for gap in gaps])]

    def _due(self, now_s: float) -> Iterator[_Gap]:
        return (gap for gap in self._gaps.values() if gap.placed and gap.start < gap.end and now_s >= gap.due_s)

    def _count(self, gap: _Gap) -> None:
        lost = gap.end - gap.start
        if gap.counted is None:
            count_gap(self._metrics, self._accounts, gap.file, gap.lost_bytes, gap.loss)
        elif gap.is_exact:
            more = max(0, lost - gap.counted)
            self._metrics.gap_bytes.labels(gap.loss).inc(more)
            self._accounts.of(gap.file.directory).lost_bytes += more
        gap.counted = lost


def count_gap(metrics: Metrics, accounts: Accounts, file: LogFile, lost_bytes: int | None, loss: Loss) -> None:
    """Say that bytes of ``file`` are lost, once."""
    metrics.gaps.labels(loss).inc()
    metrics.gap_bytes.labels(loss).inc(lost_bytes or 0)
    accounts.of(file.directory).lost_bytes += lost_bytes or 0
    _log.warning("a part of a log is lost", extra=fields(path=file.entry.path, bytes=lost_bytes, reason=loss.value))


def gap_round(gaps: list[tuple[LogFile, int, int, int | None, Loss]]) -> Round:
    """A record for each gap: of a file, from a position to another, of so many bytes or an unknown number, and why."""
    bodies = [msgspec.json.encode({"bytes": lost_bytes, "reason": loss}) for *_, lost_bytes, loss in gaps]
    ends = np.array([end for _, _, end, _, _ in gaps], np.int64)
    records = Records(
        np.array([min(max(file.time_ns, 0), TIME_NS_MAX) for file, *_ in gaps], np.int64),
        ends.astype(np.uint64),
        np.full(len(gaps), Flag.GAP, np.uint8),
        np.array(list(map(len, bodies)), np.uint32),
        memoryview(b"".join(bodies)),
        np.array([start for _, start, *_ in gaps], np.int64),
        ends,
        np.ones(len(gaps), np.int64),
        ends,
    )
    return Round(records, tuple(Part(file, start, end, 1) for file, start, end, _, _ in gaps))
