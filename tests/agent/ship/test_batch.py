from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ship.batch import halves, in_its_place, seal_batch, unseal
from wire.batch import Batch, Chunk, Flag
from wire.codec import decode, encode


def batch(*rows_of_chunks: int) -> Batch:
    """Chunks with that many rows each, bodies ``a``, ``bb``, …, every chunk from position 100, rows 10 apart."""
    rows = sum(rows_of_chunks)
    lengths = np.arange(1, rows + 1, dtype=np.uint32)
    positions = [100 + 10 * (i + 1) for count in rows_of_chunks for i in range(count)]
    return Batch(
        "cluster",
        "node",
        "agent",
        tuple(
            Chunk(bytes([number]) * 16, 100, 105 + 10 * count, "ns", "pod", "uid", "web", 0, count, joint=False)
            for number, count in enumerate(rows_of_chunks)
        ),
        np.arange(rows, dtype=np.int64),
        np.array(positions, np.uint64),
        np.zeros(rows, np.uint8),
        lengths,
        b"".join(bytes([97 + i % 26]) * (i + 1) for i in range(rows)),
    )


def bodies(one: Batch) -> list[bytes]:
    ends = np.cumsum(one.lengths)
    return [bytes(one.body[end - length : end]) for end, length in zip(ends, one.lengths, strict=True)]


def test_a_sealed_batch_is_the_same_when_it_is_unsealed() -> None:
    sealed = seal_batch(batch(3, 2), epoch=4)
    assert encode(unseal(sealed)) == encode(batch(3, 2))
    assert (sealed.rows, sealed.epoch) == (5, 4)
    assert sealed.ends == {b"\0" * 16: 135, b"\1" * 16: 125}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1))
def test_halves_store_what_the_whole_would(counts: list[int]) -> None:
    whole = batch(*counts)
    found = halves(whole)
    assert found is not None
    first, second = found
    for half in (first, second):
        decode(encode(half))  # every rule of a batch holds
    assert bodies(first) + bodies(second) == bodies(whole)
    assert [*first.positions, *second.positions] == [*whole.positions]
    ends: dict[bytes, int] = {}
    for chunk in (*first.chunks, *second.chunks):
        assert ends.get(chunk.source, 100) == chunk.start
        ends[chunk.source] = chunk.end
    assert ends == {chunk.source: chunk.end for chunk in whole.chunks}


@pytest.mark.parametrize("flags", [Flag(0), Flag.STDERR, Flag.STDERR | Flag.TRUNCATED])
def test_a_gap_takes_the_place_of_a_refused_record(flags: Flag) -> None:
    one = batch(1)
    one.flags[0] = flags
    gap = in_its_place(one, "times")
    decode(encode(gap))
    assert gap.chunks == one.chunks
    assert gap.positions[0] == one.positions[0]
    assert gap.flags[0] == flags & Flag.STDERR | Flag.GAP
    assert json.loads(bytes(gap.body)) == {"bytes": 1, "reason": "refused: times"}


def test_halves_share_chunks_without_rows() -> None:
    found = halves(batch(0, 1, 0, 1, 0))
    assert found is not None
    first, second = found
    assert [chunk.source[0] for chunk in first.chunks] == [0, 1]
    assert [chunk.source[0] for chunk in second.chunks] == [2, 3, 4]


@pytest.mark.parametrize(
    ("counts", "pair", "rows"),
    [
        ((1, 1, 2), 1, [[1], [1, 2]]),
        ((2, 1), 0, None),
        ((0, 1), 0, None),
        ((1, 0), 0, None),
        ((0, 2, 1), 0, [[0, 2], [1]]),
        ((2, 0, 2), 0, [[2, 0], [2]]),
        ((2, 2, 0), 1, [[2], [2, 0]]),
        ((2, 0, 0, 2), 1, [[2], [0, 0, 2]]),
        ((1, 3, 3, 1), 1, [[1], [3, 3, 1]]),
        ((3, 3, 1), 0, [[3, 3], [1]]),
    ],
)
def test_joint_chunks_stay_together(counts: tuple[int, ...], pair: int, rows: list[list[int]] | None) -> None:
    whole = batch(*counts)
    chunks = list(whole.chunks)
    chunks[pair] = msgspec.structs.replace(chunks[pair], joint=True)
    chunks[pair + 1] = msgspec.structs.replace(chunks[pair + 1], start=0)
    whole = msgspec.structs.replace(whole, chunks=tuple(chunks))
    found = halves(whole)
    assert (None if found is None else [[chunk.rows for chunk in half.chunks] for half in found]) == rows
    for half in found or ():
        decode(encode(half))  # every rule of a batch holds


def test_gaps_take_the_place_of_all_records_of_joint_chunks() -> None:
    gap = in_its_place(batch(1, 2), "lengths")
    decode(encode(gap))
    assert [json.loads(body) for body in bodies(gap)] == [
        {"bytes": size, "reason": "refused: lengths"} for size in (1, 2, 3)
    ]
