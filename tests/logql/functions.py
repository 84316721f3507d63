"""The functions of templates: Go's own, those of sprig that Loki takes, Loki's."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
import urllib.parse
import zoneinfo
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

import re2

from tests.logql import values

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.logql.labels import Entry


class Labels(dict[str, str]):
    """The labels of a record: one that is missing is empty."""


class Time:
    """An instant: ns since the epoch, and the zone it is shown in."""

    def __init__(self, ns: int, zone: datetime.tzinfo = datetime.UTC) -> None:
        self.ns = ns
        self.zone = zone

    def local(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.ns // 10**9, self.zone)


def shown(value: Any) -> str:
    """As Go's %v."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return values.shown(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(one)}" for key, one in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(shown(one) for one in value) + "]"
    return str(value)


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
    if start < 0:
        return text[:end]
    if end < 0 or end > len(text):
        return text[start:]
    return text[start:end]


def _truncated(count: int, text: str) -> str:
    if count < 0:
        return text[count:] if len(text) + count > 0 else text
    return text[:count]


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


_PRINTF: Final = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")


def _printf(template: str, *arguments: Any) -> str:
    left = list(arguments)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        text = _formatted(verb, precision, value)
        if "+" in flags and verb in "dfge" and not text.startswith("-"):
            text = "+" + text
        if "-" in flags:
            return text.ljust(int(width or 0))
        return text.rjust(int(width or 0), "0" if "0" in flags and verb != "s" else " ")

    text = _PRINTF.sub(one, template)
    if left:
        extra = ", ".join(f"{_go_type(one)}={shown(one)}" for one in left)
        text += f"%!(EXTRA {extra})"
    return text


def _go_type(value: Any) -> str:
    names = ((bool, "bool"), (int, "int"), (float, "float64"), (str, "string"))
    return next((name for kind, name in names if isinstance(value, kind)), "?")


def _formatted(verb: str, precision: str | None, value: Any) -> str:
    bad = f"%!{verb}({_go_type(value)}={shown(value)})"
    if verb == "v":
        return shown(value)
    if verb == "s" and isinstance(value, str):
        return value if precision is None else value[: int(precision or 0)]
    if verb == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if verb in "dxX" and isinstance(value, int):
        return format(value, verb)
    if verb in "feEgG" and isinstance(value, float):
        return f"{value:.{6 if precision is None else int(precision or 0)}{verb}}"
    return bad


_LAYOUT: Final = {
    "2006": "%Y",
    "06": "%y",
    "January": "%B",
    "Jan": "%b",
    "01": "%m",
    "Monday": "%A",
    "Mon": "%a",
    "02": "%d",
    "15": "%H",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "PM": "%p",
    "-0700": "%z",
    "MST": "%Z",
}
_LAYOUT_WORD: Final = re.compile(r"[.,](0+|9+)(?!\d)|Z07:00|-07:00|-0700|MST|2006|January|Jan|Monday|Mon|0[1-6]|15|PM")


def _dated(layout: str, time: Any) -> str:
    if not isinstance(time, Time):
        raise TypeError("no time")
    local = time.local()

    def one(found: re.Match[str]) -> str:
        word = found[0]
        if found[1]:
            digits = f"{time.ns % 10**9:09d}"[: len(found[1])]
            digits = digits.rstrip("0") if found[1][0] == "9" else digits
            return word[0] + digits if digits else ""
        if word in {"Z07:00", "-07:00"}:
            offset = local.strftime("%z")
            return "Z" if word[0] == "Z" and offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
        return local.strftime(_LAYOUT[word])

    return _LAYOUT_WORD.sub(one, layout)


def _read_time(layout: str, text: str, zone: datetime.tzinfo = datetime.UTC) -> Time:
    """Only layouts of digits; what cannot be read is Go's zero time."""
    pattern, names = "", []
    at = 0
    for found in _LAYOUT_WORD.finditer(layout):
        pattern += re.escape(layout[at : found.start()])
        names.append(found[1] and "fraction" or found[0])
        pattern += r"(?:[.,](\d+))?" if found[1] else r"(Z|[+-]\d\d:\d\d)" if "07:00" in found[0] else r"(\d+)"
        at = found.end()
    match = re.fullmatch(pattern + re.escape(layout[at:]), text)
    if not match:
        return Time(-62135596800 * 10**9)
    parts = dict(zip(names, match.groups(), strict=True))
    offset = parts.get("Z07:00") or parts.get("-07:00")
    if offset:
        zone = datetime.UTC if offset == "Z" else datetime.datetime.strptime(offset, "%z").tzinfo or zone
    whole = [int(parts.get(name) or default) for name, default in (("2006", 1), ("01", 1), ("02", 1))]
    clock = [int(parts.get(name) or 0) for name in ("15", "04", "05")]
    moment = datetime.datetime(*whole, *clock, tzinfo=zone)  # type: ignore[arg-type,misc]
    return Time(int(moment.timestamp()) * 10**9 + int((parts.get("fraction") or "").ljust(9, "0")[:9]), zone)


def _in_zone(layout: str, zone: str, text: str) -> Time:
    return _read_time(layout, text, datetime.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone))


def _from_epoch(text: str) -> Time:
    factor = {5: 86_400 * 10**9, 10: 10**9, 13: 10**6, 16: 10**3, 19: 1}[len(text)]
    return Time(int(text) * factor)


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
    "len": len,
    "index": _index,
    "print": lambda *all_: "".join(shown(one) for one in all_),
    "println": lambda *all_: " ".join(shown(one) for one in all_) + "\n",
    "printf": _printf,
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
    "regexReplaceAll": lambda expression, text, new: replaced(expression, text, new),
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
    "date": _dated,
    "toDate": _read_time,
    "toDateInZone": _in_zone,
    "unixEpoch": lambda time: str(time.ns // 10**9),
    "unixEpochMillis": lambda time: str(time.ns // 10**6),
    "unixEpochNanos": lambda time: str(time.ns),
    "unixToTime": lambda text: _from_epoch(_text(text)),
    "default": lambda other, value=None: value if true(value) else other,
}

NAMES: Final = frozenset(_FIXED) | {"__line__", "__timestamp__"}


def of(entry: Entry) -> dict[str, Callable[..., Any]]:
    """The functions for one record."""
    return _FIXED | {"__line__": lambda: entry.line, "__timestamp__": lambda: Time(entry.ts)}
