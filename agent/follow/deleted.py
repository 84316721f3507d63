"""How long deleted files are held open: each keeps its place on the node's disk until it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.follow.logfile import LogFile


class Hold(msgspec.Struct, frozen=True):
    """The limits for files that were deleted before all of them was committed.

    ``seconds`` each; ``bytes`` on disk and ``files`` all together.
    """

    seconds: float = 300.0
    bytes: int = 1 << 30
    files: int = 1000


def beyond(deleted: Iterable[LogFile], hold: Hold, now_s: float) -> list[LogFile]:
    """Those of ``deleted`` that ``hold`` does not allow any longer; the ones deleted last stay."""
    total = 0
    over = []
    for count, file in enumerate(sorted(deleted, key=lambda file: file.deleted_s, reverse=True), 1):
        total += file.disk_bytes
        if count > hold.files or total > hold.bytes or now_s - file.deleted_s > hold.seconds:
            over.append(file)
    return over
