"""How the memory there is, is shared out: what is not told otherwise, and the engine's own settings, come from here.

The process takes some 300 MiB before it has done anything, most of it the engine's program, which the kernel may drop
and read again. Measured; see `benchmarks/README.md`.
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
_CONCURRENT: Final = 4
# Where there is less, one query after the other.
_CONCURRENT_FROM_BYTES: Final = 1 << 30
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
        query=max(QUERY_BYTES_MIN, min(_QUERY_BYTES, memory_bytes // 8)),
        concurrent=_CONCURRENT if memory_bytes >= _CONCURRENT_FROM_BYTES else 1,
        engine=memory_bytes * 4 // 5,
        marks=min(_MARKS_BYTES, memory_bytes // 32),
    )
