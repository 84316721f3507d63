"""What docs/cluster.md promises holds in every state of the model, and nothing of the protocol can be left out."""

from __future__ import annotations

import pytest

from tests.aggregator.ingest.sharing_model import Rules, explore


@pytest.mark.parametrize(
    ("rules", "at_least"),
    [
        (Rules(), 10_000),
        (Rules(quorum=True), 5_000),
        (Rules(quorum=True, replica_lost=True, others=0), 2_000),
    ],
    ids=["replicas", "quorum", "quorum and a lost replica"],
)
def test_every_line_is_stored_once_and_what_was_told_stays(rules: Rules, at_least: int) -> None:
    states, way = explore(rules)
    assert way == []
    assert states > at_least


@pytest.mark.parametrize(
    "rules",
    [
        Rules(slots_are_numbers=False),
        Rules(slots_stay=False),
        Rules(holes_are_seen=False),
        Rules(marks_are_read=False),
        Rules(replica_lost=True),
    ],
    ids=["slots of ranges", "slots forgotten", "holes overlooked", "marks not read", "a lost replica, no quorum"],
)
def test_nothing_of_it_can_be_left_out(rules: Rules) -> None:
    assert explore(rules)[1]
