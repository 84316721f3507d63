from __future__ import annotations

import pytest

from aggregator.store.terms import Kept, Rule, Terms, oldest_day
from tests.aggregator.records import DAY_S
from wire.batch import DAY_NS

TERMS = Terms(7.0 * DAY_S, (Rule("kube-system", 30.0 * DAY_S), Rule("kube-*", 2.0 * DAY_S), Rule("*-system", DAY_S)))


@pytest.mark.parametrize(
    ("now_days", "retention_days", "oldest"),
    [(10.0, 7, 3), (10.5, 7, 3), (10.999, 7, 3), (11.0, 7, 4), (3.0, 7, 0)],
)
def test_a_day_goes_when_its_end_is_older_than_the_retention(now_days: float, retention_days: int, oldest: int) -> None:
    assert oldest_day(now_days * DAY_S, retention_days * DAY_S) == oldest


@pytest.mark.parametrize(
    ("namespace", "days"),
    [("shop", 7), ("kube-system", 30), ("kube-public", 2), ("Kube-public", 7), ("cattle-system", 1), ("", 7)],
)
def test_the_first_rule_that_matches_counts(namespace: str, days: int) -> None:
    assert TERMS.of(namespace) == days * DAY_S


def test_what_is_over_of_a_day() -> None:
    names = ("shop", "kube-system", "kube-public", "cattle-system")
    assert [TERMS.over(names, day, 100 * DAY_S) for day in (99, 98, 97, 92)] == [
        (),
        ("cattle-system",),
        ("kube-public", "cattle-system"),
        ("shop", "kube-public", "cattle-system"),
    ]
    assert (TERMS.longest_s, TERMS.shortest_s) == (30 * DAY_S, DAY_S)
    assert (Terms(5.0).longest_s, Terms(5.0).shortest_s) == (5.0, 5.0)


def test_what_is_kept_on_arrival_is_what_is_not_over() -> None:
    kept = Kept(TERMS, 100.5 * DAY_S, 98 * DAY_NS + 1)
    assert kept.oldest_days(["shop", "kube-public", "shop"]).tolist() == [93, 98, 93]
    assert kept.floor_day == 98
