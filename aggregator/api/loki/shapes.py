"""The JSON of Loki's answers.

Lines: ``{"stream": labels, "values": [["<ns>", "<line>"], …]}``, one a set of labels; with categorised labels a value
has a third item, ``{"structuredMetadata": …, "parsed": …}``, and the stream only its own labels. Samples: ``[<s>,
"<value>"]``. Bytes of a line that are not UTF-8 are shown as U+FFFD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from aggregator.logql.units import float_text
from aggregator.logql.vector.matrix import Matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aggregator.query.entry import Entry
    from aggregator.query.metrics import Result
    from aggregator.store.scanned import Scanned

CATEGORIZED: Final = "categorize-labels"
_MS_NS: Final = 1_000_000
_Json = dict[str, Any]


def success(data: object, warnings: Sequence[str] = ()) -> bytes:
    """An answer's body; ``warnings`` are shown by clients that know Prometheus' answers."""
    return msgspec.json.encode({"status": "success", "data": data} | ({"warnings": warnings} if warnings else {}))


def encoded(value: object) -> bytes:
    """A body that is not wrapped."""
    return msgspec.json.encode(value)


def streams(entries: Iterable[Entry], *, categorized: bool) -> list[_Json]:
    """Entries by their labels; streams in the order of their first entry."""
    found: dict[tuple[tuple[str, str], ...], _Json] = {}
    for entry in entries:
        labels = dict(entry.stream) if categorized else entry.labels
        key = tuple(sorted(labels.items()))
        if key not in found:
            found[key] = {"stream": labels, "values": []}
        found[key]["values"].append(value(entry, categorized=categorized))
    return list(found.values())


def value(entry: Entry, *, categorized: bool) -> list[object]:
    """One entry in a stream."""
    shown: list[object] = [str(entry.ts_ns), entry.line.decode("utf-8", "replace")]
    if categorized:
        kinds = {"structuredMetadata": entry.metadata, "parsed": entry.parsed}
        shown.append({kind: dict(labels) for kind, labels in kinds.items() if labels})
    return shown


def logs(entries: Sequence[Entry], scanned: Scanned, seconds: float, *, categorized: bool) -> bytes:
    """A log query's answer."""
    data: _Json = {"resultType": "streams", "result": streams(entries, categorized=categorized)}
    if categorized:
        data["encodingFlags"] = [CATEGORIZED]
    data["stats"] = stats(scanned, seconds, len(entries))
    return success(data)


def matrix(result: Result, scanned: Scanned, seconds: float) -> bytes:
    """A range query's answer; a number is one series without labels."""
    value = result.value
    found = value if isinstance(value, Matrix) else Matrix.constant(result.times, value)
    series = [
        {
            "metric": dict(one.labels),
            "values": [
                [_seconds(at), float_text(sample)]
                for at, sample in zip(one.times.tolist(), one.values.tolist(), strict=True)
            ],
        }
        for one in found.ordered().series()
    ]
    return success({"resultType": "matrix", "result": series, "stats": stats(scanned, seconds)})


def vector(result: Result, scanned: Scanned, seconds: float) -> bytes:
    """An instant query's answer; a number is a scalar."""
    value = result.value
    if not isinstance(value, Matrix):
        sample = [_seconds(int(result.times[0])), float_text(value)]
        return success({"resultType": "scalar", "result": sample, "stats": stats(scanned, seconds)})
    samples = [
        {"metric": dict(one.labels), "value": [_seconds(int(one.times[0])), float_text(float(one.values[0]))]}
        for one in value.series()
    ]
    return success({"resultType": "vector", "result": samples, "stats": stats(scanned, seconds)})


def stats(scanned: Scanned, seconds: float, entries: int = 0) -> _Json:
    """What clients show of the work: of ``seconds`` in all, for ``entries`` lines in the answer."""
    rate = 1 / seconds if seconds > 0 else 0.0
    return {
        "summary": {
            "bytesProcessedPerSecond": round(scanned.bytes * rate),
            "linesProcessedPerSecond": round(scanned.rows * rate),
            "totalBytesProcessed": scanned.bytes,
            "totalLinesProcessed": scanned.rows,
            "execTime": round(seconds, 6),
            "queueTime": 0,
            "subqueries": 0,
            "totalEntriesReturned": entries,
            "splits": 0,
            "shards": 0,
            "totalPostFilterLines": 0,
            "totalStructuredMetadataBytesProcessed": 0,
        },
        "ingester": {},
        "querier": {},
        "cache": {},
    }


def _seconds(time_ns: int) -> float | int:
    """As Prometheus writes times: seconds, ms at most."""
    ms = time_ns // _MS_NS
    return ms // 1000 if ms % 1000 == 0 else ms / 1000
