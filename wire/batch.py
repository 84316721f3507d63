"""A batch: records of many log files as one set of columns.

Columns span the whole batch; a chunk is a run of consecutive rows that came from one source. So a batch of five
hundred quiet files costs five hundred small headers, not five hundred times five buffers, at both ends.
"""

from __future__ import annotations

import enum

import msgspec
import numpy as np
import numpy.typing as npt

SOURCE_BYTES = 16
DAY_NS = 86_400_000_000_000


class Flag(enum.IntFlag):
    """What is known about a record; one byte a record."""

    STDERR = 1  # the container wrote it to stderr, else to stdout
    TRUNCATED = 2  # over the line limit: the end is missing
    MALFORMED = 4  # not in the runtime's format: body is the raw line, time is the neighbour's
    GAP = 8  # not a line: bytes known to be lost; body is JSON {"bytes": int | null, "reason": str}
    JOINED = 16  # several lines of the file make this record
    UNFINISHED = 32  # a partial line whose end never came


FLAGS_ALL = int(sum(Flag))


class Chunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Consecutive records of one source.

    ``source``: 16 bytes. ``start``: the position these records continue from; ``end``: the position reached once they
    are stored (at least the last record's; more if the file's following lines were dropped on purpose). Byte offsets in
    the uncompressed file. ``rows``: how many rows of the batch's columns belong here; may be 0.

    ``joint``: records go on from the end of this file in the beginning of the next one. This chunk and the one behind
    it, of that file, are stored together or not at all, and only if the store stands at the ``start`` of both; both
    ends are durable, wherever their last rows stand. All their rows are of one day (UTC).
    """

    source: bytes
    start: int
    end: int
    namespace: str
    pod: str
    uid: str
    container: str
    restart: int
    rows: int
    joint: bool


class Batch(msgspec.Struct, frozen=True, eq=False):
    """One POST's worth of records; made valid by whoever builds it, checked by `wire.codec.decode`.

    ``times``: int64[n], ns since the epoch, UTC. ``positions``: uint64[n]; within a chunk strictly rising, above its
    ``start`` and at most its ``end``. A committed position is a valid place to read on from: the start of the line
    that holds the byte before it, or the position itself if that byte ends a line. ``flags``: uint8[n] of `Flag`.
    ``lengths``: uint32[n], bytes of each record in ``body``. ``body``: the records' bytes, one after another, not
    necessarily UTF-8, without line ends. Rows are in chunk order.
    """

    cluster: str
    node: str
    agent: str
    chunks: tuple[Chunk, ...]
    times: npt.NDArray[np.int64]
    positions: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.uint32]
    body: bytes | memoryview
