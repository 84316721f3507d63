"""What the kernel and the disk allow the agent."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

from agent.doctor.report import Limits
from agent.follow.inotify import Inotify

_INOTIFY: Final = Path("/proc/sys/fs/inotify")
_SELF: Final = Path("/proc/self/status")


def limits(pods_dir: str, directories: int, files: int) -> Limits:
    """The limits that count for so many ``directories``, none where there is to be no inotify, and ``files``."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        disk = os.statvfs(pods_dir)
    except OSError:
        disk = None
    return Limits(
        directories,
        files,
        _number("max_user_watches"),
        _number("max_user_instances"),
        _number("max_queued_events"),
        _instance() if directories else "",
        open_files,
        disk.f_blocks * disk.f_frsize if disk else None,
        disk.f_bavail * disk.f_frsize if disk else None,
        disk.f_files if disk else None,
        disk.f_favail if disk else None,
    )


def capabilities() -> str:
    """The effective capabilities of this process, as the kernel's hexadecimal mask; empty where it does not say."""
    try:
        lines = _SELF.read_text("ascii").splitlines()
    except OSError:
        return ""
    return next((line.split()[1] for line in lines if line.startswith("CapEff:")), "")


def _number(name: str) -> int | None:
    try:
        return int((_INOTIFY / name).read_text("ascii"))
    except (OSError, ValueError):
        return None


def _instance() -> str:
    """Why there is no instance of inotify to be had. One is made and given back; it watches nothing."""
    try:
        Inotify().close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
