"""What each runtime writes of a trace: lines told by what they and their neighbours look like.

`agent.records.multiline` puts these together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from agent.records.shapes import (
    CAUSED,
    CLOSING,
    CREATED,
    DUMP,
    DUMPED,
    EMPTY,
    FILE,
    FRAME,
    FROM,
    GOROUTINE,
    INDENTED,
    LEVEL,
    LISTED,
    NODE,
    NUMBERED,
    OPENING,
    PANICKED,
    PATH,
    STACK,
    TEXT,
    TRACEBACK,
    Codes,
    Sequence,
    matches,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)

# What a record that ends like this announces goes on in the next one.
_ANNOUNCING: Final = np.frombuffer(b":=(,", np.uint8)
# The first line of a record of java.util.logging, and of a thread dump.
_JAVA_HEAD: Final = re.compile(rb"[A-Z][a-z]{2} \d{1,2}, \d{4} \d{1,2}:\d\d:\d\d [AP]M \S")
_DUMP_HEAD: Final = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\s*$")
# Node's and Python's mark below a line of source, and the line of Node's that names its file.
_CARETS: Final = re.compile(rb"\s*[\^~]+\s*$")
_SOURCE: Final = re.compile(rb"\S.*:\d+\s*$")
# How the line of an exception begins: its type, with nothing before it. Only looked at where a frame follows.
_EXCEPTION: Final = re.compile(
    rb"(?:Exception in thread|Unhandled exception|Uncaught"
    rb"|(?:[\w$]++[.\\:/]++)+[\w$]*[A-Z][\w$]*"  # a type with its package
    rb"|[\w$]*(?:Error|Exception|Throwable|Failure|Fault|Panic|Warning))"
    rb"(?:\s*$|[:\s(\[<{])"
)
_YES: Final = 2
_NODE_LINES_MAX: Final = 200  # between the mark and the version that Node prints


class Look(msgspec.Struct, frozen=True, eq=False):
    """Some of a sequence's records, each with its neighbours of one moment: what is not ``soon`` has none before it.

    ``rows``: int64[m], which they are. ``codes``: uint8[m]. ``soon`` and ``near``: bool[m], as in `multiline.Verdict`.
    ``known``: the codes that occur, but TEXT.
    ``told``: of all the sequence's records, by expression, whether they match: 0 where none has asked yet, 1 no, 2 yes.
    It is filled as it is asked for, since one look follows the other.
    """

    sequence: Sequence
    rows: _Ints
    codes: Codes
    soon: _Bools
    near: _Bools
    known: frozenset[int]
    told: dict[re.Pattern[bytes], npt.NDArray[np.uint8]]

    def before(self, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """What ``values`` say of the record before; nothing (0) before the first."""
        moved = values.copy()
        moved[:1] = 0
        np.multiply(values[:-1], self.soon[1:], out=moved[1:])
        return moved

    def after(self, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """What ``values`` say of the record after; nothing (0) after the last."""
        moved = values.copy()
        moved[-1:] = 0
        np.multiply(values[1:], self.soon[1:], out=moved[:-1])
        return moved

    def matching(self, pattern: re.Pattern[bytes], which: _Bools, back: int = 0) -> _Bools:
        """Those of ``which`` that match ``pattern``, or where the record does that stands so far ``back``."""
        found = which.copy()
        at = which.nonzero()[0]
        if at.size:
            rows = self.rows[at - back]
            told = self.told.setdefault(pattern, np.zeros(self.sequence.begins.size, np.uint8))
            asked = rows[told[rows] == 0]
            told[asked] = matches(pattern, self.sequence, asked) + np.uint8(1)
            found[at] = told[rows] == _YES
        return found


def _exceptions(look: Look, indented: _Bools, before: Codes) -> _Bools:
    """The line of an exception, behind what announces it."""
    heads = (look.codes == TEXT) & (look.after(look.codes) == FRAME) & look.after(look.near) & look.near
    return look.matching(_EXCEPTION, heads & ~look.before(indented) & (before != CAUSED))


def _python(look: Look, indented: _Bools, before: Codes) -> _Bools:
    codes, soon = look.codes, look.soon
    after_indented = look.before(indented)
    headers = (codes == TRACEBACK) | ((codes == FILE) & ~after_indented & (before != LISTED))
    inside = headers | under(headers, indented, soon)
    named = soon & ~indented & (codes != EMPTY) & after_indented & look.before(inside)
    found: _Bools = named | look.near & (codes == TRACEBACK) & ~after_indented & ~look.before(named)
    return found


def _go(look: Look, indented: _Bools, _: Codes) -> _Bools:
    codes = look.codes
    frames = (codes == TEXT) & (look.after(codes) == PATH) & look.after(look.near) | (codes == CREATED)
    found: _Bools = look.soon & frames & under(codes == GOROUTINE, indented | (codes == EMPTY) | frames, look.soon)
    return found


def _ruby(look: Look, _: _Bools, before: Codes) -> _Bools:
    between = (before == FROM) & (look.after(look.codes) == FROM) & look.after(look.near)
    found: _Bools = look.near & (look.codes == TEXT) & between
    return found


def _rust(look: Look, _: _Bools, before: Codes) -> _Bools:
    found: _Bools = look.near & (look.codes == TEXT) & (before == PANICKED)
    return found


def _php(look: Look, _indented: _Bools, _before: Codes) -> _Bools:
    numbered = look.codes == NUMBERED
    found: _Bools = look.soon & numbered & under(look.codes == STACK, numbered, look.soon)
    return found


def _dumps(look: Look, indented: _Bools, _: Codes) -> _Bools:
    codes = look.codes
    parts = indented | (codes == EMPTY) | (codes == DUMPED) | (codes == CLOSING)
    found = look.soon & ~indented & under(codes == DUMP, parts, look.soon)
    return found | look.matching(_DUMP_HEAD, look.near & (codes == DUMP), back=1)


def _levels(look: Look, _indented: _Bools, _before: Codes) -> _Bools:
    return look.matching(_JAVA_HEAD, look.near & (look.codes == LEVEL), back=1)


def _objects(look: Look, indented: _Bools, _: Codes) -> _Bools:
    """An opening bracket, behind what announces it, and before indented text."""
    found: _Bools = look.near & (look.codes == OPENING) & look.after(indented & look.near)
    opening = found.nonzero()[0]
    found[opening] = np.isin(_last_bytes(look.sequence, look.rows[opening - 1]), _ANNOUNCING)
    return found


def _node_version(look: Look, indented: _Bools, before: Codes) -> _Bools:
    behind = (before == EMPTY) | (before == CLOSING) | look.before(indented)
    found: _Bools = look.near & (look.codes == NODE) & behind
    return found


def _last_bytes(sequence: Sequence, rows: _Ints) -> npt.NDArray[np.uint8]:
    """The last byte of each of ``rows``; anything where it is empty."""
    found: npt.NDArray[np.uint8] = sequence.text[np.maximum(sequence.begins[rows] + sequence.lengths[rows] - 1, 0)]
    return found


def _node(look: Look, _indented: _Bools, _before: Codes) -> _Bools:
    """What Node prints of an uncaught error: a place, its source, a mark below it, the error, and Node's version."""
    codes, near = look.codes, look.near
    found = np.zeros_like(near)
    marked = np.zeros_like(near)
    marked[2:] = (codes[2:] == INDENTED) & (codes[:-2] == TEXT) & near[2:] & near[1:-1]
    marks = look.matching(_SOURCE, look.matching(_CARETS, marked), back=2).nonzero()[0]
    if not marks.size:
        return found
    found[marks - 1] = True
    ends = (codes == NODE).nonzero()[0]
    moment = np.cumsum(~near)
    at = ends.searchsorted(marks)
    for mark, end in zip(marks[at < ends.size].tolist(), ends[at[at < ends.size]].tolist(), strict=True):
        if moment[mark] == moment[end] and end - mark <= _NODE_LINES_MAX:
            found[mark + 1 : end + 1] = True
    return found


def under(headers: _Bools, parts: _Bools, soon: _Bools) -> _Bools:
    """Which records follow one of ``headers`` with nothing but ``parts`` between, written ``soon``, and are parts."""
    row = np.arange(headers.size)
    last = np.maximum.accumulate(np.where(headers | ~parts | ~soon, row, 0))
    found: _Bools = parts & headers[last] & (last < row)
    return found


# Which records continue the one before, as one runtime writes them; and the codes without one of which none does. Each
# takes which are indented, and the codes of those before, too.
RULES: Final[tuple[tuple[Callable[[Look, _Bools, Codes], _Bools], list[int]], ...]] = (
    (_exceptions, [FRAME]),
    (_python, [TRACEBACK, FILE]),
    (_go, [GOROUTINE]),
    (_ruby, [FROM]),
    (_rust, [PANICKED]),
    (_php, [STACK]),
    (_dumps, [DUMP]),
    (_levels, [LEVEL]),
    (_node, [INDENTED]),
    (_node_version, [NODE]),
    (_objects, [OPENING]),
)
