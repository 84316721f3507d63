"""The functions of templates: those that Loki documents, and those that Go's templates have themselves.

Sources: https://grafana.com/docs/loki/latest/query/template_functions/, https://masterminds.github.io/sprig/,
https://pkg.go.dev/text/template#hdr-Functions. A function that cannot do what it is asked raises ValueError.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from typing import Any, Final

import msgspec

from aggregator.logql import units
from aggregator.logql.pipeline import dates, printf, strings
from aggregator.logql.pipeline.dates import SECOND_NS, Time
from aggregator.logql.pipeline.labels import SPACE
from aggregator.logql.pipeline.unwrap import seconds
from aggregator.logql.pipeline.values import (
    INT_MIN,
    Int64,
    Object,
    parse_int,
    text_of,
    to_float,
    to_int,
    true,
    type_name,
    wrapped,
)

# What a parameter takes; the names are Go's.
ANY: Final = "interface {}"
STRING: Final = "string"
INT: Final = "int"
FLOAT: Final = "float64"
TIME: Final = "time.Time"

# Decimal arithmetic is exact up to here, which holds any sum or product of two floats, and divides to 16 places.
_EXACT: Final = Context(prec=2200, Emax=10_000, Emin=-10_000)
_DIVISION_PLACES: Final = Decimal(1).scaleb(-16)
_UNIT_SECONDS: Final = {5: 86_400 * SECOND_NS, 10: SECOND_NS, 13: 1_000_000, 16: 1_000, 19: 1}
_JS_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    | {chr(code): f"\\u{code:04X}" for code in range(32)}
)


class Function(msgspec.Struct, frozen=True):
    """A function, what its parameters take, and what further ones do if it takes any number."""

    call: Callable[..., Any]
    takes: tuple[str, ...] = ()
    rest: str | None = None


def _arithmetic(exact: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., float]:
    def result(first: object, *others: object) -> float:
        try:
            value = _decimal(first)
            for other in others:
                value = exact(value, _decimal(other))
            return float(value)
        except (DecimalException, OverflowError):
            raise ValueError("decimal division by 0, or a number out of range") from None

    return result


def _decimal(value: object) -> Decimal:
    number = to_float(value)
    if not math.isfinite(number):
        raise ValueError(f"Cannot create a Decimal from {text_of(number)}")
    return Decimal(repr(number))


def _divided(left: Decimal, right: Decimal) -> Decimal:
    return _EXACT.divide(left, right).quantize(_DIVISION_PLACES, ROUND_HALF_UP, _EXACT)


def _add(*values: object) -> Int64:
    return wrapped(sum(map(to_int, values)))


def _multiply(first: object, *others: object) -> Int64:
    product = wrapped(to_int(first))
    for other in others:
        product = wrapped(product * to_int(other))
    return product


def _divide(left: object, right: object) -> Int64:
    dividend, divisor = to_int(left), to_int(right)
    if divisor == 0:
        raise ValueError("runtime error: integer divide by zero")
    quotient = abs(dividend) // abs(divisor)
    return wrapped(quotient if (dividend < 0) is (divisor < 0) else -quotient)


def _modulo(left: object, right: object) -> Int64:
    return wrapped(to_int(left) - _divide(left, right) * to_int(right))


def _floored(value: object) -> float:
    number = to_float(value)
    return float(math.floor(number)) if math.isfinite(number) else number


def _ceiled(value: object) -> float:
    number = to_float(value)
    return float(math.ceil(number)) if math.isfinite(number) else number


def _round(value: object, places: int, *round_on: float) -> float:
    number = to_float(value)
    try:
        power = 10.0**places
        digit = power * number
        fraction, _ = math.modf(digit)
        rounded = math.ceil(digit) if fraction >= (round_on[0] if round_on else 0.5) else math.floor(digit)
        return rounded / power
    except (OverflowError, ValueError, ZeroDivisionError):
        return math.nan


def _extreme(pick: Callable[..., float]) -> Callable[..., float]:
    def result(first: object, *others: object) -> float:
        numbers = [to_float(value) for value in (first, *others)]
        return math.nan if any(math.isnan(number) for number in numbers) else pick(numbers)

    return result


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_hook=Object, parse_int=float, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(constant: str) -> float:
    raise ValueError(constant)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return "illegal base64 data at input byte 0"


def _date(layout: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = Time(value * SECOND_NS)
    if not isinstance(value, Time):
        raise ValueError(f"{type_name(value)} is no time")  # noqa: TRY004 - what a template did wrong
    # The local zone of a server is UTC.
    return dates.formatted(layout, Time(value.ns))


def _unix_to_time(text: str) -> Time:
    number = parse_int(text)
    unit_ns = _UNIT_SECONDS.get(len(text))
    if number is None or unit_ns is None or not text.lstrip("+-").isdigit():
        raise ValueError(f"unable to parse time '{text}'")
    return Time(number * unit_ns)


def _default(default: object, *given: object) -> object:
    return given[0] if given and true(given[0]) else default


def _length(value: object) -> int:
    if isinstance(value, str):
        return strings.byte_length(value)
    if isinstance(value, dict | list):
        return len(value)
    raise ValueError(f"len of type {type_name(value)}" if value is not None else "len of nil pointer")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise ValueError(f"value has type {type_name(key)}; should be string")  # noqa: TRY004 - what a template did wrong
            value = value.get(key, None if isinstance(value, Object) else "")
        elif isinstance(value, list | str):
            if not isinstance(key, int) or isinstance(key, bool):
                raise ValueError(f"cannot index slice/array with type {type_name(key)}")  # noqa: TRY004 - what a template did wrong
            data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            if not 0 <= key < len(data):
                raise ValueError(f"index out of range: {key}")
            value = data[key]
        else:
            raise ValueError(  # noqa: TRY004 - what a template did wrong
                "index of untyped nil" if value is None else f"can't index item of type {type_name(value)}"
            )
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, list | str):
        raise ValueError(f"can't slice item of type {type_name(value)}")  # noqa: TRY004 - what a template did wrong
    size = _length(value)
    if len(bounds) > 2 or not all(isinstance(bound, int) and 0 <= bound <= size for bound in bounds):  # noqa: PLR2004 - start and end
        raise ValueError("index out of range")
    start, end = (bounds[0] if bounds else 0), (bounds[1] if bounds[1:] else size)
    if start > end:
        raise ValueError(f"invalid slice index: {start} > {end}")
    return strings.part(value, start, end) if isinstance(value, str) else value[start:end]


def _print(*values: object) -> str:
    out = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            out += " "
        out += text_of(value)
    return out


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if _kind(left) != _kind(right):
        raise ValueError("incompatible types for comparison")
    return bool(left == right)


def _less(left: Any, right: Any) -> bool:
    kind = _kind(left)
    if kind != _kind(right):
        raise ValueError("incompatible types for comparison")
    if kind == "bool":
        raise ValueError("invalid type for comparison")
    return bool(left < right)


def _kind(value: object) -> str:
    name = type_name(value)
    if name not in {STRING, INT, "int64", FLOAT, "bool"}:
        raise ValueError("invalid type for comparison")
    return INT if name == "int64" else name


def _joined(values: tuple[object, ...]) -> str:
    return values[0] if len(values) == 1 and isinstance(values[0], str) else _print(*values)


def _cut(text: str, prefix: str) -> str:
    return text.removeprefix(prefix)


FUNCTIONS: Final[dict[str, Function]] = {
    # Go's own; `and` and `or` are the template's.
    "eq": Function(_equal, (ANY,), ANY),
    "ne": Function(lambda left, right: not _same(left, right), (ANY, ANY)),
    "lt": Function(_less, (ANY, ANY)),
    "le": Function(lambda left, right: _less(left, right) or _same(left, right), (ANY, ANY)),
    "gt": Function(lambda left, right: not (_less(left, right) or _same(left, right)), (ANY, ANY)),
    "ge": Function(lambda left, right: not _less(left, right), (ANY, ANY)),
    "not": Function(lambda value: not true(value), (ANY,)),
    "len": Function(_length, (ANY,)),
    "index": Function(_index, (ANY,), ANY),
    "slice": Function(_slice, (ANY,), ANY),
    "print": Function(_print, (), ANY),
    "println": Function(lambda *values: " ".join(map(text_of, values)) + "\n", (), ANY),
    "printf": Function(lambda template, *values: printf.sprintf(template, list(values)), (STRING,), ANY),
    "html": Function(
        lambda *values: html.escape(_joined(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"), (), ANY
    ),
    "js": Function(lambda *values: _joined(values).translate(_JS_ESCAPES), (), ANY),
    "urlquery": Function(lambda *values: strings.query_escaped(_joined(values)), (), ANY),
    # Strings.
    "ToLower": Function(strings.lower, (STRING,)),
    "ToUpper": Function(strings.upper, (STRING,)),
    "lower": Function(strings.lower, (STRING,)),
    "upper": Function(strings.upper, (STRING,)),
    "title": Function(strings.title, (STRING,)),
    "Replace": Function(strings.replace, (STRING, STRING, STRING, INT)),
    "replace": Function(lambda old, new, text: strings.replace(text, old, new), (STRING, STRING, STRING)),
    "Trim": Function(lambda text, characters: text.strip(characters), (STRING, STRING)),
    "TrimLeft": Function(lambda text, characters: text.lstrip(characters), (STRING, STRING)),
    "TrimRight": Function(lambda text, characters: text.rstrip(characters), (STRING, STRING)),
    "TrimPrefix": Function(_cut, (STRING, STRING)),
    "TrimSuffix": Function(lambda text, suffix: text.removesuffix(suffix), (STRING, STRING)),
    "TrimSpace": Function(lambda text: text.strip(SPACE), (STRING,)),
    "trim": Function(lambda text: text.strip(SPACE), (STRING,)),
    "trimAll": Function(lambda characters, text: text.strip(characters), (STRING, STRING)),
    "trimPrefix": Function(lambda prefix, text: text.removeprefix(prefix), (STRING, STRING)),
    "trimSuffix": Function(lambda suffix, text: text.removesuffix(suffix), (STRING, STRING)),
    "contains": Function(lambda part, text: part in text, (STRING, STRING)),
    "hasPrefix": Function(lambda prefix, text: text.startswith(prefix), (STRING, STRING)),
    "hasSuffix": Function(lambda suffix, text: text.endswith(suffix), (STRING, STRING)),
    "indent": Function(strings.indent, (INT, STRING)),
    "nindent": Function(lambda spaces, text: "\n" + strings.indent(spaces, text), (INT, STRING)),
    "repeat": Function(strings.repeat, (INT, STRING)),
    "substr": Function(strings.substr, (INT, INT, STRING)),
    "trunc": Function(strings.trunc, (INT, STRING)),
    "alignLeft": Function(strings.align_left, (INT, STRING)),
    "alignRight": Function(strings.align_right, (INT, STRING)),
    "default": Function(_default, (ANY,), ANY),
    # Regular expressions.
    "count": Function(lambda expression, text: sum(1 for _ in strings.matches(expression, text)), (STRING, STRING)),
    "regexReplaceAll": Function(
        lambda expression, text, new: strings.regex_replace(expression, text, new, literal=False),
        (STRING, STRING, STRING),
    ),
    "regexReplaceAllLiteral": Function(
        lambda expression, text, new: strings.regex_replace(expression, text, new, literal=True),
        (STRING, STRING, STRING),
    ),
    # Encodings.
    "b64enc": Function(lambda text: base64.b64encode(text.encode("utf-8", "surrogatepass")).decode(), (STRING,)),
    "b64dec": Function(_decoded, (STRING,)),
    "urlencode": Function(strings.query_escaped, (STRING,)),
    "urldecode": Function(strings.query_unescaped, (STRING,)),
    "fromJson": Function(_from_json, (STRING,)),
    "bytes": Function(lambda text: float(units.parse_size(text)), (STRING,)),
    "duration": Function(seconds, (STRING,)),
    "duration_seconds": Function(seconds, (STRING,)),
    # Numbers.
    "int": Function(to_int, (ANY,)),
    "float64": Function(to_float, (ANY,)),
    "add": Function(_add, (), ANY),
    "sub": Function(lambda left, right: wrapped(to_int(left) - to_int(right)), (ANY, ANY)),
    "mul": Function(_multiply, (ANY,), ANY),
    "div": Function(_divide, (ANY, ANY)),
    "mod": Function(_modulo, (ANY, ANY)),
    "max": Function(lambda *values: Int64(max(map(to_int, values), default=INT_MIN)), (ANY,), ANY),
    "min": Function(lambda *values: Int64(min(map(to_int, values))), (ANY,), ANY),
    "addf": Function(lambda *values: _arithmetic(_EXACT.add)(0.0, *values), (), ANY),
    "subf": Function(_arithmetic(_EXACT.subtract), (ANY,), ANY),
    "mulf": Function(_arithmetic(_EXACT.multiply), (ANY,), ANY),
    "divf": Function(_arithmetic(_divided), (ANY,), ANY),
    "maxf": Function(_extreme(max), (ANY,), ANY),
    "minf": Function(_extreme(min), (ANY,), ANY),
    "floor": Function(_floored, (ANY,)),
    "ceil": Function(_ceiled, (ANY,)),
    "round": Function(_round, (ANY, INT), FLOAT),
    # Times.
    "date": Function(_date, (STRING, ANY)),
    "toDate": Function(lambda layout, text: dates.parsed(layout, text, dates.zone("UTC")), (STRING, STRING)),
    "toDateInZone": Function(
        lambda layout, zone, text: dates.parsed(layout, text, dates.zone(zone)), (STRING, STRING, STRING)
    ),
    "unixEpoch": Function(lambda time: str(time.ns // SECOND_NS), (TIME,)),
    "unixEpochMillis": Function(lambda time: str(time.ns // 1_000_000), (TIME,)),
    "unixEpochNanos": Function(lambda time: str(wrapped(time.ns)), (TIME,)),
    "unixToTime": Function(_unix_to_time, (STRING,)),
}

__all__ = ["ANY", "FLOAT", "FUNCTIONS", "INT", "STRING", "TIME", "Function"]
