r"""How containerd, CRI-O and Docker put lines into a file.

    containerd  2023-04-05T02:29:34.6877Z stdout F message                 trailing zeros trimmed, cut at 16 KiB
    CRI-O       2023-04-05T02:29:34.687700000+00:00 stdout F message       nine digits and an offset, cut at 8 KiB
    Docker      {"log":"message\n","stream":"stdout","time":"…Z"}          trimmed, cut at 16 KiB

A piece that is not a line's last is tagged ``P`` in the first two, and its ``log`` has no ``\n`` with Docker.
containerd cuts only what is longer than a piece; conmon (of CRI-O) and Docker write a full piece before they know
whether more comes, so that the last piece of a line can be empty. containerd and CRI-O give every piece a time of its
own, Docker gives all pieces the first one's.
https://github.com/containerd/containerd/blob/main/internal/cri/io/logger.go,
https://github.com/containers/conmon/blob/main/src/ctr_logging.c,
https://github.com/moby/moby/blob/master/daemon/logger/copier.go
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta, timezone
from itertools import repeat
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.lines import column, digits, rows_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from simulator.lines import Lines


class Runtime(enum.Enum):
    """A container runtime."""

    CONTAINERD = "containerd"
    CRIO = "cri-o"
    DOCKER = "docker"

    @property
    def exact(self) -> bool:
        """Whether every byte of a line arrives in the file: Docker's JSON has no place for what is not UTF-8."""
        return self is not Runtime.DOCKER


PIECE_BYTES: Final = {Runtime.CONTAINERD: 16 << 10, Runtime.CRIO: 8 << 10, Runtime.DOCKER: 16 << 10}
_SECOND_NS: Final = 10**9
_FRACTION_DIGITS: Final = 9


def pieces(runtime: Runtime, text: bytes) -> list[bytes]:
    """The pieces that ``runtime`` cuts a line into, all but the last of them full."""
    size = PIECE_BYTES[runtime]
    if len(text) < size:
        return [text]
    end = len(text) - 1 if runtime is Runtime.CONTAINERD else len(text)
    return [text[at : at + size] for at in range(0, end + 1, size)] or [text]


def render(runtime: Runtime, lines: Lines, offset_minutes: int = 0) -> bytes:
    """``lines`` as ``runtime`` writes them; ``offset_minutes``: the node's time zone, which only CRI-O shows.

    Lines of the other stream come between the pieces of a line that is cut, as they would. Nothing stays open at the
    end.
    """
    form = _docker if runtime is Runtime.DOCKER else _cri
    size = PIECE_BYTES[runtime]
    texts = lines.texts
    if not texts:
        return b""
    cut = [row for row, text in enumerate(texts) if len(text) >= size]
    held = {row: pieces(runtime, texts[row]) for row in cut}
    firsts = [held[row].pop(0) if row in held else text for row, text in enumerate(texts)] if cut else texts
    partial = [bool(held.get(row)) for row in range(len(texts))]
    written = form(_times(runtime, lines.times, offset_minutes), lines.stderr.tolist(), partial, firsts)
    for row, rest in held.items():
        _add_rest(runtime, lines, row, rest, written, offset_minutes)
    return b"".join(written)


def _add_rest(  # noqa: PLR0917 - all of them are needed, and nothing else
    runtime: Runtime, lines: Lines, row: int, rest: list[bytes], written: list[bytes], offset_minutes: int
) -> None:
    """Put the ``rest`` of the pieces of a line behind what is ``written`` of the rows from ``row`` on.

    A piece a row, as long as these are whole lines of the other stream; then all that are left.
    """
    form = _docker if runtime is Runtime.DOCKER else _cri
    stderr = bool(lines.stderr[row])
    last = len(lines.texts) - 1
    at = row
    begun = int(lines.times[row])
    time_ns = begun
    while rest:
        follows = at < last and lines.stderr[at + 1] != stderr and len(lines.texts[at + 1]) < PIECE_BYTES[runtime]
        at += follows
        now, rest = (rest[:1], rest[1:]) if follows else (rest, [])
        time_ns = max(time_ns, int(lines.times[at])) + 1
        times = np.full(len(now), begun) if runtime is Runtime.DOCKER else np.arange(time_ns, time_ns + len(now))
        partial = [True] * (len(now) - 1) + [bool(rest)]
        written[at] += b"".join(form(_times(runtime, times, offset_minutes), [stderr] * len(now), partial, now))


_TAGS: Final = {
    (False, False): b" stdout F ",
    (False, True): b" stdout P ",
    (True, False): b" stderr F ",
    (True, True): b" stderr P ",
}


def _cri(times: list[bytes], stderr: list[bool], partial: list[bool], texts: list[bytes]) -> list[bytes]:
    tags = [_TAGS[key] for key in zip(stderr, partial, strict=True)]
    return list(map(b"".join, zip(times, tags, texts, repeat(b"\n"))))


_DOCKER_TAGS: Final = {
    (False, False): b'\\n","stream":"stdout","time":"',
    (False, True): b'","stream":"stdout","time":"',
    (True, False): b'\\n","stream":"stderr","time":"',
    (True, True): b'","stream":"stderr","time":"',
}


def _docker(times: list[bytes], stderr: list[bool], partial: list[bool], texts: list[bytes]) -> list[bytes]:
    tags = [_DOCKER_TAGS[key] for key in zip(stderr, partial, strict=True)]
    escaped = _escaped(b"\n".join(texts)).split(b"\n")
    return list(map(b"".join, zip(repeat(b'{"log":"'), escaped, tags, times, repeat(b'"}\n'))))


def _escaped(texts: bytes) -> bytes:
    """As moby's encoder writes it; line ends, which separate the texts, are kept."""
    for character, escape in _ESCAPES:
        if character in texts:
            texts = texts.replace(character, escape)
    if not texts.isascii():
        texts = texts.decode(errors="replace").replace("\ufffd", "\\ufffd").encode()
    return texts


# The backslash first: it stands in every escape.
_ESCAPES: Final = (
    (b"\\", b"\\\\"),
    (b'"', b'\\"'),
    (b"\r", b"\\r"),
    *((bytes([code]), b"\\u%04x" % code) for code in (*range(10), 11, 12, *range(14, 32), *b"<>&")),
    *((character.encode(), b"\\u%04x" % ord(character)) for character in "\u2028\u2029"),
)


def _times(runtime: Runtime, times: npt.NDArray[np.int64], offset_minutes: int) -> list[bytes]:
    """The times as ``runtime`` writes them."""
    is_crio = runtime is Runtime.CRIO
    zone = timezone(timedelta(minutes=offset_minutes)) if is_crio else UTC
    seconds, inverse = np.unique(times // _SECOND_NS, return_inverse=True)
    texts = [datetime.fromtimestamp(second, zone).strftime("%Y-%m-%dT%H:%M:%S.") for second in seconds.tolist()]
    dates = np.array([list(text.encode()) for text in texts], np.uint8).reshape(len(texts), -1)[inverse]
    fractions = digits(times % _SECOND_NS, _FRACTION_DIGITS)
    if not is_crio:
        return [time.rstrip(b"0").rstrip(b".") + b"Z" for time in rows_of(np.hstack([dates, fractions]))]
    sign = "-" if offset_minutes < 0 else "+"
    offset = f"{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}".encode()
    return rows_of(np.hstack([dates, fractions, column(offset, len(times))]))
