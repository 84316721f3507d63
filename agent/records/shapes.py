"""What records look like, by their first bytes: one code a record.

Ordinary records begin with none of the shapes that matter, and cost one look at their first byte.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.excerpts import windows

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

# What a record looks like; everything else is TEXT.
(
    TEXT,
    INDENTED,
    FRAME,  # indented, `at …`
    FROM,  # a tab, `from …`
    FILE,  # indented, `File "…`
    PATH,  # a tab and a path
    EMPTY,
    CLOSING,
    CAUSED,
    TRACEBACK,
    BETWEEN,
    GOROUTINE,
    SIGNAL,
    CREATED,
    EXIT,
    PANICKED,
    NOTE,
    BACKTRACE,
    STACK,
    NUMBERED,
    END,
    NODE,
    DUMP,
    DUMPED,
    LEVEL,
    LISTED,
    OPENING,
) = range(27)
CODES: Final = 27
INDENTED_LAST: Final = PATH

_WORD_BYTES: Final = 8
# By how many bytes a record has: which of its first word's are its own.
_OWN: Final = np.array([(1 << 8 * n) - 1 for n in range(_WORD_BYTES)] + [(1 << 64) - 1], np.uint64)


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text[:_WORD_BYTES], "little"))


# What a record's first bytes say, and what its whole text must be then; the latter is looked at for these few only.
_PREFIXES: Final = (
    (b"\tat ", FRAME, None),
    (b"\t... ", FRAME, None),
    (b"    at ", FRAME, None),
    (b"   at ", FRAME, None),
    (b"  at ", FRAME, None),
    (b" INFO ", TEXT, None),  # a level aligned to the right
    (b" WARN ", TEXT, None),
    (b"    --- ", TEXT, re.compile(rb" +--- (PASS|FAIL|SKIP|BENCH): ")),  # Go's tests of tests
    (b"\tfrom ", FROM, None),
    (b'  File "', FILE, None),
    (b"\t/", PATH, None),
    (b"  + Exce", PATH, re.compile(rb"  \+ Exception Group Traceback ")),
    (b"Caused by: ", CAUSED, re.compile(rb"Caused by: .")),
    (b"Wrapped by: ", CAUSED, re.compile(rb"Wrapped by: .")),
    (b"---> (Inner ", END, None),
    (b"Tracebac", TRACEBACK, re.compile(rb"Traceback \(most recent call last\):\s*$")),
    (b"During h", BETWEEN, re.compile(rb"During handling of the above exception, another exception occurred:\s*$")),
    (
        b"The abov",
        BETWEEN,
        re.compile(rb"The above exception was the direct cause of the following exception:\s*$"),
    ),
    (b"goroutin", GOROUTINE, re.compile(rb"goroutine \d+ .*\[.+\]:\s*$")),
    (b"[signal ", SIGNAL, None),
    (b"created ", CREATED, re.compile(rb"created by \S")),
    (b"exit sta", EXIT, re.compile(rb"exit status \d+\s*$")),
    (b"thread '", PANICKED, re.compile(rb"thread '.*' (\(\d+\) )?panicked at .*:\s*$")),
    (b"note: ru", NOTE, re.compile(rb"note: run with `RUST_BACKTRACE=")),
    (b"note: So", NOTE, re.compile(rb"note: Some details are omitted, run with `RUST_BACKTRACE=")),
    (b"stack ba", BACKTRACE, re.compile(rb"stack backtrace:\s*$")),
    (b"Stack tr", STACK, re.compile(rb"Stack trace:\s*$")),
    (b"PHP Stac", STACK, re.compile(rb"PHP Stack trace:\s*$")),
    (b"#", NUMBERED, re.compile(rb"#\d+ ")),
    (b"--- End ", END, re.compile(rb"--- End of ")),
    (b"Node.js ", NODE, re.compile(rb"Node\.js v\d")),
    (b"Full thr", DUMP, re.compile(rb"Full thread dump ")),
    (b'"', DUMPED, None),
    (b"Threads ", DUMPED, None),
    (b"_java_th", DUMPED, None),
    (b"0x0000", DUMPED, None),
    (b"JNI glob", DUMPED, None),
    (b"Stack (m", LISTED, re.compile(rb"Stack \(most recent call last\):\s*$")),
    (b"INFO: ", LEVEL, None),
    (b"WARNING:", LEVEL, re.compile(rb"WARNING: ")),
    (b"SEVERE: ", LEVEL, None),
    (b"CONFIG: ", LEVEL, None),
    (b"FINE: ", LEVEL, None),
    (b"FINER: ", LEVEL, None),
    (b"FINEST: ", LEVEL, None),
)
# The same by first byte, as words: what a record's first word is, where only the bytes of the prefix are looked at.
_WORDS: Final[dict[int, list[tuple[np.uint64, np.uint64, int, re.Pattern[bytes] | None]]]] = {}
for _prefix, _code, _whole in _PREFIXES:
    _WORDS.setdefault(_prefix[0], []).append((_word(_prefix), _OWN[min(len(_prefix), _WORD_BYTES)], _code, _whole))
_SPACES: Final = b" \t"
_CLOSERS: Final = b"}])"
_OPENERS: Final = b"{["
_CLOSING_BYTES_MAX: Final = 3
# Whether a record may be anything but TEXT, by 256 times its fifth byte and its first one. Half of all lines begin like
# a level or a name that matters; the fifth byte tells `INFO: ` from `INFO request`.
_FIFTH: Final = 4
_TELLING: Final = np.zeros((256, 256), np.bool_)
_TELLING[:, [*_SPACES, ord("\r")]] = True
for _prefix, _code, _whole in _PREFIXES:
    _TELLING[_prefix[_FIFTH] if len(_prefix) > _FIFTH else slice(None), _prefix[0]] = True
# What a first byte says by itself.
_FIRST: Final = np.zeros(256, np.uint8)
_FIRST[[*_SPACES]] = INDENTED
_FIRST[[*_CLOSERS]] = CLOSING
_FIRST[[*_OPENERS]] = OPENING
# The most bytes that a record of a code has.
_BYTES_MOST: Final = np.full(CODES, np.iinfo(np.int64).max)
_BYTES_MOST[CLOSING] = _CLOSING_BYTES_MAX
_BYTES_MOST[OPENING] = 1
_WHITE: Final = np.zeros(256, np.bool_)
_WHITE[[*b" \t\r"]] = True
_LOOK_BYTES: Final = 512  # of a text, for an expression


class Sequence(msgspec.Struct, frozen=True, eq=False):
    """The n records of one or more streams, stream after stream, each in the order of its file.

    ``text``: uint8, everything they say; ``begins`` and ``lengths``: int64[n], where in it each stands. ``times``:
    int64[n] ns. ``first``: bool[n], the first of its stream. ``apart``: bool[n], continues nothing and is not
    continued: what is not a line of the program's.
    """

    text: npt.NDArray[np.uint8]
    begins: _Ints
    lengths: _Ints
    times: _Ints
    first: _Bools
    apart: _Bools


def codes_of(sequence: Sequence) -> Codes:
    """What each record looks like: uint8[n]."""
    codes = np.zeros(sequence.begins.size, np.uint8)
    if not sequence.text.size:
        codes[:] = EMPTY
        return codes
    rows = _telling(sequence)
    if not rows.size:
        return codes
    lengths = sequence.lengths[rows]
    words = _first_words(sequence.text, sequence.begins[rows]) & _OWN[np.minimum(lengths, _WORD_BYTES)]
    first = words & np.uint64(0xFF)
    found = _FIRST.take(first.view(np.int64))
    found[lengths > _BYTES_MOST.take(found)] = TEXT
    short = (lengths <= _WORD_BYTES).nonzero()[0]
    if short.size:
        found[short[_is_blank(words[short], lengths[short])]] = EMPTY
    for head in np.bincount(first.view(np.int64), minlength=256).nonzero()[0].tolist():
        for word, own, code, whole in _WORDS.get(head, ()):
            hits = (words & own == word).nonzero()[0]
            if whole is not None and hits.size:
                hits = hits[matches(whole, sequence, rows[hits])]
            found[hits] = code
    codes[rows] = found
    return codes


def _telling(sequence: Sequence) -> _Ints:
    """The rows that may be anything but TEXT, by two of their bytes; brackets close in short ones only."""
    both = sequence.text.take(sequence.begins + _FIFTH, mode="clip").astype(np.uint16)
    both <<= np.uint16(8)
    both |= sequence.text.take(sequence.begins, mode="clip")  # the last record may be empty
    return (_TELLING.take(both) | (sequence.lengths <= _CLOSING_BYTES_MAX)).nonzero()[0]


def _first_words(text: npt.NDArray[np.uint8], begins: _Ints) -> npt.NDArray[np.uint64]:
    """The first eight bytes at each of ``begins``, lowest first; beyond the text there are none."""
    if text.size < _WORD_BYTES:
        text = np.concatenate([text, np.zeros(_WORD_BYTES, np.uint8)])
    last = text.size - _WORD_BYTES
    at = np.minimum(begins, last)
    words: npt.NDArray[np.uint64] = windows(np.ascontiguousarray(text), _WORD_BYTES)[at].view("<u8")
    words >>= (8 * (begins - at)).astype(np.uint64)
    return words


def _is_blank(words: npt.NDArray[np.uint64], lengths: _Ints) -> _Bools:
    """Whether texts of at most eight bytes are white space."""
    letters = words.view(np.uint8).reshape(-1, _WORD_BYTES)
    white = _WHITE[letters]
    white |= np.arange(_WORD_BYTES) >= lengths[:, np.newaxis]
    blank: _Bools = np.logical_and.reduce(white, axis=1)
    return blank


def matches(pattern: re.Pattern[bytes], sequence: Sequence, rows: _Ints) -> _Bools:
    """Which of the ``rows`` match ``pattern``, one by one: they are the few that begin like it."""
    if not rows.size:
        return np.zeros(0, np.bool_)
    begins = sequence.begins[rows]
    ends = begins + np.minimum(sequence.lengths[rows], _LOOK_BYTES)
    found = map(pattern.match, itertools.repeat(sequence.text.data), begins.tolist(), ends.tolist())
    return np.array([match is not None for match in found], np.bool_)
