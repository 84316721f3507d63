"""Which streams there are: label names, a label's values, sets of labels.

The labels of a stream's pod are among its labels. All of it is read
from ``streams``, which knows a stream's days, not its hours: answers are exact to the day (UTC).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.selection import OWN_LABELS, days, known_streams, needs_pods, streams
from aggregator.logql.compiler.statement import Parameters
from aggregator.logql.tree import Selector
from aggregator.store.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggregator.store.engine import Engine, Limits


# Streams in one look-up, 21 bytes of statement each.
_LOOKUP_MAX: Final = 5_000


class Scope(msgspec.Struct, frozen=True):
    """Which streams are meant: those that match ``selector`` and have records on a day of ``window``."""

    selector: Selector
    window: Window


class Found(msgspec.Struct, frozen=True):
    """Texts in order; ``truncated`` if there are more than were asked for."""

    texts: tuple[str, ...]
    truncated: bool


class FoundStreams(msgspec.Struct, frozen=True):
    """Sets of labels, ordered by the text of their values; ``truncated`` if there are more than were asked for."""

    streams: tuple[dict[str, str], ...]
    truncated: bool


class _Text(msgspec.Struct):
    text: str


class _Numbered(msgspec.Struct):
    number: str
    known: dict[str, str]


class _Labels(msgspec.Struct):
    known: dict[str, str]


async def label_names(engine: Engine, scope: Scope, most: int, limits: Limits) -> Found:
    """The names of labels that matching streams have."""
    parameters = Parameters()
    found = _found(scope, parameters, pods=True)
    return await _texts(
        engine,
        f"SELECT DISTINCT toString(arrayJoin(mapKeys(labels))) AS text FROM {found}",  # noqa: S608 - own words
        parameters,
        most,
        limits,
    )


async def label_values(engine: Engine, name: str, scope: Scope, most: int, limits: Limits) -> Found:
    """The values that the label ``name`` has in matching streams; empty ones are none."""
    parameters = Parameters()
    value = f"labels[{parameters.bind(name, 'String')}]"
    found = _found(scope, parameters, pods=name not in OWN_LABELS)
    return await _texts(
        engine,
        f"SELECT DISTINCT {value} AS text FROM {found} AND text != ''",  # noqa: S608 - own words
        parameters,
        most,
        limits,
    )


async def stream_labels(engine: Engine, scope: Scope, most: int, limits: Limits) -> FoundStreams:
    """The labels of matching streams, each set once."""
    parameters = Parameters()
    found = _found(scope, parameters, pods=True)
    rows = await engine.rows(
        f"SELECT any(labels) AS known FROM {found} GROUP BY stream_id "  # noqa: S608 - own words
        f"ORDER BY arrayStringConcat(mapValues(known), '\\0'), stream_id LIMIT {parameters.bind(most + 1, 'UInt64')}",
        _Labels,
        parameters.values,
        limits,
    )
    return FoundStreams(tuple(row.known for row in rows[:most]), len(rows) > most)


async def labels_of(
    engine: Engine, numbers: Sequence[int], window: Window, limits: Callable[[], Limits]
) -> dict[int, dict[str, str]]:
    """The labels of streams by their ids, those of their pods among them; of streams that are not known none.

    ``limits``: asked for before each statement.
    """
    found: dict[int, dict[str, str]] = {}
    for first in range(0, len(numbers), _LOOKUP_MAX):
        parameters = Parameters()
        known = known_streams(days(window.start_ns, window.end_ns, parameters), pods=True)
        rows = await engine.rows(
            f"SELECT toString(stream_id) AS number, any(labels) AS known FROM {known} "  # noqa: S608 - own words
            "WHERE stream_id IN {numbers:Array(UInt64)} GROUP BY stream_id",
            _Numbered,
            {**parameters.values, "numbers": numbers[first : first + _LOOKUP_MAX]},
            limits(),
        )
        found |= {int(row.number): row.known for row in rows}
    return found


async def _texts(engine: Engine, sql: str, parameters: Parameters, most: int, limits: Limits) -> Found:
    ordered = f"{sql} ORDER BY text LIMIT {parameters.bind(most + 1, 'UInt64')}"
    rows = await engine.rows(ordered, _Text, parameters.values, limits)
    return Found(tuple(row.text for row in rows[:most]), len(rows) > most)


def _found(scope: Scope, parameters: Parameters, *, pods: bool) -> str:
    """What stands behind FROM: the matching streams; with ``pods``, the labels of their pods among their own."""
    day = days(scope.window.start_ns, scope.window.end_ns, parameters)
    known = known_streams(day, pods=pods or needs_pods(scope.selector))
    return f"{known} WHERE {streams(scope.selector, parameters)}"
