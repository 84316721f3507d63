"""What of a pipeline is left for Python, on blocks of records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aggregator.logql.pipeline.labels import Labels
from aggregator.logql.pipeline.pipeline import Pipeline
from aggregator.query.entry import Entry
from aggregator.query.reading import Record

if TYPE_CHECKING:
    from aggregator.logql.tree import Stage

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

Finish = Callable[[Sequence[Record]], list[Entry]]


def finisher(rest: Sequence[Stage], now_ns: int, wanted: Collection[str] | None = None) -> Finish:
    """What makes entries of records that the statement gave; raises StageError.

    ``now_ns``: what ``now`` gives in templates. ``wanted``: the labels that will be looked at, None all of them.
    """
    if not rest:
        return lambda records: [_entry(one, one.body, one.stream, one.metadata, _NOTHING) for one in records]
    pipeline = Pipeline(rest, wanted=wanted, now_ns=now_ns)

    def finish(records: Sequence[Record]) -> list[Entry]:
        return [entry for record in records if (entry := _processed(pipeline, record)) is not None]

    return finish


def _processed(pipeline: Pipeline, record: Record) -> Entry | None:
    text = record.body.decode(errors="replace")
    labels = Labels(record.stream, record.metadata)
    came_through = pipeline.process(record.place.ts_ns, text, labels)
    if came_through is None:
        return None
    line, labels = came_through
    return _entry(
        record,
        record.body if line == text else line.encode(errors="replace"),
        labels.stream_labels(),
        labels.metadata,
        labels.parsed_labels(),
    )


def _entry(
    record: Record, line: bytes, stream: Mapping[str, str], metadata: Mapping[str, str], parsed: Mapping[str, str]
) -> Entry:
    place = record.place
    return Entry(
        place.ts_ns, line, stream, metadata, parsed, place.stream_id, place.source, place.position, record.flags
    )
