"""A second name for a part's files while it moves, so that a power cut takes nothing.

The engine removes a part from the local disk as soon as it is in the tier, without having made durable what says which
objects those are (seen with chdb-core 26.9). So its files are linked into ``moving/`` of the store's directory first,
and unlinked once that is durable. What is found there when the store is opened was interrupted: the local part is put
back, and what there is of the other is left to be dropped.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from aggregator.store.aside import leave_twice

_KEPT: Final = "moving"


def place_of(path: str) -> Path:
    """Where a part is below ``engine/``, and ``cold/``, by the path that the engine says: store/abc/abc…/part."""
    return Path(*Path(path).parts[-4:])


def keep(store: Path, place: Path) -> None:
    """Link the files of the local part at ``place``, durably. Raises OSError, also if a merge took it away."""
    kept = store / _KEPT / place
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(store / "engine" / place, kept, copy_function=os.link)
    _sync(kept, store, files=False)


def settle(store: Path, place: Path) -> None:
    """Make durable what says where a part that has moved is now; then let its local files go. Raises OSError."""
    _sync(store / "cold" / place, store, files=True)
    forget(store, place)


def forget(store: Path, place: Path) -> None:
    """Let the links of a part go: it was not moved, or for good."""
    shutil.rmtree(store / _KEPT / place, ignore_errors=True)


def restore(store: Path) -> None:
    """Put back what was moving in the ``store``, which is not open. Raises OSError."""
    for kept in (store / _KEPT).glob("store/*/*/*"):
        place = kept.relative_to(store / _KEPT)
        if not (store / "engine" / place).exists():
            if (store / "cold" / place).exists():
                leave_twice(store / "cold" / place)
            kept.rename(store / "engine" / place)
            _sync(store / "engine" / place.parent, store, files=False)
    shutil.rmtree(store / _KEPT, ignore_errors=True)


def _sync(place: Path, top: Path, *, files: bool) -> None:
    """Make directories durable, from everything in ``place`` up to ``top``, and the ``files`` in it."""
    every = [place, *(found for found in place.rglob("*") if files or found.is_dir())]
    while place != top:
        place = place.parent
        every.append(place)
    for path in every:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
