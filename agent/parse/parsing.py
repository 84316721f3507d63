"""The lines of what was read, by the parser of each file's format.

Files of both formats are parsed apart, and taken together from there on: assembling and joining cost about a
millisecond a round, whatever there is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from agent.parse import cri, docker
from agent.parse.lines import Format, Lines, Segment

if TYPE_CHECKING:
    from agent.parse.stretch import Stretch

Parser = Callable[[Sequence[bytes | memoryview], Sequence[Segment]], Lines]
PARSERS: Final[Mapping[Format, Parser]] = {
    Format.CRI: cri.parse,
    Format.DOCKER: docker.parse,
}


def parsed(stretches: Sequence[Stretch]) -> tuple[list[Stretch], Lines | None]:
    """The lines of ``stretches``, and these in the order in which their lines are; None if there are none."""
    ordered: list[Stretch] = []
    parts: list[Lines] = []
    for form, parse in PARSERS.items():
        mine = [stretch for stretch in stretches if stretch.file.format is form]
        if mine:
            pieces = [piece for stretch in mine for piece in (stretch.held, stretch.data)]
            parts.append(parse(pieces, [stretch.segment for stretch in mine]))
            ordered += mine
    return ordered, together(parts) if parts else None


def together(parts: Sequence[Lines]) -> Lines:
    """The lines of several blocks, as if they were of one."""
    if len(parts) == 1:
        return parts[0]
    sizes = [part.text.size for part in parts]
    before = [sum(sizes[:number]) for number in range(len(parts))]
    return Lines(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.flags for part in parts]),
        np.concatenate([part.partial for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.begins + size for part, size in zip(parts, before, strict=True)]),
        np.concatenate([part.text for part in parts]),
        np.concatenate([part.rows for part in parts]),
    )
