from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from aggregator.errors import QueryTimeoutError, StoreUnreachableError
from aggregator.store.arrow import blocks, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA = pa.schema({"n": pa.int64(), "text": pa.string()})
TIMEOUT = b"\r\n__exception__\r\ntag\r\nCode: 159. DB::Exception: Timeout exceeded\n42 tag\r\n__exception__\r\n"


def answer(*sizes: int) -> bytes:
    """A server's answer of blocks with so many rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        for size in sizes:
            stream.write_batch(
                pa.record_batch({"n": list(range(size)), "text": ["x" * n for n in range(size)]}, SCHEMA)
            )
    return bytes(sink.getvalue().to_pybytes())


async def read(data: bytes, piece: int) -> list[int]:
    """How many rows each block has, of an answer that comes in pieces of this size."""

    async def pieces() -> AsyncIterator[bytes]:
        for first in range(0, len(data), piece):
            yield data[first : first + piece]

    found = []
    async for block in blocks(pieces()):
        rows = pa.ipc.open_stream(block).read_all()
        assert rows.schema == SCHEMA
        assert rows.column("n").to_pylist() == list(range(rows.num_rows))
        found.append(rows.num_rows)
    return found


@pytest.mark.parametrize("piece", [1, 7, 64, 1_000, 1 << 20])
@pytest.mark.parametrize("sizes", [(1,), (3, 5, 2), (200, 1)])
async def test_a_block_is_a_stream_wherever_the_bytes_are_cut(sizes: tuple[int, ...], piece: int) -> None:
    assert await read(answer(*sizes), piece) == list(sizes)


async def test_an_answer_without_rows_has_its_columns() -> None:
    assert await read(answer(), 10) == [0]


@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
@pytest.mark.parametrize("kept", [0, 8, 0.5, -8], ids=["nothing", "a prefix", "half a block", "all but the end"])
async def test_what_the_server_says_where_it_stops_is_raised(kept: float, piece: int) -> None:
    whole = answer(50)
    cut = whole[: int(len(whole) * kept) if isinstance(kept, float) else int(kept)]
    with pytest.raises(QueryTimeoutError, match="Timeout exceeded"):
        await read(cut + TIMEOUT, piece)


@pytest.mark.parametrize("cut", [0, 4, 100, -9])
async def test_an_answer_that_breaks_off_is_not_taken_for_complete(cut: int) -> None:
    with pytest.raises(StoreUnreachableError):
        await read(answer(50)[:cut], 1 << 20)


async def test_rows_become_a_stream_of_one_block() -> None:
    assert await read(stream_of(pa.record_batch({"n": [0, 1], "text": ["a", "b"]}, SCHEMA)), 5) == [2]
