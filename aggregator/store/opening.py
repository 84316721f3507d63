"""What a store's directory needs before the engine opens it: its settings, and what cannot be read out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from aggregator.sizing import sizes
from aggregator.store.aside import Aside, find, set_aside
from aggregator.store.keepsake import restore
from aggregator.store.settings import config, reserve_of, write
from aggregator.store.tier import mark, storage
from service.memory import limit_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggregator.store.tier import Tier

_T = TypeVar("_T")


class Opening:
    """Opens the store in ``path``; then ``aside`` has the days that are set aside, ``has_tier`` says if it has one."""

    def __init__(self, path: Path, reserve_bytes: int | None, tier: Tier | None) -> None:
        self._path = path
        self._reserve_bytes = reserve_of(path) if reserve_bytes is None else reserve_bytes
        self._tier = tier
        self.aside = Aside()
        self.has_tier = False

    def open(self, engine: Callable[[str], _T]) -> _T:
        """What ``engine`` makes of the engine's address. Raises what it raises, `StoreError`, OSError."""
        tier = self._tier
        address = self._address(tier)
        if tier is None:
            return engine(address)
        mark(tier, self._path)
        restore(self._path)
        if not tier.answers():
            set_aside(self._path)
        try:
            opened = engine(address)
        except RuntimeError:
            # Something answers, but not the tier: a server that is only half there.
            if not set_aside(self._path):
                raise
            # A process can open a cache once.
            opened = engine(self._address(msgspec.structs.replace(tier, cache_bytes=0)))
        find(self._path, self.aside)
        return opened

    def _address(self, tier: Tier | None) -> str:
        file = self._path / "engine.xml"
        stored = storage(tier, self._path)
        self.has_tier = bool(stored)
        write(file, config(sizes(limit_bytes()), self._reserve_bytes, stored))
        return f"{self._path / 'engine'}?config-file={quote(str(file))}"
