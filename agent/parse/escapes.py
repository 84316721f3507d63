r"""The escapes of JSON text in a block: where they are, what they stand for, and that in their place.

A surrogate without its other half becomes U+FFFD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import numpy.typing as npt

from agent.parse.lines import before_run

if TYPE_CHECKING:
    from agent.parse.lines import Block

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]

# What a backslash and a byte stand for; 0: nothing. Behind `u` come four digits.
_SIMPLE: Final = np.zeros(256, np.uint8)
_SIMPLE[np.frombuffer(b'"\\/bfnrtu', np.uint8)] = np.frombuffer(b'"\\/\b\f\n\r\tu', np.uint8)
LONG_BYTES: Final = 6  # a backslash, `u`, four digits
_HEX: Final = np.full(256, -1)
for _digit in "0123456789abcdefABCDEF":
    _HEX[ord(_digit)] = int(_digit, 16)
_REPLACEMENT: Final = 0xFFFD
_HIGH_SURROGATES: Final = 0xD800
_LOW_SURROGATES: Final = 0xDC00
_SURROGATES_MASK: Final = 0xFC00
# What the first byte of UTF-8 begins with, by how many bytes there are.
_LEADS: Final = np.array([0, 0, 0xC0, 0xE0, 0xF0])


class Escapes(msgspec.Struct, frozen=True, eq=False):
    """Of m escapes: the offsets of their backslashes, the byte behind each, and what it stands for there (0: nothing).

    ``at``: int64[m]; ``kind`` and ``meaning``: uint8[m].
    """

    at: _Ints
    kind: _Bytes
    meaning: _Bytes

    def only(self, chosen: _Bools) -> Escapes:
        """Those of them."""
        return Escapes(self.at[chosen], self.kind[chosen], self.meaning[chosen])


def escapes_of(text: _Bytes, backslashes: _Bools) -> Escapes:
    """All there are: of a run of ``backslashes`` every other one begins an escape, the others are escaped."""
    at = np.flatnonzero(backslashes)
    follows = np.flatnonzero(at[1:] == at[:-1] + 1) + 1
    if follows.size:
        begins = np.ones(at.size, np.bool_)
        begins[follows] = (follows - before_run(follows)) & 1 == 0
        at = at[begins]
    kind = text[at + 1]
    return Escapes(at, kind, _SIMPLE.take(kind))


def units_of(text: _Bytes, long: _Ints) -> _Ints:
    """The UTF-16 units of the escapes ``long``; -1 where the digits are none."""
    digits = _HEX[text[long[:, np.newaxis] + np.arange(LONG_BYTES - 4, LONG_BYTES)]]
    units: _Ints = digits @ np.array([4096, 256, 16, 1])
    return np.where((digits >= 0).all(axis=1), units, -1)


def _scalars(long: _Ints, unit: _Ints) -> _Ints:
    """The code points of the escapes ``long`` of UTF-16 units; -1 for the first of a pair: the second has its own."""
    half = unit & _SURROGATES_MASK
    first = half == _HIGH_SURROGATES
    second = half == _LOW_SURROGATES
    pair = np.flatnonzero(first[:-1] & second[1:] & (long[1:] == long[:-1] + LONG_BYTES))
    code = np.where(first | second, _REPLACEMENT, unit)
    code[pair] = -1
    code[pair + 1] = 0x10000 + ((unit[pair] & 0x3FF) << 10) + (unit[pair + 1] & 0x3FF)
    return code


def replace(cutting: Block, inside: _Bools, escapes: Escapes) -> _Ints:
    """Put what the escapes stand for into their last bytes, and take their other bytes out of ``inside``.

    Gives how many bytes were taken out of each line beyond one an escape: int64[n].
    """
    text = cutting.text
    # The newline that ends the last line's text lies behind the mask.
    at = escapes.at[: np.searchsorted(escapes.at, inside.size)]
    kind, meaning = escapes.kind[: at.size], escapes.meaning[: at.size]
    inside[at] = False
    long = at[kind == ord("u")]
    units = units_of(text, long)
    changed = np.flatnonzero(meaning != kind)
    text[at[changed] + 1] = meaning[changed]
    removed = np.zeros(cutting.ends.size, np.int64)
    if long.size:
        code = _scalars(long, units)
        kept = (code >= 0).astype(np.int64) + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)  # noqa: PLR2004 - UTF-8
        for back in range(LONG_BYTES):
            at = long + (LONG_BYTES - 1 - back)
            inside[at] = back < kept
            rest = code >> (6 * min(back, 3))
            lead = _LEADS[kept] | rest
            text[at] = np.where(back + 1 < kept, 0x80 | rest & 0x3F, lead) & 0xFF
        np.add.at(removed, np.searchsorted(cutting.ends, long), LONG_BYTES - 1 - kept)
    return removed
