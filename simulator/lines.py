"""What a container says: text like that of real programs, every line checkable on its own.

A line's text ends in a mark, or has it as its last JSON value:

    <message> <16 hex digits> sim=<uid>/<container>/<o|e>/<seq>/<time>/<length>/<crc>[<end of JSON>]

``uid``: the first 8 characters of the pod's uid. ``o`` or ``e``: stdout or stderr. ``seq``: 9 digits, counts the
lines of this stream of the container from 0, over rotations and restarts. ``time``: ns since the epoch, when the line
was written. ``length``: 6 digits, bytes of the whole text. ``crc``: 8 hex digits, CRC-32 of every other byte of it.

Everything but the time follows from the seed, the container and the number of the line.

Lines for people to look at have no mark: they end with their message, a JSON value with the 16 digits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from simulator.messages import MESSAGES

if TYPE_CHECKING:
    import numpy.typing as npt

    from simulator.messages import Messages

# Lengths around the places where runtimes cut, each as likely as a length drawn at random.
_TELLING_BYTES: Final = (8191, 8192, 8193, 16383, 16384, 16385, 24576, 32768)
_LONG_BYTES_LEAST: Final = 9_000
_LONG_BYTES_MOST: Final = 40_000
# ns between two lines of a container: room for the pieces of a long line, which have times of their own.
LINE_GAP_NS: Final = 100
_LINE_JITTER_NS: Final = 1900

# A mark's parts: bytes of the hex digits before " sim=", and of what follows the container's key.
_HEX_BYTES: Final = 16
_REST_BYTES: Final = len("/o/000000000/1700000000000000000/000000/")
_CRC_BYTES: Final = 8
_MARK_PARTS: Final = 7
_TIME_DIGITS: Final = 19
_SEQUENCE_DIGITS: Final = 9
_LENGTH_DIGITS: Final = 6


class Container(msgspec.Struct, frozen=True):
    """A container of a pod; ``name`` is the container's name within the pod."""

    namespace: str
    pod: str
    uid: str
    name: str

    @property
    def key(self) -> str:
        """What names the container in a mark."""
        return f"{self.uid[:8]}/{self.name}"


class Manner(msgspec.Struct, frozen=True):
    """How containers speak: shares of 1 of the lines that go to stderr, are long, are not UTF-8; marked or not."""

    seed: int = 1
    stderr: float = 0.2
    long: float = 0.0005
    binary: float = 0.0
    marked: bool = True


class Lines(NamedTuple):
    """n lines: ``stderr`` bool[n], ``times`` int64[n], ns since the epoch, rising; ``texts``, without line ends."""

    stderr: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int64]
    texts: list[bytes]


class Mark(NamedTuple):
    """What a line says about itself; ``key`` is that of its `Container`."""

    key: str
    stderr: bool
    sequence: int
    time_ns: int


def read_mark(text: bytes) -> Mark | None:
    """The mark of a line; None if there is none, or the text is not the one it was made for."""
    at = text.rfind(b" sim=") + len(b" sim=")
    parts = text[at:].split(b"/", _MARK_PARTS - 1)
    if len(parts) != _MARK_PARTS:
        return None
    uid, name, stream, sequence, time, length, rest = parts
    behind = rest[_CRC_BYTES:]
    ahead = text[: len(text) - len(rest)]
    if b"%08x" % crc32(behind, crc32(ahead)) != rest[:_CRC_BYTES] or int(length) != len(text):
        return None
    return Mark(f"{uid.decode()}/{name.decode()}", stream == b"e", int(sequence), int(time))


