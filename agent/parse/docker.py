r"""Parser of the format of Docker's json-file driver, a block at a time.

    {"log":"text\n","stream":"stderr","time":"2023-04-05T02:29:34.687797577Z"}

A `log` that does not end in a newline goes on in the next object of the stream. Lines of exactly this shape are found
by their fixed beginning and end and never decoded one by one. What else may lie between text and time (`"attrs"`, where
the driver is told to write labels) is the same in all lines of a container: one line of a file is decoded by msgspec,
which says what the fields are, and those that differ from it in text and time only are found by that. Other objects
with these fields (spaces, another order, no `log` where it is empty) are few, and decoded each; but for the text they
must be strict JSON. Either way the escapes of the text are replaced in all lines at once: a surrogate without its other
half becomes U+FFFD, bytes that are not UTF-8 stay as they are.
https://github.com/moby/moby/blob/master/daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse import timestamps
from agent.parse.escapes import LONG_BYTES, Escapes, escapes_of, replace, units_of
from agent.parse.lines import Block, Headers, Lines, cut, first_byte, mask, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.parse.lines import Segment

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_PREFIX: Final = b'{"log":"'
_SUFFIX: Final = b'"}'
# Between the text and the time, as words.
_BETWEEN: Final = len('","stream":"stdout","time":"')
_STREAM: Final = _word(b'","strea')
_STDOUT: Final = (_word(b'm":"stdo'), _word(b'ut","tim'))
_STDERR: Final = (_word(b'm":"stde'), _word(b'rr","tim'))
_TIME: Final = _word(b'e":"')
# Quotes of a line of this shape outside its text.
_QUOTES: Final = 12
# Docker writes UTC: `2023-04-05T02:29:34Z`, at most nine digits more and their dot.
_TIME_BYTES_MAX: Final = 30
# Looked at before the suffix: all of a time, its opening quote, and words around them.
_WINDOW_BYTES: Final = 40
_WORD_BYTES: Final = 8
# A line up to the end of its text, if that comes first.
_TEXT: Final = re.compile(rb'\{"log":"(?:[^"\\]++|\\.)*+(?=")', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
# Stands for the text where the rest of a line is decoded: the text itself need not be strict JSON.
_ANY_TEXT: Final = b"text"
# Lines decoded of one file's part of a block to find others by: one each of stdout and stderr, and as many for what may
# stand before them. None where fewer lines than this are left: to decode these costs as much.
_TAILS_MAX: Final = 4
_ALIKE_LEAST: Final = 6


class _Object(msgspec.Struct):
    stream: Literal["stdout", "stderr"]
    time: str
    log: msgspec.Raw = msgspec.Raw(b'""')  # Docker leaves an empty one out


_DECODER: Final = msgspec.json.Decoder(_Object)


class _Fields(msgspec.Struct, frozen=True, eq=False):
    """Where the fields of n lines are, as offsets in the block; they mean nothing where ``found`` is False.

    The escaped text lies between ``starts`` and ``ends``, the time at ``times`` and has ``time_bytes``; these two are
    right for every line that ends in its time. ``quotes``: around the strings of the line, but those of its text.
    """

    found: _Bools
    stderr: _Bools
    starts: _Ints
    ends: _Ints
    times: _Ints
    time_bytes: _Ints
    quotes: _Ints


def parse(block: bytes | memoryview | Sequence[bytes | memoryview], segments: Sequence[Segment]) -> Lines:
    """The lines of ``block``, or its pieces: the bytes of ``segments`` one after another, each ending in a newline."""
    cutting = cut(block, segments)
    text = cutting.text
    fields = _located(cutting)
    whole = (text[fields.ends - 2] == _BACKSLASH) & (text[fields.ends - 1] == ord("n"))
    backslashes = text == _BACKSLASH
    # Most blocks of plain text have no escape but the newline at each line's end, and need no look at others.
    plain = bool(fields.found.all()) and (
        np.count_nonzero(backslashes) == np.count_nonzero(whole)
        and np.count_nonzero(text == _QUOTE) == _QUOTES * whole.size
    )
    if plain:
        times, valid = timestamps.parse(cutting, fields.times, fields.time_bytes)
        counts = (whole & valid).astype(np.int64)
    else:
        escapes = escapes_of(text, backslashes)
        fields = _alike(cutting, fields)
        fields = _decoded(cutting, fields, _odd(text, fields, escapes))
        times, valid = timestamps.parse(cutting, fields.times, fields.time_bytes)
        valid &= fields.found
        escapes, counts = _valid_escapes(cutting, fields, escapes, valid)
        last = escapes.at[np.maximum(counts.cumsum() - 1, 0)] if escapes.at.size else fields.ends
        whole = (counts > 0) & (last == fields.ends - 2) & (text[last + 1] == ord("n"))
    starts = np.where(valid, fields.starts, cutting.starts)
    ends = np.where(valid, fields.ends, cutting.ends)
    whole &= valid
    lengths = ends - starts - counts - whole
    headers = Headers(valid, times, fields.stderr, ~whole)
    if plain:
        return cutting.lines(headers, lengths, starts, text)
    inside = mask(starts - valid, ends - 2 * whole)
    lengths -= replace(cutting, inside, escapes)
    begins = (lengths + valid).cumsum() - lengths
    return cutting.lines(headers, lengths, begins, text[: inside.size][inside])


def _located(cutting: Block) -> _Fields:
    """The fields of the lines that begin and end as Docker writes them; what lies between is not looked at."""
    starts, ends = cutting.starts, cutting.ends
    at = ends - len(_SUFFIX) - _WINDOW_BYTES
    window = cutting.words(np.maximum(at, 0), _WINDOW_BYTES // _WORD_BYTES + 1)
    # The quote before the time is the last one in words 1 and 2; turned round, the first.
    quote = first_byte(window[2].byteswap(), _QUOTE)
    quote += np.where(quote == _WORD_BYTES, first_byte(window[1].byteswap(), _QUOTE), 0)
    time_bytes = quote + (_WINDOW_BYTES - 3 * _WORD_BYTES)
    times = ends - len(_SUFFIX) - time_bytes
    text_starts, text_ends = starts + len(_PREFIX), times - _BETWEEN
    between = cutting.words(np.maximum(text_ends, 0), 4)
    stderr = (between[1] == _STDERR[0]) & (between[2] == _STDERR[1])
    found = (time_bytes <= _TIME_BYTES_MAX) & (text_starts <= text_ends)
    found &= cutting.words(starts, 1)[0] == _word(_PREFIX)
    found &= window[5] & np.uint64(0xFFFF) == _word(_SUFFIX)
    found &= (between[0] == _STREAM) & (between[3] & np.uint64(0xFFFFFFFF) == _TIME)
    found &= stderr | ((between[1] == _STDOUT[0]) & (between[2] == _STDOUT[1]))
    return _Fields(
        found,
        stderr & found,
        np.where(found, text_starts, starts),
        np.where(found, text_ends, starts),
        times,
        time_bytes,
        np.full(starts.size, _QUOTES),
    )


def _odd(text: npt.NDArray[np.uint8], fields: _Fields, escapes: Escapes) -> _Ints:
    """The rows whose fields are not where they were looked for: not found, or a quote ends the text before its end."""
    if fields.found.all() and not (text[fields.ends - 1] == _BACKSLASH).any():
        quotes = fields.quotes.sum() + np.count_nonzero(escapes.kind == _QUOTE)
        if np.count_nonzero(text == _QUOTE) == quotes:
            return np.zeros(0, np.int64)
    escaped = np.zeros(text.size, np.bool_)
    escaped[escapes.at + 1] = True
    ending = np.flatnonzero((text == _QUOTE) & ~escaped)
    inside = np.searchsorted(ending, fields.ends) - np.searchsorted(ending, fields.starts)
    return np.flatnonzero(~fields.found | (inside != 0) | escaped[fields.ends])


def _alike(cutting: Block, fields: _Fields) -> _Fields:
    """The ``fields``, and those of lines that are found by another line of their file, which was decoded."""
    rows = np.flatnonzero(~fields.found)
    if rows.size < _ALIKE_LEAST:
        return fields
    changed = _copy(fields)
    begin = 0
    for end in np.searchsorted(rows, cutting.rows.cumsum()).tolist():
        left = rows[begin:end]
        begin = end
        for _ in range(_TAILS_MAX):
            if left.size < _ALIKE_LEAST:
                break
            start = int(cutting.starts[left[0]])
            line = cutting.text[start : int(cutting.ends[left[0]])].tobytes()
            left = left[~_found_by(line, cutting, changed, left)]
    return changed


def _found_by(line: bytes, cutting: Block, fields: _Fields, rows: _Ints) -> _Bools:
    """Which of ``rows`` differ from ``line``, the first of them, in text and time only; puts them into ``fields``."""
    found = _decoded_line(line)
    none = np.zeros(rows.size, np.bool_)
    none[0] = True
    if found is None:
        return none
    stderr, log, log_size, time, time_size = found
    if log != len(_PREFIX) or line[:log] != _PREFIX or time + time_size + len(_SUFFIX) != len(line):
        return none
    tail = line[log + log_size : time]
    starts, ends = cutting.starts[rows] + log, cutting.ends[rows]
    times = fields.times[rows]
    text_ends = times - len(tail)
    count = -(-len(tail) // _WORD_BYTES)
    size = count * _WORD_BYTES
    texts = np.ascontiguousarray(cutting.words(np.maximum(text_ends, 0), count).T).view(np.uint8).reshape(-1, size)
    alike: _Bools = (texts[:, : len(tail)] == np.frombuffer(tail, np.uint8)).all(axis=1) & (text_ends >= starts)
    alike &= (cutting.words(starts - log, 1)[0] == _word(_PREFIX)) & (fields.time_bytes[rows] <= _TIME_BYTES_MAX)
    alike &= (cutting.text[ends - 2] == _SUFFIX[0]) & (cutting.text[ends - 1] == _SUFFIX[1])
    which = rows[alike]
    fields.found[which] = True
    fields.stderr[which] = stderr
    fields.starts[which] = starts[alike]
    fields.ends[which] = text_ends[alike]
    fields.quotes[which] = (_PREFIX + _ESCAPE.sub(b"", tail) + _SUFFIX).count(b'"')
    alike[0] = True
    return alike


def _decoded(cutting: Block, fields: _Fields, rows: _Ints) -> _Fields:
    """The ``fields``, those of ``rows`` by decoding each line; not found where that fails."""
    if not rows.size:
        return fields
    changed = _copy(fields)
    for row in rows.tolist():
        start = int(cutting.starts[row])
        line = cutting.text[start : int(cutting.ends[row])].tobytes()
        found = _decoded_line(line)
        changed.found[row] = found is not None
        stderr, log, log_size, time, time_size = found or (False, 0, 0, 0, 0)
        changed.stderr[row] = stderr
        changed.starts[row] = start + log
        changed.ends[row] = start + log + log_size
        changed.times[row] = start + time
        changed.time_bytes[row] = time_size
    return changed


def _decoded_line(line: bytes) -> tuple[bool, int, int, int, int] | None:
    """Whether it is stderr, offset and size of the escaped text, offset and size of the time; None if malformed.

    The same bytes may stand in the line twice, then either place will do.
    """
    text = _TEXT.match(line)
    if text is not None:
        decoded = _object(_PREFIX + _ANY_TEXT + line[text.end() :])
        if decoded is not None and bytes(decoded.log) == b'"%b"' % _ANY_TEXT:
            return _with_time(line, decoded, len(_PREFIX), text.end() - len(_PREFIX))
    decoded = _object(line)
    if decoded is None:
        return None
    log = bytes(decoded.log)
    return _with_time(line, decoded, max(line.find(log), 0) + 1, len(log) - 2) if log[:1] == b'"' else None


def _object(line: bytes) -> _Object | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _with_time(line: bytes, decoded: _Object, log: int, log_size: int) -> tuple[bool, int, int, int, int] | None:
    time = decoded.time.encode()
    at = line.rfind(b'"%b"' % time)
    return None if at < 0 else (decoded.stream == "stderr", log, log_size, at + 1, len(time))


def _copy(fields: _Fields) -> _Fields:
    return _Fields(
        fields.found.copy(),
        fields.stderr.copy(),
        fields.starts.copy(),
        fields.ends.copy(),
        fields.times.copy(),
        fields.time_bytes.copy(),
        fields.quotes.copy(),
    )


def _valid_escapes(cutting: Block, fields: _Fields, escapes: Escapes, valid: _Bools) -> tuple[Escapes, _Ints]:
    """The escapes inside the texts of ``valid`` lines, and how many each line has, int64[n].

    A line with an escape that stands for nothing becomes invalid: this changes ``valid``.
    """
    escapes, counts = _inside(escapes, fields, valid)
    bad = escapes.meaning == 0
    long = np.flatnonzero(escapes.kind == ord("u"))
    if long.size:
        at = escapes.at[long]
        ends = fields.ends[np.searchsorted(cutting.ends, at)]
        bad[long] = (units_of(cutting.text, at) < 0) | (at + LONG_BYTES > ends)
    if bad.any():
        valid[np.searchsorted(cutting.ends, escapes.at[bad])] = False
        escapes, counts = _inside(escapes, fields, valid)
    return escapes, counts


def _inside(escapes: Escapes, fields: _Fields, valid: _Bools) -> tuple[Escapes, _Ints]:
    after = np.searchsorted(escapes.at, fields.ends)
    counts = steps(after, 0)
    # Between two texts there are escapes only where a line has more fields, or is none.
    if valid.all() and counts.sum() == escapes.at.size:
        first = escapes.at[(after - counts)[counts > 0]]
        if (first >= fields.starts[counts > 0]).all():
            return escapes, counts
    first = np.searchsorted(escapes.at, fields.starts)
    counts = np.where(valid, after - first, 0)
    if counts.sum() != escapes.at.size:
        chosen = np.zeros(escapes.at.size, np.bool_)
        inside = mask(first, first + counts)
        chosen[: inside.size] = inside
        escapes = escapes.only(chosen)
    return escapes, counts
