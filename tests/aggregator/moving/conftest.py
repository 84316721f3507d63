from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.aggregator.moving.stores import Moved, exported, imported, old_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def once_moved(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """Made once, to be copied."""
    path = tmp_path_factory.mktemp("moved")
    made = Moved(path / "old", path / "out", path / "new")

    async def make() -> None:
        await old_store(made.old)
        await exported(made.old, made.out)
        await imported(made.out, made.new)

    asyncio.run(make())
    return made


@pytest.fixture
def moved(once_moved: Moved, tmp_path: Path) -> Moved:
    """A store, its export, and the store that this was imported into; none of them in use."""
    copied = Moved(*(tmp_path / path.name for path in (once_moved.old, once_moved.out, once_moved.new)))
    for path in (once_moved.old, once_moved.out, once_moved.new):
        shutil.copytree(path, tmp_path / path.name, symlinks=True)
    return copied
