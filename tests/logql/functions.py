"""The functions of templates: Go's own, those of sprig that Loki takes, Loki's."""

from __future__ import annotations

import base64
import json
import math
import re
import urllib.parse
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

import re2

from tests.logql import dates, printing, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.logql.labels import Entry


class Labels(dict[str, str]):
    """The labels of a record: one that is missing is empty."""


def true(value: Any) -> bool:
    """What ``if`` asks."""
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"wrong type: {value!r}")
    return value


def _whole(value: Any) -> int:
    """Where Go's type is int: nothing else will do."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"wrong type: {value!r}")
    return value


def _int(value: Any) -> int:
    """sprig's toInt64: what is no number is 0."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[+-]?[0-9]+(\.0*)?", value) and "." not in value else 0
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, str):
        try:
            return values.number(value)
        except ValueError:
            return 0.0
    return float(value)


def _folded(start: Any, rest: tuple[Any, ...], step: Callable[[Decimal, Decimal], Decimal]) -> float:
    with localcontext() as context:
        context.prec = 40
        total = Decimal(repr(_float(start)))
        for one in rest:
            total = step(total, Decimal(repr(_float(one))))
        return float(total)


def _quotient(left: int, right: int) -> int:
    if not right:
        raise ZeroDivisionError("integer divide by zero")
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


def _sum(*numbers: Any) -> int:
    return sum(_int(one) for one in numbers)


def _product(first: Any, *numbers: Any) -> int:
    return math.prod([_int(first), *(_int(one) for one in numbers)])


def _rounded(value: Any, places: int, on: float = 0.5) -> float:
    power = math.pow(10, places)
    digit = power * _float(value)
    part = math.modf(digit)[0]
    return float((math.ceil(digit) if part >= on else math.floor(digit)) / power)


