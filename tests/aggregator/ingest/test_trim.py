from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ingest.trim import trim
from tests.aggregator.records import Part, Record, batch, part, source
from wire.batch import Flag

A, B = source("a"), source("b")


class Model(msgspec.Struct):
    """What a store would hold if it took record after record."""

    reached: dict[bytes, int]
    stored: list[tuple[bytes, int]]
    trimmed: int = 0

    def take(self, parts: tuple[Part, ...]) -> bool:
        reached, stored, trimmed = dict(self.reached), list(self.stored), self.trimmed
        for one in parts:
            at = reached.get(one.source, 0)
            gap = bool(one.records) and bool(one.records[0].flags & Flag.GAP)
            if one.start > at and not gap:
                return False
            ends = {record.position for record in one.records}
            if one.start < at and any(end > at for end in ends) and at not in ends:
                return False
            for record in one.records:
                if record.position > at:
                    stored.append((one.source, record.position))
                else:
                    trimmed += 1
            reached[one.source] = max(at, one.chunk.end)
        self.reached, self.stored, self.trimmed = reached, stored, trimmed
        return True


@st.composite
def requests(draw: st.DrawFn) -> tuple[Part, ...]:
    """One request: chunks of two sources that continue each other, as the codec demands, with or without a gap."""
    parts: list[Part] = []
    ends: dict[bytes, int] = {}
    for _ in range(draw(st.integers(0, 3))):
        which = draw(st.sampled_from([A, B]))
        start = ends.get(which, draw(st.integers(0, 12)))
        positions = sorted(draw(st.sets(st.integers(start + 1, start + 8), max_size=4)))
        flags = draw(st.sampled_from([0, 0, int(Flag.GAP)]))
        records = tuple(Record(p, flags=flags if i == 0 else 0) for i, p in enumerate(positions))
        end = (positions[-1] if positions else start) + draw(st.integers(0, 2))
        parts.append(Part(which, start, records, end))
        ends[which] = end
    return tuple(parts)


@settings(deadline=None, max_examples=150)
@given(st.lists(requests(), max_size=5), st.integers(0, 12), st.integers(0, 12))
def test_trims_and_refuses_what_a_store_of_single_records_would(
    group: list[tuple[Part, ...]], at_a: int, at_b: int
) -> None:
    committed = {A: at_a, B: at_b}
    model = Model(dict(committed), [])
    refused = {number for number, parts in enumerate(group) if not model.take(parts)}
    batches = [batch(*parts) for parts in group]

    found = trim(batches, committed)

    new = [
        (piece.chunk.source, int(position))
        for piece in found.pieces
        for position in batches[piece.request].positions[piece.first : piece.last]
    ]
    assert new == model.stored
    assert found.refused == refused
    assert {**committed, **found.reached} == model.reached
    assert found.rows_trimmed == model.trimmed


def test_a_request_counts_as_committed_for_those_behind_it() -> None:
    found = trim([batch(part("a", 0, [10, 20])), batch(part("a", 10, [20, 30]))], {A: 0})
    assert [(piece.request, piece.first, piece.last) for piece in found.pieces] == [(0, 0, 2), (1, 1, 2)]
    assert found.reached == {A: 30}


def test_a_refused_request_is_left_out_whole() -> None:
    found = trim([batch(part("a", 0, [10]), part("b", 5, [9]))], {A: 0, B: 0})
    assert found.refused == {0}
    assert found.pieces == ()
    assert found.reached == {}


def test_a_chunk_with_a_record_across_what_is_committed_is_refused() -> None:
    """Its lines up to there are stored: they were joined another way."""
    found = trim([batch(part("a", 0, [10, 30, 40]))], {A: 20})
    assert found.refused == {0}
    assert found.reached == {}


def test_a_chunk_that_ends_below_what_is_committed_is_stored_already() -> None:
    found = trim([batch(part("a", 0, [10, 15]))], {A: 20})
    assert (found.pieces, found.reached, found.rows_trimmed) == ((), {A: 20}, 2)
