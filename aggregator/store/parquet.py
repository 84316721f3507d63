"""Rows of the store into Parquet files, which the embedded engine writes and reads itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.statement import Value
from aggregator.store.contents import LIMITS, Column, Kind, Sum, summed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from aggregator.store.engine import Engine

# Rows that are read at once by whoever reads the file, and their bytes before compression: a fraction of what a small
# container has.
GROUP_ROWS: Final = 1 << 16
GROUP_BYTES: Final = 16 << 20
# Bodies need not be UTF-8, so they are no strings to Parquet. One thread encodes: it needs a group's memory once.
_SETTINGS: Final = (
    f"output_format_parquet_row_group_size = {GROUP_ROWS}, "
    f"output_format_parquet_row_group_size_bytes = {GROUP_BYTES}, "
    "output_format_parquet_string_as_string = 0, output_format_parquet_compression_method = 'zstd', "
    "output_format_parquet_parallel_encoding = 0, engine_file_truncate_on_insert = 1, max_threads = 2, "
    f"max_insert_threads = 1, max_block_size = 8192, max_bytes_before_external_sort = {LIMITS.memory_bytes // 4}"
)


class Rows(msgspec.Struct, frozen=True):
    """Which rows go into a file: those of ``kind`` for which ``where`` holds, with all ``columns``.

    ``values``: of the condition's parameters.
    """

    kind: Kind
    columns: tuple[Column, ...]
    where: str
    values: dict[str, Value]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]


class _Times(msgspec.Struct):
    first_ns: int
    last_ns: int


async def write(engine: Engine, rows: Rows, file: int) -> Sum:
    """Write ``rows``, sorted, into the open ``file`` (a descriptor), and read them again; their sum in the store.

    Raises `StoreError`, also where the file does not give back what the store has.
    """
    place = f"/proc/self/fd/{file}"  # as it is: in the engine's paths some characters stand for others
    names = ", ".join(rows.names)
    await _to_its_end(
        engine.execute(
            f"INSERT INTO FUNCTION file('{place}', 'Parquet') SELECT {names} FROM {rows.kind.source} "  # noqa: S608 - own words
            f"WHERE {rows.where} ORDER BY {rows.kind.order} SETTINGS {_SETTINGS}",
            rows.values,
        )
    )
    return await summed(engine, rows.kind.source, rows.names, rows.where, rows.values)


async def _to_its_end(writing: Coroutine[None, None, None]) -> None:
    """Wait for ``writing`` also when cancelled: closed too soon, its descriptor might become that of another file."""
    call = asyncio.ensure_future(writing)
    try:
        await asyncio.shield(call)
    finally:
        await asyncio.wait([call])


async def read_back(engine: Engine, columns: Sequence[Column], file: int) -> Sum:
    """The sum of what is in the open ``file``. Raises `StoreError`."""
    types = ", ".join(f"{column.name} {column.type}" for column in columns)
    quoted = types.replace("\\", "\\\\").replace("'", "\\'")
    return await summed(
        engine, f"file('/proc/self/fd/{file}', 'Parquet', '{quoted}')", [column.name for column in columns]
    )


async def times(engine: Engine, rows: Rows) -> tuple[int, int]:
    """The times of the oldest and the newest of ``rows``, which are records. Raises `StoreError`."""
    (found,) = await engine.rows(
        "SELECT toUnixTimestamp64Nano(min(ts)) AS first_ns, toUnixTimestamp64Nano(max(ts)) AS last_ns "  # noqa: S608 - own words
        f"FROM {rows.kind.source} WHERE {rows.where}",
        _Times,
        rows.values,
        LIMITS,
    )
    return found.first_ns, found.last_ns
