"""Committed positions: what the store holds durably of each source."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.store import coverage, moved
from aggregator.store.engine import Limits
from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggregator.store.coverage import Holed, Stretch
    from aggregator.store.engine import Engine

_log = logging.getLogger(__name__)

# Sources remembered, about 150 bytes each: every live file of a large cluster. Beyond it the store is asked again.
_CACHE_MAX: Final = 200_000
# Sources in one look-up, 40 bytes of statement each.
_LOOKUP_MAX: Final = 5_000
# A look-up decides whether lines are stored twice: it may take long before it may fail.
_LOOKUP_LIMITS: Final = Limits(time_s=120.0)


class _Row(msgspec.Struct):
    source_hex: str
    reached: int


class Positions:
    """Answers from memory what was committed lately, and from the store's projection what was not.

    Only the committer fills and forgets; the store stays the truth, so forgetting is always right.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cached: OrderedDict[bytes, int] = OrderedDict()
        self._behind: dict[bytes, int] = {}
        self._holed: dict[bytes, Holed] = {}
        self._is_known = asyncio.Event()
        self._is_known.set()

    def __len__(self) -> int:
        return len(self._cached)

    @property
    def holes(self) -> int:
        """How many sources have a hole that is not filled."""
        return len(self._holed)

    @property
    def is_known(self) -> bool:
        """Whether positions are told; not so from `await_holes` until `find_holes` is over."""
        return self._is_known.is_set()

    def await_holes(self) -> None:
        """Say no position before `find_holes` is over."""
        self._is_known.clear()

    async def find_holes(self) -> None:
        """Have sources that lack something be where that begins, so that agents send it again. Reads every record.

        Raises `StoreError`; then positions are what they would be without it.
        """
        try:
            self._holed = await coverage.holed(self._engine)
        finally:
            self._is_known.set()
        if len(self._holed) > coverage.HOLED_MAX:
            _log.warning("more log files lack something than are asked for", extra=fields(most=coverage.HOLED_MAX))

    async def of(self, sources: Iterable[bytes]) -> dict[bytes, int]:
        """The committed position of each source, 0 for one the store does not know.

        While a commit is under way the answer may be the one before it, never one after it. Nothing is remembered:
        an answer that a commit has overtaken must not stay.
        """
        await self._is_known.wait()
        asked = list(dict.fromkeys(sources))
        known = {source: self._cached[source] for source in asked if source in self._cached}
        known |= await self._before_holes([source for source in asked if source in self._holed])
        unknown = [source for source in asked if source not in known]
        found: dict[bytes, int] = {}
        for first in range(0, len(unknown), _LOOKUP_MAX):
            found |= await self._look_up(unknown[first : first + _LOOKUP_MAX])
        return {source: known[source] if source in known else found.get(source, 0) for source in asked}

    def held(self, sources: Iterable[bytes]) -> dict[bytes, list[Stretch]]:
        """What those sources that have holes have behind each."""
        return {source: self._holed[source].held for source in sources if source in self._holed}

    def behind(self, sources: Iterable[bytes]) -> dict[bytes, int]:
        """The position of the last row of those sources that are committed beyond it: what followed was not stored."""
        return {source: self._behind[source] for source in sources if source in self._behind}

    def committed(self, positions: Mapping[bytes, int], behind: Mapping[bytes, int]) -> None:
        """Remember what a commit reached, and where the last rows of those are that reached beyond them."""
        for source, position in positions.items():
            self._fill(source, position)
            self._cached[source] = position
            self._cached.move_to_end(source)
            self._behind.pop(source, None)
        self._behind |= behind
        while len(self._cached) > _CACHE_MAX:
            source, _ = self._cached.popitem(last=False)
            self._behind.pop(source, None)

    def forget(self, sources: Iterable[bytes]) -> None:
        """Ask the store again next time: after an insert whose end is unknown."""
        for source in sources:
            self._cached.pop(source, None)
            self._behind.pop(source, None)
            if source in self._holed:
                self._holed[source].position = None

    def _fill(self, source: bytes, position: int) -> None:
        """The source has reached ``position``: it may have one hole less."""
        holed = self._holed.get(source)
        if holed is None:
            return
        holed.position = position
        holed.held = [stretch for stretch in holed.held if stretch.end > position]
        if not holed.held:
            del self._holed[source]

    async def _before_holes(self, sources: Sequence[bytes]) -> dict[bytes, int]:
        """Where sources with holes stand. After a failure the store is asked how far the first hole is filled."""
        known = {source: self._holed[source] for source in sources}
        positions = {source: holed.position for source, holed in known.items() if holed.position is not None}
        firsts = {source: holed.held[0] for source, holed in known.items() if holed.position is None}
        if firsts:
            starts = {source: first.start for source, first in firsts.items()}
            for source, found in (await coverage.before(self._engine, starts)).items():
                positions[source] = firsts[source].end if found == firsts[source].start else found
        return positions

    async def _look_up(self, sources: list[bytes]) -> dict[bytes, int]:
        rows = await self._engine.rows(
            "SELECT lower(hex(reinterpretAsFixedString(source))) AS source_hex, reached "  # noqa: S608 - own words
            f"FROM ({moved.positions(self._engine, 'source IN {sources:Array(UInt128)}')})",
            _Row,
            {"sources": [int.from_bytes(source, "little") for source in sources]},
            _LOOKUP_LIMITS,
        )
        return {bytes.fromhex(row.source_hex): row.reached for row in rows}
