r"""Records that go on in the next file: the end of a rotated one, and the beginning of its successor.

A trace, or the pieces of a long line, may be cut in two by a rotation: it begins at the end of A, and goes on at the
beginning of B, the next generation of the same run. Once A is read to its end, with something open there (lines that
are held, partial lines), and nothing of B is read, both are taken for one text, B's bytes behind A's:

    A  ... a line \n boom \n \tat x \n   B  \tat y \n another line \n ...
                    ^ shipped       ^ A's end      ^ b

What is joined in it, and at which positions, is found as in any file. Of the records that began in A the last one ends
at b: from there on B can be read by itself. Records up to A's end are A's, those from there to b are B's, less A's end.
They make two chunks that are `joint`: the aggregator stores them in one insert, together with the positions A's end and
b, and only if it stands where both begin. So wherever all this stops, it either stands behind both, or all of it is to
be made anew; if something of B is stored, A's end has its own records.

Nothing is carried if B's first line is of `APART_AFTER_NS` later than A's last one, if the records are of two days (an
insert has one), or if what is open in A does not end in as much of B as the longest record takes, or within
`DECIDED_WITHIN_S`. Then A's end is delivered as it stands.
"""

from __future__ import annotations

import enum
import os
import time
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from agent.errors import ReplacedError, UnpackError
from agent.follow.gzipped import GzippedFile
from agent.parse.assemble import Assembly, Records, assemble, edges_of
from agent.parse.lines import Segment
from agent.parse.parsing import PARSERS
from agent.records import join
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.follow.logfile import LogFile

# After the first look at B it is known whether A's end goes on in it: runtimes write the pieces of a line, and programs
# the lines of a trace, within milliseconds of each other. B is not read meanwhile.
DECIDED_WITHIN_S: Final = 1.0
# A's last lines are held so much longer for B to be found, and for the store to say where it is to be read from.
HELD_ON_S: Final = 2.0
# Between A and B a file may be missing that nobody saw. A kubelet looks at the size of logs every ten seconds, so what
# was written before and behind a file of its making lies further apart than this; and what belongs together does not.
APART_AFTER_NS: Final = 5 * 10**9
# Read of B at first; four times as much as long as that does not do.
_HEAD_BYTES: Final = 64 << 10
# Read of B beyond the longest record: lines of the other stream between, and what stands before messages.
_HEAD_BYTES_MORE: Final = 256 << 10


class Verdict(enum.Enum):
    """Why nothing is carried over."""

    NOTHING = enum.auto()  # nothing is open at the end of the file before
    WAIT = enum.auto()  # not yet known
    APART = enum.auto()  # what is open there is to be delivered by itself


class Carried(msgspec.Struct, frozen=True, eq=False):
    """The ``records`` of two segments: the end of a file, and the beginning of the next one.

    ``position``: reached in the next one; ``line_start``: the beginning of the line that it lies in, or itself.
    ``left_out``: bytes missing of each record that was cut. ``count``: how many go on in the next file, at least.
    """

    records: Records
    position: int
    line_start: int
    left_out: list[int]
    count: int

    def leave(self, before: LogFile, file: LogFile) -> None:
        """Have ``before`` and ``file`` read on behind the records, which are shipped."""
        before.hold(b"")
        before.assembly = Assembly(before.shipped)
        file.skip(self.position, self.line_start)


