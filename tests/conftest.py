"""What every test needs of its process."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator


# A change fails by what it does, not by chance: the same examples each time. `make fuzz` tries others.
settings.register_profile("same", derandomize=True)
settings.register_profile("fuzz", derandomize=False, print_blob=True)
settings.load_profile("same")


def pytest_configure() -> None:
    """Allow as many open files as the system does.

    Every store that a test opens and closes leaves the engine's threads behind, with six files each time; over a whole
    run that is more than the 1024 which shells usually allow.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Shells start what runs in the background deaf to SIGINT, and so would be whatever a test starts, and ends by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: where several run at a time, none is left alone with it at the end."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """The S3 server of all tests of a process; each test has a prefix of its own."""
    made = Bucket(tmp_path_factory.mktemp("seaweedfs"))
    try:
        made.start()
        yield made
    finally:
        made.close()
