"""A pod over its rate is read later, not less; others are not affected."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from agent.follow.discovery import Discovery
from agent.follow.rate import SAY_AGAIN_AFTER_S
from agent.follow.tail import Tail
from agent.metrics import Metrics
from agent.select.rules import Rule, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATE = 64 << 10


class Node:
    """Pods that write, and a tail that reads them by the rules, as time is told to pass."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.now_s = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)
        self.metrics = Metrics()
        self.tail = Tail(
            "", 1 << 20, self.metrics, rules=Rules(rules=[Rule("busy", rate=RATE), Rule("busy2", rate=RATE)])
        )
        self.discovery = Discovery(str(root), lambda _: True)
        self.read: dict[str, int] = {}

    def write(self, container: str, size_bytes: int) -> None:
        line = b"2023-04-05T02:29:34.000000001Z stdout F " + b"x" * 983 + b"\n"
        file = self.root / container / "0.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(line * (size_bytes // len(line)))

    def follow(self) -> None:
        for listing in self.discovery.scan():
            self.tail.update(listing)
        self.tail.look()
        self.tail.place(dict.fromkeys(self.tail.unplaced(), 0))

    def read_all(self) -> None:
        """Until there is nothing to be read now: if that never came, neither would this end."""
        while self.tail.look():
            for each in self.tail.read_round():
                for part in each.parts:
                    container = f"{part.file.container.namespace}/{part.file.container.name}"
                    self.read[container] = self.read.get(container, 0) + part.end - part.start

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.now_s += 0.1
            self.read_all()

    def metric(self, name: str) -> float:
        self.tail.measure()
        return self.metrics.registry.get_sample_value(f"logboom_agent_{name}") or 0.0


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    made = Node(tmp_path, monkeypatch)
    yield made
    made.tail.close()


def test_a_pod_over_its_rate_is_read_at_that_rate_and_others_at_once(node: Node) -> None:
    node.write("busy_pod_u1/a", 4 << 20)
    node.write("calm_pod_u2/a", 4 << 20)
    node.follow()
    node.read_all()
    assert node.read["calm/a"] == node.root.joinpath("calm_pod_u2/a/0.log").stat().st_size
    assert node.read["busy/a"] <= RATE + (512 << 10)
    node.pass_time(30)
    assert RATE * 30 <= node.read["busy/a"] <= RATE * 31 + (512 << 10)
    node.pass_time(60)
    assert node.read["busy/a"] == node.root.joinpath("busy_pod_u1/a/0.log").stat().st_size
    assert node.metric("deferred_containers") == node.metric("deferred_bytes") == 0


def test_the_containers_of_a_pod_share_its_rate(node: Node) -> None:
    for container in ("busy_pod_u1/a", "busy_pod_u1/b", "busy2_pod_u3/a"):
        node.write(container, 4 << 20)
    node.follow()
    node.pass_time(40)
    both = node.read["busy/a"] + node.read["busy/b"]
    assert RATE * 40 <= both <= RATE * 41 + (1 << 20)
    assert min(node.read["busy/a"], node.read["busy/b"]) >= both // 3
    assert RATE * 40 <= node.read["busy2/a"] <= RATE * 41 + (512 << 10)


def test_what_waits_is_measured_and_the_pod_is_named_now_and_then(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        node.write("busy_pod_u1/a", 50 << 20)
        node.write("busy_pod_u1/b", 1 << 20)
        node.follow()
        node.pass_time(5)
        assert node.metric("deferred_containers") == 2
        assert 49 << 20 < node.metric("deferred_bytes") < 51 << 20
        assert len(caplog.records) == 1
        assert vars(caplog.records[0])["fields"] == {"pod": "busy/pod", "rate_bytes_per_s": RATE}
        node.pass_time(int(SAY_AGAIN_AFTER_S))
        assert len(caplog.records) == 2


def test_a_pod_within_its_rate_never_waits(node: Node) -> None:
    node.write("busy_pod_u1/a", 2000)
    node.follow()
    for _ in range(50):
        node.write("busy_pod_u1/a", RATE // 10 - 1100)
        node.now_s += 0.1
        node.read_all()
        assert node.metric("deferred_containers") == 0
    node.now_s += 0.1  # what little was just written waits for the next look
    node.read_all()
    assert node.read["busy/a"] == node.root.joinpath("busy_pod_u1/a/0.log").stat().st_size
    node.now_s += SAY_AGAIN_AFTER_S
    node.tail.measure()
    assert not node.tail._rates._buckets
