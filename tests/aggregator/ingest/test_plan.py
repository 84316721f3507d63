from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ingest.plan import INSERTS_MAX, Plan, plan
from aggregator.ingest.pods import PodStreams
from aggregator.store.coverage import Stretch
from aggregator.store.terms import Kept, Terms
from tests.aggregator.records import DAY_S, Part, Record, batch, part, source
from wire.batch import DAY_NS, Batch, Flag

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B = source("a"), source("b")
TODAY = 20_000
OLDEST = TODAY - 7
KEPT = Kept(Terms(7.0 * DAY_S), TODAY * DAY_S)


def planned(
    *batches: Batch,
    behind: Mapping[bytes, int] | None = None,
    held: Mapping[bytes, list[Stretch]] | None = None,
    **committed: int,
) -> Plan:
    known = dict.fromkeys((chunk.source for one in batches for chunk in one.chunks), 0)
    return plan(
        batches,
        known | {source(name): at for name, at in committed.items()},
        PodStreams(),
        KEPT,
        TODAY * DAY_NS,
        behind=behind or {},
        held=held or {},
    )


def stretches(*found: Plan) -> dict[bytes, list[tuple[int, int]]]:
    """Start and end of what each stored row stands for, by source, in the order they are stored in."""
    names = ("source", "position", "framing", "body")
    made: dict[bytes, list[tuple[int, int]]] = {}
    for insert in [insert for each in found for insert in each.inserts]:
        for which, position, framing, body in zip(*(insert.rows[name].to_pylist() for name in names), strict=True):
            made.setdefault(which, []).append((position - framing - len(body), position))
    return made


def days(name: str, *of_rows: int) -> Part:
    """One row a position: 1, 2, 3 … on the days given."""
    return Part(source(name), 0, tuple(Record(1 + i, b"x", day * DAY_NS + i) for i, day in enumerate(of_rows)))


def positions_of(found: Plan) -> list[tuple[int, list[tuple[bytes, int]]]]:
    """(day, rows) of every insert."""
    return [
        (one.day, list(zip(one.rows["source"].to_pylist(), one.rows["position"].to_pylist(), strict=True)))
        for one in found.inserts
    ]


def test_rows_of_one_day_make_one_insert() -> None:
    found = planned(batch(days("a", TODAY, TODAY)), batch(days("b", TODAY)))
    assert positions_of(found) == [(TODAY, [(A, 1), (A, 2), (B, 1)])]
    assert (found.rows_new, found.bytes_new) == (3, 3)


def test_a_clock_that_went_back_makes_an_insert_of_its_own() -> None:
    found = planned(batch(days("a", TODAY, TODAY - 1, TODAY), days("b", TODAY - 1, TODAY)))
    assert positions_of(found) == [
        (TODAY - 1, [(B, 1)]),
        (TODAY, [(A, 1)]),
        (TODAY - 1, [(A, 2)]),
        (TODAY, [(B, 2)]),
        (TODAY, [(A, 3)]),
    ]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(OLDEST - 2, TODAY), min_size=1, max_size=200),
    st.lists(st.integers(OLDEST - 2, TODAY), min_size=1, max_size=20),
)
def test_any_number_of_first_inserts_holds_a_prefix_of_every_source(first: list[int], second: list[int]) -> None:
    found = planned(batch(days("a", *first), days("b", *second)))
    stored: dict[bytes, list[int]] = {A: [], B: []}
    for day, rows in positions_of(found):
        for which, position in rows:
            stored[which].append(position)
            assert (first if which == A else second)[position - 1] == day
    for which, of_rows in ((A, first), (B, second)):
        kept = [i + 1 for i, day in enumerate(of_rows) if day >= OLDEST]
        assert stored[which] == kept[: len(stored[which])]
        if stored[which] == kept:
            assert found.reached[which] == len(of_rows)
        else:
            assert len(found.inserts) == INSERTS_MAX
            assert found.reached[which] == (stored[which][-1] if stored[which] else 0)
    for which, of_stretches in stretches(found).items():
        assert [start for start, _ in of_stretches] == [0, *stored[which][:-1]]
    total = found.rows_new + found.rows_expired + found.rows_cut
    assert total == len(first) + len(second)
    assert found.rows_new == sum(len(rows) for rows in stored.values())


def test_more_days_in_turn_than_inserts_allowed_are_put_off() -> None:
    turns = [TODAY - i % 2 for i in range(INSERTS_MAX + 6)]
    found = planned(batch(days("a", *turns), days("b", TODAY)))
    assert len(found.inserts) == INSERTS_MAX
    assert found.rows_cut > 0
    assert found.reached[A] < len(turns)
    assert found.reached[B] == 1
    # The agent goes back to where it was told, and the rest follows.
    rest = Part(A, found.reached[A], days("a", *turns).records[found.reached[A] :])
    again = planned(batch(rest), a=found.reached[A])
    assert again.reached[A] == len(turns)


def test_rows_older_than_the_retention_are_reached_but_not_stored() -> None:
    found = planned(batch(days("a", OLDEST - 1, OLDEST, TODAY)))
    assert positions_of(found) == [(OLDEST, [(A, 2)]), (TODAY, [(A, 3)])]
    assert (found.rows_expired, found.reached[A]) == (1, 3)


