"""What is found, as types, and as text. `Report`, encoded, is the JSON of ``--json``: fields may come, none goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aggregator.store.coverage import Sources, Tear
from aggregator.store.parts import Broken, SetAside

if TYPE_CHECKING:
    from collections.abc import Iterator


class Report(msgspec.Struct, frozen=True):
    """Everything `logboom-aggregator check` finds.

    ``tears``: of the first torn files, at most `coverage.TEARS_MAX`. ``sources`` is null, with ``unread`` saying why,
    where broken parts keep the records from being read. ``positions``: whether the positions that agents are told are
    those of the records. ``unlabelled``: records whose stream's labels are missing; they are in no answer.
    """

    store: str
    schema: int
    parts: int
    bytes: int
    broken: tuple[Broken, ...]
    set_aside: tuple[SetAside, ...]
    sources: Sources | None
    tears: tuple[Tear, ...]
    positions: bool | None
    unlabelled: int | None
    unread: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        found = self.broken or self.set_aside or self.unread or self.unlabelled or self.positions is False
        return not found and self.sources is not None and self.sources.torn == 0


def render(report: Report) -> str:
    """For people: a line for each thing that was looked at, then what is wrong, then what to do."""
    return "\n".join([*_lines(report), ""])


def _lines(report: Report) -> Iterator[str]:
    yield f"store      {report.store}, schema {report.schema}"
    counts = f"{len(report.broken)} broken, {len(report.set_aside)} set aside"
    yield f"parts      {report.parts:,} of {report.bytes:,} bytes, {counts}"
    if report.sources is None:
        yield f"records    could not be read: {report.unread}"
    else:
        yield from _of_sources(report.sources)
        yield f"positions  {'those of the records' if report.positions else 'NOT those of the records'}"
        yield f"labels     {report.unlabelled:,} records without"
    for broken in report.broken:
        yield f"broken     {broken.table} {broken.part} of {broken.day}: {broken.reason}"
    for aside in report.set_aside:
        yield f"set aside  {aside.table} {aside.part} of {aside.day}, {aside.bytes:,} bytes: {aside.path}"
    for tear in report.tears:
        what = f"{tear.node} {tear.namespace}/{tear.pod}/{tear.container}".strip(" /") or "of no known container"
        yield f"{tear.kind:<10} {what}, file {tear.source}: bytes {tear.start:,} to {tear.end:,}"
    yield "clean" if report.is_clean else "NOT CLEAN; docs/operations.md says what to do about each"


def _of_sources(found: Sources) -> Iterator[str]:
    yield f"records    {found.rows:,} rows of {found.files:,} log files, {found.bytes:,} bytes of them"
    yield f"           {found.torn:,} files with holes, or with something twice"
    if found.begun_late:
        yield f"           {found.begun_late:,} files without their beginning, {found.begun_late_bytes:,} bytes in all:"
        yield "           older than the retention, or never stored"
    if found.unframed:
        yield f"           {found.unframed:,} files with records of before schema 2: holes in them cannot be told"
