from __future__ import annotations

import random

import pytest

from agent.ship.backoff import FIRST_S, LONGEST_S, Backoff


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    backoff = Backoff(random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    for number, wait in enumerate(waits):
        whole = min(LONGEST_S, FIRST_S * 2**number)
        assert whole / 2 <= wait <= whole
    assert len(set(waits)) == len(waits)


def test_after_success_the_first_wait_is_short_again() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= FIRST_S


@pytest.mark.parametrize("asked_s", [1.0, 30.0])
def test_a_time_the_server_names_is_honoured_and_stretched(asked_s: float) -> None:
    waits = {Backoff(random.Random(seed)).next_s(asked_s) for seed in range(50)}
    assert all(asked_s <= wait <= 1.25 * asked_s for wait in waits)
    assert len(waits) == 50


def test_a_server_that_says_at_once_does_not_make_a_busy_loop() -> None:
    assert Backoff(random.Random(1)).next_s(0.0) >= FIRST_S
