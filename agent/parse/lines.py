"""Blocks of whole lines, and what a parser makes of them: columns.

A block holds the bytes just read from many files, one segment a file. The parsers, `agent.parse.cri` and
`agent.parse.docker`, cut it at its newlines, look at all lines at once, and give `Lines`. They never refuse bytes: what
is not in the runtime's format becomes a line that is the raw bytes, flagged MALFORMED.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.excerpts import windows
from wire.batch import Flag
from wire.codec import TIME_NS_MAX

NEWLINE: Final = 10
# Zero bytes behind a block, so that a parser may look a whole header past the last line's start without a check.
# The widest look is 16 bytes at 36 behind a start; zeros match nothing a header may hold.
PADDING_BYTES: Final = 64
_LOW: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)


class Segment(msgspec.Struct, frozen=True):
    """Whole lines of one file inside a block.

    ``size``: bytes in the block, may be 0. ``position``: offset in the file of the first of them. ``time``: ns, what a
    malformed first line gets: the time of the line before it in the file, else the file's mtime. ``left_out``: bytes at
    the end of the last line that are not in the block, for it is too long.
    """

    size: int
    position: int
    time: int
    left_out: int = 0


class Lines(msgspec.Struct, frozen=True, eq=False):
    """The n lines of a block of s segments.

    ``starts``: int64[n], offset in the file of the line's first byte; ``ends``: int64[n], offset after its newline.
    ``times``: int64[n], ns since the epoch, UTC, 0 to `TIME_NS_MAX`. ``flags``: uint8[n], STDERR and MALFORMED of
    `wire.batch.Flag`. ``partial``: bool[n], the message goes on in the next line of the same stream. ``begins``:
    int64[n], rising, and ``lengths``: uint32[n], where in ``text``, uint8, each message stands, without its line end.
    ``rows``: int64[s], lines of each segment.

    ``text`` has more than messages, and is the lines' own, to be written to: the byte before the message of a line that
    is not malformed belongs to none. So what is left of them in the end is copied once (`agent.parse.excerpts`).
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    partial: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.uint32]
    begins: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]


class Headers(msgspec.Struct, frozen=True, eq=False):
    """What a parser found in each line; where ``valid`` is False the other columns mean nothing."""

    valid: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int64]
    stderr: npt.NDArray[np.bool_]
    partial: npt.NDArray[np.bool_]


class Format(enum.Enum):
    """How the container runtime writes its log files."""

    CRI = "cri"
    DOCKER = "docker"


class _DockerObject(msgspec.Struct):
    log: msgspec.Raw
    stream: str
    time: str


_DOCKER_DECODER: Final = msgspec.json.Decoder(_DockerObject)


def detect(first_bytes: bytes) -> Format:
    """The format of a file that begins with ``first_bytes``, which hold its first line whole."""
    line = first_bytes.partition(b"\n")[0]
    if line.startswith(b"{"):
        try:
            _DOCKER_DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Format.CRI
        return Format.DOCKER
    return Format.CRI


