from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ingest.trim import trim
from tests.aggregator.records import NOW_NS, Part, Record, batch, part, source
from wire.batch import Flag

A, B = source("a"), source("b")


class Model(msgspec.Struct):
    """What a store would hold if it took record after record."""

    reached: dict[bytes, int]
    stored: list[tuple[bytes, int]]
    markers: list[tuple[bytes, int]]
    trimmed: int = 0

    def take(self, parts: tuple[Part, ...]) -> bool:
        """Whether the request fits; if it does not, nothing has changed."""
        before = msgspec.structs.asdict(self)
        self.reached, self.stored, self.markers = dict(self.reached), list(self.stored), list(self.markers)
        following = iter(parts)
        if all(self._take_two(one, next(following)) if one.joint else self._take(one) for one in following):
            return True
        for name, value in before.items():
            setattr(self, name, value)
        return False

    def _take(self, one: Part) -> bool:
        at = self.reached.get(one.source, 0)
        gap = bool(one.records) and bool(one.records[0].flags & Flag.GAP)
        ends = {record.position for record in one.records}
        if one.start > at and not gap:
            return False
        if one.start < at and any(end > at for end in ends) and at not in ends:
            return False
        self.stored += [(one.source, end) for end in sorted(ends) if end > at]
        self.trimmed += sum(end <= at for end in ends)
        self.reached[one.source] = max(at, one.chunk.end)
        return True

    def _take_two(self, one: Part, other: Part) -> bool:
        at, other_at = self.reached.get(one.source, 0), self.reached.get(other.source, 0)
        rows = [(each.source, record.position) for each in (one, other) for record in each.records]
        if (at, other_at) == (one.start, 0):
            self.stored += rows
            marked = [(each.source, each.chunk.end) for each in (one, other)]
            self.markers += [mark for mark in marked if mark not in rows]
        elif at >= one.chunk.end and other_at >= other.chunk.end:
            self.trimmed += len(rows)
        else:
            return False
        self.reached |= {one.source: max(at, one.chunk.end), other.source: max(other_at, other.chunk.end)}
        return True


@st.composite
def requests(draw: st.DrawFn) -> tuple[Part, ...]:
    """One request: chunks of two sources that continue each other, as the codec demands; some a gap's, some joint."""
    parts: list[Part] = []
    ends: dict[bytes, int] = {}
    for _ in range(draw(st.integers(0, 3))):
        which = draw(st.sampled_from([A, B]))
        if B not in ends and draw(st.booleans()):
            start = ends.get(A, draw(st.integers(0, 12)))
            for source_of, at in ((A, start), (B, 0)):
                positions = sorted(draw(st.sets(st.integers(at + 1, at + 8), max_size=3)))
                end = (positions[-1] if positions else at) + draw(st.integers(0 if positions else 1, 2))
                records = tuple(map(Record, positions))
                parts.append(Part(source_of, at, records, end, joint=source_of == A))
                ends[source_of] = end
            continue
        start = ends.get(which, draw(st.integers(0, 12)))
        positions = sorted(draw(st.sets(st.integers(start + 1, start + 8), max_size=4)))
        flags = draw(st.sampled_from([0, 0, int(Flag.GAP)]))
        records = tuple(Record(p, flags=flags if i == 0 else 0) for i, p in enumerate(positions))
        end = (positions[-1] if positions else start) + draw(st.integers(0, 2))
        parts.append(Part(which, start, records, end))
        ends[which] = end
    return tuple(parts)


@settings(deadline=None, max_examples=400)
@given(st.lists(requests(), max_size=5), st.integers(0, 12), st.integers(0, 12))
def test_trims_and_refuses_what_a_store_of_single_records_would(
    group: list[tuple[Part, ...]], at_a: int, at_b: int
) -> None:
    committed = {A: at_a, B: at_b}
    model = Model(dict(committed), [], [])
    refused = {number for number, parts in enumerate(group) if not model.take(parts)}
    batches = [batch(*parts) for parts in group]

    found = trim(batches, committed, NOW_NS)

    new = [
        (piece.chunk.source, int(position))
        for piece in found.pieces
        for position in batches[piece.request].positions[piece.first : piece.last]
    ]
    assert new == model.stored
    assert [(piece.chunk.source, piece.marker) for piece in found.pieces if piece.marker] == model.markers
    assert found.refused.keys() == refused
    assert {**committed, **found.reached} == model.reached
    assert found.rows_trimmed == model.trimmed


