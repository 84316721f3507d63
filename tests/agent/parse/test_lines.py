"""Blocks cut at their newlines, and which format a file has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.parse.lines import PADDING_BYTES, Format, Segment, before_run, cut, detect, first_byte, mask, steps

DOCKER = b'{"log":"x\\n","stream":"stdout","time":"2023-04-05T02:29:34Z"}'


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (DOCKER, Format.DOCKER),
        (DOCKER + b"\n2023 nonsense\n", Format.DOCKER),
        (b'{"time":"t","attrs":{"a":"b"},"stream":"stderr","log":"\xff"}\n', Format.DOCKER),
        (b"2023-04-05T02:29:34.6Z stdout F x\n", Format.CRI),
        (b'{"log":"x\\n","stream":"stdout"}\n', Format.CRI),
        (b'{"log":"x\n' + DOCKER, Format.CRI),
        (b"{" * 100_000 + b"\n", Format.CRI),
        (b'{"log":"x","stream":"\xff","time":"t"}\n', Format.CRI),
        (b"\n" + DOCKER, Format.CRI),
        (b"", Format.CRI),
    ],
)
def test_the_first_line_tells_the_format(first: bytes, expected: Format) -> None:
    assert detect(first) is expected


def test_a_block_is_cut_into_the_lines_of_its_segments() -> None:
    block = cut(b"a\n\nbcd\ne\n", [Segment(2, 100, 0), Segment(0, 7, 0), Segment(5, 1000, 0), Segment(2, 0, 0)])
    assert block.starts.tolist() == [0, 2, 3, 7]
    assert block.ends.tolist() == [1, 2, 6, 8]
    assert (block.starts + block.shifts).tolist() == [100, 1000, 1001, 0]
    assert block.rows.tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("segments", [[], [Segment(0, 9, 9)], [Segment(0, 9, 9), Segment(0, 1, 1)]])
def test_a_block_may_be_empty(segments: list[Segment]) -> None:
    block = cut(b"", segments)
    assert block.starts.size == block.ends.size == 0
    assert block.rows.tolist() == [0] * len(segments)


@pytest.mark.parametrize(
    ("block", "sizes"),
    [(b"a\n", [1]), (b"a\n", []), (b"a", [1]), (b"ab\n", [1, 2]), (b"a\n", [-1, 3]), (b"", [1])],
)
def test_bytes_that_would_get_lost_are_refused(block: bytes, sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"segments have|a segment"):
        cut(block, [Segment(size, 0, 0) for size in sizes])


@given(st.binary(max_size=80), st.data())
@settings(deadline=None, max_examples=100)
def test_words_are_the_bytes_at_an_offset(body: bytes, data: st.DataObject) -> None:
    block = cut(body + b"\n", [Segment(len(body) + 1, 0, 0)])
    offsets = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    padded = body + b"\n" + bytes(PADDING_BYTES)
    words = block.words(np.array(offsets, np.int64), 3)
    expected = [[int.from_bytes(padded[at + 8 * i : at + 8 * i + 8], "little") for at in offsets] for i in range(3)]
    assert words.tolist() == expected


@given(st.binary(min_size=8, max_size=8), st.integers(0, 255))
@settings(deadline=None, max_examples=300)
def test_the_first_byte_of_a_word_is_found(word: bytes, byte: int) -> None:
    expected = word.find(byte)
    found = first_byte(np.frombuffer(word, np.uint64), byte)
    assert found.tolist() == [8 if expected < 0 else expected]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
@settings(deadline=None, max_examples=100)
def test_a_mask_covers_its_spans(gaps_and_sizes: list[tuple[int, int]]) -> None:
    expected = [inside for gap, size in gaps_and_sizes for inside in [False] * gap + [True] * size]
    ends = np.cumsum([gap + size for gap, size in gaps_and_sizes], dtype=np.int64)
    starts = ends - np.array([size for _, size in gaps_and_sizes], np.int64)
    assert mask(starts, ends).tolist() == expected


def test_a_block_in_pieces_is_the_block() -> None:
    segments = [Segment(4, 0, 0), Segment(2, 9, 0)]
    whole, pieces = cut(b"a\nb\nc\n", segments), cut([b"", memoryview(b"a\nb"), b"\nc\n"], segments)
    assert pieces.text.tolist() == whole.text.tolist()
    assert pieces.ends.tolist() == whole.ends.tolist()


@given(st.lists(st.integers(-(1 << 40), 1 << 40)), st.integers(-5, 5))
def test_steps_are_those_from_one_value_to_the_next(values: list[int], before: int) -> None:
    expected = np.diff(np.array([before, *values], np.int64))
    assert steps(np.array(values, np.int64), before).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("places", "before"),
    [([], []), ([0], [-1]), ([3, 4, 5], [2, 2, 2]), ([1, 2, 4, 6, 7], [0, 0, 3, 5, 5])],
)
def test_before_a_run_of_neighbours_is_one_place(places: list[int], before: list[int]) -> None:
    assert before_run(np.array(places, np.int64)).tolist() == before
