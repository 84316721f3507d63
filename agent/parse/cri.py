"""Parser of the format of containerd and CRI-O, a block at a time.

    2023-04-05T02:29:34.687797577Z stdout F message
    <time> <stdout|stderr> <tags> <message>

One space stands between the fields, the message is every byte behind the third, up to the newline. The first tag is
`P` (the message goes on in the next line of the stream) or `F`; more may follow, each after a `:`, and are skipped.
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/logs/logs.go (parseCRILog)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from agent.parse import timestamps
from agent.parse.lines import Block, Headers, Lines, cut, first_byte

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from agent.parse.lines import Segment

_STDOUT: Final = np.uint64(int.from_bytes(b" stdout ", "little"))
_STDERR: Final = np.uint64(int.from_bytes(b" stderr ", "little"))
# Bytes from the end of the time to the end of " stdout F", the first tag alone.
_TAG_END: Final = 9


def parse(block: bytes | memoryview | Sequence[bytes | memoryview], segments: Sequence[Segment]) -> Lines:
    """The lines of ``block``, or its pieces: the bytes of ``segments`` one after another, each ending in a newline."""
    text = cut(block, segments)
    # Where a time may end: at the first space that leaves it neither too short nor too long.
    near, far = text.words(text.starts + timestamps.TEXT_BYTES_MIN, 2)
    space = first_byte(near, ord(" "))
    space += np.where(space == 8, first_byte(far, ord(" ")), 0)  # noqa: PLR2004 - bytes of a word
    lengths = space + timestamps.TEXT_BYTES_MIN
    times, valid = timestamps.parse(text, text.starts, lengths)
    stream, tags = text.words(text.starts + lengths, 2)
    stderr = stream == _STDERR
    tag = tags & np.uint64(0xFF)
    partial = tag == ord("P")
    valid &= (stderr | (stream == _STDOUT)) & (partial | (tag == ord("F")))
    after = tags >> np.uint64(8) & np.uint64(0xFF)
    bodies = text.starts + lengths + _TAG_END + 1
    plain = after == ord(" ")
    if not plain.all():
        valid &= plain | (after == ord(":"))
        more = (valid & ~plain).nonzero()[0]
        if more.size:
            bodies[more] = _after_tags(text, bodies[more], text.ends[more])
            valid &= bodies <= text.ends
    if not valid.all():
        bodies = np.where(valid, bodies, text.starts)
    return text.lines(Headers(valid, times, stderr, partial), text.ends - bodies, bodies, text.text)


def _after_tags(text: Block, at: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The offsets behind the first space at or after ``at``; beyond the line's end if it has none."""
    spaces = np.append((text.text == ord(" ")).nonzero()[0], text.text.size)
    found = spaces[spaces.searchsorted(at)]
    return np.where(found < ends, found, ends) + 1
