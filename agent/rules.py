"""What is to be done with a container's log, by globs over its namespace, pod and name."""

from __future__ import annotations

import re
from typing import Final

import msgspec


class Treatment(msgspec.Struct, frozen=True, eq=False):
    """What is done with the log of one container; found once, when the container is.

    ``collected``: its files are followed. ``multiline``: lines that belong together become one record; if
    ``multiline_start`` is given, a record begins where that matches the beginning of a line (`re.Pattern.match`), and
    nowhere else. ``drop``: records that one of these finds something in are left out. ``redact``: what these find is
    replaced, one after another. ``rate_bytes_per_s``: what is read of the pod, at most; None for all there is.
    """

    collected: bool = True
    multiline: bool = True
    multiline_start: re.Pattern[bytes] | None = None
    drop: tuple[re.Pattern[bytes], ...] = ()
    redact: tuple[tuple[re.Pattern[bytes], bytes], ...] = ()
    rate_bytes_per_s: int | None = None


# Of a container that nothing was said about.
PLAIN: Final = Treatment()