class Block(msgspec.Struct, frozen=True, eq=False):
    """A block of n lines in s segments, cut at its newlines.

    ``text``: the block's bytes and `PADDING_BYTES` zeros. ``starts`` and ``ends``: int64[n], offsets in ``text`` of a
    line's first byte and of its newline. ``shifts``: int64[n], what to add to get offsets in the line's file. ``rows``:
    int64[s].
    """

    text: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    segments: Sequence[Segment]

    def words(self, at: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint64]:
        """The ``8 * count`` bytes at each offset, as uint64[count, len(at)], first byte lowest."""
        width = 8 * count
        return np.ascontiguousarray(windows(self.text, width)[at].view("<u8").reshape(-1, count).T)

    def lines(
        self,
        headers: Headers,
        lengths: npt.NDArray[np.int64],
        begins: npt.NDArray[np.int64],
        text: npt.NDArray[np.uint8],
    ) -> Lines:
        """The columns of this block's lines, of messages with ``lengths`` at ``begins`` in ``text``."""
        valid = headers.valid
        times = headers.times
        flags = headers.stderr.view(np.uint8) * np.uint8(Flag.STDERR)
        partial = headers.partial
        if not valid.all():
            times = self._inherited(times, valid)
            flags = np.where(valid, flags, np.uint8(Flag.MALFORMED))
            partial = partial & valid
        return Lines(
            self.starts + self.shifts,
            self.ends + self.shifts + 1,
            times,
            flags,
            partial,
            lengths.astype(np.uint32),
            begins,
            text,
            self.rows,
        )

    def _inherited(self, times: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """``times``, those of invalid lines taken from the line before, or the segment."""
        row = np.arange(times.size)
        source = np.maximum.accumulate(np.where(valid, row, -1))
        first = (self.rows.cumsum() - self.rows).repeat(self.rows)
        # A file's mtime can be anything; what leaves here must be a time the wire carries.
        given = np.array([min(max(segment.time, 0), TIME_NS_MAX) for segment in self.segments], np.int64)
        return np.where(source >= first, times[source], given.repeat(self.rows))


def cut(block: bytes | memoryview | Sequence[bytes | memoryview], segments: Sequence[Segment]) -> Block:
    """The ``block`` made of the bytes of ``segments``, or the pieces of it, cut into lines.

    Raises `ValueError` if the sizes do not add up to the block, or a segment does not end in a newline: the caller
    would lose bytes without knowing.
    """
    pieces = [block] if isinstance(block, bytes | memoryview) else block
    size = sum(map(len, pieces))
    text = np.frombuffer(bytearray().join((*pieces, bytes(PADDING_BYTES))), np.uint8)
    sizes = np.array([segment.size for segment in segments], np.int64)
    bounds = sizes.cumsum()
    if (sizes < 0).any() or (int(bounds[-1]) if bounds.size else 0) != size:
        raise ValueError(f"the segments have {sizes.sum()} bytes, the block {size}")
    if (text[bounds[sizes > 0] - 1] != NEWLINE).any():
        raise ValueError("a segment does not end in a newline")
    ends = (text[:size] == NEWLINE).nonzero()[0]
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    rows = steps(ends.searchsorted(bounds), 0)
    shifts = np.array([segment.position for segment in segments], np.int64)
    shifts -= bounds - sizes
    return Block(text, starts, ends, shifts.repeat(rows), rows, segments)


def steps(values: npt.NDArray[np.int64], before: int) -> npt.NDArray[np.int64]:
    """By how much each of ``values`` is more than the one before it: `np.diff`, which takes several times as long."""
    found = values.copy()
    found[:1] -= before
    found[1:] -= values[:-1]
    return found


def before_run(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each of ``places`` (rising, none below 0) the one before the run of neighbours that it is in."""
    begins = steps(places, -2) != 1
    found: npt.NDArray[np.int64] = (places[begins] - 1)[begins.cumsum() - 1]
    return found


def mask(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """True at the offsets inside the spans from ``starts`` to ``ends`` (rising, apart), as bool[ends[-1]].

    Indexing with it copies run by run; of the ways tried (slices joined, per-byte indices, a running sum for a mask)
    it is the fastest that does not depend on the order in which numpy writes overlapping items.
    """
    runs = np.empty(2 * starts.size, np.int64)
    runs[::2] = starts
    runs[2::2] -= ends[:-1]
    runs[1::2] = ends - starts
    inside: npt.NDArray[np.bool_] = (np.arange(runs.size) & 1 == 1).repeat(runs)
    return inside


def first_byte(words: npt.NDArray[np.uint64], byte: int) -> npt.NDArray[np.int64]:
    """The place (0 to 7) of the first ``byte`` in each of ``words``, lowest byte first; 8 where there is none."""
    other = words ^ (_LOW * np.uint64(byte))
    # The lowest bit set marks the first zero byte of `other`; bits above it may lie.
    found = (other - _LOW) & ~other & _HIGH
    return (np.bitwise_count(~found & (found - np.uint64(1))) >> np.uint8(3)).astype(np.int64)