def test_a_request_counts_as_committed_for_those_behind_it() -> None:
    found = trim([batch(part("a", 0, [10, 20])), batch(part("a", 10, [20, 30]))], {A: 0}, NOW_NS)
    assert [(piece.request, piece.first, piece.last) for piece in found.pieces] == [(0, 0, 2), (1, 1, 2)]
    assert found.reached == {A: 30}


def test_a_refused_request_is_left_out_whole() -> None:
    found = trim([batch(part("a", 0, [10]), part("b", 5, [9]))], {A: 0, B: 0}, NOW_NS)
    assert found.refused.keys() == {0}
    assert found.pieces == ()
    assert found.reached == {}


def test_a_chunk_with_a_record_across_what_is_committed_is_refused() -> None:
    """Its lines up to there are stored: they were joined another way."""
    found = trim([batch(part("a", 0, [10, 30, 40]))], {A: 20}, NOW_NS)
    assert found.refused.keys() == {0}
    assert found.reached == {}


def test_a_chunk_that_ends_below_what_is_committed_is_stored_already() -> None:
    found = trim([batch(part("a", 0, [10, 15]))], {A: 20}, NOW_NS)
    assert (found.pieces, found.reached, found.rows_trimmed) == ((), {A: 20}, 2)


def joint(start: int, at_a: list[int], end_a: int, at_b: list[int], end_b: int) -> list[Part]:
    """Two joint chunks, with records at those positions."""
    return [
        Part(A, start, tuple(map(Record, at_a)), end_a, joint=True),
        Part(B, 0, tuple(map(Record, at_b)), end_b),
    ]


# (committed of A and of B; what becomes of it)
JOINT = [
    (100, 0, "stored"),
    (200, 50, "trimmed"),
    (250, 90, "trimmed"),
    (99, 0, "refused"),  # a hole
    (150, 0, "refused"),  # A's lines from there on may be in another record
    (200, 0, "refused"),  # A's end was delivered by itself
    (100, 50, "refused"),
    (100, 10, "refused"),
    (200, 49, "refused"),
    (199, 50, "refused"),
]


@pytest.mark.parametrize(("at_a", "at_b", "outcome"), JOINT)
def test_joint_chunks_are_stored_trimmed_or_refused_as_one(at_a: int, at_b: int, outcome: str) -> None:
    found = trim([batch(*joint(100, [150], 200, [50], 50))], {A: at_a, B: at_b}, NOW_NS)
    pieces = [(piece.first, piece.last, piece.marker, piece.tied) for piece in found.pieces]
    assert pieces == ([(0, 1, 200, False), (1, 2, 0, True)] if outcome == "stored" else [])
    assert found.refused.keys() == ({0} if outcome == "refused" else set())
    assert found.rows_trimmed == (2 if outcome == "trimmed" else 0)
    assert found.reached == ({} if outcome == "refused" else {A: max(at_a, 200), B: max(at_b, 50)})


def test_joint_chunks_fit_behind_what_is_in_the_same_request() -> None:
    parts = [part("a", 0, [100]), *joint(100, [150], 200, [], 50), part("b", 50, [60]), part("a", 200, [210])]
    found = trim([batch(*parts)], {A: 0, B: 0}, NOW_NS)
    assert [(piece.first, piece.last, piece.marker) for piece in found.pieces] == [
        (0, 1, 0),
        (1, 2, 200),
        (2, 2, 50),
        (2, 3, 0),
        (3, 4, 0),
    ]
    assert found.reached == {A: 210, B: 60}


def test_joint_chunks_without_rows_have_markers_of_now() -> None:
    found = trim([batch(*joint(100, [], 200, [], 50))], {A: 100, B: 0}, NOW_NS)
    pieces = [(piece.chunk.source, piece.marker, piece.marker_ns, piece.tied) for piece in found.pieces]
    assert pieces == [(A, 200, NOW_NS, False), (B, 50, NOW_NS, True)]
    assert found.reached == {A: 200, B: 50}
