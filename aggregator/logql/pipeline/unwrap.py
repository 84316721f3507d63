"""``| unwrap``: a label as the value of a sample.

As Loki (pkg/logql/log/metrics_extraction.go): a record without the label, or with an empty one, is no sample; a value
that cannot be read is 0 with the error labels set, for the filters that follow to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aggregator.logql import units
from aggregator.logql.metric import Conversion, Unwrap
from aggregator.logql.pipeline.conditions import condition, condition_labels
from aggregator.logql.pipeline.labels import SAMPLE_ERROR, Labels

Sample = Callable[[Labels], float | None]


def seconds(text: str) -> float:
    """A Go duration in seconds, as Go's ``Duration.Seconds``."""
    duration_ns = units.parse_duration(text)
    whole, rest_ns = divmod(abs(duration_ns), units.SECOND_NS)
    value = whole + rest_ns / 1e9
    return -value if duration_ns < 0 else value


def _size(text: str) -> float:
    return float(units.parse_size(text))


CONVERSIONS: Final[dict[Conversion, Callable[[str], float]]] = {
    Conversion.NUMBER: units.parse_float,
    Conversion.BYTES: _size,
    Conversion.DURATION: seconds,
    Conversion.DURATION_SECONDS: seconds,
}


def sample(unwrap: Unwrap) -> Sample:
    """What gives the sample of a record whose labels came through the pipeline, None if it is none.

    Where ``labels.error`` is set afterwards the query has failed, as Loki's does. Raises StageError.
    """
    name, read = unwrap.label, CONVERSIONS[unwrap.conversion]
    filters = [condition(stage.condition) for stage in unwrap.filters]

    def value_of(labels: Labels) -> float | None:
        text = labels.get(name)
        if not text:
            return None
        try:
            value = read(text)
        except ValueError as error:
            labels.fail(SAMPLE_ERROR, str(error))
            value = 0.0
        return value if all(holds(labels) for holds in filters) else None

    return value_of


def unwrap_labels(unwrap: Unwrap) -> set[str]:
    """The labels that it looks at."""
    return {unwrap.label}.union(*(condition_labels(stage.condition) for stage in unwrap.filters))
