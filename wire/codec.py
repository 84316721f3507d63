"""A batch to bytes and back.

The format, version 2 (`Content-Type: application/x-logboom-batch`; on the wire inside one zstd frame,
`Content-Encoding: zstd`), is one msgpack array:

    [version, cluster, node, agent, chunks, times, positions, flags, lengths, body]

    version            int, 2
    cluster node agent str
    chunks             array of [source bin(16), start, end, namespace, pod, uid, container, restart, rows, joint bool]
    times              bin, rows x int64   little-endian, ns since the epoch
    positions          bin, rows x uint64  little-endian
    flags              bin, rows x uint8
    lengths            bin, rows x uint32  little-endian
    body               bin

Whatever of this changes, a field of a chunk or a bit of the flags, raises the version. A decoder refuses every other
version by name (`version`), so that an agent that is newer or older than its aggregator waits instead of dropping.
Golden bytes of every version are kept in `tests/wire/golden/`. Version 1 had no ``joint``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from wire.batch import DAY_NS, FLAGS_ALL, SOURCE_BYTES, Batch, Chunk
from wire.errors import BatchError, BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 2
CONTENT_TYPE: Final = "application/x-logboom-batch"
CONTENT_ENCODING: Final = "zstd"

# An encoded batch before compression. Bounds what one request makes the aggregator hold; eight times the agent's
# default batch, so that one file's longest allowed record still fits beside others.
BATCH_BYTES_MAX: Final = 32 << 20
# Rows of one batch: the engine cuts inserts into blocks of about a million rows, and an insert must be one block.
ROWS_MAX: Final = 1 << 19
# Chunks of one batch: every node has room for it (the kubelet's default is 110 pods), and headers stay under 4 MiB.
CHUNKS_MAX: Final = 1 << 14
# One record. The agent cuts lines at 1 MiB by default and can be told to allow more, up to this.
RECORD_BYTES_MAX: Final = 8 << 20
# One name (cluster, node, namespace, pod, container): Kubernetes allows 253 characters.
NAME_BYTES_MAX: Final = 253
# Positions are byte offsets in files; the store keeps them as UInt64, other languages read them as int64.
POSITION_MAX: Final = (1 << 63) - 1
# 1970-01-01 up to, not including, 2262-01-01: inside what DateTime64(9) can hold, with no day cut in half.
TIME_NS_MAX: Final = 9_214_646_400_000_000_000 - 1

RULES: Final = {
    "encoding": "the bytes are one msgpack array in the format's shape and types",
    "version": "the version is one this decoder knows",
    "size": "the encoded batch is at most BATCH_BYTES_MAX",
    "chunks": "there are at most CHUNKS_MAX chunks",
    "rows": "there are at most ROWS_MAX rows, and the chunks' rows are none below 0 and add up to the columns'",
    "columns": "every column's size in bytes is its item size times the same number of rows",
    "names": "names are at most NAME_BYTES_MAX bytes, without NUL; node, namespace, pod, uid and container not empty",
    "source": "a source has SOURCE_BYTES bytes, and its chunks in one batch continue each other",
    "range": "0 <= start <= end <= POSITION_MAX, and restart is not below 0",
    "joint": "a joint chunk has bytes, and the next one is of the same run, from 0 on, not joint; "
    "rows of both are of one day",
    "positions": "positions rise strictly inside a chunk, above its start and up to its end",
    "times": "times are between 0 and TIME_NS_MAX",
    "flags": "flags have no unknown bit",
    "lengths": "a record has at most RECORD_BYTES_MAX bytes, and the lengths add up to the body",
}

# Those that no record can break, only an encoder that was built otherwise than the decoder: the same records are taken
# once both are of one version.
BUILD_RULES: Final = frozenset({"encoding", "version", "columns", "flags"})


class _Encoded(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The msgpack array, before its columns are looked at."""

    version: int
    cluster: str
    node: str
    agent: str
    chunks: tuple[Chunk, ...]
    times: memoryview
    positions: memoryview
    flags: memoryview
    lengths: memoryview
    body: memoryview


_T = TypeVar("_T", bound=np.generic)

_ARRAY: Final = bytes([0x90 | len(_Encoded.__struct_fields__)])  # msgpack's fixarray
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Encoded)
_ITEMS_DECODER = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Columns(Protocol):
    """Rows as columns, with the meanings of `wire.batch.Batch`'s."""

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """int64[n], ns."""

    @property
    def positions(self) -> npt.NDArray[np.uint64]:
        """uint64[n]."""

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        """uint8[n]."""

    @property
    def lengths(self) -> npt.NDArray[np.uint32]:
        """uint32[n]."""

    @property
    def body(self) -> bytes | memoryview:
        """The records' bytes, one after another."""


