r"""The order of inserts into a store that several aggregators write to at once.

The inserts of one day into one shard are a *chain*. Each brings a row of its own, its *link*: a marker whose source is
the chain's name, whose position is the insert's number, counted up from 1, and whose body is a random mark. The number
is also the insert's slot (`aggregator.store.engine.Slot`), so there is one insert of each number, whoever makes it; the
mark says whose it was. Who has read all links up to a number knows where every source of the chain stood then, and
nothing gets between that and the next number. docs/cluster.md says what follows.

The name of a chain is 16 bytes: ``\0\0chain\0``, the shard and the day since 1970-01-01, both little-endian int32.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa

from aggregator.errors import StoreBehindError
from aggregator.store import columns
from aggregator.store.engine import Limits, Slot
from aggregator.store.schema import LINK_STREAM, LOGS, MARKER_NAMESPACE
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggregator.store.engine import Engine

_NAME: Final = struct.Struct("<8sii")
MARK_BYTES: Final = 16
# Sources in one look-up, 40 bytes of statement each; the names of chains are in each.
_LOOKUP_MAX: Final = 5_000
# A look-up decides whether lines are stored twice: it may take long before it may fail.
_LIMITS: Final = Limits(time_s=120.0)


class Chain(msgspec.Struct, frozen=True):
    """The inserts of one ``day`` (since 1970-01-01) into one ``shard`` (from 1; 0 where there are none)."""

    shard: int
    day: int

    @property
    def name(self) -> bytes:
        """16 bytes, no source's: those are hashes."""
        return _NAME.pack(b"\0\0chain\0", self.shard, self.day)

    def slot(self, number: int) -> Slot:
        """Where the insert of this number goes; there is one of it."""
        return Slot(f"{self.shard}/{self.day}/{number}", self.shard)


class Standing(msgspec.Struct, frozen=True):
    """What one look into the store found: ``positions`` of sources, and ``heads``, the last number of each chain.

    The positions have everything that the chains have up to those numbers.
    """

    positions: dict[bytes, int]
    heads: dict[Chain, int]


class _Row(msgspec.Struct):
    source_hex: str
    reached: int
    held: int


class _Mark(msgspec.Struct):
    mark: str


async def stand(engine: Engine, sources: Sequence[bytes], chains: Sequence[Chain]) -> Standing:
    """Where ``sources`` and ``chains`` stand.

    One statement reads a shard as it is at one moment on one replica. Parts come to a replica in any order, so what it
    has of a chain may have holes: then the positions lack something. Raises `StoreBehindError`.
    """
    positions: dict[bytes, int] = {}
    heads: dict[Chain, int] = {}
    names = {chain.name: chain for chain in chains}
    for first in range(0, max(1, len(sources)), _LOOKUP_MAX):
        asked = [*names, *sources[first : first + _LOOKUP_MAX]]
        found = {bytes.fromhex(row.source_hex): row for row in await _rows(engine, asked)}
        for name, chain in names.items():
            row = found.get(name)
            if row is not None and row.held != row.reached:
                raise StoreBehindError(
                    f"of {row.reached} inserts of day {chain.day} into shard {chain.shard} a replica has {row.held}; "
                    "it is behind, or parts of it were lost"
                )
            number = row.reached if row is not None else 0
            # Another statement may have met another replica: what both have is what counts.
            heads[chain] = min(heads.get(chain, number), number)
        positions |= {source: found[source].reached if source in found else 0 for source in asked[len(names) :]}
    return Standing(positions, heads)


async def _rows(engine: Engine, asked: Sequence[bytes]) -> list[_Row]:
    return await engine.rows(
        "SELECT lower(hex(reinterpretAsFixedString(source))) AS source_hex, max(position) AS reached, "  # noqa: S608 - a table name
        f"toUInt64(count()) AS held FROM {LOGS} WHERE source IN {{sources:Array(UInt128)}} GROUP BY source",
        _Row,
        {"sources": [int.from_bytes(source, "little") for source in asked]},
        _LIMITS,
    )


async def marks(engine: Engine, chain: Chain, number: int) -> set[bytes]:
    """The marks of the insert of this number: one, none if it is not to be seen, more if a slot was forgotten."""
    rows = await engine.rows(
        f"SELECT DISTINCT hex(body) AS mark FROM {LOGS} WHERE namespace = '\\0' "  # noqa: S608 - a table name
        "AND stream_id = {stream:UInt64} AND ts = fromUnixTimestamp64Nano({ts:Int64}, 'UTC') "
        "AND position = {number:UInt64} AND source = {source:UInt128}",
        _Mark,
        {
            "stream": LINK_STREAM,
            "ts": chain.day * DAY_NS,
            "number": number,
            "source": str(int.from_bytes(chain.name, "little")),
        },
        _LIMITS,
    )
    return {bytes.fromhex(row.mark) for row in rows}


def linked(rows: pa.RecordBatch, chain: Chain, number: int, mark: bytes) -> pa.RecordBatch:
    """``rows`` of ``logs``, as `aggregator.ingest.plan` makes them, and behind them the link of their insert.

    The links of a chain stand for one byte each, so that they are without holes like any source's rows.
    """
    link = {
        "namespace": pa.array([MARKER_NAMESPACE], pa.string()),
        "stream_id": columns.fixed(np.array([LINK_STREAM], np.uint64), pa.uint64()),
        "ts": columns.fixed(np.array([chain.day * DAY_NS], np.int64), pa.timestamp("ns", "UTC")),
        "source": pa.array([chain.name], pa.binary(len(chain.name))),
        "position": columns.fixed(np.array([number], np.uint64), pa.uint64()),
        "flags": columns.fixed(np.zeros(1, np.uint8), pa.uint8()),
        "body": pa.array([mark], pa.binary()),
        "framing": columns.fixed(np.array([1 - len(mark)], np.int64), pa.int64()),
    }
    arrays = []
    for name, last in link.items():
        column = rows.column(name)
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        arrays.append(pa.concat_arrays([column, last]))
    return pa.RecordBatch.from_arrays(arrays, names=list(link))
