"""Opening a store whose cold tier is away.

The engine cannot load a table of which some part is out of reach. So the parts in the tier are set aside before it is
opened: put among the detached ones, which it does not load. Their days are known by their names, and a query that needs
one is refused (`Aside.need`); when the tier is back, they are attached one by one (`aggregator.store.cold`). A part is
always either attached or detached, whenever the process is killed.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from aggregator.errors import StoreColdError
from aggregator.logql.tree import TIME_MAX_NS
from service.logs import fields
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

# A part's name begins with its day, counted from 1970-01-01.
_PART: Final = re.compile(r"(-?\d+)_\d+_\d+_\d+(_\d+)?")
# What the engine calls a detached part while it attaches it; and one that it was refused to read: a wrong key.
_PREFIXES: Final = re.compile("(attaching|broken-on-start)_")
# What it calls one that is really broken.
_BROKEN: Final = "broken_"
# The same part is among the local ones too: its move was cut off between the copy and the removal.
TWICE: Final = "duplicate_"


class Aside:
    """The days whose parts are set aside, each with its parts' names; empty nearly always."""

    def __init__(self) -> None:
        self.parts: dict[int, set[str]] = {}

    def need(self, start_ns: int = 0, end_ns: int = TIME_MAX_NS) -> None:
        """Raise `StoreColdError` if a day with something between these times (ns since 1970-01-01) is set aside."""
        for day in self.parts:
            if day * DAY_NS < end_ns and start_ns < (day + 1) * DAY_NS:
                raise StoreColdError("the cold tier was away when the aggregator started, and is not back yet")

    def attached(self, day: int, name: str) -> None:
        """A part of ``day`` is where it belongs again."""
        self.parts[day].discard(name)
        if not self.parts[day]:
            del self.parts[day]


def set_aside(path: Path) -> bool:
    """Detach what lies in the tier of the store in ``path``, which is not open; gives whether there was anything.

    Raises OSError.
    """
    local, moved = path / "engine", 0
    for part in (path / "cold").glob("store/*/*/*"):
        if not _PART.fullmatch(part.name):
            continue
        table = part.parent
        is_twice = (local / table.relative_to(path / "cold") / part.name).exists()
        _detach(part, table, TWICE if is_twice else "")
        moved += 1
    # A move that was cut off: the engine would look for what it is to remove.
    for part in (path / "cold").glob("store/*/*/moving/*"):
        _detach(part, part.parent.parent, TWICE)
        moved += 1
    return moved > 0


def leave_twice(part: Path) -> None:
    """Detach a ``part`` (its directory in the tier's), to be dropped: it is local as well. Raises OSError."""
    _detach(part, part.parent, TWICE)


def _detach(part: Path, table: Path, prefix: str) -> None:
    """Put ``part`` among the detached parts of ``table``, under a name that the engine can read and is free."""
    detached = table / "detached"
    detached.mkdir(exist_ok=True)
    name, number = prefix + part.name, 0
    while (detached / name).exists():
        number += 1
        name = f"{prefix}{part.name}_try{number}"
    part.rename(detached / name)


def find(path: Path, aside: Aside) -> None:
    """Learn what is set aside in the store in ``path``, by whomever. Raises OSError."""
    for part in (path / "cold").glob("store/*/*/detached/*"):
        name = _PREFIXES.sub("", part.name)
        match = _PART.fullmatch(name)
        if match:
            if name != part.name:
                part.rename(part.with_name(name))
            aside.parts.setdefault(int(match[1]), set()).add(name)
    if aside.parts:
        counted = fields(days=len(aside.parts), parts=sum(map(len, aside.parts.values())))
        _log.warning("the cold tier could not be read; its days are set aside until it can", extra=counted)


def break_off(path: Path, name: str) -> None:
    """Leave a part that is set aside to `logboom-aggregator check`: it cannot be attached. Raises OSError."""
    for part in (path / "cold").glob(f"store/*/*/detached/{name}"):
        part.rename(part.with_name(_BROKEN + name))


def twice(path: Path) -> list[str]:
    """What lies set aside in the tier, and locally as well."""
    return [part.name for part in (path / "cold").glob(f"store/*/*/detached/{TWICE}*")]
