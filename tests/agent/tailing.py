"""A tail on real files, a store that takes what it is given, and a clock that passes when told to."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

from agent.follow.discovery import Discovery
from agent.follow.tail import Tail
from agent.metrics import Metrics
from wire.batch import Flag

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from agent.follow.deleted import Hold
    from agent.follow.logfile import LogFile
    from agent.follow.rounds import Round
    from agent.select.rules import Rules


def cri(number: int, text: str = "line", tag: str = "F") -> bytes:
    return f"2023-04-05T02:29:34.{number:09}Z stdout {tag} {text} {number}\n".encode()


class Clock:
    """Monotonic seconds that pass only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


class TailedNode:
    """A pods directory, a tail that follows it, and a store that takes what it is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics = Metrics()
        self.rules: Rules | None = None
        self.begin()
        self.committed: dict[bytes, int] = {}
        self.bodies: list[bytes] = []
        self.flags: list[int] = []
        self.gaps: list[tuple[int | None, str]] = []

    def begin(self, hold: Hold | None = None) -> None:
        """A new agent, which knows nothing."""
        self.tail = Tail("test", 1 << 20, self.metrics, hold=hold, rules=self.rules)
        self.discovery = Discovery(str(self.root), lambda _: True)

    def restart(self) -> None:
        """The agent ends, another begins."""
        self.tail.close()
        self.begin()

    def write(self, path: str, *lines: bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(b"".join(lines))
        return file

    def scan(self) -> None:
        for listing in self.discovery.scan():
            self.tail.update(listing)
        self.look()

    def look(self) -> None:
        self.tail._unsettle()
        self.tail.look()

    def place(self) -> None:
        self.tail.place({source: self.committed.get(source, 0) for source in self.tail.unplaced()})
        self.look()

    def ship(self) -> None:
        """Read and commit one round, and what was found lost."""
        self.commit([*self.tail.read_round(), *self.tail.lost()])

    def overdue(self) -> None:
        """Commit what is delivered without its end."""
        self.look()
        self.commit(self.tail.overdue())

    def commit(self, rounds: list[Round]) -> None:
        for each in rounds:
            offset = 0
            row = 0
            for part in each.parts:
                assert part.file.source is not None
                is_gap = bool(part.rows and each.records.flags[row] & Flag.GAP)
                assert is_gap or part.start <= self.committed.get(part.file.source, 0)
                assert self.committed.get(part.file.source, 0) < part.end
                self.committed[part.file.source] = part.end
                for length in each.records.lengths[row : row + part.rows]:
                    body = bytes(each.records.body[offset : offset + length])
                    if is_gap:
                        gap = json.loads(body)
                        self.gaps.append((gap["bytes"], gap["reason"]))
                    else:
                        self.bodies.append(body)
                    offset += length
                if not is_gap:
                    self.flags += each.records.flags[row : row + part.rows].tolist()
                row += part.rows
        self.tail.place(self.committed)

    def settle(self) -> None:
        """Ship until there is nothing more."""
        for _ in range(3):
            self.scan()
            self.place()
            while self.tail.look():
                self.ship()
            self.ship()

    def file(self, name: str) -> LogFile:
        (found,) = (file for file in self.tail.files() if file.entry.path.endswith(name))
        return found

    def lost_bytes(self) -> float:
        return sum(self.gap_bytes().values())

    def gap_bytes(self) -> dict[str, float]:
        """As the metric counts them, by reason."""
        return {
            sample.labels["reason"]: sample.value
            for sample in next(iter(self.metrics.gap_bytes.collect())).samples
            if sample.name.endswith("_total")
        }

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"logboom_agent_{name}", labels) or 0.0

    def read_errors(self) -> float:
        return self.metric("read_errors_total")


def make_unreadable(file: LogFile) -> None:
    """Have reads of ``file`` fail: its descriptor becomes a directory's."""
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    assert file.fd is not None
    os.dup2(directory, file.fd)
    os.close(directory)


def pack(path: Path, *, keep: bool = False) -> Path:
    """Compress a rotated file as the kubelet does; with ``keep`` the plain one stays for now."""
    packed = path.with_name(f"{path.name}.gz")
    made = path.with_name(f"{path.name}.tmp")
    made.write_bytes(gzip.compress(path.read_bytes(), 1))
    made.rename(packed)
    if not keep:
        path.unlink()
    return packed
