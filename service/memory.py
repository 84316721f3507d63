"""How much memory this process may have: the machine's, or less where a control group has a limit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS: Final = Path("/proc/self/cgroup")
_ROOT: Final = Path("/sys/fs/cgroup")


def limit_bytes(groups: Path = _GROUPS, root: Path = _ROOT) -> int:
    """The least of the machine's memory and the limits of the process's control group and of all above it.

    ``groups``: what the kernel says of the process's groups (`cgroups(7)`, ``/proc/[pid]/cgroup``); ``root``: where
    they are mounted, of version 2, of version 1, or of both. Inside a container only the container's own may be there.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, *_limits(groups, root), machine)


def _limits(groups: Path, root: Path) -> Iterator[int]:
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, name = [root, root / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            mounts, name = [root / "memory"], "memory.limit_in_bytes"
        else:
            continue
        for mount in mounts:
            group = mount / path.lstrip("/")
            for each in (group, *group.parents[: len(group.parts) - len(mount.parts)]):
                limit = _read(each / name)
                if limit:
                    yield limit


def _read(file: Path) -> int:
    """The limit in ``file``; 0 where it says none, or is not there."""
    try:
        text = file.read_text("ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
