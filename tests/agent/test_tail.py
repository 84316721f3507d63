"""The tail as a state machine on real files: whatever happens in whatever order, the store has every line once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.discovery import Discovery
from agent.metrics import Metrics
from agent.tail import Tail

if TYPE_CHECKING:
    from agent.rounds import Round

CONTAINERS = ("a_pod-1_u1/web", "a_pod-1_u1/db", "b_pod-2_u2/web")


class Container:
    """What a kubelet and a runtime have written for one container, and where they write next."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.restart = 0
        self.rotations = 0
        self.half = b""  # the beginning of a line whose rest is not written yet
        self.renamed: Path | None = None  # renamed, and the runtime has not opened a new file yet
        self.lines: dict[tuple[int, int], list[bytes]] = {}  # complete lines by (restart, rotations) of their file

    @property
    def file(self) -> Path:
        return self.renamed or self.directory / f"{self.restart}.log"

    def append(self, data: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as stream:
            stream.write(data)


class Following(RuleBasedStateMachine):
    """Rules act on the files, on the agent, and on the store; `everything_arrives` drains and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.containers = [Container(self.root / name) for name in CONTAINERS]
        self.store: dict[bytes, list[tuple[int, bytes]]] = {}
        self.number = 0
        self.ahead: list[Round] = []
        self.tail = Tail("test", 1 << 20, Metrics())
        self.discovery = Discovery(str(self.root), lambda _: None)

    def teardown(self) -> None:
        self.drain()
        stored = sorted(body for rows in self.store.values() for _, body in rows)
        written = sorted(line for one in self.containers for lines in one.lines.values() for line in lines)
        self.tail.close()
        shutil.rmtree(self.root)
        assert stored == written
        for rows in self.store.values():
            numbers = [int(body.split()[-1]) for _, body in rows]
            assert numbers == sorted(numbers)

    @rule()
    def agent_is_killed(self) -> None:
        """A new one knows nothing."""
        self.tail.close()
        self.tail = Tail("test", 1 << 20, Metrics())
        self.discovery = Discovery(str(self.root), lambda _: None)
        self.ahead = []

    def line(self, container: Container) -> bytes:
        self.number += 1
        text = b"line %d" % self.number
        container.lines.setdefault((container.restart, container.rotations), []).append(text)
        return b"2023-04-05T02:29:34.%09dZ stdout F %s\n" % (self.number, text)

    @rule(which=st.integers(0, 2), count=st.integers(1, 40))
    def write(self, which: int, count: int) -> None:
        container = self.containers[which]
        container.append(b"".join(self.finish(container) + self.line(container) for _ in range(count)))

    def finish(self, container: Container) -> bytes:
        rest, container.half = container.half, b""
        return rest

    @rule(which=st.integers(0, 2), cut=st.integers(1, 40))
    def write_half_a_line(self, which: int, cut: int) -> None:
        container = self.containers[which]
        data = self.finish(container)
        line = self.line(container)
        container.append(data + line[:cut])
        container.half = line[cut:]

    @rule(which=st.integers(0, 2))
    def rename(self, which: int) -> None:
        container = self.containers[which]
        if container.renamed is None and container.file.exists():
            target = container.directory / f"{container.restart}.log.20230405-{container.rotations:06d}"
            container.renamed = container.file.rename(target)

    @rule(which=st.integers(0, 2))
    def open_new(self, which: int) -> None:
        container = self.containers[which]
        if container.renamed is not None:
            container.append(self.finish(container))
            container.renamed = None
            container.rotations += 1

    @rule(which=st.integers(0, 2))
    def restart_container(self, which: int) -> None:
        container = self.containers[which]
        if container.file.exists():
            container.append(self.finish(container))
            container.renamed = None
            container.restart += 1

    @rule()
    def scan(self) -> None:
        for listing in self.discovery.scan():
            self.tail.update(listing)

    @rule()
    def look(self) -> None:
        self.tail.look()

    @rule()
    def place(self) -> None:
        self.tail.place({source: self.committed(source) for source in self.tail.unplaced()})

    @rule()
    def read(self) -> None:
        if len(self.ahead) < 3:
            self.ahead += self.tail.read_round()

    @precondition(lambda self: self.ahead)
    @rule(answered=st.booleans())
    def commit(self, *, answered: bool) -> None:
        part = self.ahead.pop(0)
        reached = self.take(part)
        if answered:
            self.tail.place(reached)
        else:
            # The answer is lost: the agent sends it again, and the store trims.
            self.tail.place(self.take(part))

    @rule(keep=st.integers(0, 20))
    def lose_rows(self, keep: int) -> None:
        """The store is put back to an older copy; the agent is told."""
        for source in self.store:
            self.store[source] = self.store[source][:keep]
        self.ahead = []
        self.tail.displace()
        self.place()

    @rule()
    def rewind(self) -> None:
        self.ahead = []
        self.tail.rewind()

    def take(self, part: Round) -> dict[bytes, int]:
        records = part.records
        offsets = np.concatenate(([0], np.cumsum(records.lengths, dtype=np.int64)))
        body = bytes(records.body)
        row = 0
        reached = {}
        for each in part.parts:
            source = each.file.source
            assert source is not None
            assert each.start <= self.committed(source), "a hole"
            rows = self.store.setdefault(source, [])
            for i in range(row, row + each.rows):
                if records.positions[i] > self.committed(source):
                    rows.append((int(records.positions[i]), body[offsets[i] : offsets[i + 1]]))
            row += each.rows
            reached[source] = self.committed(source)
        return reached

    def committed(self, source: bytes) -> int:
        rows = self.store.get(source)
        return rows[-1][0] if rows else 0

    def drain(self) -> None:
        for container in self.containers:
            if container.half:
                container.append(self.finish(container))
        self.rewind()
        for _ in range(3):
            self.scan()
            self.tail.look()
            self.place()
            while self.tail.look():
                for part in self.tail.read_round():
                    self.tail.place(self.take(part))

    @invariant()
    def offsets_are_in_order(self) -> None:
        for file in self.tail.files():
            assert file.committed <= file.shipped
            if file.placed:
                assert file.read <= file.searched <= file.size


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
