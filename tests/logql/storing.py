"""The evaluator's records as the batches of an agent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.aggregator.records import Part, Record, batch
from wire.batch import Chunk, Flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.logql import labels
    from wire.batch import Batch


class _Container(Part, frozen=True, kw_only=True):
    """The records of one container; both streams of one are one file."""

    names: dict[str, str]

    @property
    def chunk(self) -> Chunk:
        """As `Part`, with the container's own names."""
        names = self.names
        return Chunk(
            self.source,
            self.start,
            self.records[-1].position,
            names["namespace"],
            names["pod"],
            names["uid"],
            names["container"],
            0,
            len(self.records),
            joint=False,
        )


def batches(records: Sequence[labels.Record]) -> Iterator[Batch]:
    """One batch a container, its records in the order given: their positions rise."""
    files: dict[tuple[str, ...], list[labels.Record]] = {}
    for record in records:
        names = dict(record.stream)
        files.setdefault(tuple(names[one] for one in ("namespace", "pod", "container")), []).append(record)
    for key, members in files.items():
        source = hashlib.blake2b("/".join(key).encode(), digest_size=16).digest()
        rows = tuple(
            Record(
                number,
                member.line,
                member.ts,
                int(Flag.STDERR) if dict(member.stream)["stream"] == "stderr" else 0,
            )
            for number, member in enumerate(members, 1)
        )
        yield batch(_Container(source, 0, rows, names=dict(members[0].stream)))
