"""Whether a record passes a line filter or a label filter, as written down in Loki's source: one record at a time."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

import re2

from aggregator.logql.tree import (
    ERROR,
    And,
    BytesCondition,
    CompareOp,
    Condition,
    DurationCondition,
    IpCondition,
    LineFilter,
    LineOp,
    LineValue,
    Matcher,
    MatchOp,
    NumberCondition,
    Or,
)
from tests.logql import values
from tests.logql.extraction import pattern_passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.logql.labels import Entry

FILTER_ERROR: Final = "LabelFilterErr"

Number = int | float
_COMPARE: Final[dict[CompareOp, Callable[[Number, Number], bool]]] = {
    CompareOp.EQUAL: lambda left, right: left == right,
    CompareOp.NOT_EQUAL: lambda left, right: left != right,
    CompareOp.GREATER: lambda left, right: left > right,
    CompareOp.GREATER_OR_EQUAL: lambda left, right: left >= right,
    CompareOp.LESS: lambda left, right: left < right,
    CompareOp.LESS_OR_EQUAL: lambda left, right: left <= right,
}


def matches(matcher: Matcher, value: str) -> bool:
    """Whether a matcher holds for a value; one that is missing is empty."""
    if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
        return (matcher.value == value) is not matcher.op.negative
    return bool(re2.compile(f"(?s:{matcher.value})").fullmatch(value)) is not matcher.op.negative


def line_passes(stage: LineFilter, line: str) -> bool:
    """Whether a line passes."""
    return any(_line_has(stage.op, value, line) for value in stage.values) is not stage.op.negative


def _line_has(op: LineOp, value: LineValue, line: str) -> bool:
    if value.ip:
        return has_address(value.text, line)
    if op in {LineOp.CONTAINS, LineOp.LACKS}:
        return value.text in line
    if op in {LineOp.PATTERN, LineOp.NOT_PATTERN}:
        return pattern_passes(value.text, line)
    return bool(re2.compile(value.text).search(line))


def passes(condition: Condition, entry: Entry) -> bool:  # noqa: PLR0911 - one case a kind
    """Whether a record meets a condition. A value that cannot be read passes, and the record has an error."""
    match condition:
        case And(left, right):
            held = [passes(left, entry), passes(right, entry)]
            return all(held)
        case Or(left, right):
            return passes(left, entry) or passes(right, entry)
        case Matcher(label):
            return matches(condition, entry.error if label == ERROR else entry.get(label) or "")
        case IpCondition(label, negative, text):
            if entry.error:
                return True
            value = entry.get(label)
            return value is not None and has_address(text, value) is not negative
        case NumberCondition(label, op, wanted):
            return _compares(entry, label, op, wanted, values.number)
        case DurationCondition(label, op, wanted_ns):
            return _compares(entry, label, op, wanted_ns, values.duration_ns)
        case BytesCondition(label, op, wanted_bytes):
            return _compares(entry, label, op, wanted_bytes, values.size)


def _compares(entry: Entry, label: str, op: CompareOp, wanted: Number, reading: Callable[[str], Number]) -> bool:
    text = entry.get(label)
    if text is None:
        return False
    try:
        value = reading(text)
    except ValueError as error:
        entry.fail_first(FILTER_ERROR, str(error))
        return True
    return _COMPARE[op](value, wanted)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_V4: Final = "0123456789."
_V6: Final = "0123456789abcdefABCDEF:."


def _inside(wanted: str, found: str) -> bool:
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return False
    if "-" in wanted:
        low, high = (ipaddress.ip_address(one.strip()) for one in wanted.split("-"))
        return address.version == low.version and int(low) <= int(address) <= int(high)
    if "/" in wanted:
        return address in ipaddress.ip_network(wanted, strict=False)
    return address == ipaddress.ip_address(wanted)


def has_address(wanted: str, text: str) -> bool:
    """Whether an address of ``wanted`` stands in ``text``.

    An address is looked for where one seems to begin; what follows of its characters belongs to it.
    """
    at = 0
    while at < len(text):
        allowed = _allowed(text[at : at + 5])
        if not allowed:
            at += 1
            continue
        end = at
        while end < len(text) and text[end] in allowed:
            end += 1
        if _inside(wanted, text[at:end]):
            return True
        at = end + 1
    return False


def _allowed(head: str) -> str:
    if len(head) >= 4 and head[0] in _V4[:-1] and "." in head[1:4]:
        return _V4
    hexadecimal = _V6[:-2]
    if len(head) < 5:
        return ""
    if head.startswith("::") and head[2] in hexadecimal:
        return _V6
    word, colon, _ = head.partition(":")
    return _V6 if colon and word and all(letter in hexadecimal for letter in word) else ""
