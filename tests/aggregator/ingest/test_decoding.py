from __future__ import annotations

import contextlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ingest.decoding import decoded_bytes, read_batch
from tests.aggregator.records import batch, pack, part
from wire.codec import BATCH_BYTES_MAX, encode
from wire.errors import BatchError, BatchTooLargeError

GOOD = batch(part("a", 0, [10, 20]), part("b", 5, [7]))
FRAME = pack(GOOD)
# RFC 8878, 3.1.2: a reader skips it, so that it is a frame without any content.
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"


def test_a_frame_declares_what_it_becomes() -> None:
    assert decoded_bytes(FRAME) == len(encode(GOOD))
    assert decoded_bytes(FRAME[:18]) == len(encode(GOOD)), "its header is enough"
    assert encode(read_batch(FRAME)) == encode(GOOD)


def test_a_size_over_the_limit_is_refused_from_the_header() -> None:
    assert decoded_bytes(pack(bytes(BATCH_BYTES_MAX))[:18]) == BATCH_BYTES_MAX
    with pytest.raises(BatchTooLargeError) as caught:
        decoded_bytes(pack(bytes(BATCH_BYTES_MAX + 1))[:18])
    assert caught.value.rule == "size"


def test_a_size_that_is_not_declared_is_refused() -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    with pytest.raises(BatchError, match="does not declare"):
        decoded_bytes(compressor.compress(encode(GOOD)) + compressor.flush())


def test_a_window_larger_than_any_batch_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=BATCH_BYTES_MAX)
    frame = compressor.compress(bytes(BATCH_BYTES_MAX)) + compressor.flush()
    with pytest.raises(BatchError) as caught:
        read_batch(frame)
    assert caught.value.rule in {"zstd", "encoding"}


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=200)
    | st.binary(max_size=50).map(lambda data: SKIPPABLE + data)
    | st.tuples(st.integers(0, len(FRAME) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda change: FRAME[: change[0]] + change[1] + FRAME[change[0] + len(change[1]) :]
    )
    | st.integers(0, len(FRAME) - 1).map(lambda end: FRAME[:end])
)
def test_any_bytes_are_a_batch_or_refused_by_rule(data: bytes) -> None:
    with contextlib.suppress(BatchError):  # no other exception
        assert decoded_bytes(data) <= BATCH_BYTES_MAX
        read_batch(data)
