r"""Which records continue the one before them in their stream: stack traces, and indented text.

A record continues the one before it when it was written in the same moment and looks like it. What "looks like it" is:

    indented text                what follows any record; behind an empty one only if that is inside a trace
    Java, Kotlin, .NET           `Caused by: …` behind frames; `--- End of …` behind them; an exception's line, which is
                                 one when a frame (`\tat …`) follows it, behind the line that announces it; thread dumps
    Python                       `Traceback (most recent call last):` behind the line that announces it, the line behind
                                 its frames, `During handling of …`, `The above exception …`
    Go                           `goroutine 1 [running]:`, its frames (a line, then a tab and a path), `[signal …`
    Ruby                         an exception's line between frames (`\tfrom …`)
    Node                         as Java; `Node.js v20…`
    PHP                          `Stack trace:` and its `#0 …`
    Rust                         the line behind `thread 'x' panicked at …:`, `note: run with …`, `stack backtrace:`
    printed objects              a closing bracket behind indented text
    empty lines                  between two parts of the above

Ordinary lines have none of this, whatever they say, so blocks of them cost one look at every record's first byte.
Only neighbours decide, so records that do not depend on others but the next two are the same wherever reading began.

The shapes are those that the runtimes print; see the samples in `tests/agent/multiline/`, which they wrote.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from agent.lines import steps
from agent.shapes import (
    BACKTRACE,
    BETWEEN,
    CAUSED,
    CLOSING,
    CODES,
    CREATED,
    DUMP,
    DUMPED,
    EMPTY,
    END,
    EXIT,
    FILE,
    FRAME,
    FROM,
    GOROUTINE,
    INDENTED,
    INDENTED_LAST,
    LEVEL,
    LISTED,
    NODE,
    NOTE,
    NUMBERED,
    OPENING,
    PANICKED,
    PATH,
    SIGNAL,
    STACK,
    TEXT,
    TRACEBACK,
    Codes,
    Sequence,
    codes_of,
    matches,
)

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)

# A record may continue what was written up to this long before it. Runtimes of containers stamp every line as they read
# it; a program that is held back by its CPU limit writes nothing for up to 100 ms.
SOON_NS: Final = 200_000_000
# What begins like a record of its own must follow more closely: programs write a trace and its announcement at once.
NEAR_NS: Final = 20_000_000

# By what they look like: those that are parts of a trace by themselves, and those that are behind its frames.
_PARTS: Final = np.zeros(CODES, np.bool_)
_PARTS[[SIGNAL, GOROUTINE, NOTE, BACKTRACE, STACK, BETWEEN, LISTED]] = True
_PARTS_BEHIND_FRAMES: Final = np.zeros(CODES, np.bool_)
_PARTS_BEHIND_FRAMES[[CAUSED, CLOSING, EXIT, END]] = True
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
_NODE_LINES_MAX: Final = 200  # between the mark and the version that Node prints


class Verdict(msgspec.Struct, frozen=True, eq=False):
    """What is known of each record: four times bool[n].

    ``continues``: it continues the one before it. ``soon`` and ``near``: it was written so shortly after it that it
    may, or may although it looks like the first of a record. ``empty``: what comes next decides.
    """

    continues: _Bools
    soon: _Bools
    near: _Bools
    empty: _Bools


class _Look(msgspec.Struct, frozen=True, eq=False):
    """Some of a sequence's records, each with its neighbours of one moment: what is not ``soon`` has none before it.

    ``rows``: int64[m], which they are. ``codes``: uint8[m]. ``soon`` and ``near``: bool[m], as in `Verdict`. ``known``:
    bool[`CODES`], whether each of them occurs.
    """

    sequence: Sequence
    rows: _Ints
    codes: Codes
    soon: _Bools
    near: _Bools
    known: _Bools

    def before(self, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """What ``values`` say of the record before; nothing (0) before the first."""
        moved = np.zeros_like(values)
        np.multiply(values[:-1], self.soon[1:], out=moved[1:])
        return moved

    def after(self, values: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """What ``values`` say of the record after; nothing (0) after the last."""
        moved = np.zeros_like(values)
        np.multiply(values[1:], self.soon[1:], out=moved[:-1])
        return moved

    def matching(self, pattern: re.Pattern[bytes], at: _Ints) -> _Bools:
        """Which of the records ``at`` match ``pattern``."""
        return matches(pattern, self.sequence, self.rows[at])


def judge(sequence: Sequence) -> Verdict:
    """Which of the records continue the one before.

    What is said of a record that is joined depends on no other one than those it is joined with and what follows them:
    each beginning that is found is taken for the first of all, until nothing changes.
    """
    soon, near = _moments(sequence)
    codes = codes_of(sequence)
    continues = np.zeros_like(soon)
    look = _beside_telling(sequence, codes, soon, near)
    while look.rows.size:
        found = look.soon & _continues(look)
        if (found == look.soon).all():
            continues[look.rows] = found
            break
        look = _within(look, found)
    return Verdict(continues, soon, near, codes == EMPTY)


def _beside_telling(sequence: Sequence, codes: Codes, soon: _Bools, near: _Bools) -> _Look:
    """The records that tell something, the two before each and the one behind it: others continue nothing.

    Only what Node prints of an uncaught error may have more between.
    """
    known = np.bincount(codes, minlength=CODES) > 0
    if known[NODE]:
        rows = np.arange(codes.size)
    else:
        telling = np.flatnonzero(codes)
        beside = np.zeros(codes.size + 3, np.bool_)
        for away in range(4):
            beside[telling + away] = True
        rows = np.flatnonzero(beside[2:-1])
    soon, near = soon[rows], near[rows]
    apart = steps(rows, -1) != 1
    soon[apart] = near[apart] = False
    return _Look(sequence, rows, codes[rows], soon, near, known)


def _within(look: _Look, found: _Bools) -> _Look:
    """The records that are ``found`` to continue others, and the first of each record they are in."""
    within = found.copy()
    within[:-1] |= found[1:]
    at = np.flatnonzero(within)
    soon = found[at]
    return _Look(look.sequence, look.rows[at], look.codes[at], soon, look.near[at] & soon, look.known)


def judge_by(pattern: re.Pattern[bytes], sequence: Sequence) -> Verdict:
    """As `judge`, where the first line of every record, and nothing else, matches ``pattern`` at its beginning."""
    soon, near = _moments(sequence)
    begins = np.array(
        [pattern.match(sequence.text[at : at + size].data) is not None for at, size in _spans(sequence)], np.bool_
    )
    return Verdict(soon & ~begins, soon, near, np.zeros(soon.size, np.bool_))


def _spans(sequence: Sequence) -> zip[tuple[int, int]]:
    return zip(sequence.begins.tolist(), sequence.lengths.tolist(), strict=True)


def _moments(sequence: Sequence) -> tuple[_Bools, _Bools]:
    """As in `Verdict`, by time alone."""
    passed = np.abs(steps(sequence.times, 0))
    joinable = ~(sequence.first | sequence.apart)
    joinable[1:] &= ~sequence.apart[:-1]
    return joinable & (passed <= SOON_NS), joinable & (passed <= NEAR_NS)


def _continues(look: _Look) -> _Bools:
    """One look; what is not ``soon`` is the first of its record."""
    codes, soon, near, known = look.codes, look.soon, look.near, look.known
    indented = (codes >= INDENTED) & (codes <= INDENTED_LAST)
    empty = codes == EMPTY
    before, after = look.before(codes), look.after(codes)
    near_after = look.after(near)
    after_indented = look.before(indented)
    text = codes == TEXT

    # Lines that are parts of a trace by themselves.
    found = np.zeros_like(near)
    if (known & _PARTS).any():
        found |= near & _PARTS.take(codes)
    if (known & _PARTS_BEHIND_FRAMES).any():
        found |= soon & after_indented & _PARTS_BEHIND_FRAMES.take(codes)
    if known[NODE]:
        found |= near & (codes == NODE) & ((before == EMPTY) | (before == CLOSING) | after_indented)
    if known[INDENTED]:
        found |= _node(look)
    if known[PANICKED]:
        found |= near & text & (before == PANICKED)
    if known[FROM]:
        found |= near & text & (before == FROM) & (after == FROM) & near_after
    # Lines that are by what stands before them.
    if known[GOROUTINE]:
        frames = text & (after == PATH) & near_after | (codes == CREATED)
        found |= soon & frames & _under(codes == GOROUTINE, indented | empty | frames, soon)
    if known[STACK]:
        found |= soon & (codes == NUMBERED) & _under(codes == STACK, codes == NUMBERED, soon)
    if known[DUMP]:
        parts = indented | empty | (codes == DUMPED) | (codes == CLOSING)
        found |= soon & ~indented & _under(codes == DUMP, parts, soon)
        found |= _behind(_DUMP_HEAD, look, near & (codes == DUMP))
    if known[LEVEL]:
        found |= _behind(_JAVA_HEAD, look, near & (codes == LEVEL))
    if known[OPENING]:
        opening = np.flatnonzero(near & (codes == OPENING) & look.after(indented & near))
        found[opening] |= np.isin(_last_bytes(look.sequence, look.rows[opening - 1]), _ANNOUNCING)
    if known[TRACEBACK] or known[FILE]:
        headers = (codes == TRACEBACK) | ((codes == FILE) & ~after_indented & (before != LISTED))
        inside = headers | _under(headers, indented, soon)
        named = soon & ~indented & ~empty & after_indented & look.before(inside)
        found |= named
        found |= near & (codes == TRACEBACK) & ~after_indented & ~look.before(named)
    if known[FRAME]:
        # The line of an exception, behind what announces it.
        lines = np.flatnonzero(text & (after == FRAME) & near_after & near & ~after_indented & (before != CAUSED))
        found[lines[look.matching(_EXCEPTION, lines)]] = True

    # Empty lines, by what stands before and behind them.
    strong = indented & (codes != INDENTED)
    plain = indented & ~strong
    if known[EMPTY]:
        found |= empty & soon & _inside(found & ~empty, indented, strong, empty, soon)
        found |= empty & near & (look.before(found & ~empty) | (before == FRAME))
        loose = (before == EMPTY) & ~look.before(found)
        strong &= ~loose
        plain_parts = plain & ~loose
    else:
        plain_parts = plain
    found |= strong & soon
    # Columns and lists are indented as well, each line a record: what has no head before it is none's text.
    return found | _under(~plain, plain_parts, soon) if known[INDENTED] else found


def _behind(pattern: re.Pattern[bytes], look: _Look, which: _Bools) -> _Bools:
    """Those of ``which``, none of them the first, behind a record that matches ``pattern``."""
    found = np.zeros_like(which)
    at = np.flatnonzero(which)
    found[at[look.matching(pattern, at - 1)]] = True
    return found


def _last_bytes(sequence: Sequence, rows: _Ints) -> npt.NDArray[np.uint8]:
    """The last byte of each of ``rows``; anything where it is empty."""
    found: npt.NDArray[np.uint8] = sequence.text[np.maximum(sequence.begins[rows] + sequence.lengths[rows] - 1, 0)]
    return found


def _node(look: _Look) -> _Bools:
    """What Node prints of an uncaught error: a place, its source, a mark below it, the error, and Node's version."""
    codes, near = look.codes, look.near
    found = np.zeros_like(near)
    marks = np.flatnonzero((codes[2:] == INDENTED) & (codes[:-2] == TEXT) & near[2:] & near[1:-1]) + 2
    marks = marks[look.matching(_CARETS, marks)]
    marks = marks[look.matching(_SOURCE, marks - 2)]
    if not marks.size:
        return found
    found[marks - 1] = True
    ends = np.flatnonzero(codes == NODE)
    moment = np.cumsum(~near)
    at = np.searchsorted(ends, marks)
    for mark, end in zip(marks[at < ends.size].tolist(), ends[at[at < ends.size]].tolist(), strict=True):
        if moment[mark] == moment[end] and end - mark <= _NODE_LINES_MAX:
            found[mark + 1 : end + 1] = True
    return found


