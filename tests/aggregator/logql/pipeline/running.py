"""What the tests of stages have in common: a record, run through stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from aggregator.logql.tree import Stage

# 2023-03-05T07:08:09.123456Z
TS_NS = 1_678_000_089_123_456_000
NOW_NS = 1_700_000_000_000_000_000
STREAM = {"namespace": "shop", "pod": "web-1"}
METADATA = {"detected_level": "info"}


def ran(line: str, *stages: Stage, wanted: set[str] | None = None) -> tuple[str, dict[str, str]] | None:
    """The line, and the parsed labels with the error ones; None: dropped."""
    result = Pipeline(stages, wanted=wanted, now_ns=NOW_NS).process(TS_NS, line, Labels(STREAM, METADATA))
    return None if result is None else (result[0], result[1].parsed_labels())


def parsed(line: str, *stages: Stage) -> dict[str, str]:
    """The parsed labels of a record that is kept with its line as it is."""
    result = ran(line, *stages)
    assert result is not None
    assert result[0] == line
    return result[1]
