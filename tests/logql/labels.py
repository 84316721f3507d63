"""A record on its way through a pipeline: its labels by where they come from, its line, what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.tree import ERROR, ERROR_DETAILS, LEVEL, LEVEL_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

SUFFIX: Final = "_extracted"


class Record(msgspec.Struct, frozen=True):
    """What the evaluator is given: one stored record. An empty ``level`` is an unknown one."""

    ts: int
    stream: tuple[tuple[str, str], ...]
    level: str
    line: bytes


class Entry:
    """One record in a pipeline."""

    def __init__(self, record: Record) -> None:
        self.ts = record.ts
        self.stored = record.line
        self.line = record.line.decode(errors="replace")
        self.before = self.line
        self.stream: Mapping[str, str] = dict(record.stream)
        self.own = dict(record.stream)
        self.metadata = {LEVEL: record.level or LEVEL_UNKNOWN}
        self.parsed: dict[str, str] = {}
        self.extracted: set[str] = set()
        self.error = ""
        self.details = ""

    def get(self, name: str) -> str | None:
        """The value of a label, None if there is none."""
        for where in (self.parsed, self.metadata, self.own):
            if name in where:
                return where[name]
        return None

    def set(self, name: str, value: str) -> None:
        """Give the record a label that a stage made."""
        self.delete(name)
        self.parsed[name] = value
        self.extracted.add(name)

    def delete(self, name: str) -> None:
        """Take a label away, wherever it comes from."""
        for where in (self.parsed, self.metadata, self.own):
            where.pop(name, None)

    def extract(self, name: str, value: str) -> None:
        """Give the record a label that a parser found: beside its own of that name; the first that is found stays."""
        name = self.free(name)
        if name not in self.extracted:
            self.set(name, value)

    def free(self, name: str) -> str:
        """The name that a parser's label gets."""
        return name + SUFFIX if name in self.stream or name in self.metadata else name

    def fail(self, error: str, details: str = "") -> None:
        """Something went wrong with it."""
        self.error = error
        self.details = details or self.details

    def fail_first(self, error: str, details: str) -> None:
        """Something went wrong with it, if nothing has before."""
        if not self.error:
            self.fail(error, details)

    def labels(self) -> dict[str, str]:
        """All labels, with those of an error."""
        shown = self.own | self.metadata | self.parsed
        if self.error:
            shown[ERROR] = self.error
        if self.details:
            shown[ERROR_DETAILS] = self.details
        return shown

    def shown(self) -> bytes:
        """The line as it is answered: the stored bytes if no stage changed it."""
        return self.stored if self.line == self.before else self.line.encode()
