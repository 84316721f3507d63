"""The engine's files: whether they are as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aggregator.store.schema import DATABASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aggregator.store.engine import Engine


class Part(msgspec.Struct, frozen=True):
    """An active part of one of our tables."""

    table: str
    name: str
    day: str
    bytes: int


class Broken(msgspec.Struct, frozen=True):
    """A part whose files are not as they were written; ``day`` as the engine names it."""

    table: str
    part: str
    day: str
    reason: str


class SetAside(msgspec.Struct, frozen=True):
    """A part that the engine could not load and has put out of the way: its records are in no answer."""

    table: str
    part: str
    day: str
    bytes: int
    path: str


class _Check(msgspec.Struct):
    is_passed: int | bool
    message: str


async def active(engine: Engine) -> list[Part]:
    """Every part that statements read. Stops merging, which would replace them, for as long as the store is open."""
    await engine.execute("SYSTEM STOP MERGES")
    return await engine.rows(
        "SELECT table, name, partition AS day, bytes_on_disk AS bytes FROM system.parts "  # noqa: S608 - a constant
        f"WHERE database = '{DATABASE}' AND active ORDER BY table, day, name",
        Part,
    )


async def broken(engine: Engine, parts: list[Part]) -> AsyncIterator[Broken | None]:
    """For each of ``parts``: what is wrong with it, by the checksums of its files; None if nothing is."""
    for part in parts:
        # A part's name is made by the engine of digits and underscores.
        answers = await engine.told(
            f"CHECK TABLE {part.table} PART '{part.name}' SETTINGS check_query_single_value_result = 0",
            _Check,
        )
        reasons = [answer.message for answer in answers if not answer.is_passed]
        yield Broken(part.table, part.name, part.day, "; ".join(reasons)) if reasons else None


async def set_aside(engine: Engine) -> list[SetAside]:
    """Every part that the engine found broken when it loaded the tables."""
    return await engine.rows(
        "SELECT table, name AS part, "  # noqa: S608 - a constant
        "if(match(partition_id, '^[0-9]+$'), toString(toDate32(toInt32(partition_id))), partition_id) AS day, "
        f"bytes_on_disk AS bytes, path FROM system.detached_parts WHERE database = '{DATABASE}' "
        "AND startsWith(reason, 'broken') ORDER BY table, day, part",
        SetAside,
    )
