"""Storing a group of batches in a store that other aggregators write to as well.

Each group begins with a look at where its sources and chains stand, and each insert is the next of its chain
(`aggregator.store.chains`): if somebody else's came first, the store drops ours, and the group is planned again from
another look. docs/cluster.md says why that is enough. What is remembered from group to group decides nothing that is
stored (`Passed`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from aggregator.errors import StoreBehindError, StoreBusyError, StoreError, StoreUnreachableError
from aggregator.ingest.plan import plan
from aggregator.ingest.storing import Storing
from aggregator.store.chains import MARK_BYTES, Chain, linked, marks, stand
from aggregator.store.schema import LOGS
from aggregator.store.terms import Kept
from service.logs import fields
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from aggregator.ingest.plan import Insert, Plan
    from wire.batch import Batch, Chunk

_log = logging.getLogger(__name__)

# Looks at one group. A replica may be behind for a moment; of several aggregators that want the same number one gets it
# each time. Who meets that so often waits for the agents to send again.
_LOOKS_MAX: Final = 8
_WAIT_S: Final = 0.05
# How long an insert that the store took may be unseen on the replica that is asked.
_SEEN_S: Final = 10.0
# Sources that are remembered, some 200 bytes each: every live file of a large cluster that has rules.
_PASSED_MAX: Final = 100_000


class Passed:
    """How far sources have come beyond their last stored row, because what follows it was dropped by rules or age.

    Without it an agent would be sent back to that row by its next batch, over and over. It is good as long as the
    store stands at that row: whatever another aggregator stored behind it counts for more.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def beyond(self, positions: Mapping[bytes, int]) -> dict[bytes, int]:
        """Where those sources have come to that have passed over something behind ``positions``."""
        known = ((source, stood, self._known.get(source)) for source, stood in positions.items())
        return {source: passed[1] for source, stood, passed in known if passed is not None and passed[0] == stood}

    def remember(self, planned: Plan) -> None:
        """Take over how far the sources of a stored group have come."""
        for source, reached in planned.reached.items():
            self._known.pop(source, None)
            if source in planned.behind:
                self._known[source] = (planned.behind[source], reached)
        while len(self._known) > _PASSED_MAX:
            self._known.popitem(last=False)


class Sharing(Storing):
    """Takes numbers in chains. Used for one group at a time."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._passed = Passed()

    async def store(self, batches: Sequence[Batch]) -> Plan:
        """As `Storing.store`."""
        sources = list(dict.fromkeys(chunk.source for batch in batches for chunk in batch.chunks))
        rows = size = 0
        failure: StoreError = StoreBusyError(f"other aggregators were first {_LOOKS_MAX} times")
        for look in range(_LOOKS_MAX):
            if look:
                await asyncio.sleep(random.uniform(0, _WAIT_S * look))  # noqa: S311 - to come apart from others
            now_s = self._clock()
            try:
                standing = await stand(self._engine, sources, _chains(batches, self._shards, int(now_s)))
            except StoreBehindError as error:
                failure = error
                continue
            kept = Kept(self._terms, now_s, self._floor.at_ns)
            beyond = self._passed.beyond(standing.positions)
            planned = await asyncio.to_thread(
                plan,
                batches,
                {**standing.positions, **beyond},
                self._pods,
                kept,
                int(now_s * 1e9),
                behind={source: standing.positions[source] for source in beyond},
                shard_of=self._shard,
            )
            stored = await self._inserted(planned.inserts, standing.heads)
            if stored == len(planned.inserts):
                self._passed.remember(planned)
                return msgspec.structs.replace(
                    planned, rows_new=planned.rows_new + rows, bytes_new=planned.bytes_new + size
                )
            self._metrics.conflicts.inc()
            rows += sum(insert.rows.num_rows for insert in planned.inserts[:stored])
            size += sum(insert.rows.column("body").nbytes for insert in planned.inserts[:stored])
        raise failure

    @property
    def _shards(self) -> int:
        return self._engine.layout.shards

    def _shard(self, chunk: Chunk) -> int:
        return shard_of(chunk, self._shards)

    async def _inserted(self, inserts: Sequence[Insert], heads: dict[Chain, int]) -> int:
        """How many of ``inserts``, from the first, are stored, until somebody else's was."""
        for count, insert in enumerate(inserts):
            await self._streams.write(insert.day, insert.streams)
            chain = Chain(insert.shard, insert.day)
            number = heads[chain] = heads[chain] + 1
            mark = os.urandom(MARK_BYTES)
            rows = self._commits.stamp(linked(insert.rows, chain, number, mark), self._clock())
            await self._insert(rows, chain, number)
            if not await self._is_ours(chain, number, mark):
                return count
            self._metrics.inserts.inc()
        return len(inserts)

    async def _insert(self, rows: pa.RecordBatch, chain: Chain, number: int) -> None:
        """Have the store take ``rows``, or drop them because the number is taken."""
        try:
            await self._engine.insert(LOGS, rows, chain.slot(number))
        except StoreUnreachableError as error:
            # It may have been stored. Once more, to the letter: the slot keeps one of the two.
            _log.info("an insert is tried again", extra=fields(reason=error, shard=chain.shard, day=chain.day))
            await self._engine.insert(LOGS, rows, chain.slot(number))

    async def _is_ours(self, chain: Chain, number: int, mark: bytes) -> bool:
        """Whether the insert of this number has ``mark``. Raises `StoreUnreachableError` if none is seen."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _SEEN_S
        wait_s = 0.01
        while not (found := await marks(self._engine, chain, number)):
            if loop.time() > until:
                raise StoreUnreachableError(
                    f"insert {number} of day {chain.day} into shard {chain.shard} was taken and is not seen; "
                    "replicas are behind, or it was lost"
                )
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, 0.5)
        if len(found) > 1:
            _log.error(
                "two inserts have one number: the servers forgot a slot too soon, and lines may be stored twice",
                extra=fields(shard=chain.shard, day=chain.day, number=number),
            )
        return mark in found


def shard_of(chunk: Chunk, shards: int) -> int:
    """The shard that a chunk's source lives on, from 1; 0 where there are none.

    All of a pod is on one: chunks of two files of a container may have to be stored as one.
    """
    if not shards:
        return 0
    key = chunk.uid.encode() or chunk.source
    return 1 + int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") % shards


def _chains(batches: Sequence[Batch], shards: int, now_s: int) -> list[Chain]:
    """Every chain that the rows of ``batches`` may go into; markers without records are of today."""
    days = {now_s * 10**9 // DAY_NS}
    for batch in batches:
        days.update(np.unique(batch.times // DAY_NS).tolist())
    numbers = {shard_of(chunk, shards) for batch in batches for chunk in batch.chunks}
    return [Chain(shard, day) for shard in sorted(numbers) for day in sorted(days)]
