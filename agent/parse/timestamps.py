"""The times in the columns: RFC 3339 as the runtimes write it, many at a time.

    2023-04-05T02:29:34[.f…]Z        containerd, Docker: 0 to 9 digits of fraction, trailing zeros cut off
    2023-04-05T02:29:34[.f…]+02:00   CRI-O

A second 60 is refused: no runtime writes it, Go's clock has no leap seconds. Digits are computed eight at a time
inside 64-bit words (https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/); date, hour and minute
only once for neighbours that share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from wire.codec import TIME_NS_MAX

if TYPE_CHECKING:
    from agent.parse.lines import Block

# From "…:34Z" to nine digits and a numeric zone.
TEXT_BYTES_MIN: Final = 20
TEXT_BYTES_MAX: Final = 35
_YEARS: Final = (1970, 2261)  # what the wire's TIME_NS_MAX leaves room for
_SECOND_NS: Final = 1_000_000_000
_ZEROS: Final = np.uint64(0x3030303030303030)
_HIGH: Final = np.uint64(0x8080808080808080)
_OVER_NINE: Final = np.uint64(0x7676767676767676)  # carries into the high bit of a byte above 9
_DIGIT_MAX: Final = 9
_HOUR_MAX: Final = 23
_MINUTE_MAX: Final = 59
# The day with which each month begins, from 1970 on.
_MONTHS: Final = (
    np.arange(f"{_YEARS[0]}-01", f"{_YEARS[1] + 1}-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
)
# A minute: what its text is but for the digits; what each of these counts in year, month, day, hour and minute; bounds.
_MINUTE_TEXT: Final = np.frombuffer(b"YYYY-MM-DDTHH:MM", np.uint8)
_MINUTE_WEIGHTS: Final = np.zeros((16, 5), np.int64)
for _field, _places in enumerate(((0, 1, 2, 3), (5, 6), (8, 9), (11, 12), (14, 15))):
    _MINUTE_WEIGHTS[_places, _field] = 10 ** np.arange(len(_places))[::-1]
_MINUTE_LEAST: Final = np.array([_YEARS[0], 1, 1, 0, 0])
_MINUTE_MOST: Final = np.array([_YEARS[1], 12, 31, _HOUR_MAX, _MINUTE_MAX])
# Digits of fraction by length of the whole text; -1: there is no such text. A dot without digits is none.
_DIGITS_ZULU: Final = np.full(TEXT_BYTES_MAX + 2, -1)
_DIGITS_ZULU[20] = 0
_DIGITS_ZULU[22:31] = np.arange(1, 10)
_DIGITS_OFFSET: Final = np.full(TEXT_BYTES_MAX + 2, -1)
_DIGITS_OFFSET[25] = 0
_DIGITS_OFFSET[27:36] = np.arange(1, 10)
# The lowest bytes of a word that are the first 0 to 9 digits of a fraction (the ninth is beyond the word).
_DIGIT_BYTES: Final = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(10)], np.uint64)

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Words = npt.NDArray[np.uint64]


def parse(block: Block, starts: _Ints, lengths: _Ints) -> tuple[_Ints, _Bools]:
    """The times of the texts at ``starts`` in ``block``: int64[n] ns, and bool[n], whether the text is a time.

    ``lengths`` outside `TEXT_BYTES_MIN` to `TEXT_BYTES_MAX` are no time. ``starts`` are offsets inside the block.
    """
    lengths = np.clip(lengths, 0, TEXT_BYTES_MAX + 1)
    day_word, minute_word, second_word, fraction_word = block.words(starts, 4)
    zulu = block.text[starts + np.maximum(lengths - 1, 0)] == ord("Z")
    digits = np.where(zulu, _DIGITS_ZULU[lengths], _DIGITS_OFFSET[lengths])
    minutes, ok = _minutes(day_word, minute_word)
    seconds, seconds_ok = _seconds(second_word, digits)
    fractions, fractions_ok = _fractions(second_word, fraction_word, digits)
    ok &= (digits >= 0) & seconds_ok & fractions_ok
    times = minutes + seconds * _SECOND_NS + fractions
    other = (~zulu & ok).nonzero()[0]
    if other.size:
        offsets, offsets_ok = _offsets(block, starts[other] + lengths[other] - 6)
        times[other] -= offsets
        ok[other] = offsets_ok
        ok &= (times >= 0) & (times <= TIME_NS_MAX)
    return times, ok


def _minutes(day_word: _Words, minute_word: _Words) -> tuple[_Ints, _Bools]:
    """The ns of "YYYY-MM-" and "DDTHH:MM". Lines of one minute stand together, so only the first of a run is read."""
    if not day_word.size:
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    changed = (day_word[1:] != day_word[:-1]) | (minute_word[1:] != minute_word[:-1])
    heads = np.concatenate([np.zeros(1, np.int64), changed.nonzero()[0] + 1])
    repeats = np.append(heads[1:], day_word.size) - heads
    minutes, ok = _calendar(np.stack([day_word[heads], minute_word[heads]], axis=1).view(np.uint8))
    return minutes.repeat(repeats), ok.repeat(repeats)


def _calendar(text: npt.NDArray[np.uint8]) -> tuple[_Ints, _Bools]:
    """The ns of uint8[n, 16], the bytes of "YYYY-MM-DDTHH:MM"."""
    digit = text - np.uint8(ord("0"))
    ok = np.where(_MINUTE_WEIGHTS.any(axis=1), digit <= _DIGIT_MAX, text == _MINUTE_TEXT).all(axis=1)
    fields = digit.astype(np.int64) @ _MINUTE_WEIGHTS
    ok &= ((fields >= _MINUTE_LEAST) & (fields <= _MINUTE_MOST)).all(axis=1)
    year, month, day, hour, minute = fields.T
    months = np.where(ok, (year - _YEARS[0]) * 12 + month - 1, 0)
    days = _MONTHS[months] + day - 1
    ok &= days < _MONTHS[months + 1]
    return np.where(ok, ((days * 24 + hour) * 60 + minute) * (60 * _SECOND_NS), 0), ok


def _seconds(word: _Words, digits: _Ints) -> tuple[_Ints, _Bools]:
    """The seconds of ":SS.…", the dot only there if there are ``digits``."""
    tens = (word >> np.uint64(8) & np.uint64(0xFF)) - np.uint64(ord("0"))
    ones = (word >> np.uint64(16) & np.uint64(0xFF)) - np.uint64(ord("0"))
    ok = (word & np.uint64(0xFF) == ord(":")) & (tens * np.uint64(10) + ones <= _MINUTE_MAX) & (ones <= _DIGIT_MAX)
    ok &= (word >> np.uint64(24) & np.uint64(0xFF) == ord(".")) | (digits == 0)
    return (tens * np.uint64(10) + ones).astype(np.int64), ok


def _fractions(second_word: _Words, fraction_word: _Words, digits: _Ints) -> tuple[_Ints, _Bools]:
    """The ns of the up to nine ``digits`` that begin at the fourth byte from the end of ``second_word``."""
    eight = (second_word >> np.uint64(32)) | (fraction_word << np.uint64(32))
    # Digits that are not there count as zeros (-1, no time at all, reads as nine).
    eight = (eight ^ _ZEROS) & _DIGIT_BYTES[digits]
    ninth = (fraction_word >> np.uint64(32) & np.uint64(0xFF)) ^ np.uint64(ord("0"))
    ninth = np.where(digits == _DIGIT_MAX, ninth, np.uint64(0))
    ok = ((((eight + _OVER_NINE) | eight) & _HIGH) == 0) & (ninth <= _DIGIT_MAX)
    pairs = (eight * np.uint64(10) + (eight >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    value = (fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return (value * np.uint64(10) + ninth).astype(np.int64), ok


def _offsets(block: Block, at: _Ints) -> tuple[_Ints, _Bools]:
    """The ns east of Greenwich of the zones "±hh:mm" at the offsets ``at``."""
    text = block.words(at, 1)[0].view(np.uint8).reshape(-1, 8).astype(np.int64)
    digit = text[:, [1, 2, 4, 5]] - ord("0")
    ok = ((digit >= 0) & (digit <= _DIGIT_MAX)).all(axis=1) & (text[:, 3] == ord(":"))
    hours, minutes = digit[:, 0] * 10 + digit[:, 1], digit[:, 2] * 10 + digit[:, 3]
    ok &= ((text[:, 0] == ord("+")) | (text[:, 0] == ord("-"))) & (hours <= _HOUR_MAX) & (minutes <= _MINUTE_MAX)
    sign = np.where(text[:, 0] == ord("-"), -1, 1)
    return sign * (hours * 60 + minutes) * (60 * _SECOND_NS), ok
