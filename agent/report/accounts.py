"""What is known of each container as a whole: bytes read, committed and lost, how far behind, and the forecast.

Counting costs a few additions a block that is read and a chunk that is committed; everything else is worked out when
the gauges are set, every two seconds.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.parse.lines import Format
from agent.report.forecast import KUBELET_LOOKS_EVERY_S, RATE_LEAST, Rotation, WriteRate, forecast_s
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.follow.logfile import LogFile

_log = logging.getLogger(__name__)

# What is younger is on its way: a batch is sent after a fraction of a second, and a commit takes about one.
ON_ITS_WAY_S: Final = 5.0
# Below this an operator has no time left for more than one thing.
WARN_BELOW_S: Final = 60.0
# The same container is named at most so often.
_WARN_EVERY_S: Final = 60.0


class Lag(NamedTuple):
    """What is in files and not committed: ``bytes``, and for how many ``seconds``, at least, the oldest has been there.

    ``unplaced``: files of which it is not known what is committed; they are not in ``bytes``. ``of_unknown_age``: bytes
    that may be older than ``seconds``.
    """

    bytes: int
    seconds: float
    unplaced: int
    of_unknown_age: int

    @property
    def is_known(self) -> bool:
        """Whether ``bytes`` is an answer: nothing is none, as long as there are files of which nobody knows."""
        return self.bytes > 0 or not self.unplaced


class Account:
    """One container's figures; bytes since the agent began to follow it, ``forecast_s`` as of the last measuring."""

    __slots__ = ("_sizes", "_total", "_warned_s", "committed_bytes", "forecast_s", "lost_bytes", "rate", "read_bytes")

    def __init__(self) -> None:
        self.read_bytes = 0
        self.committed_bytes = 0
        self.lost_bytes = 0
        self.rate = WriteRate()
        self.forecast_s: float | None = None
        self._total = -1
        self._sizes: dict[int, int] = {}
        self._warned_s: float | None = None

    @property
    def is_at_rest(self) -> bool:
        """Whether measuring changes nothing, as long as nothing is written: as nearly every container of a node."""
        return self.rate.per_s == 0.0 and self.forecast_s is None

    def measure(self, rotation: Rotation, files: Sequence[LogFile], now_s: float) -> None:
        """Bring rate and forecast up to date from the container's ``files``, oldest first; warn if time runs out."""
        self.rate.note(self._written(files), now_s)
        if (self.rate.per_s or 0.0) < RATE_LEAST:
            self.forecast_s = None
            return
        self.forecast_s = _forecast_s(rotation, files, self.rate.per_s, now_s)
        if self.forecast_s is None or self.forecast_s >= WARN_BELOW_S:
            return
        if self._warned_s is None or now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            container = files[0].container
            _log.warning(
                "log files will be rotated away before they are stored",
                extra=fields(
                    pod=f"{container.namespace}/{container.pod}",
                    container=container.name,
                    in_s=f"{self.forecast_s:.0f}",
                    lag_bytes=lag(files, now_s).bytes,
                    writes_per_s=f"{self.rate.per_s:.0f}",
                ),
            )

    def _written(self, files: Sequence[LogFile]) -> int:
        """Bytes that ``files`` have more than at the last call."""
        total = 0
        for file in files:
            total += file.size
        if total == self._total:
            return 0
        self._total = total
        sizes = {file.entry.inode: file.size for file in files if not file.entry.generation.gzip}
        # A file that was not there the last time was written since; a compressed one was not.
        written = 0
        for inode, size in sizes.items():
            before = self._sizes.get(inode, 0)
            if size > before:
                written += size - before
        self._sizes = sizes
        return written


class Accounts:
    """The account of every container, by its directory."""

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation
        self._accounts: dict[str, Account] = {}
        # Those not at rest when they were measured last, and when that was.
        self._moving: dict[str, None] = {}
        self._measured_s: float | None = None

    def of(self, directory: str) -> Account:
        """The account of the container in ``directory``."""
        account = self._accounts.get(directory)
        if account is None:
            account = self._accounts[directory] = Account()
        return account

    def measure(self, directories: Mapping[str, Sequence[LogFile]], written: Iterable[str], now_s: float) -> float:
        """Bring every account up to date, forget those of other ``directories``; the least forecast, or infinity.

        ``written``: where the size of some file has changed since the last call, or files have come or gone.
        """
        for directory in self._accounts.keys() - directories.keys():
            del self._accounts[directory]
        least_s = math.inf
        measured = dict.fromkeys((*self._moving, *written))
        self._moving = {}
        for directory in measured:
            files = directories.get(directory)
            if files is None:
                continue
            account = self.of(directory)
            if account.is_at_rest:
                account.rate.skip_to(self._measured_s)
            account.measure(self._rotation, files, now_s)
            if not account.is_at_rest:
                self._moving[directory] = None
            if account.forecast_s is not None:
                least_s = min(least_s, account.forecast_s)
        self._measured_s = now_s
        return least_s


def lag(files: Iterable[LogFile], now_s: float) -> Lag:
    """What lags in ``files``."""
    total, since_s, unplaced, of_unknown_age = 0, now_s, 0, 0
    for file in files:
        behind = file.lag_bytes
        if behind and file.is_unplaced:
            unplaced += 1
        elif behind:
            total += behind
            since_s = min(since_s, file.behind_since_s)
            of_unknown_age += max(0, min(behind, file.found_bytes - file.committed))
    return Lag(total, now_s - since_s, unplaced, of_unknown_age)


def _forecast_s(rotation: Rotation, files: Sequence[LogFile], rate: float | None, now_s: float) -> float | None:
    """Of the run that is written now. What older runs left goes with the next restart, which nobody can foresee."""
    since_s = now_s - ON_ITS_WAY_S
    for file in files:
        if file.behind_since_s <= since_s and file.lag_bytes:
            break
    else:
        return None
    listed = [file for file in files if file.listed]
    if not listed:
        return None
    running = listed[-1].entry.generation.restart
    mine = [file for file in listed if file.entry.generation.restart == running]
    unread = (i for i, file in enumerate(mine) if lag([file], now_s).seconds >= ON_ITS_WAY_S)
    oldest = next(unread, None)
    if oldest is None:
        return None
    live = mine[-1]
    has_live = live.entry.generation.current
    newer = len(mine) - 1 - oldest + (not has_live)  # between a rename and the new file one is missing
    looks_every_s = 0.0 if live.format is Format.DOCKER else KUBELET_LOOKS_EVERY_S
    return forecast_s(rotation, live.size if has_live else 0, newer, rate, looks_every_s)
