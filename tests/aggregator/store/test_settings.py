"""The file of the engine's settings: for its owner alone, and on a full disk an older one is good enough."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import pytest

from aggregator.store.settings import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("before", [None, "old", "new"])
def test_nobody_else_reads_it(tmp_path: Path, before: str | None) -> None:
    file = tmp_path / "engine.xml"
    if before is not None:
        file.write_text(before)
        file.chmod(0o644)
    write(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@contextlib.contextmanager
def nothing_can_be_written() -> Iterator[None]:
    """As on a full disk, files can be made and stay empty."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_older_one_stays_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "engine.xml"
    with nothing_can_be_written(), pytest.raises(OSError, match="too large"):
        write(file, "new")
    assert list(tmp_path.iterdir()) == []
    file.write_text("old")
    with nothing_can_be_written():
        write(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
