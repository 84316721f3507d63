from __future__ import annotations

import pytest

from aggregator.sizing import INGEST_BYTES_MIN, QUERY_BYTES_MIN, Sizes, sizes

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "found"),
    [
        (64 * GIB, Sizes(256 * MIB, GIB, 4, 64 * GIB * 4 // 5, 128 * MIB)),
        (2 * GIB, Sizes(256 * MIB, 512 * MIB, 2, 2 * GIB * 4 // 5, 64 * MIB)),
        (GIB, Sizes(128 * MIB, 256 * MIB, 2, GIB * 4 // 5, 32 * MIB)),
        (512 * MIB, Sizes(INGEST_BYTES_MIN, 128 * MIB, 1, 512 * MIB * 4 // 5, 16 * MIB)),
        (64 * MIB, Sizes(INGEST_BYTES_MIN, QUERY_BYTES_MIN, 1, 64 * MIB * 4 // 5, 2 * MIB)),
    ],
)
def test_less_memory_makes_smaller_shares(memory: int, found: Sizes) -> None:
    assert sizes(memory) == found
