"""How the memory there is, is shared out: what is not told otherwise, and the engine's own settings, come from here.

The process takes some 300 MiB before it has done anything, but two thirds of that is the engine's program, which the
kernel may drop and read again. Measured in a control group of 512 MiB, with three agents that catch up: see
`benchmarks/README.md`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from wire.codec import BATCH_BYTES_MAX

# One batch, compressed and decoded, has to fit, and a second one beside it.
INGEST_BYTES_MIN: Final = 4 * BATCH_BYTES_MAX
QUERY_BYTES_MIN: Final = 64 << 20
_INGEST_BYTES: Final = 256 << 20
_QUERY_BYTES: Final = 1 << 30
# Queries at once, where there is at least so much memory.
_CONCURRENT: Final = {4 << 30: 4, 1 << 30: 2, 0: 1}
_MARKS_BYTES: Final = 128 << 20


class Sizes(msgspec.Struct, frozen=True):
    """Shares of the memory, in bytes.

    ``ingest``: batches that are held. ``query``: one query; ``concurrent``: queries at once. ``engine``: all that the
    engine may take, the queries included. ``marks``: the engine's cache of where columns have what.
    """

    ingest: int
    query: int
    concurrent: int
    engine: int
    marks: int


def sizes(memory_bytes: int) -> Sizes:
    """The shares of ``memory_bytes``."""
    return Sizes(
        ingest=max(INGEST_BYTES_MIN, min(_INGEST_BYTES, memory_bytes // 8)),
        query=max(QUERY_BYTES_MIN, min(_QUERY_BYTES, memory_bytes // 4)),
        concurrent=next(count for least, count in _CONCURRENT.items() if memory_bytes >= least),
        engine=memory_bytes * 4 // 5,
        marks=min(_MARKS_BYTES, memory_bytes // 32),
    )