def _under(headers: _Bools, parts: _Bools, soon: _Bools) -> _Bools:
    """Which records follow one of ``headers`` with nothing but ``parts`` between, written ``soon``, and are parts."""
    row = np.arange(headers.size)
    last = np.maximum.accumulate(np.where(headers | ~parts | ~soon, row, 0))
    found: _Bools = parts & headers[last] & (last < row)
    return found


def _inside(strong: _Bools, indented: _Bools, trace: _Bools, empty: _Bools, soon: _Bools) -> _Bools:
    """Which of the ``empty`` records have a part of a trace behind them: a ``strong`` one, or text that goes on."""
    row = np.arange(empty.size)
    behind = np.minimum.accumulate(np.where(empty, empty.size, row)[::-1])[::-1]
    ahead = np.maximum.accumulate(np.where(empty & soon, -1, row))
    # Everything up to the one behind belongs to the stream and the moment.
    broken = np.concatenate([np.zeros(1, np.int64), np.cumsum(~soon)])
    known = behind < empty.size
    behind = np.where(known, behind, 0)
    whole = known & (broken[behind + 1] == broken[row + 1])
    goes_on = trace[behind] & indented[np.maximum(ahead, 0)] & (ahead >= 0)
    found: _Bools = whole & (strong[behind] | goes_on)
    return found
