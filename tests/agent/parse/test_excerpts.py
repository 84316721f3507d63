"""Excerpts of a text, against slices of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.parse.excerpts import gathered

TEXT = bytes(range(256)) * 3


def gather(spans: list[tuple[int, int]]) -> bytes:
    begins, lengths = np.array(spans, np.int64).reshape(-1, 2).T
    return gathered(np.frombuffer(TEXT, np.uint8), begins, lengths.astype(np.uint32)).tobytes()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 65, 128, 129, len(TEXT)])
def test_an_excerpt_of_any_size_is_whole(size: int) -> None:
    at = len(TEXT) - size
    assert gather([(at, size), (0, size)]) == TEXT[at:] + TEXT[:size]


def test_no_excerpts_are_no_bytes() -> None:
    assert gather([]) == gather([(5, 0)]) == b""


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 200)), max_size=20))
def test_excerpts_stand_in_the_order_asked_for(spans: list[tuple[int, int]]) -> None:
    within = [(begin, min(size, len(TEXT) - begin)) for begin, size in spans]
    assert gather(within) == b"".join(TEXT[begin : begin + size] for begin, size in within)
