"""How long to wait before trying again."""

from __future__ import annotations

import random
from typing import Final

# The first wait is short: most faults are a restart. The longest keeps recovery within seconds, and a fleet of agents
# from being a load of its own.
FIRST_S: Final = 0.25
LONGEST_S: Final = 10.0
# What a server asked for is stretched by up to this, so that not all come back in the same moment.
_STRETCH: Final = 0.25
_DOUBLINGS_MAX: Final = 16


class Backoff:
    """Waits that double, each drawn at random from its upper half, until `reset`."""

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self.failures = 0

    def next_s(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait after one more failure; at least ``retry_after_s`` if the server named a time."""
        longest = min(LONGEST_S, FIRST_S * float(1 << min(self.failures, _DOUBLINGS_MAX)))
        self.failures += 1
        if retry_after_s is not None:
            return max(retry_after_s, FIRST_S) * (1 + _STRETCH * self._random.random())
        return longest * (0.5 + 0.5 * self._random.random())

    def reset(self) -> None:
        """The last try went well."""
        self.failures = 0