class Voice:
    """What one container says, from its first line on.

    ``exact``: the runtime keeps every byte, so that text may be other than UTF-8, and be cut anywhere.
    """

    def __init__(self, container: Container, manner: Manner, messages: Messages, *, exact: bool) -> None:
        self._key = f" sim={container.key}/".encode()
        self._manner = manner
        self._messages = messages
        self._exact = exact
        digest = hashlib.blake2b(f"{manner.seed}/{container.uid}/{container.name}".encode(), digest_size=8)
        self._salt = np.uint64(int.from_bytes(digest.digest(), "little"))
        self._said = 0
        self._last_ns = 0
        # Lines so far: of stdout, of stderr.
        self.counts = (0, 0)

    def speak(self, count: int, now_ns: int) -> Lines:
        """The next ``count`` lines, written at ``now_ns`` and after; times rise strictly from call to call."""
        drawn = _mixed(np.arange(self._said, self._said + count, dtype=np.uint64) + self._salt)
        gaps = (drawn % np.uint64(_LINE_JITTER_NS)).astype(np.int64) + LINE_GAP_NS
        times = max(now_ns, self._last_ns) + gaps.cumsum()
        stderr = _share(drawn, 8, self._manner.stderr)
        stdout_lines, stderr_lines = self.counts
        sequences = np.where(stderr, stderr_lines + stderr.cumsum(), stdout_lines + (~stderr).cumsum()) - 1
        errors = int(stderr.sum())
        self.counts = stdout_lines + count - errors, stderr_lines + errors
        if max(self.counts) >= 10**_SEQUENCE_DIGITS:
            raise OverflowError("a container has said more lines than a mark can count")
        self._said += count
        self._last_ns = int(times[-1]) if count else self._last_ns
        befores, afters = self._spoken(drawn)
        if not self._manner.marked:
            return Lines(stderr, times, _bare(befores, afters, drawn))
        return Lines(stderr, times, self._marked(befores, afters, drawn, stderr, times, sequences))

    def _spoken(self, drawn: npt.NDArray[np.uint64]) -> tuple[list[bytes], list[bytes]]:
        """What stands before and behind the mark of each line."""
        ordinary = self._messages.ordinary
        chosen = [ordinary[i] for i in (drawn % np.uint64(MESSAGES)).tolist()]
        befores, afters = [before for before, _ in chosen], [after for _, after in chosen]
        binary = _share(drawn, 40, self._manner.binary if self._exact else 0.0)
        long = _share(drawn, 24, self._manner.long) & ~binary
        for row in np.flatnonzero(binary).tolist():
            befores[row], afters[row] = self._messages.binary[int(drawn[row]) % len(self._messages.binary)], b""
        for row in np.flatnonzero(long).tolist():
            befores[row], afters[row] = self._long(int(drawn[row])), b""
        return befores, afters

    def _long(self, drawn: int) -> bytes:
        """A message that makes a line long enough to be cut."""
        place = drawn >> 20 & 0xF
        size = (
            _TELLING_BYTES[place]
            if place < len(_TELLING_BYTES)
            else _LONG_BYTES_LEAST + drawn % (_LONG_BYTES_MOST - _LONG_BYTES_LEAST)
        )
        return self._messages.long(size - self._mark_bytes, ascii_only=not self._exact)

    @property
    def _mark_bytes(self) -> int:
        return _HEX_BYTES + len(self._key) - 1 + _REST_BYTES + _CRC_BYTES

    def _marked(  # noqa: PLR0917 - columns of the same lines
        self,
        befores: list[bytes],
        afters: list[bytes],
        drawn: npt.NDArray[np.uint64],
        stderr: npt.NDArray[np.bool_],
        times: npt.NDArray[np.int64],
        sequences: npt.NDArray[np.int64],
    ) -> list[bytes]:
        """The texts: each message with its mark."""
        count = len(befores)
        lengths = np.fromiter(map(len, befores), np.int64, count) + np.fromiter(map(len, afters), np.int64, count)
        slash = column(b"/", count)
        marks = np.hstack(
            [
                _hex(drawn.astype(">u8")),
                column(self._key, count),
                np.where(stderr, ord("e"), ord("o")).astype(np.uint8)[:, None],
                slash,
                digits(sequences, _SEQUENCE_DIGITS),
                slash,
                digits(times, _TIME_DIGITS),
                slash,
                digits(lengths + self._mark_bytes, _LENGTH_DIGITS),
                slash,
            ]
        )
        heads = [before + mark for before, mark in zip(befores, rows_of(marks), strict=True)]
        crcs = np.fromiter(map(crc32, afters, map(crc32, heads)), ">u4", count)
        return list(map(b"".join, zip(heads, rows_of(_hex(crcs)), afters, strict=True)))


def _bare(befores: list[bytes], afters: list[bytes], drawn: npt.NDArray[np.uint64]) -> list[bytes]:
    """The texts without marks."""
    traces = rows_of(_hex(drawn.astype(">u8")))
    return [
        before + trace + after if after else before.rstrip(b" ")
        for before, trace, after in zip(befores, traces, afters, strict=True)
    ]


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Numbers as good as random, one for each: the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _share(drawn: npt.NDArray[np.uint64], shift: int, share: float) -> npt.NDArray[np.bool_]:
    """True for ``share`` of the lines, by 16 bits of what was drawn."""
    return (drawn >> np.uint64(shift) & np.uint64(0xFFFF)) < np.uint64(round(share * 0x10000))


def rows_of(matrix: npt.NDArray[np.uint8]) -> list[bytes]:
    """The rows of uint8[n, width]."""
    data = matrix.tobytes()
    width = matrix.shape[1]
    return [data[at : at + width] for at in range(0, len(data), width)]


def _hex(values: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint8]:
    """Hexadecimal digits of big-endian numbers, as uint8[n, 2 * bytes of one]."""
    text = np.frombuffer(values.tobytes().hex().encode(), np.uint8)
    return text.reshape(len(values), 2 * values.itemsize)


def digits(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """Decimal digits with leading zeros, as uint8[n, width]."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (values[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def column(text: bytes, count: int) -> npt.NDArray[np.uint8]:
    """``text`` in each of ``count`` rows."""
    return np.broadcast_to(np.frombuffer(text, np.uint8), (count, len(text)))
