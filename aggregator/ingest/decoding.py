"""Compressed bytes to a checked batch, never using more memory than a batch may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import zstandard

from wire.codec import BATCH_BYTES_MAX, decode
from wire.errors import BatchError, BatchTooLargeError

if TYPE_CHECKING:
    from wire.batch import Batch

# A frame may ask its reader for a window as large as it likes; more than this no batch needs.
_WINDOW_BYTES_MAX: Final = 1 << 26


def decoded_bytes(data: bytes) -> int:
    """The size in bytes that ``data``, one zstd frame, declares; what decoding it will need.

    Raises `BatchError` for what is no zstd frame or does not declare its size, `BatchTooLargeError` above the limit.
    """
    try:
        declared = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise BatchError("zstd", str(error)) from error
    if declared < 0:
        raise BatchError("zstd", "the frame does not declare its content size")
    if declared > BATCH_BYTES_MAX:
        raise BatchTooLargeError("size", f"at most {BATCH_BYTES_MAX}, the frame declares {declared}")
    return declared


def read_batch(data: bytes | bytearray) -> Batch:
    """The batch in ``data``, one zstd frame that `decoded_bytes` accepts. Raises `BatchError`, nothing else."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
    try:
        content = decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError("zstd", str(error)) from error
    return decode(content)
