"""What is looked at, in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.check.report import Report
from aggregator.errors import StoreError
from aggregator.store import coverage, parts
from aggregator.store.embedded import Embedded
from aggregator.store.migrations import version

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.store.tier import Tier

# From which on rows say what they stand for.
_FRAMED_SCHEMA: Final = 2


async def examine(url: str, progress: Callable[[int, int], None], tier: Tier | None = None) -> Report:
    """Examine the store at ``url``, which no other process has. ``progress`` is told bytes looked at, and of how many.

    Changes nothing, but what the engine does when it opens a store: it sets parts aside that it cannot load. Raises
    `StoreError` where there is no store that could be examined.
    """
    if tier is not None:
        tier = msgspec.structs.replace(tier, cache_bytes=0)  # what is read here is read once
    async with Embedded.start(url, connections=1, make=False, tier=tier) as engine:
        if engine.aside.parts:
            raise StoreError("the cold tier is away, or was when the aggregator ran last: start that, then check again")
        schema = await version(engine)
        every = await parts.active(engine)
        total = 2 * sum(part.bytes for part in every)  # once for the checksums, once for the records
        broken = []
        done = 0
        found = parts.broken(engine, every)
        for part in every:
            verdict = await anext(found)
            if verdict is not None:
                broken.append(verdict)
            done += part.bytes
            progress(done, total)
        aside = await parts.set_aside(engine)
        size = sum(part.bytes for part in every)
        try:
            _refuse_unframed(schema)
            counted = await coverage.files(engine)
            torn = await coverage.tears(engine) if counted.torn else []
            agree = await coverage.positions_agree(engine)
            unlabelled = await coverage.unlabelled(engine)
        except StoreError as error:
            return Report(
                url, schema, len(every), size, tuple(broken), tuple(aside), None, (), None, None, unread=str(error)
            )
        progress(total, total)
        return Report(
            url, schema, len(every), size, tuple(broken), tuple(aside), counted, tuple(torn), agree, unlabelled
        )


def _refuse_unframed(schema: int) -> None:
    if schema < _FRAMED_SCHEMA:
        raise StoreError(f"they are of an older logboom (schema {schema}): have the aggregator open the store once")
