"""A directory into a store.

Rows are read some at a time and inserted, each insert of one day, all of it or nothing. What the store had before is
noted in it first (`aggregator.store.arrivals`); whatever is killed, the next import brings the same rows, but those
that are there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aggregator.errors import MovingError, StoreBusyError, StoreFullError
from aggregator.moving import verifying
from aggregator.moving.overlap import absent, edges, lacking
from aggregator.moving.place import read_from
from aggregator.moving.told import Imported
from aggregator.store import arrivals, contents, migrations, schema
from aggregator.store.arrivals import Begun, Stand
from aggregator.store.columns import mask
from aggregator.store.contents import ASKED, FLOOR, LABELS, PODS_SEEN, POSITIONS, RECORDS, Sum
from aggregator.store.deletions import Deletion, Deletions, State
from aggregator.store.embedded import Embedded
from aggregator.store.schema import FLOORS, LOGS, PODS, STREAMS
from service.memory import limit_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from aggregator.moving.manifest import File, Manifest
    from aggregator.moving.place import Place

    Show = Callable[[str, int, int], None]

# As large as a group of the committer: inserts hardly become cheaper above it. It is held a few times meanwhile, so it
# is a share of the memory where there is less than 1 GiB.
INSERT_BYTES: Final = 32 << 20
_INSERT_SHARE: Final = 32
INSERT_ROWS: Final = 1 << 18
# While merges catch up with the inserts.
_BUSY_S: Final = 1.0
_BUSY_TRIES: Final = 600
_DAMAGED_SHOWN: Final = 20
_DELETING: Final = "waiting until what is being deleted is gone"


async def bring(url: str, directory: Path, show: Show, *, merge: bool = False) -> Imported:
    """Import the export in ``directory`` into the store at ``url``, made if there is none, that nobody else has.

    ``merge``: also into one that has records of the same log files: of each what it lacks. ``show`` is told what is
    being done, how much of it is, and of how much. Raises `StoreError`, `MovingError`, OSError.
    """
    with read_from(directory) as (place, manifest):
        if manifest.schema > schema.VERSION:
            raise MovingError(
                f"the export in {directory} is of a newer logboom (schema {manifest.schema}, this one knows up to "
                f"{schema.VERSION}); run that version"
            )
        await asyncio.to_thread(_refuse_damaged, place, manifest, show)
        async with Embedded.start(url, connections=2) as engine:
            try:
                return await _Import(engine, url, place, manifest, show, merge=merge).run()
            except StoreFullError as error:
                raise MovingError(
                    "the store's disk is full, but for its reserve: make room, and import again; it goes on where it "
                    "was"
                ) from error


def _refuse_damaged(place: Place, manifest: Manifest, show: Show) -> None:
    total = sum(file.bytes for file in manifest.files)
    done = 0

    def tell(read: int) -> None:
        nonlocal done
        done += read
        show("checking files", done, total)

    verdicts = ((file.name, place.is_whole(file, tell)) for file in manifest.files)
    damaged = [f"{place.path / name}: {verdict}" for name, verdict in verdicts if verdict]
    if damaged:
        more = f"\nand {len(damaged) - _DAMAGED_SHOWN:,} more" if len(damaged) > _DAMAGED_SHOWN else ""
        told = "\n".join(damaged[:_DAMAGED_SHOWN])
        raise MovingError(
            f"{len(damaged):,} files are not what was exported; nothing was imported. Export again: only these are "
            f"written, where the store is still there\n{told}{more}"
        )


class _Import:
    """One run. Owns nothing."""

    def __init__(
        self, engine: Embedded, url: str, place: Place, manifest: Manifest, show: Show, *, merge: bool
    ) -> None:
        self._engine = engine
        self._url = url
        self._place = place
        self._manifest = manifest
        self._show = show
        self._merge = merge
        self._is_resumed = False
        self._insert_bytes = min(INSERT_BYTES, limit_bytes() // _INSERT_SHARE)

    async def run(self) -> Imported:
        for create in (schema.create, migrations.migrate, arrivals.create):
            await create(self._engine)
        await contents.settle(self._engine, lambda count: self._show(_DELETING, 0, count))
        begun, stand = await self._begin()
        await self._bring_pods_and_floor()
        await self._bring_labels()
        brought = await self._bring_records(stand)
        queued = await self._bring_deletions(has_had_records=len(stand.sources) > 0)
        self._show("verifying", 0, 1)
        days = await verifying.days(self._engine, self._manifest, begun, brought)
        for file in self._manifest.of(LABELS.name):
            wanted = np.concatenate([arrivals.numbers_of(rows, "stream_id") for rows in self._read(file)])
            await verifying.labels(self._engine, file.day, wanted)
        files = await verifying.positions(self._engine, *self._positions())
        self._show("verifying", 1, 1)
        await arrivals.change(self._engine, msgspec.structs.replace(begun, is_over=True))
        return Imported(self._url, tuple(days), files, queued)

    async def _begin(self) -> tuple[Begun, Stand]:
        """Note what there is before anything is brought; or learn what there was, in a run that was ended."""
        known = await arrivals.read(self._engine)
        wanted = list(self._manifest.days(RECORDS.name))
        names = self._manifest.names(RECORDS.name)
        if known is not None and not known[0].is_over:
            begun, stand = known
            if begun.store != self._manifest.store:
                raise MovingError(
                    "an import of another store's export was begun and is not finished: finish that first, or take an "
                    "empty store"
                )
            self._is_resumed = True
            # The export may have got days since.
            fresh = [day for day in wanted if day not in begun.days]
            if fresh:
                found = await arrivals.days(self._engine, fresh, names)
                begun = await arrivals.change(
                    self._engine, msgspec.structs.replace(begun, days={**begun.days, **found})
                )
            return begun, stand
        stand = (await arrivals.stand(self._engine)).only(self._positions()[0])
        if len(stand.sources) and not self._merge:
            raise MovingError(
                f"the store has records of {len(stand.sources):,} of the export's log files already. If they came from "
                "agents, or from an import of this directory before, import what it lacks of each with --merge; "
                "else name an empty store"
            )
        await self._check_space()
        begun = Begun(self._manifest.store, await arrivals.days(self._engine, wanted, names))
        await arrivals.begin(self._engine, begun, stand)
        return begun, stand

    async def _check_space(self) -> None:
        """Refuse to begin what will hardly fit: files take about as much in the store."""
        needed = sum(file.bytes for file in self._manifest.files) if not self._merge else 0
        free = await self._engine.free_bytes()
        if needed > free:
            raise MovingError(
                f"the import needs about {needed >> 20:,} MiB, and the store's disk has {free >> 20:,} MiB left: "
                "make room, or name a store on another disk"
            )

    def _positions(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.uint64]]:
        """Every log file of the export, and where it stood."""
        batches = [rows for file in self._manifest.of(POSITIONS.name) for rows in self._read(file)]
        sources = [np.zeros(0, arrivals.SOURCE), *(arrivals.sources_of(rows) for rows in batches)]
        reached = [np.zeros(0, np.uint64), *(arrivals.numbers_of(rows, "position") for rows in batches)]
        return np.concatenate(sources), np.concatenate(reached)

    async def _bring_pods_and_floor(self) -> None:
        """What is the same however often it is inserted."""
        for kind, table in ((PODS_SEEN, PODS), (FLOOR, FLOORS)):
            for file in self._manifest.of(kind.name):
                for rows in self._read(file):
                    await self._engine.insert(table, rows)

    async def _bring_labels(self) -> None:
        for file in self._manifest.of(LABELS.name):
            known = await arrivals.labelled(self._engine, file.day)
            for rows in self._read(file):
                fresh = ~np.isin(arrivals.numbers_of(rows, "stream_id"), known)
                if fresh.any():
                    await self._engine.insert(STREAMS, rows.filter(mask(fresh)))

    async def _bring_records(self, stand: Stand) -> dict[str, Sum]:
        """Insert every row that the store lacks; the sums of those that it lacked before the import began, by day."""
        files = self._manifest.of(RECORDS.name)
        total = sum(file.rows for file in files)
        done = 0
        brought: dict[str, Sum] = {}
        for file in files:
            everything = Sum()
            kept = 0
            units = self._read(file)
            while (rows := await asyncio.to_thread(next, units, None)) is not None:
                wanted = await asyncio.to_thread(lacking, rows, stand)
                if wanted.num_rows:
                    everything += await self._sum(wanted)
                    await self._insert(file.day, wanted)
                kept += rows.num_rows - wanted.num_rows
                done += rows.num_rows
                self._show("importing", done, total)
            if everything.rows + kept != file.rows or (not kept and everything != file.sum):
                raise MovingError(f"{self._place.path / file.name}: its rows are not those that were exported")
            brought[file.day] = brought.get(file.day, Sum()) + everything
        return brought

    async def _sum(self, rows: pa.RecordBatch) -> Sum:
        async with self._engine.inserted(LOGS, rows) as place:
            return await contents.summed(self._engine, place, self._manifest.names(RECORDS.name))

    async def _insert(self, day: str, rows: pa.RecordBatch) -> None:
        """Insert those of ``rows`` that are not there. Raises `StoreError`."""
        is_doubtful = self._is_resumed
        for tries in range(_BUSY_TRIES):
            if is_doubtful:
                rows = absent(rows, await arrivals.present(self._engine, day, *edges(rows)))
                if not rows.num_rows:
                    return
            try:
                await self._engine.insert(LOGS, rows)
            except StoreBusyError:
                if tries + 1 == _BUSY_TRIES:
                    raise
                is_doubtful = True  # it may be in the store all the same
                await asyncio.sleep(_BUSY_S)
            else:
                return

    async def _bring_deletions(self, *, has_had_records: bool) -> int:
        """What was asked to be deleted, as far as the store does not know of it; how many are to be done again.

        Of a store that was exported after a deletion, its records are not in the export; a store that got them from an
        export, or from agents, before that, has them still.
        """
        known = {job.id for job in (await Deletions.read(self._engine)).all()}
        queued = 0
        for file in self._manifest.of(ASKED.name):
            for rows in self._read(file):
                for document in rows.column("document").to_pylist():
                    job = msgspec.json.decode(document, type=Deletion)
                    if job.id in known:
                        continue
                    if has_had_records and job.state is not State.CANCELLED:
                        job = again(job)
                        queued += 1
                    # The parts that it is waiting for to go are those of the other store.
                    job = msgspec.structs.replace(job, parts=())
                    await Deletions(self._engine, [job]).keep(job)
        return queued

    def _read(self, file: File) -> Iterator[pa.RecordBatch]:
        """The rows of a file, in order, as many as are inserted at once. Raises `MovingError`."""
        path = self._place.path / file.name
        try:
            with pq.ParquetFile(path) as opened:
                held: list[pa.Table] = []
                for group in range(opened.num_row_groups):
                    held.append(opened.read_row_group(group, use_threads=False))
                    is_last = group + 1 == opened.num_row_groups
                    rows, size = sum(each.num_rows for each in held), sum(each.nbytes for each in held)
                    if rows and (is_last or rows >= INSERT_ROWS or size >= self._insert_bytes):
                        yield pa.concat_tables(held).combine_chunks().to_batches()[0]
                        held = []
        except pa.ArrowException as error:
            raise MovingError(f"{path} cannot be read: {error}") from error


def again(job: Deletion) -> Deletion:
    """``job``, to be done from its beginning."""
    return Deletion(job.id, job.query, job.start_ns, job.end_ns, job.requested_ms, version=job.version + 1)
