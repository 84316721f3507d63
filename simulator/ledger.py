"""What was written, and the check of what a store gives back.

Every stream of a container counts its lines from 0, so "exactly what was written" means: each number below the count
once, in rising order, each line as it was made. The check reads answers as they stream in; it holds one number a stream
while all is well, and the holes while it is not.
"""

from __future__ import annotations

import bisect
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from simulator.lines import read_mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Offending lines kept as examples; the counts are exact.
EXAMPLES_MAX: Final = 10
_EXAMPLE_BYTES: Final = 300


class Run(msgspec.Struct, frozen=True):
    """The lines ``first`` to ``end`` (exclusive) of a stream were written in run ``restart`` of the container."""

    restart: int
    first: int
    end: int


class Written(msgspec.Struct, frozen=True):
    """What one stream (``stdout`` or ``stderr``) of a container wrote: its lines 0 to ``lines``."""

    namespace: str
    pod: str
    uid: str
    container: str
    stream: str
    runs: tuple[Run, ...]

    @property
    def lines(self) -> int:
        """How many lines."""
        return self.runs[-1].end


class Ledger(msgspec.Struct, frozen=True):
    """What a node's containers wrote."""

    streams: tuple[Written, ...]

    @property
    def lines(self) -> int:
        """How many lines in all."""
        return sum(written.lines for written in self.streams)

    def save(self, path: Path) -> None:
        """Write the ledger as JSON, in one step."""
        made = path.with_name(f"{path.name}.tmp")
        made.write_bytes(msgspec.json.encode(self))
        made.replace(path)

    @staticmethod
    def load(path: Path) -> Ledger:
        """Read a ledger back. Raises `msgspec.DecodeError`, `OSError`."""
        return msgspec.json.decode(path.read_bytes(), type=Ledger)


class Report(msgspec.Struct, frozen=True):
    """How a store's answer differs from the ledger.

    ``lines``: in the answer. ``missing``: written, not there. ``twice``: there once more than written. ``changed``:
    not as it was written, or under another name or time. ``disordered``: behind a later line of its stream.
    ``foreign``: not of the ledger. ``examples``: a few of the lines in question.
    """

    written: int
    lines: int
    missing: int
    twice: int
    changed: int
    disordered: int
    foreign: int
    examples: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.twice or self.changed or self.disordered or self.foreign)


class _Stream:
    """How far one stream has been seen: lines up to ``next``, but not those in ``holes`` (first, end), rising."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.next = 0
        self.holes: list[tuple[int, int]] = []

    def see(self, sequence: int) -> Literal["first", "late", "again"]:
        if sequence >= self.next:
            if sequence > self.next:
                self.holes.append((self.next, sequence))
            self.next = sequence + 1
            return "first"
        place = bisect.bisect_right(self.holes, (sequence, self.next)) - 1
        if place < 0 or sequence >= self.holes[place][1]:
            return "again"
        first, end = self.holes[place]
        parts = [(first, sequence), (sequence + 1, end)]
        self.holes[place : place + 1] = [part for part in parts if part[0] < part[1]]
        return "late"

    def missing(self) -> Iterator[tuple[int, int]]:
        yield from self.holes
        if self.next < self.written.lines:
            yield self.next, self.written.lines


class _Row(msgspec.Struct):
    """What the check needs of a line of ``format=json``."""

    ts: str
    namespace: str
    pod: str
    container: str
    stream: str
    line: str


@functools.lru_cache(maxsize=4096)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _ns(time: str) -> int:
    """The ns since the epoch that ``2023-04-05T02:29:34.687797577Z`` says; -1 if it is nothing like that."""
    try:
        return _second(time[:19]) * 10**9 + int(time[20:-1].ljust(9, "0")[:9])
    except ValueError:
        return -1


class Check:
    """Compares answers of ``/query`` with a ledger, line by line, in the order given."""

    def __init__(self, ledger: Ledger) -> None:
        self._streams = {
            (f"{written.uid[:8]}/{written.container}", written.stream == "stderr"): _Stream(written)
            for written in ledger.streams
        }
        self._ledger = ledger
        self._counts = {"lines": 0, "twice": 0, "changed": 0, "disordered": 0, "foreign": 0}
        self._examples: list[str] = []
        self._decoder = msgspec.json.Decoder(_Row)
        self._place = ""  # of the record in a text answer that a further line belongs to

    def json(self, answer: Iterable[bytes]) -> None:
        """Take lines of ``format=json``. Raises `msgspec.DecodeError` for what is not."""
        for encoded in answer:
            row = self._decoder.decode(encoded)
            place = f"{row.namespace}/{row.pod}/{row.container}"
            first, *others = row.line.encode().split(b"\n")
            self._take(first, place, row.ts, row.stream)
            for line in others:
                self._take(line, place, None, row.stream)

    def text(self, answer: Iterable[bytes]) -> None:
        """Take lines of ``format=text``; it does not say which stream a line is of.

        Indented ones belong to the record before them.
        """
        for line in answer:
            if line.startswith(b"\t"):
                self._take(line.removesuffix(b"\n"), self._place, None, None)
                continue
            time, _, rest = line.partition(b" ")
            place, _, text = rest.partition(b" ")
            self._place = place.decode(errors="replace")
            self._take(text.removesuffix(b"\n"), self._place, time.decode(errors="replace"), None)

    def report(self) -> Report:
        """What was found so far, lines that have not come counted as missing."""
        missing = 0
        examples = list(self._examples)
        for (key, _), stream in self._streams.items():
            for first, end in stream.missing():
                missing += end - first
                if len(examples) < 2 * EXAMPLES_MAX:
                    examples.append(f"missing: {key} {stream.written.stream} lines {first} to {end - 1}")
        return Report(written=self._ledger.lines, missing=missing, examples=tuple(examples), **self._counts)

    def _take(self, text: bytes, place: str, time: str | None, stream: str | None) -> None:
        """Check one line; ``time`` is None where a record says only that of its first."""
        self._counts["lines"] += 1
        mark = read_mark(text)
        if mark is None:
            self._complain("changed", text)
            return
        seen = self._streams.get((mark.key, mark.stderr))
        if seen is None or mark.sequence >= seen.written.lines:
            self._complain("foreign", text)
            return
        of = seen.written
        if (
            place != f"{of.namespace}/{of.pod}/{of.container}"
            or stream not in {None, of.stream}
            or (time is not None and _ns(time) != mark.time_ns)
        ):
            self._complain("changed", f"{time or ''} {place} {stream or ''} {text.decode(errors='replace')}".encode())
        match seen.see(mark.sequence):
            case "again":
                self._complain("twice", text)
            case "late":
                self._complain("disordered", text)

    def _complain(self, what: str, text: bytes) -> None:
        self._counts[what] += 1
        if len(self._examples) < EXAMPLES_MAX:
            self._examples.append(f"{what}: {text[:_EXAMPLE_BYTES].decode(errors='backslashreplace')}")
