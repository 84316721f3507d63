from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A node and an aggregator, nothing of which runs yet."""
    made = Cluster(tmp_path)
    await made.proxy.start()
    yield made
    await made.close()
