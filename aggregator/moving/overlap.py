"""Which rows a store lacks that has some of them, or has had the same log files from agents.

A log file's rows enter a store in the order of the file, so what a store has of it, has no hole: it lacks what is
behind its last row, and what ends before its first one, if anything. In between it has everything, be it that an agent
joined lines another way; or had it and deleted it, which an import does not undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aggregator.store.arrivals import Stand, bytes_of, keys_of, numbers_of, sources_of
from aggregator.store.columns import mask
from aggregator.store.ranges import Key
from aggregator.store.schema import MARKER_NAMESPACE

if TYPE_CHECKING:
    import numpy.typing as npt

_MARKER: Final = MARKER_NAMESPACE.encode()


def lacking(rows: pa.RecordBatch, stand: Stand) -> pa.RecordBatch:
    """Those of ``rows`` that are outside of what a store has, whose log files stood at ``stand``."""
    if not len(stand.sources):
        return rows
    found, place = stand.find(sources_of(rows))
    positions = numbers_of(rows, "position")
    return _only(rows, ~found | (positions <= stand.begun[place]) | (positions > stand.reached[place]))


def absent(rows: pa.RecordBatch, present: npt.NDArray[np.bytes_]) -> pa.RecordBatch:
    """Those of ``rows`` that are not among those ``present`` (see `arrivals.keys_of`)."""
    if not len(present):
        return rows
    markers = bytes_of(pc.equal(rows.column("namespace"), pa.scalar(_MARKER, pa.binary())).cast(pa.uint8()))
    return _only(rows, ~np.isin(keys_of(rows, markers), present))


def edges(rows: pa.RecordBatch) -> tuple[Key, Key]:
    """The keys of the first and the last of ``rows``, which are sorted."""
    times = rows.column("ts").cast(pa.int64())
    first, last = (
        Key(rows.column("namespace")[at].as_py().decode(), rows.column("stream_id")[at].as_py(), times[at].as_py())
        for at in (0, rows.num_rows - 1)
    )
    return first, last


def _only(rows: pa.RecordBatch, chosen: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    return rows if chosen.all() else rows.filter(mask(chosen))