def test_each_row_stands_for_what_is_behind_the_row_before_it() -> None:
    twice = [Part(A, 10, (Record(20, b"body"), Record(25, b"longer than the stretch"))), part("b", 0, [7])]
    behind = [Part(A, 25, (Record(40), Record(41, b""))), Part(A, 41, (Record(60, b"y" * 19),))]
    assert stretches(planned(batch(*twice), batch(*behind), a=10)) == {
        A: [(10, 20), (20, 25), (25, 40), (40, 41), (41, 60)],
        B: [(0, 7)],
    }


def test_a_row_stands_also_for_what_was_not_stored_before_it() -> None:
    """Dropped by the agent, older than the retention, or said to be lost."""
    dropped = planned(batch(Part(A, 0, (Record(5),), end=30), Part(B, 0, (), end=30)))
    assert dropped.behind == {A: 5, B: 0}
    gap = Part(B, 40, (Record(50, b"{}", flags=Flag.GAP),))
    then = planned(batch(Part(A, 30, (Record(31),)), gap), a=30, b=30, behind=dropped.behind)
    assert stretches(dropped, then) == {A: [(0, 5), (5, 31)], B: [(0, 50)]}
    assert then.behind == {}
    expired = planned(batch(days("a", OLDEST - 1, OLDEST - 1)))
    assert (expired.reached[A], expired.behind) == (2, {A: 0})
    assert stretches(planned(batch(part("a", 2, [9])), a=2, behind=expired.behind)) == {A: [(0, 9)]}


def test_what_stands_behind_a_hole_is_not_stored_again() -> None:
    """The store has 0 to 20 and 40 to 60; the agent sends all from 20 on."""
    rest = part("a", 20, [30, 40, 50, 60, 70, 80])
    found = planned(batch(rest), a=20, held={A: [Stretch(40, 60)]})
    assert stretches(found) == {A: [(20, 30), (30, 40)]}
    assert (found.reached[A], found.rows_trimmed, found.behind) == (60, 4, {})
    then = planned(batch(part("a", 60, [70, 80])), a=60)
    assert stretches(then) == {A: [(60, 70), (70, 80)]}


def test_a_hole_is_filled_bit_by_bit_and_what_follows_may_come_with_it() -> None:
    held = {A: [Stretch(40, 60)]}
    found = planned(
        batch(part("a", 20, [30])), batch(part("a", 30, [40, 50])), batch(part("a", 50, [60, 70])), a=20, held=held
    )
    assert stretches(found) == {A: [(20, 30), (30, 40), (60, 70)]}
    assert (found.reached[A], found.behind) == (70, {})
    part_of_it = planned(batch(Part(A, 20, (Record(30),), end=35)), a=20, held=held)
    assert (part_of_it.reached[A], part_of_it.behind) == (35, {A: 30})


def test_one_batch_may_fill_several_holes() -> None:
    """The store has 100 to 150 and 200 to 300."""
    held = {A: [Stretch(100, 150), Stretch(200, 300)]}
    sent = batch(part("a", 0, [50, 100, 130]), part("a", 130, [150, 200, 250]), part("a", 250, [300, 310]))
    found = planned(sent, held=held)
    assert stretches(found) == {A: [(0, 50), (50, 100), (150, 200), (300, 310)]}
    assert (found.reached[A], found.rows_trimmed, found.behind) == (310, 4, {})


def test_a_record_across_the_edge_of_a_hole_is_not_lost() -> None:
    """The store has 100 to 150; on its second way in, what was two records there is one."""
    held = {A: [Stretch(100, 150)]}
    found = planned(batch(part("a", 0, [50, 110, 150])), held=held)
    assert (stretches(found), found.reached[A]) == ({A: [(0, 50), (50, 110)]}, 150)
    beyond = planned(batch(part("a", 0, [50, 170, 180])), held=held)
    assert (stretches(beyond), beyond.reached[A]) == ({A: [(0, 50), (50, 170)]}, 170)


def test_a_source_may_stand_where_what_is_held_begins() -> None:
    found = planned(batch(part("a", 100, [120, 150, 170])), a=100, held={A: [Stretch(100, 150)]})
    assert (stretches(found), found.reached[A]) == ({}, 150)


def test_a_hole_whose_rest_is_gone_is_filled_by_a_gap() -> None:
    gap = Part(A, 20, (Record(40, b"{}", flags=Flag.GAP), Record(50)))
    found = planned(batch(gap), a=20, held={A: [Stretch(40, 60)]})
    assert stretches(found) == {A: [(20, 40)]}
    assert found.reached[A] == 60


def test_markers_stand_for_the_end_of_a_file_whose_last_line_is_in_the_next() -> None:
    assert stretches(planned(batch(*joint((60,), (50,), TODAY)))) == {A: [(0, 60), (60, 100)], B: [(0, 50)]}


def test_far_future_rows_keep_their_day() -> None:
    far = 106_000  # the year 2260
    assert positions_of(planned(batch(days("a", far, TODAY)))) == [(far, [(A, 1)]), (TODAY, [(A, 2)])]