class Carry:
    """Decides what goes on in the next file; owns nothing. ``directories``: each container's files, oldest first."""

    def __init__(
        self, directories: Mapping[str, Sequence[LogFile]], record_bytes_max: int, joined_bytes_max: int
    ) -> None:
        self._directories = directories
        self._record_bytes_max = record_bytes_max
        self._joined_bytes_max = joined_bytes_max

    def awaits(self, file: LogFile) -> bool:
        """Whether what is open at the end of ``file``, which was read to there, may go on in another file."""
        siblings = self._directories.get(file.directory, ())
        if not siblings or file is siblings[-1] or file not in siblings:
            return False
        following = next((each for each in siblings[siblings.index(file) + 1 :] if not each.is_copy), None)
        return following is not None and _is_next(file, following) and (not following.placed or _is_fresh(following))

    def holds_on(self, file: LogFile, now_s: float) -> bool:
        """Whether ``file`` holds its last lines on, though the time for it is over."""
        return now_s < file.held_until_s + HELD_ON_S and self.awaits(file)

    def before(self, file: LogFile) -> LogFile | None:
        """The file whose end may go on in ``file``; None if there is none, or something of ``file`` was read."""
        siblings = self._directories[file.directory]
        if file is siblings[0] or not _is_fresh(file):
            return None
        earlier = siblings[: siblings.index(file)]
        before = next((each for each in reversed(earlier) if not each.is_copy), None)
        return before if before is not None and _is_next(before, file) else None

    def decide(self, before: LogFile, file: LogFile, now_s: float) -> Carried | Verdict:
        """What of the end of ``before`` goes on in ``file``."""
        if before.awaits_place(now_s):
            return Verdict.WAIT
        if not _has_tail(before) or before.format is not file.format:
            return Verdict.NOTHING
        if not isinstance(before, GzippedFile) and os.lseek(before.descriptor, 0, os.SEEK_END) != before.size:
            return Verdict.WAIT  # first what was written to it since
        if file.undecided_s is None:
            file.undecided_s = now_s
        try:
            found = self._looked(before, file, is_late=now_s - file.undecided_s >= DECIDED_WITHIN_S)
        except (ReplacedError, UnpackError, OSError):
            found = Verdict.NOTHING  # whoever reads it sees to that
        if found is not Verdict.WAIT:
            file.undecided_s = None
        return found

    def _looked(self, before: LogFile, file: LogFile, *, is_late: bool) -> Carried | Verdict:
        """What is known by as much of ``file`` as it takes. Raises `OSError`, `ReplacedError`, `UnpackError`."""
        head_bytes, most = _HEAD_BYTES, self._record_bytes_max + _HEAD_BYTES_MORE
        while True:
            head, is_all = file.head(head_bytes)
            head = head[: head.rfind(b"\n") + 1]
            closed_ns = join.NEVER
            if is_all:
                closed_ns = join.ALWAYS if is_late else time.time_ns() - join.CLOSED_AFTER_NS
            found = self._joined(before, head, closed_ns) if head else Verdict.WAIT
            if found is not Verdict.WAIT:
                return found
            if is_all:
                return Verdict.APART if is_late else Verdict.WAIT
            if head_bytes >= most:
                return Verdict.APART
            head_bytes = min(4 * head_bytes, most)

    def _joined(self, before: LogFile, head: bytes, closed_ns: int) -> Carried | Verdict:
        """What is known by the whole lines ``head`` of the next file."""
        border = before.read
        segment = Segment(len(before.held) + len(head), border - len(before.held), before.time_ns)
        lines = PARSERS[before.format]([before.held, head], [segment])
        assembly = before.assembly.copy()
        if _lies_apart(lines.times, before.held.count(b"\n"), assembly.open_lines.time):
            return Verdict.APART
        records = assemble(lines, [assembly], [segment], self._record_bytes_max)
        how = before.treatment
        of_both = join.Segment(
            before.shipped,
            segment.position + segment.size,
            closed_ns,
            assembly.open_start,
            joins=how.multiline,
            start=how.multiline_start,
        )
        joined = join.join(records, [of_both], self._joined_bytes_max)
        starts = [int(joined.held[0]), -1 if assembly.open_start is None else assembly.open_start]
        if any(0 <= start < border for start in starts):
            return Verdict.WAIT
        return _carried(joined.records, border, head, assembly, len(before.assembly.open_lines))


def _carried(found: Records, border: int, head: bytes, assembly: Assembly, opened: int) -> Carried | Verdict:
    """Of the records of both files, those up to the last one that began below ``border``, where the first one ends.

    ``opened``: lines that were open there.
    """
    begun = np.flatnonzero(found.starts < border)
    count = int(begun[-1]) + 1 if begun.size else 0
    position = int(found.positions[count - 1]) - border if count else 0
    if position <= 0:
        return Verdict.APART
    days = found.times[:count] // DAY_NS
    if days.min() != days.max():
        return Verdict.APART
    own = int(np.searchsorted(found.positions[:count], np.uint64(border), "right"))
    positions = found.positions[:count].copy()
    positions[own:] -= np.uint64(border)
    records = Records(
        found.times[:count],
        positions,
        found.flags[:count],
        found.lengths[:count],
        memoryview(found.body)[: int(edges_of(found.lengths)[count])],
        found.starts[:count],
        found.heads[:count],
        np.array([own, count - own], np.int64),
        np.array([border, position], np.int64),
    )
    left_out = assembly.take_left_out(border + position)
    # Of both streams one; what interleaves may have a position in the first file all the same.
    crossing = max(1, opened, int(np.count_nonzero(found.starts[own:count] < border)))
    return Carried(records, position, head.rfind(b"\n", 0, position) + 1, left_out, crossing)


def _lies_apart(times: np.ndarray[tuple[int], np.dtype[np.int64]], own: int, open_ns: int | None) -> bool:
    """Whether the first line of the next file is from long after the last one before; ``own``: lines before it."""
    last_ns = int(times[own - 1]) if own else open_ns
    return last_ns is not None and int(times[own]) - last_ns > APART_AFTER_NS


def _is_next(file: LogFile, following: LogFile) -> bool:
    """Whether ``following``, the file behind ``file``, is the next one of the same run, with nothing lost between."""
    return file.entry.generation.restart == following.entry.generation.restart and not following.is_parted


def _is_fresh(file: LogFile) -> bool:
    """Whether nothing of ``file`` is stored, on its way, or read."""
    return file.committed == file.shipped == file.read == 0 and not file.spoilt


def _has_tail(file: LogFile) -> bool:
    """Whether ``file`` was read to its end, and something is open there."""
    is_at_end = file.placed and file.fd is not None and not file.spoilt and file.read == file.size
    return is_at_end and file.shipped < file.read and bool(file.held or file.assembly.open_lines)
