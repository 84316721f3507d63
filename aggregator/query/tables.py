"""Samples as answers: text for people, NDJSON, CSV.

TEXT  ``<time> {label="value", …} <value>``, one sample a line, in the order of time
JSON  one object a line: ``ts``, ``labels``, ``value``; NaN and infinities as texts
CSV   ``ts``, a column for every label, ``value``
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.errors import QueryAnswerError
from aggregator.logql.units import float_text
from aggregator.logql.vector.matrix import Labels, Matrix
from aggregator.store.rendering import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggregator.query.metrics import Result

_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "�")


class Sample(msgspec.Struct, frozen=True):
    """One sample: ns since the epoch, the labels of its series, its value."""

    ts_ns: int
    labels: Labels
    value: float


def samples(result: Result, *, newest_first: bool = False) -> list[Sample]:
    """Every sample, in the order of time or the newest first, of one time in the order of the series."""
    value = result.value
    matrix = value if isinstance(value, Matrix) else Matrix.constant(result.times, value)
    found = [
        Sample(int(at), series.labels, float(number))
        for series in matrix.series()
        for at, number in zip(series.times.tolist(), series.values.tolist(), strict=True)
    ]
    return sorted(found, key=lambda sample: sample.ts_ns, reverse=newest_first)


def table(found: list[Sample], form: Format, time: Callable[[int], str], bytes_max: int) -> bytes:
    """Samples in a format; ``time`` writes times. Raises `QueryAnswerError` if that is more than ``bytes_max``."""
    match form:
        case Format.TEXT:
            lines = _text(found, time)
        case Format.JSON:
            lines = _json(found, time)
        case Format.CSV:
            lines = _csv(found, time)
    data = bytearray()
    for line in lines:
        data += line.encode()
        if len(data) > bytes_max:
            raise QueryAnswerError(f"the answer is larger than {bytes_max} bytes")
    return bytes(data)


def _text(found: list[Sample], time: Callable[[int], str]) -> Iterator[str]:
    for sample in found:
        labels = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sample.labels)
        yield f"{time(sample.ts_ns)} {{{labels.translate(_CONTROL)}}} {float_text(sample.value)}\n"


def _json(found: list[Sample], time: Callable[[int], str]) -> Iterator[str]:
    for sample in found:
        value = sample.value if math.isfinite(sample.value) else float_text(sample.value)
        line = {"ts": time(sample.ts_ns), "labels": dict(sample.labels), "value": value}
        yield msgspec.json.encode(line).decode() + "\n"


def _csv(found: list[Sample], time: Callable[[int], str]) -> Iterator[str]:
    names = sorted({name for sample in found for name, _ in sample.labels})
    yield _row(["ts", *names, "value"])
    for sample in found:
        labels = dict(sample.labels)
        yield _row([time(sample.ts_ns), *(labels.get(name, "") for name in names), float_text(sample.value)])


def _row(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
