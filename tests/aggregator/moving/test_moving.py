"""What is exported is imported, row by row; what is damaged, foreign or in the way is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.aggregator.moving.stores import everything, exported, imported, is_clean, old_store

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_store_is_the_same_behind_the_move(tmp_path: Path) -> None:
    old, new, out = tmp_path / "old", tmp_path / "new", tmp_path / "out"
    await old_store(old)
    done = await exported(old, out)
    told = await imported(out, new)
    print(*done.lines(), *told.lines(), sep="\n")
    assert await everything(new) == await everything(old)
    assert await is_clean(new)
