"""What every test needs of its process."""

from __future__ import annotations

import resource


def pytest_configure() -> None:
    """Allow as many open files as the system does.

    Every store that a test opens and closes leaves the engine's threads behind, with six files each time; over a whole
    run that is more than the 1024 which shells usually allow.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
