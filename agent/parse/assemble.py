"""Lines to records: partial lines joined, long ones cut, each with its position.

Nearly all lines are the records, column by column. `agent.parse.partials` says how the others are joined and what their
positions are; these, and the lines that stand between pieces, are taken out and read one by one.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.excerpts import gathered
from agent.parse.partials import Line, OpenLines, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.parse.lines import Lines, Segment

# As the first columns of `Assembled`.
_Columns = tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint8],
    npt.NDArray[np.uint32],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
]


class Records(msgspec.Struct, frozen=True, eq=False):
    """The n records of s segments, as columns of a batch.

    ``times``: int64[n] ns, each that of the first piece. ``positions``: uint64[n], rising strictly in a file.
    ``flags``: uint8[n] of `wire.batch.Flag`. ``lengths``: uint32[n], bytes of each record in ``body``.
    ``starts`` and ``heads``: int64[n], offsets in the file of the record's first byte, and after its first line (or
    piece of one). ``rows``: int64[s], records of each segment. ``ends``: int64[s], the position reached in each file: a
    place to read on from, not below any record's position, never lower than before.
    """

    times: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.uint32]
    body: memoryview
    starts: npt.NDArray[np.int64]
    heads: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Assembled(msgspec.Struct, frozen=True, eq=False):
    """Records whose bytes are still where their lines are: `Records`, but for the ``body``.

    ``begins``: int64[n], rising, where each stands in ``text``, which is as that of `agent.parse.lines.Lines`.
    """

    times: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.uint32]
    begins: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    heads: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def records(self) -> Records:
        """All of them, as they are."""
        return Records(
            self.times,
            self.positions,
            self.flags,
            self.lengths,
            gathered(self.text, self.begins, self.lengths).data,
            self.starts,
            self.heads,
            self.rows,
            self.ends,
        )


class Assembly:
    """The open partial lines of one file; the file's reader owns it.

    ``floor``: the position that is read on from, then the one reached: every record to come lies above it; those at or
    below are known already, and dropped. Reading anywhere else takes a new assembly, which makes the same of it: so to
    lose this is no loss. Holds at most the longest record's bytes a stream.

    ``left_out``: bytes missing of each record that was cut and not asked for by `take_left_out`, by its position.
    """

    __slots__ = ("floor", "left_out", "open_lines")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self.open_lines = OpenLines()
        self.left_out: dict[int, int] = {}

    @property
    def open_bytes(self) -> int:
        """Bytes held of open lines."""
        return self.open_lines.size_bytes

    @property
    def open_start(self) -> int | None:
        """Offset in the file of the oldest open line; None if none is open."""
        return self.open_lines.start

    def copy(self) -> Assembly:
        """The same, which can go on another way."""
        copied = Assembly(self.floor)
        copied.open_lines = self.open_lines.copy()
        return copied

    def above_floor(self, records: list[Record]) -> list[Record]:
        """Those of ``records`` that are not known already. The last one of the others is the new floor."""
        found = [record for record in records if record.position > self.floor]
        if found:
            self.floor = found[-1].position
            self.left_out.update({record.position: record.left_out for record in found if record.left_out})
        return found

    def take_left_out(self, end: int) -> list[int]:
        """Bytes left out of each record up to the position ``end``, which is delivered; once of each."""
        found = [position for position in self.left_out if position <= end]
        return [self.left_out.pop(position) for position in found]

    def reach(self, end: int) -> int:
        """The position reached after lines up to ``end``, and what was delivered before: the new floor."""
        start = self.open_lines.start if self.open_lines else None
        self.floor = max(self.floor, end if start is None else start)
        return self.floor

    def restart(self, floor: int) -> None:
        """Start over from ``floor``: what is open will be read again."""
        self.floor = floor
        if self.open_lines:
            self.open_lines = OpenLines()


class _Span(msgspec.Struct, frozen=True):
    """Rows of a segment, from ``begin`` to ``end``, that are not records as they are, and the records they made."""

    segment: int
    begin: int
    end: int
    records: list[Record]


def assemble(
    lines: Lines, assemblies: Sequence[Assembly], segments: Sequence[Segment], record_bytes_max: int
) -> Assembled:
    """The records that ``lines`` complete; ``assemblies``, one a segment and each of another file, hold the rest.

    A record keeps its first ``record_bytes_max`` bytes; if it had more it is flagged TRUNCATED and says so.
    """
    columns: _Columns = (
        lines.times,
        lines.ends.view(np.uint64),
        lines.flags,
        lines.lengths,
        lines.begins,
        lines.starts,
        lines.ends,
    )
    text, rows = lines.text, lines.rows
    pending = [
        index
        for index, (assembly, segment) in enumerate(zip(assemblies, segments, strict=True))
        if segment.size and (assembly.open_lines or assembly.floor > segment.position)
    ]
    if pending or lines.partial.any() or lines.lengths.max(initial=0) > record_bytes_max:
        spans = _spans(lines, assemblies, segments, pending, record_bytes_max)
        columns, text = _with(columns, text, spans)
        rows = rows.copy()
        for span in spans:
            rows[span.segment] += len(span.records) - (span.end - span.begin)
    ends = [
        assembly.reach(segment.position + segment.size) for assembly, segment in zip(assemblies, segments, strict=True)
    ]
    return Assembled(*columns, text, rows, np.array(ends, np.int64))


def flush(assembly: Assembly, position: int) -> Records | None:
    """What is open, as it stands, flagged UNFINISHED; None if there is nothing. ``position``: the end of what was read.

    For a file that is over. Should it grow after all, reading on from ``position`` is right; from between two records
    of a flush it is not, what the younger line gained would be lost.
    """
    if not assembly.open_lines:
        return None
    found = assembly.above_floor(assembly.open_lines.flush(position))
    end = assembly.reach(position)
    if not found:
        return None
    columns, text = _columns(found)
    return Assembled(*columns, text, np.array([len(found)], np.int64), np.array([end], np.int64)).records()


def _spans(
    lines: Lines,
    assemblies: Sequence[Assembly],
    segments: Sequence[Segment],
    pending: Sequence[int],
    record_bytes_max: int,
) -> list[_Span]:
    """The lines that may not be records as they are, taken one by one: rising spans of them, apart.

    One begins at a partial line, one that is too long, or a segment that is ``pending``: it has something open or known
    already. It ends where there is nothing of that any more.
    """
    bounds = lines.rows.cumsum().tolist()
    firsts = [bounds[index] - int(lines.rows[index]) for index in pending]
    odd = lines.partial | (lines.lengths > record_bytes_max)
    # Items of a memoryview are plain numbers, and got at several times faster than those of an array.
    starts, ends, times, flags = lines.starts.data, lines.ends.data, lines.times.data, lines.flags.data
    partial, is_odd = lines.partial.data, odd.data
    texts, begins, sizes = lines.text.data, lines.begins.data, lines.lengths.data
    spans: list[_Span] = []
    row = 0
    for begin in sorted({*firsts, *odd.nonzero()[0].tolist()}):
        if begin < row:
            continue
        segment = bisect.bisect_right(bounds, begin)
        assembly = assemblies[segment]
        records: list[Record] = []
        row = begin
        while row < bounds[segment] and (is_odd[row] or assembly.open_lines or starts[row] < assembly.floor):
            text = texts[begins[row] : begins[row] + sizes[row]]
            left_out = segments[segment].left_out if row == bounds[segment] - 1 else 0
            line = Line(starts[row], ends[row], times[row], flags[row], partial[row], text, left_out)
            records += assembly.open_lines.take(line, record_bytes_max)
            row += 1
        spans.append(_Span(segment, begin, row, assembly.above_floor(records)))
    return spans


def _with(
    columns: _Columns, text: npt.NDArray[np.uint8], spans: Sequence[_Span]
) -> tuple[_Columns, npt.NDArray[np.uint8]]:
    """The ``columns`` and their ``text``, the rows of each of ``spans`` replaced by its records."""
    joined, records_text = _columns([record for span in spans for record in span.records])
    lengths, begins = columns[3], columns[4]
    parts: list[_Columns] = []
    texts: list[npt.NDArray[np.uint8]] = []
    row = record = at = record_at = moved = 0
    for span in spans:
        parts.append(_part(columns, row, span.begin, moved))
        texts.append(text[at : begins[span.begin]])
        after = record + len(span.records)
        record_end = int(joined[4][after - 1]) + int(joined[3][after - 1]) if span.records else record_at
        parts.append(_part(joined, record, after, int(begins[span.begin]) + moved - record_at))
        texts.append(records_text[record_at:record_end])
        at = int(begins[span.end - 1]) + int(lengths[span.end - 1])
        moved += record_end - record_at - (at - int(begins[span.begin]))
        row, record, record_at = span.end, after, record_end
    parts.append(_part(columns, row, begins.size, moved))
    texts.append(text[at:])
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
        np.concatenate([part[4] for part in parts]),
        np.concatenate([part[5] for part in parts]),
        np.concatenate([part[6] for part in parts]),
    ), np.concatenate(texts)


def _part(columns: _Columns, begin: int, end: int, moved: int) -> _Columns:
    """Rows ``begin`` to ``end``, whose text has ``moved`` so far."""
    times, positions, flags, lengths, begins, starts, heads = columns
    rows = slice(begin, end)
    return times[rows], positions[rows], flags[rows], lengths[rows], begins[rows] + moved, starts[rows], heads[rows]


def edges_of(lengths: npt.NDArray[np.uint32] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each body begins among all, and the end: int64[n + 1]."""
    edges = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    return edges


def _columns(records: Sequence[Record]) -> tuple[_Columns, npt.NDArray[np.uint8]]:
    """The columns of ``records``, and their text: a byte that is none's before each."""
    lengths = np.array([len(record.body) for record in records], np.uint32)
    columns = (
        np.array([record.time for record in records], np.int64),
        np.array([record.position for record in records], np.uint64),
        np.array([record.flags for record in records], np.uint8),
        lengths,
        edges_of(lengths)[:-1] + np.arange(1, lengths.size + 1),
        np.array([record.start for record in records], np.int64),
        np.array([record.head for record in records], np.int64),
    )
    return columns, np.frombuffer(
        bytearray().join([piece for record in records for piece in (b" ", record.body)]), np.uint8
    )
