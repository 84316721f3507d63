"""What an export says of itself: ``manifest.json`` in its directory, version 1.

A JSON object. ``format`` is "logboom export" and ``version`` 1. ``store`` is the id of the store that was exported,
``schema`` the version of its tables, ``logboom`` the version that exported it. ``columns`` has, for each kind of rows,
the names and types (ClickHouse's) of its columns. ``finished``: whether everything is there; without that, it is no
export. ``files``: one object for each file, which is there as it is described, or is damaged:

``name``      in the directory
``kind``      which rows: ``logs``, ``streams`` (labels), ``pods``, ``floors``, ``deletions``, and ``positions``, which
              is where the log files of ``logs`` stood
``day``       of the rows, as a date; empty where there are no days
``content``   what the rows of that kind and day were when they were exported: changes when they do
``number``    of the ``of`` files which have them, from 1; sorted as in the store, and one file after the other
``rows``      how many; ``bytes``: of the file; ``sha256``: of the file, hexadecimal
``hashes``    the sum, modulo 2^64, of ClickHouse's cityHash64(columns…) of every row, in decimal
``first_ns``  the times of the oldest and the newest record, ns since 1970-01-01; ``last_ns``; 0 where there are none

Fields may come within a version; a reader leaves out what it does not know.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import MovingError
from aggregator.store.contents import Column, Sum
from aggregator.store.schema import VERSION as SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAME: Final = "manifest.json"
FORMAT: Final = "logboom export"
VERSION: Final = 1
_FILE: Final = re.compile(r"[a-z0-9-]+\.parquet")
_DAY: Final = re.compile(r"(\d{4}-\d\d-\d\d)?")
_COLUMN: Final = re.compile(r"[a-z_]+")
_NUMBER: Final = re.compile(r"\d{1,20}")


class File(msgspec.Struct, frozen=True):
    """One file; see above."""

    name: str
    kind: str
    day: str
    content: str
    number: int
    of: int
    rows: int
    bytes: int
    sha256: str
    hashes: str
    first_ns: int = 0
    last_ns: int = 0

    @property
    def sum(self) -> Sum:
        """The sum of its rows."""
        return Sum(self.rows, int(self.hashes))


class Manifest(msgspec.Struct, frozen=True):
    """All of it; see above."""

    format: str
    version: int
    store: str
    schema: int
    logboom: str
    columns: dict[str, tuple[Column, ...]]
    finished: bool
    files: tuple[File, ...]

    @classmethod
    def new(cls, store: str, columns: Mapping[str, tuple[Column, ...]], files: Iterable[File] = ()) -> Manifest:
        """One that is not finished yet."""
        return cls(FORMAT, VERSION, store, SCHEMA, version("logboom"), dict(columns), finished=False, files=(*files,))

    def of(self, kind: str) -> list[File]:
        """The files of ``kind``, in order."""
        return sorted((file for file in self.files if file.kind == kind), key=lambda file: (file.day, file.number))

    def days(self, kind: str) -> dict[str, Sum]:
        """What there is of ``kind``, day by day."""
        found: dict[str, Sum] = {}
        for file in self.of(kind):
            found[file.day] = found.get(file.day, Sum()) + file.sum
        return found

    def names(self, kind: str) -> list[str]:
        """The names of the columns of ``kind``."""
        return [column.name for column in self.columns[kind]]


class _Head(msgspec.Struct):
    format: str
    version: int


def encode(manifest: Manifest) -> bytes:
    """The text of ``manifest.json``, a file on each line, so that people can read it as well."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes, place: Path) -> Manifest:
    """The manifest whose text is ``data``. Raises `MovingError` saying what is wrong with it; ``place``: its path."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.DecodeError as error:
        raise MovingError(f"{place} is damaged, or none of logboom's: {error}") from error
    if head.format != FORMAT:
        raise MovingError(f"{place} is none of logboom's: its format is {head.format!r}")
    if head.version > VERSION:
        raise MovingError(
            f"{place} was written by a newer logboom (version {head.version}, this one knows up to {VERSION}); "
            "run that version"
        )
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise MovingError(f"{place} is damaged: {error}") from error
    # These become parts of paths and statements.
    wrong = [text for pattern, texts in _texts(found) for text in texts if not pattern.fullmatch(text)]
    if wrong:
        raise MovingError(f"{place} is damaged: {wrong[0]!r} cannot stand in it")
    return found


def _texts(manifest: Manifest) -> list[tuple[re.Pattern[str], list[str]]]:
    return [
        (_FILE, [file.name for file in manifest.files]),
        (_DAY, [file.day for file in manifest.files]),
        (_COLUMN, [column.name for columns in manifest.columns.values() for column in columns]),
        (_NUMBER, [file.hashes for file in manifest.files]),
    ]
