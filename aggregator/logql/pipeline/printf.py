"""Go's formatting verbs, as far as the values of templates have use for them.

Source: https://pkg.go.dev/fmt. What does not fit is written as Go writes it: ``%!d(string=a)``, ``%!s(MISSING)``.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Final

from aggregator.logql.pipeline.values import general, text_of, type_name

# A width or precision is text that a query makes out of nothing: Go's own limit is a million.
WIDTH_MAX: Final = 10_000

_VERB: Final = re.compile(r"%([-+# 0]*)(\*|[0-9]+)?(?:\.(\*|[0-9]*))?(.|\Z)", re.DOTALL)
_QUOTE_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\",
}  # fmt: skip
_ASCII_END: Final = 0x80
_BMP_END: Final = 0x10000
_SURROGATES: Final = range(0xD800, 0xE000)
_INTEGER_VERBS: Final = frozenset("dboxXcqU")
_FLOAT_VERBS: Final = frozenset("eEfFgG")
_STRING_VERBS: Final = frozenset("sqxX")


def sprintf(template: str, arguments: list[object]) -> str:
    """Go's ``Sprintf``; raises ValueError for widths beyond `WIDTH_MAX`."""
    used = 0
    out: list[str] = []
    at = 0

    def taken() -> object:
        nonlocal used
        used += 1
        return arguments[used - 1]

    for found in _VERB.finditer(template):
        out.append(template[at : found.start()])
        at = found.end()
        flags, width_text, precision_text, verb = found.groups()
        if verb == "%":
            out.append("%")
            continue
        width, precision = _size(width_text, taken, used, arguments), _size(precision_text, taken, used, arguments)
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        if not verb:
            out.append("%!(NOVERB)")
        elif used >= len(arguments):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_formatted(verb, flags, width, precision, taken()))
    out.append(template[at:])
    if used < len(arguments):
        rest = ", ".join(f"{type_name(value)}={text_of(value)}" for value in arguments[used:])
        out.append(f"%!(EXTRA {rest})")
    return "".join(out)


def quoted(text: str) -> str:
    """A string as Go's ``%q`` writes it."""
    return '"' + "".join(map(_quoted_character, text)) + '"'


def _quoted_character(character: str) -> str:
    code = ord(character)
    if character in _QUOTE_ESCAPES:
        return _QUOTE_ESCAPES[character]
    if character == " " or (character.isprintable() and not character.isspace()):
        return character
    if code < _ASCII_END:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BMP_END else f"\\U{code:08x}"


def _size(text: str | None, taken: object, used: int, arguments: list[object]) -> int | None:
    if text is None:
        return None
    if text == "*":
        value = taken() if callable(taken) and used < len(arguments) else None
        size = value if isinstance(value, int) and not isinstance(value, bool) else 0
    else:
        size = int(text[:8] or "0")
    if abs(size) > WIDTH_MAX:
        raise ValueError(f"width or precision above {WIDTH_MAX}")
    return size


def _formatted(verb: str, flags: str, width: int | None, precision: int | None, value: object) -> str:
    if isinstance(value, list) and verb not in "vT":
        return f"[{' '.join(_formatted(verb, flags, width, precision, element) for element in value)}]"
    text = _text(verb, flags, precision, value)
    if text is None:
        shown = _padded(text_of(value), flags, width, numeric=False) if value is not None else "<nil>"
        kind = f"{type_name(value)}=" if value is not None else ""
        return f"%!{verb}({kind}{shown})"
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return _padded(text, flags, width, numeric=numeric)


def _padded(text: str, flags: str, width: int | None, *, numeric: bool) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags:
        return text.rjust(width)
    if numeric and text[:1] in {"-", "+", " "}:
        return text[0] + text[1:].rjust(width - 1, "0")
    return text.rjust(width, "0")


def _text(  # noqa: PLR0911 - one of each kind
    verb: str, flags: str, precision: int | None, value: object
) -> str | None:
    if verb == "T":
        return type_name(value)
    if verb == "v":
        return _plain(value, precision)
    if isinstance(value, bool):
        return text_of(value) if verb == "t" else None
    if isinstance(value, int):
        return _integer(verb, flags, precision, int(value)) if verb in _INTEGER_VERBS else None
    if isinstance(value, float):
        return _float(verb, flags, precision, value) if verb in _FLOAT_VERBS else None
    if value is None or verb not in _STRING_VERBS:
        return None
    text = value if isinstance(value, str) else text_of(value)
    if precision is not None:
        text = text[:precision]
    if verb == "s":
        return text
    if verb == "q":
        return quoted(text)
    data = text.encode("utf-8", "surrogatepass")
    digits = data.hex(" ") if " " in flags else data.hex()
    digits = f"0x{digits}" if "#" in flags and digits else digits
    return digits.upper() if verb == "X" else digits


def _plain(value: object, precision: int | None) -> str:
    if precision is not None and isinstance(value, float):
        return _float("g", "", precision, value)
    text = text_of(value)
    return text[:precision] if precision is not None and isinstance(value, str) else text


def _integer(verb: str, flags: str, precision: int | None, value: int) -> str:
    if verb in "cqU":
        if verb == "U":
            return f"U+{value:04X}"
        if not 0 <= value <= sys.maxunicode or value in _SURROGATES:
            value = ord("\ufffd")
        return chr(value) if verb == "c" else "'" + _quoted_character(chr(value)).replace('\\"', '"') + "'"
    digits = format(abs(value), verb)
    if precision is not None:
        digits = digits.rjust(precision, "0")
    if "#" in flags and verb in "xXob":
        digits = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}[verb] + digits
    return _signed(digits, flags, negative=value < 0)


def _float(verb: str, flags: str, precision: int | None, value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("-Inf" if value < 0 else "+Inf")
    negative = math.copysign(1, value) < 0
    if verb in "gG" and precision is None:
        digits = general(abs(value))
    else:
        digits = format(abs(value), f".{6 if precision is None else precision}{verb}")
    return _signed(digits.upper() if verb in "EG" else digits, flags, negative=negative)


def _signed(digits: str, flags: str, *, negative: bool) -> str:
    if negative:
        return f"-{digits}"
    return f"+{digits}" if "+" in flags else f" {digits}" if " " in flags else digits
