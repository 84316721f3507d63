"""The tail as a state machine on real files: whatever happens, in whatever order, all is stored once, or said lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.follow.discovery import Discovery
from agent.follow.gaps import DUE_AFTER_S
from agent.follow.generations import Container as Named
from agent.follow.generations import container_of
from agent.follow.gzipped import GzippedFile
from agent.follow.identity import source_of
from agent.follow.rounds import Round
from agent.follow.tail import Tail
from agent.metrics import Metrics
from tests.agent.tailing import Clock
from wire.batch import Flag

if TYPE_CHECKING:
    from agent.follow.logfile import LogFile
    from agent.follow.rounds import Part

CONTAINERS = ("a_pod-1_u1/web", "a_pod-1_u1/db", "b_pod-2_u2/web")
# Larger than what is read of a file at once.
LONG_BYTES = 600_000


class Row(msgspec.Struct, frozen=True):
    """A stored record, by the position where it ends; ``insert``: the number of the insert that brought it.

    ``onward``: the file in whose first record the end of this file is; then it is a marker, and no record.
    """

    position: int
    body: bytes
    flags: Flag
    insert: int
    onward: bytes = b""


class Read(msgspec.Struct, frozen=True):
    """A round, and the sources of its parts as they were when it was read: a truncated file becomes another source."""

    round: Round
    sources: tuple[bytes, ...]


def as_read(rounds: list[Round]) -> list[Read]:
    """What `agent.ship.batch.Builder` would keep of them."""
    found = []
    for each in rounds:
        sources = tuple(part.file.source for part in each.parts if part.file.source is not None)
        assert len(sources) == len(each.parts)
        found.append(Read(each, sources))
    return found


class Content:
    """What was written to one file from its first byte on, however it is named, copied or compressed since.

    ``reach``: up to where all of it is to be stored or said to be lost, once it is gone from the disk.
    ``may_have_gap``: a file of it was deleted or truncated.
    """

    def __init__(self, container: Named, restart: int) -> None:
        self.container = container
        self.restart = restart
        self.data = bytearray()
        self.reach: int | None = None
        self.may_have_gap = False

    @property
    def source(self) -> bytes | None:
        """As the agent knows it; once it is gone also of a first line without an end."""
        end = self.data.find(b"\n")
        line = bytes(self.data[: end if end >= 0 else len(self.data)])
        return source_of("test", self.container, self.restart, line) if line else None

    @property
    def has_line(self) -> bool:
        """Whether its first line is complete."""
        return b"\n" in self.data

    def lines(self) -> list[tuple[int, int, bytes]]:
        """Start, end and message of every complete line."""
        found = []
        start = 0
        for line in bytes(self.data).splitlines(keepends=True):
            if line.endswith(b"\n"):
                found.append((start, start + len(line), line.split(b" ", 3)[3][:-1]))
            start += len(line)
        return found

    def check(self, rows: list[Row], carried: list[bytes]) -> list[bytes]:
        """``rows`` are the lines, joined or not, one after another, but for gaps.

        ``carried``: the lines at the end of the file before that are to be in the first row. Returned: those at the end
        of this one that are to be in the first row of the next.
        """
        lines = self.lines()
        at = 0
        onward: list[bytes] = []
        for row in rows:
            assert not onward, "rows behind what goes on in the next file"
            mine = [line for line in lines if at < line[1] <= row.position]
            if row.onward:
                assert (mine[0][0] <= at, row.position) == (True, len(self.data))
                onward = [text for _, _, text in mine]
            elif row.flags & Flag.GAP:
                assert self.may_have_gap
                assert not carried
                assert json.loads(row.body)["bytes"] in {None, row.position - at}
            elif row.flags & Flag.UNFINISHED:
                assert (mine, carried) == ([], [])
                assert row.position == len(self.data)
                rest = bytes(self.data[self.data.rfind(b"\n") + 1 :])
                assert row.body in {rest, rest.split(b" ", 3)[-1]}
            else:
                texts = carried + [text for _, _, text in mine]
                assert (mine[0][0] <= at, mine[-1][1]) == (True, row.position)
                assert row.body == b"\n".join(texts)
                assert bool(row.flags & Flag.JOINED) == (len(texts) > 1)
            carried = []
            at = row.position
        assert not carried, "the end of the file before is nowhere"
        assert at >= (max((end for _, end, _ in lines), default=0) if self.reach is None else self.reach)
        return onward


class Container:
    """What a kubelet and a runtime have written for one container, and where they write next."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        named = container_of(directory.parent.name, directory.name)
        assert named is not None
        self.named = named
        self.restart = 0
        self.rotations = 0
        self.half = b""  # the beginning of a line whose rest is not written yet
        self.renamed: Path | None = None  # renamed, and the runtime has not opened a new file yet
        self.files: dict[Path, Content] = {}

    @property
    def live(self) -> Path:
        return self.directory / f"{self.restart}.log"

    @property
    def file(self) -> Path:
        return self.renamed or self.live

    @property
    def stamped(self) -> Path:
        """The name the next rotated file gets."""
        return self.directory / f"{self.restart}.log.20230405-{self.rotations:06d}"

    def rotated(self) -> list[Path]:
        return sorted(path for path in self.files if path.suffix != ".log" and path != self.renamed)

    def append(self, data: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as stream:
            stream.write(data)
        self.files.setdefault(self.file, Content(self.named, self.restart)).data.extend(data)

    def move(self, path: Path, target: Path) -> Path:
        self.files[target] = self.files.pop(path)
        return path.rename(target)


def holds(file: LogFile, content: Content) -> bool:
    """Whether all of ``content`` can be read through the descriptor of ``file``: it was not truncated."""
    if file.fd is None:
        return False
    return isinstance(file, GzippedFile) or os.pread(file.fd, 64, 0) == content.data[:64]


class Following(RuleBasedStateMachine):
    """Rules act on the files, on the agent, and on the store; the end drains and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.patch)
        self.root = Path(tempfile.mkdtemp())
        self.containers = [Container(self.root / name) for name in CONTAINERS]
        self.gone: list[Content] = []
        self.store: dict[bytes, list[Row]] = {}
        self.inserts = 0
        self.number = 0
        self.ahead: list[Read] = []
        self.tail = Tail("test", 1 << 20, Metrics())
        self.discovery = Discovery(str(self.root), lambda _: True)

    def teardown(self) -> None:
        try:
            self.drain()
            contents = [content for one in self.containers for content in one.files.values()] + self.gone
            known = {content.source: content for content in contents if content.source is not None}
            # What goes on in another file, before that one.
            later = {rows[-1].onward: source for source, rows in self.store.items() if rows and rows[-1].onward}
            carried: dict[bytes, list[bytes]] = {}
            while known:
                source = next(source for source in known if later.get(source) not in known)
                onward = known.pop(source).check(self.store.get(source, []), carried.pop(source, []))
                if onward:
                    carried[self.store[source][-1].onward] = onward
                self.store.pop(source, None)
            assert not carried
            # What is left had no first line when it was lost.
            for rows in self.store.values():
                (row,) = rows
                assert row.flags & Flag.GAP
                assert json.loads(row.body)["bytes"] in {None, row.position}
                assert row.position <= max(len(content.data) for content in contents)
        finally:
            self.tail.close()
            shutil.rmtree(self.root)
            self.patch.undo()

    @rule()
    def agent_is_killed(self) -> None:
        """A new one knows nothing, neither of what is gone."""
        self.tail.close()
        self.tail = Tail("test", 1 << 20, Metrics())
        self.discovery = Discovery(str(self.root), lambda _: True)
        self.ahead = []
        for content in self.gone:
            content.reach = 0

    def line(self, size: int = 0) -> bytes:
        self.number += 1
        text = b"%s %d%s" % (b"line" if self.number % 3 else b"\tat line", self.number, b"x" * size)
        return b"2023-04-05T02:29:34.%09dZ stdout F %s\n" % (self.number, text)

    @rule(which=st.integers(0, 2), count=st.integers(1, 40))
    def write(self, which: int, count: int) -> None:
        container = self.containers[which]
        container.append(self.finish(container) + b"".join(self.line() for _ in range(count)))

    @rule(which=st.integers(0, 2))
    def write_a_long_line(self, which: int) -> None:
        container = self.containers[which]
        container.append(self.finish(container) + self.line(LONG_BYTES))

    def finish(self, container: Container) -> bytes:
        rest, container.half = container.half, b""
        return rest

    @rule(which=st.integers(0, 2), cut=st.integers(1, 40))
    def write_half_a_line(self, which: int, cut: int) -> None:
        container = self.containers[which]
        line = self.line()
        container.append(self.finish(container) + line[:cut])
        container.half = line[cut:]

    @rule(which=st.integers(0, 2))
    def rename(self, which: int) -> None:
        container = self.containers[which]
        if container.renamed is None and container.file.exists():
            container.renamed = container.move(container.file, container.stamped)

    @rule(which=st.integers(0, 2))
    def undo_the_rename(self, which: int) -> None:
        container = self.containers[which]
        if container.renamed is not None:
            container.move(container.renamed, container.live)
            container.renamed = None

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
            container.rotations += 1

    @rule(which=st.integers(0, 2))
    def compress(self, which: int) -> None:
        """The oldest plain one; for now both are there."""
        container = self.containers[which]
        path = next((path for path in container.rotated() if path.suffix != ".gz"), None)
        if path is not None and not Path(f"{path}.gz").exists():
            made = Path(f"{path}.tmp")
            made.write_bytes(gzip.compress(path.read_bytes(), 1))
            container.files[made.rename(f"{path}.gz")] = container.files[path]

    @rule(which=st.integers(0, 2))
    def unlink_the_plain_one(self, which: int) -> None:
        container = self.containers[which]
        for path in container.rotated():
            if Path(f"{path}.gz").exists():
                self.unlink(container, path)

    @rule(which=st.integers(0, 2))
    def rotate_the_oldest_away(self, which: int) -> None:
        container = self.containers[which]
        for path in container.rotated()[:1]:
            self.unlink(container, path)

    @rule(which=st.integers(0, 2))
    def delete_the_directory(self, which: int) -> None:
        container = self.containers[which]
        for path in list(container.files):
            self.unlink(container, path)
        if container.directory.exists():
            container.directory.rmdir()
        container.half, container.renamed = b"", None
        container.restart += 1

    @rule(which=st.integers(0, 2), keep=st.booleans(), look=st.booleans())
    def truncate(self, which: int, *, keep: bool, look: bool) -> None:
        """What was written is gone, or was copied before; half a line never gets its end."""
        container = self.containers[which]
        path = container.file
        if path not in container.files:
            return
        if look:
            self.scan()
            self.look()
        if keep and container.renamed is None:
            shutil.copyfile(path, container.stamped)
            container.files[container.stamped] = container.files[path]
            container.rotations += 1
        inode = path.stat().st_ino
        os.truncate(path, 0)
        container.half = b""
        content = container.files.pop(path)
        content.may_have_gap = True
        if content not in container.files.values():
            # Only the file itself tells that it was truncated, where the agent knows it as this content.
            known = self.followed(content, inode) if content.has_line else []
            content.reach = max(
                (file.seen for file in known if file.source == content.source and file.entry.inode == inode), default=0
            )
            self.gone.append(content)
        container.append(b"")

    def unlink(self, container: Container, path: Path) -> None:
        inode = path.stat().st_ino
        path.unlink()
        content = container.files.pop(path)
        content.may_have_gap = True
        if content not in container.files.values():
            known = self.followed(content, inode) if content.has_line else []
            content.reach = max((len(content.data) if holds(file, content) else file.seen for file in known), default=0)
            self.gone.append(content)

    def followed(self, content: Content, inode: int) -> list[LogFile]:
        """The agent's files with ``content``, as it knows them."""
        return [
            file
            for file in self.tail.files()
            if (content.source is not None and file.source == content.source)
            or (file.entry.inode == inode and file.fd is not None)
        ]

    @rule(seconds=st.sampled_from([0.5, 3.0, DUE_AFTER_S + 1, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

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
            self.ahead += self.read_all()

    @precondition(lambda self: self.ahead)
    @rule(answered=st.booleans())
    def commit(self, *, answered: bool) -> None:
        read = self.ahead.pop(0)
        reached = self.take(read)
        if answered:
            self.answer(reached)
        else:
            # The answer is lost: the agent sends it again, and the store trims.
            self.answer(self.take(read))

    def read_all(self) -> list[Read]:
        """As the agent does, with nothing between reading and keeping."""
        return as_read([*self.tail.read_round(), *self.tail.lost()])

    def answer(self, reached: dict[bytes, int]) -> None:
        if self.tail.place(reached):
            self.rewind()

    @rule(lost=st.integers(1, 20))
    def lose_rows(self, lost: int) -> None:
        """The store is put back to an older copy; the agent is told."""
        last = self.inserts - lost
        for content in self.gone:
            if any(row.insert > last for row in self.store.get(content.source or b"", [])):
                content.reach = 0
        older = {source: [row for row in rows if row.insert <= last] for source, rows in self.store.items()}
        self.store = {source: rows for source, rows in older.items() if rows}
        self.ahead = []
        self.tail.displace()
        self.place()

    @rule()
    def rewind(self) -> None:
        self.ahead = []
        self.tail.rewind()

    def take(self, read: Read) -> dict[bytes, int]:
        """Store what is new of ``read`` in one insert; what is joint is stored as one, or is stored already."""
        self.inserts += 1
        found = iter(self.rows(read))
        reached: dict[bytes, int] = {}
        for source, each, rows in found:
            committed = self.committed(source)
            if each.joint:
                following, its, behind = next(found)
                stands = committed, self.committed(following)
                assert stands in {(each.start, 0), (each.end, its.end)}, "joint records of which some are stored"
                if stands == (each.start, 0):
                    marker = Row(each.end, b"", Flag(0), self.inserts, following)
                    self.store.setdefault(source, []).extend([*rows, marker])
                    self.store.setdefault(following, []).extend(behind)
                reached |= {source: each.end, following: its.end}
                continue
            is_gap = bool(rows and rows[0].flags & Flag.GAP)
            assert is_gap or each.start <= committed, "a hole"
            self.store.setdefault(source, []).extend(row for row in rows if row.position > committed)
            reached[source] = self.committed(source)
        return reached

    def rows(self, read: Read) -> list[tuple[bytes, Part, list[Row]]]:
        """The records of each part, and its source."""
        records = read.round.records
        offsets = np.concatenate(([0], np.cumsum(records.lengths, dtype=np.int64)))
        rows = [
            Row(int(position), bytes(records.body[first:last]), Flag(int(flags)), self.inserts)
            for position, flags, first, last in zip(
                records.positions, records.flags, offsets, offsets[1:], strict=False
            )
        ]
        found = []
        first = 0
        for source, each in zip(read.sources, read.round.parts, strict=True):
            found.append((source, each, rows[first : first + each.rows]))
            first += each.rows
        return found

    def committed(self, source: bytes) -> int:
        rows = self.store.get(source)
        return rows[-1].position if rows else 0

    def drain(self) -> None:
        for container in self.containers:
            if container.half:
                container.append(self.finish(container))
        self.rewind()
        for _ in range(10):
            self.clock.forward(7)
            self.scan()
            self.tail.look()
            self.place()
            while self.tail.look():
                for read in self.read_all():
                    self.answer(self.take(read))
            for read in as_read([*self.tail.lost(), *self.tail.overdue()]):
                self.answer(self.take(read))

    @invariant()
    def offsets_are_in_order(self) -> None:
        for file in self.tail.files():
            assert file.committed <= file.shipped
            if file.placed and file.shipped <= file.size:
                assert file.read <= file.searched <= file.size


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
