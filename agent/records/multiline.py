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

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.lines import steps
from agent.records.shapes import (
    BACKTRACE,
    BETWEEN,
    CAUSED,
    CLOSING,
    CODES,
    EMPTY,
    END,
    EXIT,
    FRAME,
    GOROUTINE,
    INDENTED,
    INDENTED_LAST,
    LISTED,
    NODE,
    NOTE,
    SIGNAL,
    STACK,
    Codes,
    Sequence,
    codes_of,
)
from agent.records.traces import RULES, Look, under

if TYPE_CHECKING:
    from agent.select.beginnings import Beginning

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]

# A record may continue what was written up to this long before it. Runtimes of containers stamp every line as they read
# it; a program that is held back by its CPU limit writes nothing for up to 100 ms.
SOON_NS: Final = 200_000_000
# What begins like a record of its own must follow more closely: programs write a trace and its announcement at once.
NEAR_NS: Final = 20_000_000

# By what they look like: those that are parts of a trace by themselves, and those that are behind its frames.
_PARTS: Final = (SIGNAL, GOROUTINE, NOTE, BACKTRACE, STACK, BETWEEN, LISTED)
_PARTS_BEHIND_FRAMES: Final = (CAUSED, CLOSING, EXIT, END)
_IS_PART: Final = np.zeros(CODES, np.bool_)
_IS_PART[[*_PARTS]] = True
_IS_PART_BEHIND_FRAMES: Final = np.zeros(CODES, np.bool_)
_IS_PART_BEHIND_FRAMES[[*_PARTS_BEHIND_FRAMES]] = True


class Verdict(msgspec.Struct, frozen=True, eq=False):
    """What is known of each record: four times bool[n].

    ``continues``: it continues the one before it. ``soon`` and ``near``: it was written so shortly after it that it
    may, or may although it looks like the first of a record. ``empty``: what comes next decides.
    """

    continues: _Bools
    soon: _Bools
    near: _Bools
    empty: _Bools


def judge(sequence: Sequence) -> Verdict:
    """Which of the records continue the one before.

    What is said of a record that is joined depends on no other one than those it is joined with and what follows them:
    each beginning that is found is taken for the first of all, until nothing changes.
    """
    soon, near = _moments(sequence)
    codes = codes_of(sequence)
    continues = np.zeros(soon.size, np.bool_)
    look = _beside_telling(sequence, codes, soon, near)
    while look.rows.size:
        found = look.soon & _continues(look)
        if np.array_equal(found, look.soon):
            continues[look.rows] = found
            break
        look = _within(look, found)
    return Verdict(continues, soon, near, codes == EMPTY)


def _beside_telling(sequence: Sequence, codes: Codes, soon: _Bools, near: _Bools) -> Look:
    """The records that tell something, the two before each and the one behind it: others continue nothing.

    Only what Node prints of an uncaught error may have more between.
    """
    telling = codes.nonzero()[0]
    known = frozenset(np.bincount(codes[telling]).nonzero()[0].tolist())
    if NODE in known:
        rows = np.arange(codes.size)
    else:
        beside = np.zeros(codes.size + 3, np.bool_)
        for away in range(4):
            beside[telling + away] = True
        rows = beside[2:-1].nonzero()[0]
    soon, near = soon[rows], near[rows]
    apart = steps(rows, -1) != 1
    soon[apart] = near[apart] = False
    return Look(sequence, rows, codes[rows], soon, near, known, {})


def _within(look: Look, found: _Bools) -> Look:
    """The records that are ``found`` to continue others, and the first of each record they are in."""
    within = found.copy()
    within[:-1] |= found[1:]
    at = within.nonzero()[0]
    soon = found[at]
    return Look(look.sequence, look.rows[at], look.codes[at], soon, look.near[at] & soon, look.known, look.told)


def judge_by(beginning: Beginning, sequence: Sequence) -> Verdict:
    """As `judge`, where the first line of every record, and nothing else, has ``beginning``.

    So nothing that follows changes it: none is ``near`` or ``empty``.
    """
    soon, _ = _moments(sequence)
    continues = soon.copy()
    rows = soon.nonzero()[0]
    continues[rows] = ~beginning.of(sequence.text, sequence.begins[rows], sequence.lengths[rows])
    return Verdict(continues, soon, np.zeros_like(soon), np.zeros_like(soon))


def _moments(sequence: Sequence) -> tuple[_Bools, _Bools]:
    """As in `Verdict`, by time alone."""
    passed = np.abs(steps(sequence.times, 0))
    joinable = ~(sequence.first | sequence.apart)
    joinable[1:] &= ~sequence.apart[:-1]
    return joinable & (passed <= SOON_NS), joinable & (passed <= NEAR_NS)


def _continues(look: Look) -> _Bools:
    """One look, by the rules of `agent.records.traces` and those for indented and empty text.

    What is not ``soon`` is the first of its record.
    """
    codes, soon, near, known = look.codes, look.soon, look.near, look.known
    indented = (codes >= INDENTED) & (codes <= INDENTED_LAST)
    before = look.before(codes)
    found = np.zeros(soon.size, np.bool_)
    if not known.isdisjoint(_PARTS):
        found |= near & _IS_PART.take(codes)
    if not known.isdisjoint(_PARTS_BEHIND_FRAMES):
        found |= soon & look.before(indented) & _IS_PART_BEHIND_FRAMES.take(codes)
    for rule, of in RULES:
        if not known.isdisjoint(of):
            found |= rule(look, indented, before)
    strong = indented & (codes != INDENTED)
    plain = indented & ~strong
    if EMPTY in known:
        empty = codes == EMPTY
        found |= empty & soon & _inside(found & ~empty, indented, strong, empty, soon)
        found |= empty & near & (look.before(found & ~empty) | (before == FRAME))
        tight = (before != EMPTY) | look.before(found)
        found |= strong & soon & tight
        return found | under(~plain, plain & tight, soon)
    found |= strong & soon
    # Columns and lists are indented as well, each line a record: what has no head before it is none's text.
    return found | under(~plain, plain, soon) if INDENTED in known else found


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
