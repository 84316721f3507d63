"""How far apart the samples of a metric query are: where nobody says it, and at least."""

from __future__ import annotations

from typing import Final

from aggregator.logql.units import duration_text
from aggregator.logql.vector.ranges import REACH_MAX_NS, STEPS_MAX
from service.web import RefusedError
from wire.answers import Refusal

SECOND_NS: Final = 1_000_000_000
MILLISECOND_NS: Final = 1_000_000
# Samples where no step is given: about so many, between times that people think in.
STEPS_DEFAULT: Final = 100
STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)
# Either end of a range may lie within a step.
_WHOLE_STEPS_MAX: Final = STEPS_MAX - 2


def default_step_ns(span_ns: int) -> int:
    """A step for a range of ``span_ns``."""
    least_ns = span_ns // STEPS_DEFAULT
    return next((step * SECOND_NS for step in STEPS_S if step * SECOND_NS >= least_ns), STEPS_S[-1] * SECOND_NS)


def long_enough(step_ns: int, span_ns: int) -> int:
    """``step_ns``, given as ``step``, if it is long enough for ``span_ns``, and not too long. Raises `RefusedError`."""
    if step_ns > REACH_MAX_NS:
        hint = "a step reaches as far as a range may: 73 years"
        raise RefusedError(400, Refusal("this step is too long", "step", hint))
    if is_too_short(step_ns, span_ns):
        hint = f"the least step for this range is {duration_text(least_step_ns(span_ns))}; or ask for less time"
        raise RefusedError(400, Refusal(f"this step makes more than {STEPS_MAX} steps", "step", hint))
    return step_ns


def is_too_short(step_ns: int, span_ns: int) -> bool:
    """Whether a range of ``span_ns`` has more steps than a query may have."""
    return span_ns > step_ns * _WHOLE_STEPS_MAX


def least_step_ns(span_ns: int) -> int:
    """The shortest step for a range of ``span_ns``, in whole seconds, or milliseconds below one."""
    least_ns = -(-span_ns // _WHOLE_STEPS_MAX)
    unit_ns = SECOND_NS if least_ns > SECOND_NS else MILLISECOND_NS
    return -(-least_ns // unit_ns) * unit_ns
