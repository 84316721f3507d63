"""The store's directory: whether it is one, which process holds it, whether it is still the one that was opened.

logboom.lock   locked by the process that has the store open, whose process id stands in it
store-id       see `aggregator.store.schema.identity`
engine.xml     settings of the engine, written anew where they are others
engine/        the engine's own
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Final

from aggregator.errors import StoreError, StoreGoneError, StoreLockedError

if TYPE_CHECKING:
    from pathlib import Path

_LOCK_NAME: Final = "logboom.lock"
# One of these is in every store.
_OURS: Final = frozenset({_LOCK_NAME, "store-id"})
# What file systems put into an empty volume; hidden files count as nothing as well.
_NOT_OURS: Final = frozenset({"lost+found"})
# Of a process id in the lock file.
_PID_DIGITS_MAX: Final = 20


def is_store(directory: Path) -> bool:
    """Whether there is a store in ``directory``."""
    return (directory / _LOCK_NAME).exists() and (directory / "engine").is_dir()


def lock(directory: Path) -> int:
    """Take ``directory``, which is there, for this process; gives the descriptor that holds it until it is closed.

    Raises `StoreLockedError` if another process has it, `StoreError` if it is somebody's who keeps other things in it,
    `OSError`.
    """
    names = {found.name for found in directory.iterdir() if not found.name.startswith(".")} - _NOT_OURS
    if names and names.isdisjoint(_OURS):
        raise StoreError(
            f"{directory} is not empty and no store of logboom ({min(names)} is in it); name another one as --store"
        )
    file = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(file, _PID_DIGITS_MAX).strip()
        os.close(file)
        which = f" (pid {holder.decode()})" if holder.isdigit() else ""
        raise StoreLockedError(
            f"the store in {directory} is in use by another process{which}; stop that, or choose another --store"
        ) from error
    with contextlib.suppress(OSError):  # a full disk must not keep a store shut
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    return file


def check(directory: Path, held: int) -> None:
    """Raise `StoreGoneError` unless ``directory`` is still the one that ``held`` was got for.

    The engine itself goes on with what it has in memory, and would take inserts that nobody finds again.
    """
    try:
        is_there = os.path.samestat((directory / _LOCK_NAME).stat(), os.fstat(held)) and (directory / "engine").is_dir()
    except OSError:
        is_there = False
    if not is_there:
        raise StoreGoneError(
            f"the store in {directory} was emptied or replaced while it was open; restart the aggregator"
        )
