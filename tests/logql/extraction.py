"""What each parser finds in a line: pairs of name and value, and the error if there is one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import re2

from tests.logql import scanning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.logql.labels import Entry

JSON_ERROR: Final = "JSONParserErr"
LOGFMT_ERROR: Final = "LogfmtParserErr"

_TOKEN: Final = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_]*)|\[\s*(\d+)\s*\]|\[\s*("(?:[^"\\]|\\.)*")\s*\]')


def sanitized(name: str) -> str:
    """A name as a label may have it."""
    name = name.strip()
    if name and name[0].isdecimal() and name[0].isascii():
        name = "_" + name
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _replaced(text: str) -> str:
    """What was no UTF-8 becomes blanks in a label."""
    return text.replace("\ufffd", " ")


def _flattened(text: str, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in scanning.members(text):
        full = f"{prefix}_{re.sub(r'[^A-Za-z0-9_]', '_', name)}" if prefix else sanitized(name)
        if value.kind == scanning.OBJECT:
            yield from _flattened(value.text, full)
        elif value.kind == scanning.STRING:
            yield full, _replaced(scanning.unescaped(value.text))
        elif value.kind in {scanning.NUMBER, scanning.BOOLEAN}:
            yield full, value.text


def take_json(entry: Entry) -> None:
    """``| json``: what stands before a broken place is taken."""
    try:
        for name, value in _flattened(entry.line, ""):
            entry.extract(name, value)
    except scanning.BrokenError:
        entry.fail(JSON_ERROR, "broken JSON")


def path(expression: str) -> list[str | int]:
    """The steps of a JSON expression; raises ValueError."""
    steps: list[str | int] = []
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if not found:
            raise ValueError(f"no JSON expression: {expression}")
        name, index, quoted = found.groups()
        steps.append(name or (int(index) if index else json.loads(quoted)))
        at = found.end()
    return steps


def take_json_paths(entry: Entry, wanted: list[tuple[str, str]]) -> None:
    """``| json a="…"``."""
    if not entry.line:
        return
    if entry.line[0] not in '"{[':
        entry.fail(JSON_ERROR)
        return
    root = scanning.Value(scanning.OBJECT if entry.line[0] == "{" else scanning.ARRAY, entry.line)
    values: list[tuple[str, scanning.Value | None]] = []
    for label, expression in wanted:
        try:
            values.append((label, _walk(root, path(expression))))
        except scanning.BrokenError:
            entry.fail(JSON_ERROR, "broken value")
            values.append((label, None))
    for label, value in values:
        if value is not None:
            entry.set(entry.free(label), _rendered(value))
    for label, value in values:
        if value is None and entry.get(label) is None:
            entry.set(label, "")


def _walk(value: scanning.Value, steps: list[str | int]) -> scanning.Value | None:
    """Raises `BrokenError` if what is asked for breaks off; an object around it may."""
    for place, step in enumerate(steps, 1):
        try:
            inner = _step(value, step)
        except scanning.BrokenError as error:
            if place == len(steps) or not error.text.startswith("{"):
                raise
            inner = scanning.Value(scanning.OBJECT, error.text)
        if inner is None:
            return None
        value = inner
    return value


def _step(value: scanning.Value, step: str | int) -> scanning.Value | None:
    if isinstance(step, int):
        found = scanning.elements(value.text) if value.kind == scanning.ARRAY else []
        return found[step] if step < len(found) else None
    if value.kind == scanning.OBJECT:
        try:
            for name, inner in scanning.members(value.text):
                if name == step:
                    return inner
        except scanning.BrokenError as error:
            if error.name == step:
                raise
    return None


def _rendered(value: scanning.Value) -> str:
    """A value as a label: objects as they are written, of everything else the escapes are undone."""
    return value.text if value.kind == scanning.OBJECT else _replaced(scanning.unescaped(value.text))


def logfmt(line: str) -> Iterator[tuple[str, str] | None]:  # noqa: C901 - the decoder's states
    """Keys and values in order; None where the line is not logfmt (it goes on after the next blank)."""
    at, size = 0, len(line)
    while True:
        while at < size and line[at] <= " ":
            at += 1
        if at >= size:
            return
        start = at
        while at < size and line[at] > " " and line[at] not in '="':
            at += 1
        key = line[start:at]
        broken = "\ufffd" in key or (at < size and line[at] == '"') or (at < size and line[at] == "=" and not key)
        if broken:
            at = _blank(line, at)
            yield None
            continue
        if at >= size or line[at] != "=":
            yield key, ""
            continue
        at += 1
        if at < size and line[at] == '"':
            found = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(line, at)
            if not found:
                yield None
                return
            at = found.end()
            text = found[1]
            if "\\" in text:
                try:
                    text = json.loads(found[0], strict=False)
                except ValueError:
                    yield None
                    continue
            yield key, text
            continue
        start = at
        while at < size and line[at] > " " and line[at] not in '="':
            at += 1
        if at < size and line[at] > " ":
            at = _blank(line, at)
            yield None
            continue
        yield key, line[start:at]


def _blank(line: str, at: int) -> int:
    while at < len(line) and line[at] > " ":
        at += 1
    return at


def take_logfmt(entry: Entry, *, strict: bool, keep_empty: bool) -> None:
    """``| logfmt``."""
    for pair in logfmt(entry.line):
        if pair is None:
            if strict:
                entry.fail(LOGFMT_ERROR, "logfmt syntax error")
                return
            continue
        name, value = sanitized(pair[0]), _replaced(pair[1])
        if name and (value or keep_empty):
            entry.extract(name, value)


def take_logfmt_keys(entry: Entry, wanted: list[tuple[str, str]], *, strict: bool) -> None:
    """``| logfmt a="key"``."""
    for label, _ in wanted:
        if label not in entry.stream:
            entry.set(label, "")
    for pair in logfmt(entry.line):
        if pair is None:
            if strict:
                entry.fail(LOGFMT_ERROR, "logfmt syntax error")
                return
            continue
        name = sanitized(pair[0])
        # A key that is called like one of the labels is taken as well.
        name = next((label for label, expression in wanted if name == expression), name)
        if any(label == name for label, _ in wanted):
            value = "" if "\ufffd" in pair[1] else pair[1]
            entry.set(entry.free(name) if name in entry.stream else name, value)


def take_regexp(entry: Entry, expression: str) -> None:
    """``| regexp "…"``."""
    compiled = re2.compile(expression)
    found = compiled.search(entry.line)
    if not found:
        return
    for name, number in sorted(compiled.groupindex.items(), key=lambda one: one[1]):
        entry.extract(name, found.group(number) or "")


def pattern(text: str) -> list[tuple[bool, str]]:
    """Parts of a pattern: (is a capture, its name or the literal)."""
    parts = re.split(r"<([A-Za-z_][A-Za-z0-9_]*)>", text)
    return [(bool(number % 2), part) for number, part in enumerate(parts) if number % 2 or part]


def take_pattern(entry: Entry, expression: str) -> None:
    """``| pattern "…"``: a literal that is not found ends it, and what is left is the capture before it."""
    parts, rest = pattern(expression), entry.line
    if not rest:
        return
    if not parts[0][0]:
        if not rest.startswith(parts[0][1]):
            return
        rest, parts = rest[len(parts[0][1]) :], parts[1:]
    while parts:
        name = parts[0][1]
        if len(parts) == 1 or parts[1][1] not in rest:
            value, rest, parts = rest, "", []
        else:
            value, _, rest = rest.partition(parts[1][1])
            parts = parts[2:]
        if name != "_":
            entry.extract(name, value)


def pattern_passes(expression: str, line: str) -> bool:
    """``|> "…"``: every literal in order, something between them, nothing around them that no ``<_>`` stands for."""
    parts = pattern(expression)
    if not line or not parts:
        return not line and not parts
    at = 0
    for number, (capture, text) in enumerate(parts):
        if capture:
            continue
        found = line.find(text, at)
        if found < 0 or (number and found == at):
            return False
        at = found + len(text)
    return parts[-1][0] == (at != len(line))


def take_packed(entry: Entry) -> None:
    """``| unpack``."""
    if not entry.line:
        return
    if entry.line[0] != "{":
        entry.fail(JSON_ERROR, "expecting json object(6), but it is not")
        return
    try:
        texts = [(name, value.text) for name, value in scanning.members(entry.line) if value.kind == scanning.STRING]
    except scanning.BrokenError:
        entry.fail(JSON_ERROR, "broken JSON")
        return
    packed = [value for name, value in texts if name == "_entry"]
    if not packed:
        return
    for name, value in texts:
        if name != "_entry":
            entry.extract(sanitized(name), _replaced(scanning.unescaped(value)))
    entry.line = scanning.unescaped(packed[-1])
