"""A container whose file is rotated, an agent that reads it, and a store that takes inserts: each may end anywhere.

The store is a list of inserts, as the aggregator plans them: what has been inserted stays, what has not is gone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from agent.ship.batch import Builder, Origin, halves, seal, unseal
from aggregator.ingest.plan import plan
from aggregator.ingest.pods import PodStreams
from aggregator.store.schema import MARKER_NAMESPACE
from aggregator.store.terms import Kept
from tests.agent.tailing import TailedNode
from wire.batch import DAY_NS
from wire.codec import decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.tailing import Clock
    from wire.batch import Batch

WEB: Final = "shop_web-1_u1/web"
LIVE: Final = f"{WEB}/0.log"
ROTATED: Final = f"{WEB}/0.log.20230405-022934"
# When `Writer` begins: 2023-04-05T02:29:00Z.
WRITTEN_NS: Final = 1_680_661_740 * 10**9
# From then to the day's end.
LATE_NS: Final = DAY_NS - WRITTEN_NS % DAY_NS
OUT, ERR = "stdout", "stderr"


class Writer:
    """Writes lines, each a moment after the one before it, in one of the formats."""

    def __init__(self, form: str, time_ns: int = 0) -> None:
        self.form = form
        self.time_ns = time_ns

    def line(self, text: str, stream: str = OUT, *, partial: bool = False, after_ns: int = 1000) -> bytes:
        self.time_ns += after_ns
        seconds, rest = divmod(WRITTEN_NS + self.time_ns, 10**9)
        stamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
        if self.form == "cri":
            return f"{stamp} {stream} {'P' if partial else 'F'} {text}\n".encode()
        log = text if partial else f"{text}\n"
        return json.dumps({"log": log, "stream": stream, "time": stamp}, separators=(",", ":")).encode() + b"\n"

    def lines(self, texts: list[str], stream: str = OUT) -> bytes:
        return b"".join(self.line(text, stream) for text in texts)


class Row(msgspec.Struct, frozen=True):
    """A stored row; ``is_marker``: no record."""

    source: bytes
    position: int
    body: bytes
    flags: int
    is_marker: bool


class Store:
    """Holds what was inserted, insert by insert, and remembers while it runs what was reached without a row."""

    def __init__(self) -> None:
        self.inserts: list[list[Row]] = []
        self.reached: dict[bytes, int] = {}

    def committed(self, source: bytes) -> int:
        stored = [row.position for rows in self.inserts for row in rows if row.source == source]
        return max(self.reached.get(source, 0), *stored, 0)

    def take(self, batch: Batch, inserts: int | None = None) -> bool:
        """Commit ``batch``, or only its first ``inserts``, and end; whether it was refused."""
        batch = decode(encode(batch))  # every rule of a batch holds
        known = {chunk.source: self.committed(chunk.source) for chunk in batch.chunks}
        planned = plan([batch], known, PodStreams(), Kept.everything(), WRITTEN_NS)
        for insert in planned.inserts[:inserts]:
            names = ("source", "position", "body", "flags", "namespace")
            columns = [insert.rows[name].to_pylist() for name in names]
            self.inserts.append(
                [
                    Row(source, position, body, flags, namespace == MARKER_NAMESPACE)
                    for source, position, body, flags, namespace in zip(*columns, strict=True)
                ]
            )
        if inserts is not None:
            self.restart()
            return False
        self.reached |= planned.reached
        return bool(planned.refused)

    def restart(self) -> None:
        """Know what is inserted, and nothing else."""
        self.reached = {}

    def fall_back(self, inserts: int) -> None:
        """Be as it was so many inserts ago."""
        del self.inserts[max(0, len(self.inserts) - inserts) :]
        self.restart()


class Session:
    """An agent and a store, and what is on its way between them."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.clock = clock
        self.node = TailedNode(root)
        self.store = Store()
        # Every batch that was ever sent: it may arrive again.
        self.sent: list[Batch] = []
        # Of every file that was seen, the older ones first.
        self.sources: list[bytes] = []

    def look(self) -> None:
        self.node.scan()
        for file in self.node.tail.files():
            if file.source is not None and file.source not in self.sources:
                self.sources.append(file.source)

    def place(self, most: int | None = None) -> None:
        """Tell where to read on; of so many files."""
        asked = self.node.tail.unplaced()[:most]
        self.node.tail.place({source: self.store.committed(source) for source in asked})
        self.node.look()

    def read(self, times: int = 1) -> Batch | None:
        builder = Builder(Origin("test", "node", "agent"), 1 << 20)
        for _ in range(times):
            self.look()
            for each in [*self.node.tail.read_round(), *self.node.tail.lost()]:
                if each.parts:
                    builder.add(each)
        return self._taken(builder)

    def overdue(self) -> Batch | None:
        builder = Builder(Origin("test", "node", "agent"), 1 << 20)
        for each in self.node.tail.overdue():
            builder.add(each)
        return self._taken(builder)

    def _taken(self, builder: Builder) -> Batch | None:
        if builder.is_empty:
            return None
        batch = unseal(seal(builder.take(), 0))
        self.sent.append(batch)
        return batch

    def send(self, batch: Batch, *, halved: bool = False) -> None:
        """Commit it and take the answer, as `agent.ship.collect` does."""
        for piece in (halved and halves(batch)) or [batch]:
            refused = self.store.take(piece)
            ends = {chunk.source: chunk.end for chunk in piece.chunks}
            committed = {source: self.store.committed(source) for source in ends}
            behind = any(committed[source] < end for source, end in ends.items())
            if self.node.tail.place(committed) or behind or refused:
                self.node.tail.rewind()
                return

    def end_agent(self) -> None:
        self.node.restart()

    def displace(self) -> None:
        """The agent learns that the store is another one."""
        self.node.tail.displace()

    def drain(self) -> None:
        """Until all is stored: nothing is held or waited for longer than four seconds."""
        quiet = 0
        while quiet < 6:
            self.clock.forward(0.7)
            self.look()
            self.place()
            batch = self.read(2)
            quiet = quiet + 1 if batch is None else 0
            if batch is not None:
                self.send(batch)
        self.clock.forward(40.0)
        self.look()
        batch = self.overdue()
        if batch is not None:
            self.send(batch)

    def records(self) -> list[Row]:
        """All that are stored, by file and position."""
        found = [row for rows in self.store.inserts for row in rows if not row.is_marker]
        return sorted(found, key=lambda row: (self.sources.index(row.source), row.position))

    def messages(self, stream: str) -> bytes:
        """All that is stored of a stream, without the ends of lines."""
        return b"".join(row.body.replace(b"\n", b"") for row in self.records() if (row.flags & 1) == (stream == ERR))

    def finished(self) -> bool:
        return all(file.finished for file in self.node.tail.files())
