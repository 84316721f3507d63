"""What is left out of lines over the limit: the record says how much at its end, it is counted, and warned of.

A record that was cut ends in a note, behind as many bytes as the limit allows:

    ... [truncated: 1234 bytes left out]

The number is of bytes of the message, pieces joined; where only the beginning of a line was read and is not in the
runtime's format without its end (Docker's objects), of the line. It depends on nothing but the file and the limit, so
a record that is read again is the same.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Final

from service.logs import fields

if TYPE_CHECKING:
    from agent.metrics import Metrics

_log = logging.getLogger(__name__)

# Room for the longest note, kept free below what a record may have on the wire.
NOTE_BYTES_MAX: Final = 64
# A program whose lines are too long writes many of them.
SAY_AGAIN_AFTER_S: Final = 60.0
_NOTE: Final = re.compile(rb" \[truncated: (\d{1,19}) bytes left out\]\Z")


def note(left_out: int) -> bytes:
    """What stands at the end of a record of which ``left_out`` bytes are missing."""
    return b" [truncated: %d bytes left out]" % left_out


def cut_again(record: bytes, bytes_max: int, *, is_cut: bool) -> tuple[bytes, int]:
    """``record`` of at most ``bytes_max`` bytes and a note; and how many bytes that leaves out.

    ``is_cut``: it was before, and ends in a note, which has its place in ``bytes_max``: the new one counts on.
    """
    found = _NOTE.search(record, max(0, len(record) - NOTE_BYTES_MAX)) if is_cut else None
    before, size = (int(found[1]), len(found[0])) if found else (0, 0)
    kept = record[: max(0, bytes_max - size)]
    left_out = len(record) - size - len(kept)
    return kept + note(before + left_out), left_out


class Overlong:
    """Counts what is left out, and names a file of it, at most once in `SAY_AGAIN_AFTER_S`."""

    def __init__(self, record_bytes_max: int, metrics: Metrics) -> None:
        self._record_bytes_max = record_bytes_max
        self._metrics = metrics
        self._records = 0
        self._bytes = 0
        self._said_s: float | None = None

    def count(self, path: str, left_out: list[int]) -> None:
        """Of records of the file at ``path`` so many bytes each are ``left_out``."""
        self._metrics.truncated_records.inc(len(left_out))
        self._metrics.truncated_bytes.inc(sum(left_out))
        self._records += len(left_out)
        self._bytes += sum(left_out)
        now_s = time.monotonic()
        if self._said_s is not None and now_s - self._said_s < SAY_AGAIN_AFTER_S:
            return
        _log.warning(
            "lines are longer than --record-bytes and were cut, in this file and perhaps others",
            extra=fields(path=path, records=self._records, bytes=self._bytes, limit_bytes=self._record_bytes_max),
        )
        self._said_s, self._records, self._bytes = now_s, 0, 0
