"""From a line's being written to its being found by a query, at default settings."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from benchmarks.processes import running, wait_for

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES: Final = 200
WITHIN_S: Final = 30.0
# Asked so often whether the line is there; adds half of it to what is measured.
_ASK_EVERY_S: Final = 0.01


class Delay(msgspec.Struct, frozen=True):
    """Seconds from write to found."""

    samples: int
    median_s: float
    p99_s: float
    most_s: float


def measure(directory: Path) -> Delay:
    """Write `SAMPLES` lines, one after the other was found, and look for each."""
    file = directory / "pods" / "shop_cart-0_0b1e2d3c" / "web" / "0.log"
    file.parent.mkdir(parents=True)
    store = directory / "store"
    found_after: list[float] = []
    with (
        running("aggregator", directory / "aggregator.log", "--store", f"chdb://{store}") as aggregator,
        running("agent", directory / "agent.log", f"--pods-dir={directory}/pods", "--aggregator-url", aggregator.url),
    ):
        for number in range(SAMPLES):
            token = f"needle-{number:06d}"
            stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            began = time.monotonic()
            with file.open("ab") as stream:
                stream.write(f"{stamp} stdout F {token}\n".encode())
            ask = functools.partial(aggregator.get, f"/query?since=1m&limit=1&grep={token}")
            wait_for(ask, WITHIN_S, _ASK_EVERY_S)
            found_after.append(time.monotonic() - began)
            # Not in step with the agent's own clock.
            time.sleep(0.01 * (number % 37))
    times = np.array(found_after)
    return Delay(SAMPLES, *(float(np.quantile(times, q)) for q in (0.5, 0.99, 1.0)))
