"""A query that tails follow: which streams it means, and what it makes of their records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.logql.compiler.passing import leading
from aggregator.logql.pipeline.conditions import value_test
from aggregator.logql.tree import LabelFormat, LineFormat, Place
from aggregator.query.cursor import Cursor
from aggregator.query.finish import finisher
from aggregator.query.tail import Piece, Tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggregator.logql.tree import LogExpression, Stage
    from aggregator.query.entry import Entry
    from aggregator.query.events import Form
    from aggregator.query.finish import Finish
    from aggregator.query.reading import Record

# Written together, and missed or not as one.
_PIECE_BYTES: Final = 32 << 10
_MS_NS: Final = 1_000_000


class Followed:
    """One query, compiled once for all of its ``tails``. Remembers which streams match."""

    def __init__(self, expression: LogExpression) -> None:
        """Raises `aggregator.logql.pipeline.stages.StageError` for what makes no sense."""
        self.tails: set[Tail] = set()
        self._stages = expression.stages
        self._led = leading(expression.stages)
        self._tests = [(matcher.label, value_test(matcher)) for matcher in expression.selector.matchers]
        self._matched: dict[int, bool] = {}
        whole = finisher(self._stages, 0)
        self._finish: dict[bool, Finish] = {}
        if not any(isinstance(stage, LineFormat | LabelFormat) for stage in self._stages):
            # Without templates nothing asks what time it is.
            self._finish = {False: whole, True: finisher(self._stages[self._led :], 0)}

    @property
    def leading(self) -> Sequence[Stage]:
        """The stages in front that a statement can try."""
        return self._stages[: self._led]

    def matches(self, number: int, labels: Mapping[str, str]) -> bool:
        """Whether the stream with this id and these labels is meant."""
        found = self._matched.get(number)
        if found is None:
            found = self._matched[number] = all(test(labels.get(name, "")) for name, test in self._tests)
        return found

    def forget_streams(self) -> None:
        """Streams may have other labels from now on."""
        self._matched.clear()

    def finish(self, records: Sequence[Record], at_ms: int, *, has_led: bool) -> list[Entry]:
        """What comes through of records of the commit at ``at_ms``; ``has_led``: they passed the leading stages."""
        known = self._finish.get(has_led)
        finish = known or finisher(self._stages[self._led :] if has_led else self._stages, at_ms * _MS_NS)
        return finish(records)


def written_in_pieces(form: Form, entries: Iterable[Entry], at_ms: int) -> list[Piece]:
    """Records of the commit at ``at_ms``, in pieces."""
    found: list[Piece] = []
    lines: list[bytes] = []
    size = 0
    cursor = Cursor(at_ms)
    for entry in entries:
        cursor = Cursor(at_ms, place_of(entry))
        lines.append(form(entry, cursor))
        size += len(lines[-1])
        if size >= _PIECE_BYTES:
            found.append(Piece(len(lines), b"".join(lines), cursor))
            lines, size = [], 0
    if lines:
        found.append(Piece(len(lines), b"".join(lines), cursor))
    return found


def place_of(entry: Entry) -> Place:
    """Where an entry's record stands."""
    return Place(entry.ts_ns, entry.stream_id, entry.source, entry.position)
