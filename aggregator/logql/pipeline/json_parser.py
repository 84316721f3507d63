"""``| json``: every scalar of the line's object, or what JSON expressions name.

As Loki (pkg/logql/log/parser.go). Objects within are looked into, names joined with ``_``; arrays and nulls are passed
over; strings are unescaped, numbers the text that stands there. An expression names anything, a missing one gives an
empty label, an array or object its text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aggregator.logql.pipeline import jsontext
from aggregator.logql.pipeline.jsontext import JsonError, Kind
from aggregator.logql.pipeline.labels import EXTRACTED, JSON_ERROR, Labels, is_label_name, label_name, name_part
from aggregator.logql.pipeline.stages import StageError, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from aggregator.logql.tree import Extraction

Path = tuple[str | int, ...]

# Begins a value that expressions can be looked for in.
_STARTS: Final = frozenset('"{[')
_PATH_TOKEN: Final = re.compile(
    r"""[ \t\n]*(?:
        (?P<field>[A-Za-z_][A-Za-z0-9_]*)
        |\[[ \t\n]*"(?P<key>[^"\]]*)"[ \t\n]*\]
        |\[[ \t\n]*(?P<index>[0-9]{1,9})[ \t\n]*\]
        |(?P<dot>\.)
    )[ \t\n]*""",
    re.VERBOSE,
)

# What may stand where in a JSON expression.
_FIRST: Final = frozenset({"field", "key", "index"})
_AFTER_PART: Final = frozenset({"key", "index", "dot"})
_AFTER_DOT: Final = frozenset({"field"})


def parser(wanted: Collection[str] | None) -> Step:  # noqa: C901 - two ways of the same
    """The step of ``| json``; ``wanted``: names that are looked at later, suffixes apart, None all."""

    def take(pairs: jsontext.Pairs, prefix: str, labels: Labels, depth: int) -> None:
        for key, value in pairs:
            kind = type(value)
            if kind is str:
                text = value
            elif kind is bool:
                text = "true" if value else "false"
            elif kind is tuple:
                if depth >= jsontext.NESTING_MAX:
                    raise JsonError(jsontext.TOO_DEEP)
                take(value, joined(prefix, key), labels, depth + 1)
                continue
            else:
                continue
            name = joined(prefix, key) if prefix else label_name(key)
            if name and (wanted is None or name in wanted):
                labels.extract(name, text)

    def take_leniently(line: str, span: tuple[int, int], prefix: str, labels: Labels, depth: int) -> None:
        for key, kind, value_start, value_end in jsontext.members(line, *span):
            if kind is Kind.OBJECT:
                if depth >= jsontext.NESTING_MAX:
                    raise JsonError(jsontext.TOO_DEEP)
                take_leniently(line, (value_start, value_end), joined(prefix, key), labels, depth + 1)
            elif kind is not Kind.ARRAY and kind is not Kind.NULL:
                name = joined(prefix, key)
                if name and (wanted is None or name in wanted):
                    text = line[value_start:value_end]
                    labels.extract(name, jsontext.unescaped(text) if kind is Kind.STRING else text)

    def step(_: int, line: str, labels: Labels) -> str:
        pairs = jsontext.decoded(line)
        try:
            if pairs is None:
                take_leniently(line, (0, len(line)), "", labels, 0)
            else:
                take(pairs, "", labels, 0)
        except JsonError as error:
            labels.fail(JSON_ERROR, error.details)
        return line

    return step


def joined(prefix: str, key: str) -> str:
    """The name of ``key`` in the object whose name is ``prefix``."""
    if not prefix:
        return label_name(key)
    part = name_part(key)
    return f"{prefix}_{part}" if part else prefix


def extraction_parser(extractions: Sequence[Extraction]) -> Step:  # noqa: C901 - checks, and the closure
    """The step of ``| json label="expression", …``; raises StageError."""
    paths = []
    for extraction in extractions:
        if not is_label_name(extraction.label):
            raise StageError("json", f"invalid extracted label name '{extraction.label}'")
        paths.append((extraction.label, json_path(extraction.expression)))

    def step(_: int, line: str, labels: Labels) -> str:
        if not line:
            return line
        if line[0] not in _STARTS:
            labels.fail(JSON_ERROR)
            return line
        pairs = jsontext.decoded(line)
        for label, path in paths:
            text = None
            if pairs is not None:
                text = _found(pairs, path, 0)
            if pairs is None or text is _SPELT_OUT:
                try:
                    text = _spelt_out(line, path)
                except JsonError as error:
                    labels.fail(JSON_ERROR, error.details)
            if text is not None:
                labels.set(label if labels.free(label) else label + EXTRACTED, text)
            elif labels.get(label) is None:
                labels.set(label, "")
        return line

    return step


def json_path(expression: str) -> Path:
    """The keys and indexes of a JSON expression, as ``a.b[0]["c d"]``; raises StageError."""
    path: list[str | int] = []
    at = 0
    dotted = False
    while at < len(expression):
        found = _PATH_TOKEN.match(expression, at)
        kind = found.lastgroup if found else None
        allowed = _AFTER_DOT if dotted else _AFTER_PART if path else _FIRST
        if found is None or kind not in allowed:
            raise StageError("json", f"cannot parse expression [{expression}]: syntax error at {at + 1}")
        dotted = kind == "dot"
        if kind == "index":
            path.append(int(found[kind]))
        elif not dotted:
            path.append(found[kind])
        at = found.end()
    if not path or dotted:
        raise StageError("json", f"cannot parse expression [{expression}]: unexpected end")
    return tuple(path)


# Stands for an array or object, whose text only the line has.
_SPELT_OUT: Final = "\0spelt out"


def _found(value: Any, path: Path, depth: int) -> str | None:
    """The text at a path of plain JSON, `_SPELT_OUT` if it is no scalar, None if nothing is there."""
    kind = type(value)
    if depth == len(path):
        if kind is str:
            text: str = value
            return text
        if kind is bool:
            return "true" if value else "false"
        return "" if value is None else _SPELT_OUT
    part = path[depth]
    if kind is tuple and type(part) is str:
        for key, member in value:
            if key == part and (text_found := _found(member, path, depth + 1)) is not None:
                return text_found
    elif kind is list and type(part) is int and part < len(value):
        return _found(value[part], path, depth + 1)
    return None


def _spelt_out(line: str, path: Path) -> str | None:
    # Where the document ends is no matter: what stands before is found.
    kind = {"{": Kind.OBJECT, "[": Kind.ARRAY}.get(line[0], Kind.STRING)
    return _look(line, kind, 0, len(line), path)


def _look(line: str, kind: Kind, start: int, end: int, path: Path) -> str | None:  # noqa: C901 - one of each kind
    """The text at a path, in JSON of whatever kind; raises JsonError if it is that text that is none."""
    if not path:
        text = line[start:end]
        if kind is Kind.NULL:
            return ""
        return text if kind is Kind.OBJECT else jsontext.unescaped(text)
    part = path[0]
    if kind is Kind.OBJECT and isinstance(part, str):
        try:
            for key, member, member_start, member_end in jsontext.members(line, start, end):
                if key == part:
                    text_found = _look(line, member, member_start, member_end, path[1:])
                    if text_found is not None:
                        return text_found
        except JsonError as error:
            if error.key == part and len(path) == 1:
                raise
    elif kind is Kind.ARRAY and isinstance(part, int):
        for index, (member, member_start, member_end) in enumerate(jsontext.elements(line, start, end)):
            if index == part:
                return _look(line, member, member_start, member_end, path[1:])
    return None
