"""A store into a directory.

The rows of each day go into files of bounded size. The manifest names a file once it is durable; whatever is killed,
the next export goes on from there. Where a day has changed since, all of it is written anew, beside the files it had,
which go when everything is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import MovingError, StoreError
from aggregator.logql.compiler.statement import Parameters
from aggregator.moving.manifest import File, Manifest
from aggregator.moving.place import Place, digest, write_into
from aggregator.moving.told import Exported
from aggregator.store import contents, migrations, parquet, parts, schema
from aggregator.store.contents import KINDS, POSITIONS, RECORDS, Column, Content, Kind, Sum
from aggregator.store.embedded import Embedded
from aggregator.store.ranges import Range, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Show = Callable[[str, int, int], None]

# What was written before there was no space left for more is a little less than there was.
_FULL_BYTES: Final = 1 << 20
_DELETING: Final = "waiting until what is being deleted is gone"


class _Task(msgspec.Struct, frozen=True):
    """The rows of one kind and day; ``content``: what they are, for the manifest."""

    kind: Kind
    found: Content
    content: str


async def export(url: str, directory: Path, file_bytes: int, show: Show) -> Exported:
    """Export the store at ``url``, which no other process has, into ``directory``.

    ``file_bytes``: of a file's rows before compression. ``show`` is told what is being done, how much of it is, and of
    how much. Raises `StoreError`, `MovingError`, OSError.
    """
    async with Embedded.start(url, connections=2, make=False) as engine:
        with write_into(directory) as place:
            await schema.create(engine)
            await migrations.migrate(engine)
            await contents.settle(engine, lambda count: show(_DELETING, 0, count))
            await contents.freeze(engine)
            return await _Export(engine, place, engine.identity, file_bytes, show).run()


class _Export:
    """One run. Owns nothing."""

    def __init__(self, engine: Embedded, place: Place, store: str, file_bytes: int, show: Show) -> None:
        self._engine = engine
        self._place = place
        self._store = store
        self._file_bytes = file_bytes
        self._show = show

    async def run(self) -> Exported:
        before = self._place.read()
        if before is not None and before.store != self._store:
            raise MovingError(f"{self._place.path} has the export of another store; name another directory")
        columns = {kind.name: await contents.columns(self._engine, kind) for kind in KINDS}
        tasks = await self._tasks(columns)
        kept = await asyncio.to_thread(self._kept, before, tasks)
        await self._check_space(tasks, kept)
        manifest = Manifest.new(self._store, columns, kept.values())
        await asyncio.to_thread(self._place.save, manifest)
        written = 0
        total = sum(task.found.rows for task in tasks)
        done = 0
        for task in tasks:
            ranges = await self._ranges(task)
            before_it = done
            for number, each in enumerate(ranges, 1):
                file = kept.get((task.content, number))
                if file is None:
                    file = await self._write(task, each, number, len(ranges), columns[task.kind.name])
                    manifest = msgspec.structs.replace(manifest, files=(*manifest.files, file))
                    await asyncio.to_thread(self._place.save, manifest)
                    written += 1
                done += file.rows
                self._show("exporting", done, total)
            if done - before_it != task.found.rows:
                raise MovingError(
                    f"{_name(task)}: its files have {done - before_it:,} rows, and it has {task.found.rows:,}; this is "
                    "a bug of logboom: please report it"
                )
        manifest = msgspec.structs.replace(manifest, finished=True)
        await asyncio.to_thread(self._place.save, manifest)
        await asyncio.to_thread(self._place.clear, [file.name for file in manifest.files])
        aside = len(await parts.set_aside(self._engine))
        return Exported(
            directory=str(self._place.path),
            days=len(manifest.days(RECORDS.name)),
            rows=sum(file.rows for file in manifest.of(RECORDS.name)),
            bytes=sum(file.bytes for file in manifest.files),
            written=written,
            kept=len(kept),
            set_aside=aside,
        )

    async def _tasks(self, columns: Mapping[str, tuple[Column, ...]]) -> list[_Task]:
        """What there is to export. Looks at what marks every row."""
        tasks = []
        records: list[Content] = []
        for kind in KINDS:
            found = await contents.look(self._engine, kind) if kind is not POSITIONS else []
            if kind is RECORDS:
                records = found
            elif kind is POSITIONS and records:
                all_of_them = await contents.summed(self._engine, kind.source, [kind.order])
                found = [contents.together(kind, records, all_of_them.rows)]
            # Whatever else the files depend on counts as well.
            how = msgspec.json.encode((schema.VERSION, columns[kind.name], self._file_bytes))
            for each in found:
                content = hashlib.sha256(how + msgspec.json.encode(each)).hexdigest()[:16]
                tasks.append(_Task(kind, each, content))
        return tasks

    def _kept(self, before: Manifest | None, tasks: list[_Task]) -> dict[tuple[str, int], File]:
        """The files of an export before this one that are what this one would write, by content and number."""
        wanted = {task.content for task in tasks}
        files = [file for file in before.files if file.content in wanted] if before is not None else []
        total = sum(file.bytes for file in files)
        done = 0

        def tell(read: int) -> None:
            nonlocal done
            done += read
            self._show("checking what is there", done, total)

        return {(file.content, file.number): file for file in files if not self._place.is_whole(file, tell)}

    async def _check_space(self, tasks: list[_Task], kept: Mapping[tuple[str, int], File]) -> None:
        """Refuse to begin what will hardly fit. The store's own size says about how large the files become."""
        sizes = await contents.sizes(self._engine)
        there: dict[str, int] = {}
        for file in kept.values():
            there[file.content] = there.get(file.content, 0) + file.bytes
        needed = sum(
            max(0, sizes.get((task.found.kind, task.found.day), 0) - there.get(task.content, 0)) for task in tasks
        )
        free = self._place.free_bytes()
        if needed > free:
            raise MovingError(
                f"the export needs about {needed >> 20:,} MiB more, and {self._place.path} has {free >> 20:,} MiB "
                "left: make room, or name a directory on another disk"
            )

    async def _ranges(self, task: _Task) -> list[Range | None]:
        if task.kind is not RECORDS:
            return [None]
        return [*await cut(self._engine, task.found.day, self._file_bytes)]

    async def _read_back(self, columns: tuple[Column, ...], file: int) -> Sum:
        try:
            return await parquet.read_back(self._engine, columns, file)
        except StoreError:
            self._refuse_full()
            raise

    def _refuse_full(self) -> None:
        """Raise `MovingError` if there is no space left, which the engine (chdb-core 26.9) does not say."""
        if self._place.free_bytes() < _FULL_BYTES:
            raise MovingError(
                f"no space is left in {self._place.path}: make room, and export again; it goes on where it was"
            )

    async def _write(self, task: _Task, part: Range | None, number: int, of: int, columns: tuple[Column, ...]) -> File:
        parameters = Parameters()
        where = part.condition(parameters) if part is not None else task.kind.of_day(task.found.day)
        rows = parquet.Rows(task.kind, columns, where, parameters.values)
        name = "-".join(filter(None, (task.kind.name, task.found.day, task.content, f"{number:05}"))) + ".parquet"
        with self._place.writing(name) as file:
            try:
                stored = await parquet.write(self._engine, rows, file)
                os.fsync(file)
                read = await self._read_back(columns, file)
            except StoreError as error:
                raise StoreError(f"{_name(task)} could not be exported: {error}", error.code) from error
            if read != stored:
                self._refuse_full()
                raise MovingError(f"{self._place.path / name} does not give back what was written: check the disk")
            checksum = await asyncio.to_thread(digest, file, lambda _: None)
            size = os.fstat(file).st_size
            times = await parquet.times(self._engine, rows) if task.kind is RECORDS else (0, 0)
        return File(
            name=name,
            kind=task.kind.name,
            day=task.found.day,
            content=task.content,
            number=number,
            of=of,
            rows=stored.rows,
            bytes=size,
            sha256=checksum,
            hashes=str(stored.hashes),
            first_ns=times[0],
            last_ns=times[1],
        )


def _name(task: _Task) -> str:
    return f"{task.kind.name} of {task.found.day}".removesuffix(" of ")
