"""Leaves out and redacts the records of a round, by the treatment of the file that each is from.

All records of one treatment are searched at once. Gap records are never touched. What is left out leaves its position:
the ends that are reached in the files stay what they are.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.overlong import cut_again
from agent.records.passage import Passage, interleaved, rows_of, separated
from agent.select.redaction import found_in
from service.logs import fields
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.metrics import Metrics
    from agent.parse.assemble import Records
    from agent.select.redaction import Redaction
    from agent.select.rules import Treatment

_log = logging.getLogger(__name__)

# CPU. A round is a megabyte, which ordinary expressions search in milliseconds; meanwhile nothing else is read.
SLOW_ROUND_S: Final = 0.5
SAY_AGAIN_AFTER_S: Final = 60.0

_Bools = npt.NDArray[np.bool_]


class Sieve:
    """Applies treatments, counts what it did, and says which expression takes long."""

    def __init__(
        self,
        record_bytes_max: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._record_bytes_max = record_bytes_max
        self._metrics = metrics
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._said_s: float | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def sift(self, records: Records, treatments: Sequence[Treatment]) -> Records:
        """What is left of ``records``, whose segments have ``treatments``; their ends stay."""
        # The same rules give the same tuples: records under them are searched together.
        kinds: dict[tuple[int, int], int] = {}
        chosen: list[Treatment] = []
        groups = []
        for treatment in treatments:
            if not (treatment.drop or treatment.redact):
                groups.append(0)
                continue
            kind = id(treatment.drop), id(treatment.redact)
            if kind not in kinds:
                chosen.append(treatment)
                kinds[kind] = len(chosen)
            groups.append(kinds[kind])
        if not chosen or not records.times.size:
            return records
        group = np.repeat(np.array(groups, np.int64), records.rows)
        group[(records.flags & Flag.GAP) != 0] = 0
        self._seconds.clear()
        sifted = self._sift(records, group, chosen)
        self._note_time()
        return sifted

    def _sift(self, records: Records, group: npt.NDArray[np.int64], treatments: Sequence[Treatment]) -> Records:
        whole = Passage(records.body, records.lengths.astype(np.int64))
        kept = np.ones(group.size, np.bool_)
        flags = records.flags
        passages = [whole.only(group == 0)]
        is_changed = False
        for number, treatment in enumerate(treatments, 1):
            rows = np.flatnonzero(group == number)
            passage = whole.only(group == number)
            dropped = self._dropped(passage, treatment)
            if dropped.any():
                kept[rows[dropped]] = False
                passage, rows = passage.only(~dropped), rows[~dropped]
            redacted = self._redacted(passage, treatment.redact)
            # Only what a replacement has made too long: what was joined may be longer than a line.
            limits = np.maximum(passage.lengths, self._record_bytes_max)
            cut = redacted.lengths > limits
            if cut.any():
                was_cut = (flags[rows] & np.uint8(Flag.TRUNCATED)) != 0
                redacted = self._shortened(redacted, limits, was_cut)
                flags = flags.copy()
                flags[rows[cut]] |= np.uint8(Flag.TRUNCATED)
                self._metrics.truncated_records.inc(int(np.count_nonzero(cut & ~was_cut)))
            is_changed = is_changed or redacted is not passage or bool(dropped.any())
            passages.append(redacted)
        if not is_changed:
            return records
        left = interleaved(passages, group[kept])
        bounds = np.concatenate(([0], np.cumsum(kept)))[np.concatenate(([0], np.cumsum(records.rows)))]
        self._metrics.dropped_records.inc(int(np.count_nonzero(~kept)))
        return msgspec.structs.replace(
            records,
            times=records.times[kept],
            positions=records.positions[kept],
            flags=flags[kept],
            lengths=left.lengths.astype(np.uint32),
            body=memoryview(left.body),
            starts=records.starts[kept],
            heads=records.heads[kept],
            rows=np.diff(bounds),
        )

    def _dropped(self, passage: Passage, treatment: Treatment) -> _Bools:
        dropped = np.zeros(passage.lengths.size, np.bool_)
        separator = passage.separator(treatment.drop) if treatment.drop else None
        text = b"" if separator is None else passage.joined(separator)
        for expression in treatment.drop:
            began_s = self._cpu_clock()
            if separator is None:
                dropped |= [expression.alone.search(record) is not None for record in passage.records()]
            elif starts := found_in(expression, text, separator):
                dropped[rows_of(starts, text, separator)] = True
            self._seconds[expression.text] += self._cpu_clock() - began_s
        return dropped

    def _redacted(self, passage: Passage, redactions: Sequence[Redaction]) -> Passage:
        """``passage`` with everything replaced; itself if there was nothing."""
        began_s = self._cpu_clock()
        candidates = passage.candidates([redaction.hint for redaction in redactions])
        self._seconds["ready-made patterns"] += self._cpu_clock() - began_s
        if not candidates.any():
            return passage
        part = passage.only(candidates)
        separator = part.separator([redaction.expression for redaction in redactions])
        if separator is None:
            replaced = self._one_by_one(part, redactions)
        else:
            replaced = self._together(part, redactions, separator)
        if replaced is part:
            return passage
        return interleaved([passage.only(~candidates), replaced], candidates.astype(np.int64))

    def _together(self, part: Passage, redactions: Sequence[Redaction], separator: int) -> Passage:
        joined = text = part.joined(separator)
        for redaction in redactions:
            began_s = self._cpu_clock()
            before = text
            text, starts = redaction.replace_joined(before, separator)
            if starts:
                self._count(redaction, rows_of(starts, before, separator).size)
            self._seconds[redaction.expression.text] += self._cpu_clock() - began_s
        return part if text is joined else separated(text, separator)

    def _one_by_one(self, part: Passage, redactions: Sequence[Redaction]) -> Passage:
        """For records whose bytes leave no separator: none of them is text."""
        records = list(part.records())
        for redaction in redactions:
            began_s = self._cpu_clock()
            replaced = [redaction.replace(record) for record in records]
            records = [record for record, _ in replaced]
            self._count(redaction, sum(places > 0 for _, places in replaced))
            self._seconds[redaction.expression.text] += self._cpu_clock() - began_s
        return Passage(b"".join(records), np.array([len(record) for record in records], np.int64))

    def _shortened(self, passage: Passage, limits: npt.NDArray[np.int64], was_cut: _Bools) -> Passage:
        """Every record of ``passage``; of those longer than their limit as many of the first bytes, and a note."""
        records = []
        for record, limit, is_cut in zip(passage.records(), limits.tolist(), was_cut.tolist(), strict=True):
            shortened, left_out = (record, 0) if len(record) <= limit else cut_again(record, limit, is_cut=is_cut)
            self._metrics.truncated_bytes.inc(left_out)
            records.append(shortened)
        return Passage(b"".join(records), np.array(list(map(len, records)), np.int64))

    def _count(self, redaction: Redaction, records: int) -> None:
        self._metrics.redacted_records.labels(redaction.name).inc(records)

    def _note_time(self) -> None:
        seconds = sum(self._seconds.values())
        self._metrics.sieve_seconds.inc(seconds)
        if seconds <= SLOW_ROUND_S:
            return
        now_s = self._clock()
        if self._said_s is None or now_s - self._said_s > SAY_AGAIN_AFTER_S:
            self._said_s = now_s
            its_s, slowest = max((seconds, name) for name, seconds in self._seconds.items())
            _log.warning(
                "dropping and redacting take long, and nothing is read meanwhile; simplify the slowest expression",
                extra=fields(seconds=f"{seconds:.3f}", slowest=slowest, slowest_seconds=f"{its_s:.3f}"),
            )
