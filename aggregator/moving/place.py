"""An export's directory: who uses it, what is in it, and what is written into it, durably.

manifest.json   see `aggregator.moving.manifest`; replaced as a whole after each file
*.parquet       the files it names
*.new           what is being written; of no use to anyone else, and removed by the next export
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final

from aggregator.errors import MovingError
from aggregator.moving.manifest import NAME, Manifest, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from aggregator.moving.manifest import File

_READ_BYTES: Final = 1 << 20
# What file systems put into an empty volume; hidden files count as nothing as well.
_NOT_OURS: Final = frozenset({"lost+found"})
_NEW: Final = ".new"
_OURS: Final = (".parquet", _NEW)


class Place:
    """A directory in use; `write_into` and `read_from` give one, and hold it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self) -> Manifest | None:
        """What is in it. Raises `MovingError` for a manifest that is of no use, OSError."""
        try:
            data = (self.path / NAME).read_bytes()
        except FileNotFoundError:
            return None
        return decode(data, self.path / NAME)

    def save(self, manifest: Manifest) -> None:
        """Replace the manifest by another one, durably. Raises OSError."""
        with self.writing(NAME) as file, open(file, "wb", closefd=False) as opened:
            opened.write(encode(manifest))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[int]:
        """A descriptor to write the file ``name`` with; it is there, durably, when this ends, and only then."""
        new = self.path / f"{name}{_NEW}"
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            yield file
            os.fsync(file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        new.replace(self.path / name)
        os.fsync(self._descriptor)

    def is_whole(self, file: File, tell: Callable[[int], None]) -> str:
        """What is wrong with ``file``, by its checksum; nothing if nothing is. ``tell`` hears of bytes read."""
        try:
            with (self.path / file.name).open("rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                if size != file.bytes:
                    return f"it has {size:,} bytes, and had {file.bytes:,}"
                found = digest(opened.fileno(), tell)
        except FileNotFoundError:
            return "it is not there"
        return "" if found == file.sha256 else f"its SHA-256 is {found}, and was {file.sha256}"

    def free_bytes(self) -> int:
        """Bytes left on its disk."""
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def clear(self, keep: Iterable[str]) -> None:
        """Remove what exports left here that is not of this one any more."""
        kept = {*keep}
        for found in self.path.iterdir():
            if found.name.endswith(_OURS) and found.name not in kept:
                found.unlink()


def digest(file: int, tell: Callable[[int], None]) -> str:
    """The SHA-256 of an open file, from its beginning; ``tell`` hears of the bytes read since it heard last."""
    hashed = hashlib.sha256()
    at = 0
    while data := os.pread(file, _READ_BYTES, at):
        hashed.update(data)
        at += len(data)
        tell(len(data))
    return hashed.hexdigest()


@contextlib.contextmanager
def write_into(path: Path) -> Iterator[Place]:
    """The directory to export into, made if there is none, for this process alone. Raises `MovingError`, OSError."""
    path.mkdir(parents=True, exist_ok=True)
    with _held(path, fcntl.LOCK_EX) as place:
        names = {each.name for each in path.iterdir() if not each.name.startswith(".")} - _NOT_OURS
        # The first manifest is there before the first file.
        if names and NAME not in names and names != {f"{NAME}{_NEW}"}:
            raise MovingError(f"{path} is not empty and no export of logboom ({min(names)} is in it); name another one")
        yield place


@contextlib.contextmanager
def read_from(path: Path) -> Iterator[tuple[Place, Manifest]]:
    """The directory of a finished export, and what is in it. Raises `MovingError`, OSError."""
    with _held(path, fcntl.LOCK_SH) as place:
        manifest = place.read()
        if manifest is None:
            raise MovingError(f"{path} is no export of logboom: there is no {NAME}")
        if not manifest.finished:
            raise MovingError(
                f"the export in {path} is not finished; run `logboom-aggregator export` again: it goes on where it was"
            )
        yield place, manifest


@contextlib.contextmanager
def _held(path: Path, how: int) -> Iterator[Place]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MovingError(f"{path} is in use by another export or import") from error
        yield Place(path, descriptor)
    finally:
        os.close(descriptor)
