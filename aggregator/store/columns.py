"""Numpy arrays and strings as Arrow columns.

Columns are made from buffers throughout: `pyarrow.array` would import pandas, 40 MB that nothing here needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def fixed(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Values of a fixed width, copied nowhere. ``values``: any contiguous array whose items have ``kind``'s width."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def mask(values: npt.NDArray[np.bool_]) -> pa.Array:
    """Truth values, packed into bits."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])


def variable(lengths: npt.NDArray[np.integer[Any]], body: bytes, kind: pa.DataType) -> pa.Array:
    """Byte strings that stand one after another in ``body``, under 2 GiB in all."""
    buffers = [None, pa.py_buffer(_offsets(lengths)), pa.py_buffer(body)]
    return pa.Array.from_buffers(kind, len(lengths), buffers)


def strings(values: Sequence[str]) -> pa.Array:
    """Python strings as UTF-8."""
    encoded = [value.encode() for value in values]
    return variable(np.array([len(value) for value in encoded], np.int64), b"".join(encoded), pa.string())


def maps(values: Sequence[Mapping[str, str]]) -> pa.Array:
    """Mappings of strings to strings."""
    kind = pa.map_(pa.string(), pa.string())
    children = [
        strings([key for value in values for key in value]),
        strings([item for value in values for item in value.values()]),
    ]
    entries = pa.Array.from_buffers(kind.field(0).type, len(children[0]), [None], children=children)
    offsets = _offsets(np.array([len(value) for value in values], np.int64))
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(offsets)], children=[entries])


def _offsets(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:], dtype=np.int32)
    return offsets
