from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from aggregator import nodes
from aggregator.nodes import FORGOTTEN_AFTER_S, SAY_AGAIN_AFTER_S, SILENT_AFTER_S, Nodes
from wire.heartbeat import ContainerState, Heartbeat

if TYPE_CHECKING:
    import pytest


def beat(node: str, containers: int = 0, agent: str = "a") -> Heartbeat:
    states = tuple(ContainerState("shop", f"{node}-{number}", "u", "app") for number in range(containers))
    return Heartbeat("c", node, agent, "0.1.0", 1.0, containers=states)


def test_the_last_heartbeat_of_each_node_is_kept() -> None:
    known = Nodes(CollectorRegistry())
    for at, (node, agent) in enumerate([("n2", "a"), ("n1", "a"), ("n2", "b")]):
        known.heard(beat(node, agent=agent), float(at))
    assert [(one.heartbeat.node, one.heartbeat.agent, one.seen_s) for one in known.all()] == [
        ("n1", "a", 1.0),
        ("n2", "b", 2.0),
    ]


def test_who_is_silent_for_a_day_is_forgotten() -> None:
    known = Nodes(CollectorRegistry())
    known.heard(beat("old"), 0.0)
    known.heard(beat("new"), FORGOTTEN_AFTER_S - 1)
    assert known.silent(FORGOTTEN_AFTER_S - 1) == 1
    known.heard(beat("new"), FORGOTTEN_AFTER_S + 1)
    assert [one.heartbeat.node for one in known.all()] == ["new"]


def test_of_too_many_the_longest_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "NODES_MAX", 2)
    monkeypatch.setattr(nodes, "CONTAINERS_MAX", 5)
    known = Nodes(CollectorRegistry())
    for at, (node, containers) in enumerate([("n1", 1), ("n2", 1), ("n3", 1), ("n4", 5)]):
        known.heard(beat(node, containers), float(at))
    assert [one.heartbeat.node for one in known.all()] == ["n4"], "the third node and the sixth container were one much"
    known.heard(beat("n4", 9), 9.0)
    assert len(known) == 1, "whoever speaks is known, whatever it says"


def test_whoever_is_forgotten_is_counted_and_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nodes, "CONTAINERS_MAX", 3)
    registry = CollectorRegistry()
    known = Nodes(registry)

    def forgotten(reason: str) -> float:
        return registry.get_sample_value("logboom_aggregator_nodes_forgotten_total", {"reason": reason}) or 0.0

    for at, node in enumerate(["n1", "n2", "n3", "n1"]):
        known.heard(beat(node, 2), float(at))
    assert (forgotten("too many"), forgotten("silent")) == (3, 0)
    (warning,) = [vars(record)["fields"] for record in caplog.records]
    assert warning == {"cluster": "c", "node": "n1", "forgotten": 1, "containers_max": 3, "nodes_max": nodes.NODES_MAX}
    known.heard(beat("n2", 2), SAY_AGAIN_AFTER_S + 5)
    assert [vars(record)["fields"]["forgotten"] for record in caplog.records] == [1, 3]
    known.heard(beat("n4", 1), SAY_AGAIN_AFTER_S + FORGOTTEN_AFTER_S + 9)
    assert (forgotten("too many"), forgotten("silent")) == (4, 1)
    # A day of silence is told by the metric of silent nodes long before.
    assert len(caplog.records) == 2


def test_operators_see_how_many_are_silent() -> None:
    registry = CollectorRegistry()
    known = Nodes(registry, clock=lambda: SILENT_AFTER_S + 2)
    known.heard(beat("n1"), 0.0)
    known.heard(beat("n2"), SILENT_AFTER_S)
    assert registry.get_sample_value("logboom_aggregator_nodes") == 2
    assert registry.get_sample_value("logboom_aggregator_nodes_silent") == 1