def encode(batch: Batch) -> bytes:
    """The batch as uncompressed bytes of the current version. Checks nothing: `decode` does."""
    return b"".join(encode_pieces(batch.cluster, batch.node, batch.agent, batch.chunks, [batch]))


def encode_pieces(
    cluster: str, node: str, agent: str, chunks: Sequence[Chunk], parts: Sequence[Columns]
) -> list[bytes | memoryview]:
    """What `encode` gives for a batch whose columns are those of ``parts`` one after another; no column is copied."""
    pieces: list[bytes | memoryview] = [
        _ARRAY + b"".join(map(_ENCODER.encode, (VERSION, cluster, node, agent, chunks)))
    ]
    for column in (
        [np.ascontiguousarray(part.times, "<i8").data.cast("B") for part in parts],
        [np.ascontiguousarray(part.positions, "<u8").data.cast("B") for part in parts],
        [np.ascontiguousarray(part.flags, "u1").data for part in parts],
        [np.ascontiguousarray(part.lengths, "<u4").data.cast("B") for part in parts],
        [memoryview(part.body) for part in parts],
    ):
        filled = [piece for piece in column if len(piece)]
        pieces += [_bin_header(sum(map(len, filled))), *filled]
    return pieces


def _bin_header(size: int) -> bytes:
    """What stands before ``size`` bytes in msgpack: bin 8, bin 16 or bin 32, the shortest that fits."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def decode(data: bytes, *, limited: bool = True) -> Batch:
    """The batch in uncompressed ``data``, every rule checked; its columns are read-only views into ``data``.

    Raises `BatchTooLargeError` for a limit on size, unless ``limited`` is False: so is one read that is to be split.
    `BatchError` for every other broken rule, nothing else.
    """
    if limited:
        _limit("size", len(data), BATCH_BYTES_MAX)
    try:
        encoded = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _check_version_of(data)
        raise BatchError("encoding", str(error)) from error
    _check_version(encoded.version)
    rows = len(encoded.flags)
    if limited:
        _limit("chunks", len(encoded.chunks), CHUNKS_MAX)
        _limit("rows", rows, ROWS_MAX)
    batch = Batch(
        encoded.cluster,
        encoded.node,
        encoded.agent,
        encoded.chunks,
        _column("times", encoded.times, rows, np.dtype("<i8")),
        _column("positions", encoded.positions, rows, np.dtype("<u8")),
        _column("flags", encoded.flags, rows, np.dtype("u1")),
        _column("lengths", encoded.lengths, rows, np.dtype("<u4")),
        encoded.body,
    )
    _check_headers(batch)
    _check_columns(batch)
    _check_joints(batch)
    return batch


def _check_version_of(data: bytes) -> None:
    """Name the version rather than the shape when the bytes are a batch of another version."""
    try:
        items = _ITEMS_DECODER.decode(data)
        version = msgspec.msgpack.decode(items[0], type=int) if items else VERSION
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    _check_version(version)


def _check_version(version: int) -> None:
    if version != VERSION:
        raise BatchError("version", f"expected {VERSION}, found {version}")


def _limit(rule: str, found: int, allowed: int) -> None:
    if found > allowed:
        raise BatchTooLargeError(rule, f"at most {allowed}, found {found}")


def _column(name: str, data: memoryview, rows: int, dtype: np.dtype[_T]) -> npt.NDArray[_T]:
    if len(data) != rows * dtype.itemsize:
        raise BatchError("columns", f"{name}: expected {rows} rows of {dtype.itemsize} bytes, found {len(data)} bytes")
    return np.frombuffer(data, dtype)


def _check_headers(batch: Batch) -> None:
    for name, value in (("cluster", batch.cluster), ("node", batch.node), ("agent", batch.agent)):
        _check_name(name, value, required=name == "node")
    ends: dict[bytes, int] = {}
    for number, chunk in enumerate(batch.chunks):
        where = f"chunk {number}"
        if len(chunk.source) != SOURCE_BYTES:
            raise BatchError("source", f"{where}: expected {SOURCE_BYTES} bytes, found {len(chunk.source)}")
        if not 0 <= chunk.start <= chunk.end <= POSITION_MAX:
            raise BatchError("range", f"{where}: start {chunk.start}, end {chunk.end}")
        if chunk.restart < 0:
            raise BatchError("range", f"{where}: restart {chunk.restart}")
        if chunk.rows < 0:
            raise BatchError("rows", f"{where}: {chunk.rows} rows")
        for name in ("namespace", "pod", "uid", "container"):
            _check_name(f"{where}: {name}", getattr(chunk, name), required=True)
        if ends.get(chunk.source, chunk.start) != chunk.start:
            raise BatchError(
                "source", f"{where}: starts at {chunk.start}, the one before ended at {ends[chunk.source]}"
            )
        ends[chunk.source] = chunk.end
    rows = sum(chunk.rows for chunk in batch.chunks)
    if rows != len(batch.flags):
        raise BatchError("rows", f"the chunks have {rows} rows, the columns {len(batch.flags)}")


def _check_name(name: str, value: str, *, required: bool) -> None:
    if required and not value:
        raise BatchError("names", f"{name} is empty")
    if "\0" in value:
        raise BatchError("names", f"{name} has a NUL")
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > NAME_BYTES_MAX:
        raise BatchError("names", f"{name}: at most {NAME_BYTES_MAX} bytes, found {size}")


def _check_columns(batch: Batch) -> None:
    if batch.times.size and not (batch.times.min() >= 0 and batch.times.max() <= TIME_NS_MAX):
        raise BatchError("times", f"found {batch.times.min()} to {batch.times.max()}")
    unknown = int(np.bitwise_or.reduce(batch.flags)) & ~FLAGS_ALL
    if unknown:
        raise BatchError("flags", f"unknown bits {unknown:#04x}")
    total = int(batch.lengths.sum(dtype=np.uint64))
    if total != len(batch.body):
        raise BatchError("lengths", f"the lengths add up to {total}, the body has {len(batch.body)} bytes")
    if batch.lengths.size:
        longest = int(batch.lengths.max())
        if longest > RECORD_BYTES_MAX:
            raise BatchError("lengths", f"a record has {longest} bytes, at most {RECORD_BYTES_MAX} are allowed")
    _check_positions(batch)


def _check_positions(batch: Batch) -> None:
    """Row i must lie above row i-1, or above its chunk's start where it is the chunk's first."""
    filled = [chunk for chunk in batch.chunks if chunk.rows]
    if not filled:
        return
    counts = np.array([chunk.rows for chunk in filled], np.int64)
    last = counts.cumsum() - 1
    below = np.empty_like(batch.positions)
    below[1:] = batch.positions[:-1]
    below[last - counts + 1] = np.array([chunk.start for chunk in filled], np.uint64)
    falling = np.flatnonzero(batch.positions <= below)
    if falling.size:
        row = int(falling[0])
        raise BatchError("positions", f"row {row}: position {batch.positions[row]} after {below[row]}")
    beyond = np.flatnonzero(batch.positions[last] > np.array([chunk.end for chunk in filled], np.uint64))
    if beyond.size:
        chunk = filled[int(beyond[0])]
        raise BatchError("positions", f"source {chunk.source.hex()}: a position lies beyond the end {chunk.end}")


def _check_joints(batch: Batch) -> None:
    """A record that goes on in the next file is of both chunks, which an insert of one day must hold."""
    first = 0
    for number, chunk in enumerate(batch.chunks):
        if chunk.joint:
            follower = batch.chunks[number + 1] if number + 1 < len(batch.chunks) else None
            if follower is None or not _is_pair(chunk, follower):
                raise BatchError("joint", f"chunk {number}: {_range(chunk)} is followed by {_range(follower)}")
            days = batch.times[first : first + chunk.rows + follower.rows] // DAY_NS
            if days.size and days.min() != days.max():
                raise BatchError("joint", f"chunk {number}: rows of days {days.min()} to {days.max()}")
        first += chunk.rows


def _is_pair(chunk: Chunk, follower: Chunk) -> bool:
    """Whether ``follower`` may stand behind the joint ``chunk``."""
    run = (chunk.namespace, chunk.pod, chunk.uid, chunk.container, chunk.restart)
    is_same_run = run == (follower.namespace, follower.pod, follower.uid, follower.container, follower.restart)
    is_next = follower.start == 0 < follower.end and not follower.joint
    return is_same_run and is_next and chunk.start < chunk.end


def _range(chunk: Chunk | None) -> str:
    return "none" if chunk is None else f"{chunk.source.hex()} {chunk.start} to {chunk.end}"