def _expanded(template: str, found: Any) -> str:
    """Go's Regexp.Expand."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        try:
            return found.group(int(name) if name.isdecimal() else name) or ""
        except (LookupError, re2.error):
            return ""

    return re.sub(r"\$\$|\$(\w+)|\$\{(\w+)\}", one, template)


def replaced(expression: str, text: str, replacement: str, *, literal: bool = False) -> str:
    """Every match of an expression replaced."""
    compiled = re2.compile(expression)
    out, at = [], 0
    for found in compiled.finditer(text):
        out += [text[at : found.start()], replacement if literal else _expanded(replacement, found)]
        at = found.end()
    return "".join(out) + text[at:]


def _substring(start: int, end: int, text: str) -> str:
    """By bytes, as sprig; a character that is cut is U+FFFD."""
    return _cut(start, end, text.encode()).decode(errors="replace")


def _cut(start: int, end: int, text: bytes) -> bytes:
    if start < 0:
        return text[:end]
    if end < 0 or end > len(text):
        return text[start:]
    return text[start:end]


def _truncated(count: int, text: str) -> str:
    whole = text.encode()
    if count < 0:
        return whole[count:].decode(errors="replace") if len(whole) + count > 0 else text
    return whole[:count].decode(errors="replace")


def _title(text: str) -> str:
    return re.sub(r"(?<![\w'])(\w)", lambda found: found[1].upper(), text)


def _indented(count: int, text: str) -> str:
    return "\n".join(" " * count + line for line in text.split("\n"))


def _decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=float)
    except ValueError:
        return ""


def _unquoted(text: str) -> str:
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError("invalid URL escape")
    return urllib.parse.unquote_plus(text)


def _comparable(left: Any, right: Any) -> None:
    kinds = {str: 0, bool: 1, int: 2, float: 3}
    if kinds.get(type(left)) != kinds.get(type(right)):
        raise TypeError("incompatible types for comparison")


def _equal(first: Any, *rest: Any) -> bool:
    for one in rest:
        _comparable(first, one)
    return any(first == one for one in rest)


def _less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    return bool(left < right)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "" if isinstance(value, Labels) else None) if isinstance(value, dict) else value[key]
    return value


def _and(*arguments: Any) -> Any:
    return next((one for one in arguments if not true(one)), arguments[-1])


def _or(*arguments: Any) -> Any:
    return next((one for one in arguments if true(one)), arguments[-1])


_FIXED: Final[dict[str, Callable[..., Any]]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not true(value),
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _less,
    "le": lambda left, right: not _less(right, left),
    "gt": lambda left, right: _less(right, left),
    "ge": lambda left, right: not _less(left, right),
    "len": lambda value: len(value.encode() if isinstance(value, str) else value),
    "index": _index,
    "print": lambda *all_: "".join(printing.shown(one) for one in all_),
    "println": lambda *all_: " ".join(printing.shown(one) for one in all_) + "\n",
    "printf": printing.printf,
    "urlquery": urllib.parse.quote_plus,
    "ToLower": lambda text: _text(text).lower(),
    "ToUpper": lambda text: _text(text).upper(),
    "Replace": lambda text, old, new, count: _text(text).replace(old, new, count),
    "Trim": lambda text, cut: _text(text).strip(cut),
    "TrimLeft": lambda text, cut: _text(text).lstrip(cut),
    "TrimRight": lambda text, cut: _text(text).rstrip(cut),
    "TrimPrefix": lambda text, prefix: _text(text).removeprefix(prefix),
    "TrimSuffix": lambda text, suffix: _text(text).removesuffix(suffix),
    "TrimSpace": lambda text: _text(text).strip(),
    "regexReplaceAll": replaced,
    "regexReplaceAllLiteral": lambda expression, text, new: replaced(expression, text, new, literal=True),
    "count": lambda expression, text: len(list(re2.compile(expression).finditer(text))),
    "urlencode": lambda text: urllib.parse.quote_plus(_text(text)),
    "urldecode": lambda text: _unquoted(_text(text)),
    "bytes": lambda text: float(values.size(_text(text))),
    "duration": lambda text: values.seconds(_text(text)),
    "duration_seconds": lambda text: values.seconds(_text(text)),
    "b64enc": lambda text: base64.b64encode(_text(text).encode()).decode(),
    "b64dec": lambda text: _decoded(_text(text)),
    "lower": lambda text: _text(text).lower(),
    "upper": lambda text: _text(text).upper(),
    "title": lambda text: _title(_text(text)),
    "trunc": lambda count, text: _truncated(_whole(count), _text(text)),
    "substr": lambda start, end, text: _substring(_whole(start), _whole(end), _text(text)),
    "contains": lambda part, text: _text(part) in _text(text),
    "hasPrefix": lambda part, text: _text(text).startswith(_text(part)),
    "hasSuffix": lambda part, text: _text(text).endswith(_text(part)),
    "indent": lambda count, text: _indented(_whole(count), _text(text)),
    "nindent": lambda count, text: "\n" + _indented(_whole(count), _text(text)),
    "replace": lambda old, new, text: _text(text).replace(_text(old), _text(new)),
    "repeat": lambda count, text: _text(text) * _whole(count),
    "trim": lambda text: _text(text).strip(),
    "trimAll": lambda cut, text: _text(text).strip(_text(cut)),
    "trimSuffix": lambda part, text: _text(text).removesuffix(_text(part)),
    "trimPrefix": lambda part, text: _text(text).removeprefix(_text(part)),
    "alignLeft": lambda count, text: _text(text)[: _whole(count)].ljust(count),
    "alignRight": lambda count, text: _text(text)[-_whole(count) :].rjust(count),
    "int": _int,
    "float64": _float,
    "add": _sum,
    "sub": lambda left, right: _int(left) - _int(right),
    "mul": _product,
    "div": lambda left, right: _quotient(_int(left), _int(right)),
    "mod": lambda left, right: _int(left) - _quotient(_int(left), _int(right)) * _int(right),
    "addf": lambda *all_: _folded(0, all_, lambda left, right: left + right),
    "subf": lambda first, *rest: _folded(first, rest, lambda left, right: left - right),
    "mulf": lambda first, *rest: _folded(first, rest, lambda left, right: left * right),
    "divf": lambda first, *rest: _folded(first, rest, lambda left, right: left / right),
    "max": lambda first, *rest: max([_int(first), *(_int(one) for one in rest)]),
    "min": lambda first, *rest: min([_int(first), *(_int(one) for one in rest)]),
    "maxf": lambda first, *rest: max([_float(first), *(_float(one) for one in rest)]),
    "minf": lambda first, *rest: min([_float(first), *(_float(one) for one in rest)]),
    "ceil": lambda value: float(math.ceil(_float(value))),
    "floor": lambda value: float(math.floor(_float(value))),
    "round": _rounded,
    "fromJson": lambda text: _json(_text(text)),
    "date": dates.dated,
    "toDate": dates.read,
    "toDateInZone": dates.read_in,
    "unixEpoch": lambda time: str(time.ns // 10**9),
    "unixEpochMillis": lambda time: str(time.ns // 10**6),
    "unixEpochNanos": lambda time: str(time.ns),
    "unixToTime": lambda text: dates.from_epoch(_text(text)),
    "default": lambda other, value=None: value if true(value) else other,
}

NAMES: Final = frozenset(_FIXED) | {"__line__", "__timestamp__"}


def of(entry: Entry) -> dict[str, Callable[..., Any]]:
    """The functions for one record."""
    return _FIXED | {"__line__": lambda: entry.line, "__timestamp__": lambda: dates.Time(entry.ts)}
