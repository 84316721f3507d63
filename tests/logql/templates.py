"""Go's text/template, as much of it as line_format and label_format live on: a tree walker, no more."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, Final

from tests.logql import functions, printing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.logql.labels import Entry

TEMPLATE_ERROR: Final = "TemplateFormatErr"

_ACTION: Final = re.compile(
    r"\{\{(-\s)?((?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|/\*.*?\*/|[^}]|\}(?!\}))*?)(\s-)?\}\}", re.DOTALL
)
_WORD: Final = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|\(|\)\.?[A-Za-z_0-9.]*|\||:=|=|,|\$[A-Za-z_0-9]*(?:\.[A-Za-z_0-9]+)*'
    r"|\.[A-Za-z_0-9.]*|[+-]?[0-9][0-9a-zA-Z_.]*(?:(?<=[eE])[+-][0-9]+)?|[A-Za-z_][A-Za-z_0-9]*)"
)

Node = tuple[Any, ...]


class TemplateError(Exception):
    """No template, or none for this record."""


def parsed(text: str) -> list[Node]:
    """The nodes of a template; raises `TemplateError`."""
    tokens: list[tuple[str, str]] = []
    at, strip = 0, False
    for found in _ACTION.finditer(text):
        before = text[at : found.start()]
        before = before.lstrip() if strip else before
        before = before.rstrip() if found[1] else before
        tokens += [("text", before), ("action", found[2].strip())]
        at, strip = found.end(), bool(found[3])
    rest = text[at:].lstrip() if strip else text[at:]
    if "{{" in rest:
        raise TemplateError("unclosed action")
    tokens.append(("text", rest))
    nodes, end = _nodes(tokens)
    if end or tokens:
        raise TemplateError(f"unexpected {end}")
    return nodes


def _nodes(tokens: list[tuple[str, str]]) -> tuple[list[Node], str]:
    nodes: list[Node] = []
    while tokens:
        kind, text = tokens.pop(0)
        if kind == "text":
            nodes.append(("text", text))
            continue
        word, _, rest = text.partition(" ")
        if word in {"end", "else"}:
            return nodes, text
        if word in {"if", "with", "range"}:
            nodes.append(_branch(word, rest, tokens))
        elif not text.startswith("/*"):
            nodes.append(("show", _pipeline(text)))
    return nodes, ""


def _branch(word: str, text: str, tokens: list[tuple[str, str]]) -> Node:
    pipeline = _pipeline(text)
    inner, end = _nodes(tokens)
    other: list[Node] = []
    if end.startswith("else "):
        keyword, _, rest = end[5:].strip().partition(" ")
        return (word, pipeline, inner, [_branch(keyword, rest, tokens)])
    if end == "else":
        other, end = _nodes(tokens)
    if end != "end":
        raise TemplateError("no end")
    return (word, pipeline, inner, other)


def _pipeline(text: str) -> Node:
    """(names to set, commands)."""
    words: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        found = _WORD.match(text, at)
        if not found:
            raise TemplateError(f"unexpected {text[at:]}")
        words.append(found[1])
        at = found.end()
    names: list[str] = []
    if ":=" in words or "=" in words:
        end = words.index(":=" if ":=" in words else "=")
        names, words = [word for word in words[:end] if word != ","], words[end + 1 :]
    if not words:
        raise TemplateError("missing value")
    commands = _commands(words)
    if words:
        raise TemplateError("unexpected )")
    return (names, commands)


def _commands(words: list[str]) -> list[list[Any]]:
    commands: list[list[Any]] = [[]]
    while words and not words[0].startswith(")"):
        word = words.pop(0)
        if word == "|":
            commands.append([])
        elif word == "(":
            inner = _commands(words)
            if not words:
                raise TemplateError("unclosed (")
            fields = words.pop(0)[2:]
            commands[-1].append(("inner", ([], inner), fields.split(".") if fields else []))
        else:
            commands[-1].append(_operand(word))
    if not all(commands):
        raise TemplateError("missing value")
    return commands


def _operand(word: str) -> Any:  # noqa: PLR0911 - one case a kind
    if word[0] == "`":
        return ("value", word[1:-1])
    if word[0] == '"':
        return ("value", ast.literal_eval(word.replace("\n", "\\n")))
    if word[0] == ".":
        return ("field", [one for one in word.split(".") if one])
    if word[0] == "$":
        name, *fields = word.split(".")
        return ("variable", name, fields)
    if word in {"true", "false"}:
        return ("value", word == "true")
    if word == "nil":
        return ("value", None)
    if word[0] in "+-0123456789":
        try:
            return ("value", int(word, 0))
        except ValueError:
            return ("value", float(word))
    if word not in functions.NAMES:
        raise TemplateError(f"function {word!r} not defined")
    return ("function", word)


class _Run:
    """One execution."""

    def __init__(self, entry: Entry, data: Mapping[str, str]) -> None:
        self.functions = functions.of(entry)
        self.variables: dict[str, Any] = {"$": data}

    def nodes(self, nodes: list[Node], dot: Any) -> str:
        return "".join(self.node(node, dot) for node in nodes)

    def node(self, node: Node, dot: Any) -> str:
        if node[0] == "text":
            return str(node[1])
        names, _ = node[1]
        value = self.pipeline(node[1], dot)
        if node[0] == "show":
            for name in names:
                self.variables[name] = value
            return "" if names else printing.shown(value)
        word, _, inner, other = node
        if word == "range":
            return self.each(names, value, inner, other, dot)
        for name in names:
            self.variables[name] = value
        if not functions.true(value):
            return self.nodes(other, dot)
        return self.nodes(inner, value if word == "with" else dot)

    def each(self, names: list[str], value: Any, inner: list[Node], other: list[Node], dot: Any) -> str:
        pairs: list[tuple[Any, Any]]
        if value is None:
            pairs = []
        elif isinstance(value, dict):
            pairs = sorted(value.items())
        elif isinstance(value, list):
            pairs = list(enumerate(value))
        else:
            raise TemplateError("range over what has no elements")
        shown = []
        for key, one in pairs:
            if names:
                self.variables[names[-1]] = one
            if len(names) > 1:
                self.variables[names[0]] = key
            shown.append(self.nodes(inner, one))
        return "".join(shown) if pairs else self.nodes(other, dot)

    def pipeline(self, pipeline: Node, dot: Any) -> Any:
        piped: list[Any] = []
        for command in pipeline[1]:
            piped = [self.command(command, piped, dot)]
        return piped[0]

    def command(self, command: list[Any], piped: list[Any], dot: Any) -> Any:
        first, *rest = command
        if first[0] == "function":
            arguments = [self.operand(one, dot) for one in rest] + piped
            try:
                return self.functions[first[1]](*arguments)
            except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
                raise TemplateError(f"error calling {first[1]}: {error}") from error
        if rest or piped:
            raise TemplateError("can't give argument to non-function")
        return self.operand(first, dot)

    def operand(self, operand: Any, dot: Any) -> Any:
        kind, what, *more = operand
        if kind == "value":
            return what
        if kind == "field":
            return _fields(dot, what)
        if kind == "variable":
            if what not in self.variables:
                raise TemplateError(f"undefined variable {what}")
            return _fields(self.variables[what], more[0])
        if kind == "inner":
            return _fields(self.pipeline(what, dot), more[0])
        return self.command([operand], [], dot)


def _fields(value: Any, names: list[str]) -> Any:
    for position, name in enumerate(names):
        if isinstance(value, functions.Labels):
            value = value.get(name, "")
        elif isinstance(value, dict):
            value = value.get(name)
        else:
            raise TemplateError(f"can't evaluate field {name} ({position})")
    return value


def rendered(template: str, entry: Entry, data: Mapping[str, str]) -> str:
    """What a template gives for a record whose labels are ``data``; raises `TemplateError`."""
    labels = functions.Labels(data)
    return _Run(entry, labels).nodes(parsed(template), labels)
