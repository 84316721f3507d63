"""What one reading gives: records of several files, and which are whose."""

from __future__ import annotations

import msgspec

from agent.follow.logfile import LogFile
from agent.parse.assemble import Records


class Part(msgspec.Struct, frozen=True):
    """Consecutive records of one file within a round: ``rows`` of them, continuing ``start``, reaching ``end``.

    ``joint``: they go on in those of the next part, as `wire.batch.Chunk` has it.
    """

    file: LogFile
    start: int
    end: int
    rows: int
    joint: bool = False


class Round(msgspec.Struct, frozen=True):
    """What one reading gave: the records of several files, and which are whose, in their order."""

    records: Records
    parts: tuple[Part, ...]