def test_only_streams_with_rows_are_written() -> None:
    (only_out,) = planned(batch(part("a", 0, [1, 2]))).inserts
    assert [stream.labels["stream"] for stream in only_out.streams] == ["stdout"]
    (both,) = planned(batch(part("a", 0, [1]), part("a", 1, [2], flags=Flag.STDERR))).inserts
    assert [stream.labels["stream"] for stream in both.streams] == ["stdout", "stderr"]
    assert both.rows["stream_id"].to_pylist() == [stream.number for stream in both.streams]
    assert both.streams[0].labels == {
        "cluster": "test",
        "node": "node-1",
        "namespace": "shop",
        "pod": "web-0",
        "uid": "uid-web-0",
        "container": "app",
        "stream": "stdout",
    }


def joint(rows_a: tuple[int, ...], rows_b: tuple[int, ...], day: int, start: int = 0) -> list[Part]:
    """Joint chunks up to 100 of A and 50 of B, with rows at those positions, all on one day."""
    return [
        Part(A, start, tuple(Record(at, b"x", day * DAY_NS) for at in rows_a), 100, joint=True),
        Part(B, 0, tuple(Record(at, b"x", day * DAY_NS) for at in rows_b), 50),
    ]


@pytest.mark.parametrize(
    ("rows_a", "rows_b", "stored"),
    [
        ((), (50,), [("\0", 0, A, 100), ("shop", 1, B, 50)]),
        ((60,), (50,), [("shop", 1, A, 60), ("\0", 0, A, 100), ("shop", 1, B, 50)]),
        ((60,), (), [("shop", 1, A, 60), ("\0", 0, A, 100), ("\0", 0, B, 50)]),
        ((60, 100), (20,), [("shop", 1, A, 60), ("shop", 1, A, 100), ("shop", 1, B, 20), ("\0", 0, B, 50)]),
    ],
)
def test_joint_chunks_have_markers_where_no_record_ends(
    rows_a: tuple[int, ...], rows_b: tuple[int, ...], stored: list[tuple[str, int, bytes, int]]
) -> None:
    found = planned(batch(*joint(rows_a, rows_b, TODAY)))
    (one,) = found.inserts
    columns = [one.rows[name].to_pylist() for name in ("namespace", "stream_id", "source", "position")]
    assert [(space, min(1, stream), which, at) for space, stream, which, at in zip(*columns, strict=True)] == stored
    assert set(one.rows["ts"].cast("int64").to_pylist()) == {TODAY * DAY_NS}
    records = len(rows_a) + len(rows_b)
    assert (found.rows_new, found.bytes_new, found.rows_cut, found.rows_expired) == (records, records, 0, 0)
    assert [stream.labels["stream"] for stream in one.streams] == ["stdout"]


def test_a_marker_alone_writes_no_stream() -> None:
    err = Part(B, 0, (Record(50, b"x", TODAY * DAY_NS, Flag.STDERR),))
    (one,) = planned(batch(joint((), (50,), TODAY)[0], err)).inserts
    assert [stream.labels["stream"] for stream in one.streams] == ["stderr"]


def test_joint_chunks_are_in_one_insert_whatever_stands_before_and_behind() -> None:
    """A's runs are many by then, B's begin."""
    before = days("a", TODAY, TODAY - 1, TODAY, TODAY - 1)
    behind = Part(B, 50, (Record(51, b"y", (TODAY - 2) * DAY_NS), Record(52, b"y", TODAY * DAY_NS)))
    found = planned(batch(before, *joint((60,), (20,), TODAY, start=4), behind))
    assert positions_of(found) == [
        (TODAY, [(A, 1)]),
        (TODAY - 1, [(A, 2)]),
        (TODAY, [(A, 3)]),
        (TODAY - 1, [(A, 4)]),
        (TODAY, [(A, 60), (A, 100), (B, 20), (B, 50)]),
        (TODAY - 2, [(B, 51)]),
        (TODAY, [(B, 52)]),
    ]


def test_joint_chunks_are_put_off_together() -> None:
    turns = [TODAY - i % 2 for i in range(INSERTS_MAX)]
    found = planned(batch(days("a", *turns), *joint((90,), (20,), TODAY, start=INSERTS_MAX)))
    assert len(found.inserts) == INSERTS_MAX
    assert (found.reached[A], found.reached[B]) == (INSERTS_MAX, 0)
    assert found.rows_cut == 2


def test_joint_chunks_older_than_the_retention_are_reached_but_not_stored() -> None:
    behind = Part(B, 50, (Record(51, b"y", TODAY * DAY_NS),))
    found = planned(batch(*joint((60,), (20,), OLDEST - 1), behind))
    assert positions_of(found) == [(TODAY, [(B, 51)])]
    assert (found.rows_expired, found.reached[A], found.reached[B]) == (2, 100, 51)


def test_nothing_new_makes_no_insert() -> None:
    found = planned(batch(part("a", 0, [1, 2])), a=2)
    assert (found.inserts, found.rows_trimmed, found.reached[A]) == ((), 2, 2)
