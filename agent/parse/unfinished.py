"""Records of lines without an end: delivered as they stand, flagged UNFINISHED.

Those are partial lines that wait too long, or for which there is no room; and the last line of a file that is over
(rotated, deleted, its container gone), where a crash left it without its newline.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from agent.parse.assemble import Records, assemble, flush
from agent.parse.parsing import PARSERS
from agent.parse.stretch import read_last
from service.logs import fields
from wire.batch import Flag
from wire.codec import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.follow.logfile import LogFile
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)

# Held of lines whose end has not been read, in all files; beyond it the lines of the files that have not grown for the
# longest time are delivered as they stand. Room for two of the longest records there may be.
OPEN_BYTES_MAX: Final = 2 * RECORD_BYTES_MAX
# A partial line whose end does not come is delivered as it stands once its file has not grown for this long. Runtimes
# write the pieces of a line within milliseconds of each other.
PATIENCE_S: Final = 30.0
# Delivered at once of lines that are overdue: as much as is read in a round (`tail.ROUND_BYTES_MAX`), for the same end.
_OVERDUE_BYTES_MAX: Final = 1 << 20


class Unfinished:
    """Knows which files hold open lines; gives out those that are to be delivered as they stand, with their file.

    ``set_aside`` is told of a file that could not be read.
    """

    def __init__(self, record_bytes_max: int, set_aside: Callable[[LogFile, OSError], None], metrics: Metrics) -> None:
        self._record_bytes_max = record_bytes_max
        self._set_aside = set_aside
        self._metrics = metrics
        self._holding: dict[LogFile, None] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes held of open lines."""
        if not self._holding:
            return 0
        # Also of files that are not followed any more, which nobody tells of: they hold nothing.
        self._holding = {file: None for file in self._holding if file.fd is not None and file.assembly.open_bytes}
        return sum(file.assembly.open_bytes for file in self._holding)

    def beyond_limit(self, read: Iterable[LogFile]) -> Iterator[tuple[LogFile, Records]]:
        """Where more is held than may be, that of the quietest files; ``read``: the files just read."""
        for file in read:
            if file.assembly.open_lines:
                self._holding[file] = None
        size = self.held_bytes
        if size <= OPEN_BYTES_MAX:
            return
        for file in sorted(self._holding, key=lambda file: file.grown_s):
            size -= file.assembly.open_bytes
            _log.warning(
                "too much is held of lines without an end, delivered as they stand",
                extra=fields(path=file.entry.path, limit_bytes=OPEN_BYTES_MAX),
            )
            yield from self._delivered(file, "memory")
            if size <= OPEN_BYTES_MAX:
                return

    def overdue(self, containers: Iterable[Sequence[LogFile]], since_s: float) -> Iterator[tuple[LogFile, Records]]:
        """Those of files, by container, that have not grown since ``since_s``; a bounded number of bytes of them."""
        size = 0
        for files in containers:
            for file in files:
                # Where there is more to be read, the end may be in that; and what is held comes first.
                if not file.placed or file.searched < file.size or file.held or file.grown_s >= since_s:
                    continue
                is_cut_off = file.read < file.size and file.fd is not None and is_over(file, files)
                for found in self._delivered(file, "overdue", is_cut_off=is_cut_off):
                    yield found
                    size += len(found[1].body)
                if size >= _OVERDUE_BYTES_MAX:
                    return

    def rotated(self, file: LogFile) -> Iterator[tuple[LogFile, Records]]:
        """Those of ``file``, which do not go on in the next one."""
        yield from self._delivered(file, "rotated")

    def _delivered(self, file: LogFile, reason: str, *, is_cut_off: bool = False) -> Iterator[tuple[LogFile, Records]]:
        self._holding.pop(file, None)
        try:
            found = _last_line(file, self._record_bytes_max) if is_cut_off else [flush(file.assembly, file.read)]
        except OSError as error:
            self._set_aside(file, error)
            return
        for records in found:
            if records is not None:
                self._metrics.unfinished_records.labels(reason).inc(len(records.times))
                yield file, records


def is_over(file: LogFile, files: Sequence[LogFile]) -> bool:
    """Whether nobody is to write to ``file`` any more, one of the ``files`` of its container."""
    return not file.listed or file is not files[-1]


def _last_line(file: LogFile, record_bytes_max: int) -> list[Records | None]:
    """What is left of ``file``, which is over and read but for its last line, and what is open in it.

    The last record's position is the file's size: after it the file is finished. Raises `OSError`.
    """
    position = file.read
    stretch = read_last(file, record_bytes_max)
    if stretch is None:
        return [flush(file.assembly, position)]
    lines = PARSERS[file.format]([stretch.data], [stretch.segment])
    records = []
    if lines.flags[0] & Flag.MALFORMED:
        # It may have been a line of either stream; so it ends what is open, and continues none of it.
        records.append(flush(file.assembly, position))
    lines = msgspec.structs.replace(lines, partial=np.ones_like(lines.partial))
    assemble(lines, [file.assembly], [stretch.segment], record_bytes_max)
    records.append(flush(file.assembly, file.read))
    return records
