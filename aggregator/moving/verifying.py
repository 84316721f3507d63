"""Whether a store has what was brought: each day's rows by number and sum, streams' labels, log files' positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aggregator.errors import MovingError
from aggregator.moving.told import Day
from aggregator.store import arrivals
from aggregator.store.contents import RECORDS, Sum

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from aggregator.moving.manifest import Manifest
    from aggregator.store.arrivals import Begun
    from aggregator.store.engine import Engine


async def days(engine: Engine, manifest: Manifest, begun: Begun, brought: Mapping[str, Sum]) -> list[Day]:
    """Each day of ``manifest``, if it has what it had before and what was ``brought``. Raises `MovingError`."""
    exported = manifest.days(RECORDS.name)
    found = await arrivals.days(engine, list(exported), manifest.names(RECORDS.name))
    verified = []
    for day, rows in exported.items():
        wanted = begun.days.get(day, Sum()) + brought[day]
        if found[day].rows < wanted.rows or (found[day].rows == wanted.rows and found[day] != wanted):
            raise MovingError(
                f"{day}: the store has {found[day].rows:,} rows with the sum {found[day].hashes}, but should have "
                f"{wanted.rows:,} with {wanted.hashes}; import into an empty store"
            )
        verified.append(Day(day, rows.rows, brought[day].rows, found[day].rows - wanted.rows))
    return verified


async def labels(engine: Engine, day: str, wanted: npt.NDArray[np.uint64]) -> None:
    """Raise `MovingError` unless all streams ``wanted`` have labels on ``day``."""
    missing = int(np.count_nonzero(~np.isin(wanted, await arrivals.labelled(engine, day))))
    if missing:
        raise MovingError(f"{day}: the labels of {missing:,} streams are not in the store; import into an empty store")


async def positions(engine: Engine, sources: npt.NDArray[np.bytes_], reached: npt.NDArray[np.uint64]) -> int:
    """How many log files there are, if none is behind where it stood. Raises `MovingError`."""
    stand = await arrivals.reached(engine)
    is_known, place = stand.find(sources)
    behind = ~is_known
    behind[is_known] |= stand.reached[place[is_known]] < reached[is_known]
    if behind.any():
        first = sources[np.flatnonzero(behind)[0]].ljust(16, b"\0").hex()
        raise MovingError(
            f"{int(behind.sum()):,} log files do not stand where they stood in the store that was exported, {first} "
            "among them; import into an empty store"
        )
    return len(sources)
