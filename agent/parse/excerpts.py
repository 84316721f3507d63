"""Excerpts of a text, copied one after another."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_Ints = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]
_Windows = npt.NDArray[np.void]

# Excerpts are copied in windows of the widest of these that they fill. Measured with lines of 130 bytes: 70 ns a line;
# wider ones first: 86, narrower ones: 117; by a mask over all bytes: 123; joining slices: 170.
_WIDTHS: Final = (64, 8, 1)


def gathered(text: _Bytes, begins: _Ints, lengths: npt.NDArray[np.integer]) -> _Bytes:
    """The bytes in ``text`` at ``begins`` (int64[n]) of ``lengths`` (integers[n]), in the order in which these are."""
    sizes = lengths.astype(np.int64)
    to = sizes.cumsum()
    found = np.empty(int(to[-1]) if to.size else 0, np.uint8)
    to -= sizes
    left = sizes.nonzero()[0]
    for width in _WIDTHS:
        if not left.size:
            break
        fits = sizes[left] >= width
        rows = left[fits]
        left = left[~fits]
        if rows.size:
            _copy(windows(text, width), windows(found, width), begins[rows], to[rows], sizes[rows])
    return found


def _copy(source: _Windows, target: _Windows, begins: _Ints, to: _Ints, sizes: _Ints) -> None:
    """Copy what fills a window or more. The last one of each overlaps the one before, with the same bytes."""
    width = source.itemsize
    count = (sizes + (width - 1)) // width
    last = count.cumsum()
    at = np.arange(0, int(last[-1]) * width, width)
    at += (begins - (last - count) * width).repeat(count)
    at[last - 1] = begins + sizes - width
    target[at - (begins - to).repeat(count)] = source[at]


def windows(text: _Bytes, width: int) -> _Windows:
    """Overlapping items of ``width`` opaque bytes, one beginning at every byte: numpy copies each with one memcpy.

    ``text`` is contiguous and has at least ``width`` bytes.
    """
    return np.ndarray((text.size - width + 1,), f"V{width}", text, strides=(1,))
