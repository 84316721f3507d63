"""Go's text templates, compiled to closures: what ``line_format`` and ``label_format`` write.

Source: https://pkg.go.dev/text/template. Actions: pipelines, variables, ``if``, ``with``, ``range``, ``break``,
``continue``; not ``define``, ``template``, ``block``, nor the methods of times. The data are the labels; one that is
not there is empty. Errors name their place as Go's do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aggregator.logql import units
from aggregator.logql.pipeline import functions, values
from aggregator.logql.pipeline.dates import Time
from aggregator.logql.pipeline.functions import FUNCTIONS, Function
from aggregator.logql.pipeline.scanner import ScanError, Token, tokens
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.pipeline.strings import TEXT_CHARACTERS_MAX, TooLongError, byte_length

if TYPE_CHECKING:
    from aggregator.logql.pipeline.labels import Labels

# Actions that a template may run for one record: ranges within ranges over an array of the record.
STEPS_MAX: Final = 20_000
# Actions and parentheses within each other.
NESTING_MAX: Final = 50
TEMPLATE_CHARACTERS_MAX: Final = 64 << 10

_CONTEXT_CHARACTERS: Final = 20
_OPTIONS_OF_RANGE: Final = 2
_ENDS: Final = frozenset({"end", "else"})
_UNSUPPORTED: Final = frozenset({"define", "template", "block"})
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'\"]))", re.DOTALL
)
_SIMPLE_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BACKSLASH_LEFT: Final = re.compile(r"(?:\\x..|\\u.{4}|\\U.{8}|\\[0-7]{3}|\\[abfnrtv\\'\"]|[^\\])*", re.DOTALL)


class TemplateError(ValueError):
    """A template could not be written for a record; the text is what `__error_details__` shows."""


class _Run:
    """One writing of a template."""

    __slots__ = ("line", "now_ns", "out", "size", "steps", "ts_ns", "variables")

    def __init__(self, ts_ns: int, line: str, now_ns: int, variables: list[Any]) -> None:
        self.ts_ns = ts_ns
        self.line = line
        self.now_ns = now_ns
        self.variables = variables
        self.out: list[str] = []
        self.size = 0
        self.steps = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > TEXT_CHARACTERS_MAX:
            raise TooLongError
        self.out.append(text)

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise ValueError(f"more than {STEPS_MAX} actions")


Value = Callable[[_Run, Any], Any]
Action = Callable[[_Run, Any], None]


class _Break(Exception):  # noqa: N818 - no error
    """Leaves a range."""


class _Continue(Exception):  # noqa: N818 - no error
    """Leaves one turn of a range."""


class _Constant:
    """A number or text that stands in the template."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _: _Run, __: Any) -> Any:
        return self.value


class _Nil:
    """``nil``, which may stand for an argument only."""

    def __call__(self, _: _Run, __: Any) -> None:
        return None


class Template:
    """A compiled template; ``fields``: labels that it looks at, None if it may look at any."""

    def __init__(self, text: str, stage: str, name: str, now_ns: int) -> None:
        """Compile ``text``, which Loki calls ``name``; ``now_ns``: what ``now`` gives. Raises StageError."""
        if len(text) > TEMPLATE_CHARACTERS_MAX:
            raise StageError(stage, f"the template is longer than {TEMPLATE_CHARACTERS_MAX} characters")
        compiler = _Compiler(text, name)
        try:
            self._action = compiler.compile()
        except ScanError as error:
            line = text.count("\n", 0, error.at) + 1
            raise StageError(stage, f"template: {name}:{line}: {error}") from None
        self.fields = None if compiler.whole else frozenset(compiler.fields)
        self._slots = compiler.slots
        self._now_ns = now_ns
        self._simple = compiler.simple
        self._name = name

    def written(self, ts_ns: int, line: str, labels: Labels) -> str:
        """What the template makes of a record; raises TemplateError."""
        if self._simple is not None:
            get = labels.get
            text = "".join([piece if literal else get(piece) or "" for literal, piece in self._simple])
            if len(text) <= TEXT_CHARACTERS_MAX:
                return text
        data = labels.all()
        run = _Run(ts_ns, line, self._now_ns, [data] * self._slots)
        try:
            self._action(run, data)
        except TemplateError:
            raise
        except (ValueError, RecursionError) as error:
            raise TemplateError(f'template: {self._name}: executing "{self._name}": {error}') from None
        return "".join(run.out)


class _Compiler:
    """Reads the tokens of a template once, front to back."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.tokens = list(tokens_of(text))
        self.at = 0
        self.depth = 0
        self.ranges = 0
        # Variables that can be seen, and the place of each; `$` is the first.
        self.seen: list[tuple[str, int]] = [("$", 0)]
        self.slots = 1
        self.fields: set[str] = set()
        self.whole = False
        self.simple: list[tuple[bool, str]] | None = []

    def compile(self) -> Action:
        action, end = self._actions()
        if end is not None:
            raise ScanError(f"unexpected {{{{{end.text}}}}}", end.at)
        return action

    # --- Tokens ---

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _next(self) -> Token:
        token = self._peek()
        if token is None:
            raise ScanError("unexpected EOF", len(self.text))
        self.at += 1
        return token

    def _close(self, where: str) -> None:
        token = self._next()
        if token.kind != "close":
            raise ScanError(f'unexpected "{token.text}" in {where}', token.at)

    def _is(self, kind: str, text: str | None = None) -> bool:
        token = self._peek()
        return token is not None and token.kind == kind and (text is None or token.text == text)

    def _nested(self, at: int, by: int) -> None:
        self.depth += by
        if self.depth > NESTING_MAX:
            raise ScanError(f"nested deeper than {NESTING_MAX}", at)

    # --- Actions ---

    def _actions(self) -> tuple[Action, Token | None]:
        """What is up to an ``end`` or ``else``, which is given too, or to the template's end."""
        actions: list[Action] = []
        while (token := self._peek()) is not None:
            if token.kind == "text":
                self.at += 1
                actions.append(_text(token.text))
                self._note(literal=True, piece=token.text)
                continue
            if token.kind == "word" and token.text in _ENDS:
                self.at += 1
                return _all(actions), token
            actions.append(self._action(token))
        return _all(actions), None

    def _note(self, *, literal: bool, piece: str | None) -> None:
        """Keep account of whether nothing but texts and labels are written."""
        if piece is None:
            self.simple = None
        elif self.simple is not None:
            self.simple.append((literal, piece))

    def _action(self, token: Token) -> Action:
        word = token.text if token.kind == "word" else ""
        if word in {"if", "with", "range"}:
            self._note(literal=False, piece=None)
            self.at += 1
            return self._branch(word, token)
        if word in {"break", "continue"} and self.tokens[self.at + 1].kind == "close":
            if not self.ranges:
                raise ScanError(f"{{{{{word}}}}} outside {{{{range}}}}", token.at)
            self.at += 2
            return _leave(_Break if word == "break" else _Continue)
        if word in _UNSUPPORTED:
            raise ScanError(f"{{{{{word}}}}} is not supported", token.at)
        lone = token.kind == "field" and self.tokens[self.at + 1].kind == "close"
        # The error labels are shown too, which a look-up of one label does not find.
        self._note(literal=False, piece=token.text[1:] if lone and not token.text.startswith(".__error") else None)
        value, declares = self._pipeline("command")
        self._close("command")
        return _declared(value) if declares else _written(value)

    def _branch(self, word: str, token: Token) -> Action:
        self._nested(token.at, 1)
        scope = len(self.seen)
        slots: list[int] = []
        if word == "range":
            value, slots = self._range_pipeline()
        else:
            value, _ = self._pipeline(word)
        self._close(word)
        self.ranges += word == "range"
        # Where only a range's elements are the dot, fields are of them, and of any label.
        if word != "if":
            self.whole = True
        body, end = self._actions()
        self.ranges -= word == "range"
        otherwise: Action = _nothing
        if end is not None and end.text == "else":
            if self._is("word", "if") or self._is("word", "with"):
                chained = self._next()
                otherwise = self._branch(chained.text, chained)
                del self.seen[scope:]
                self._nested(token.at, -1)
                return _branch_of(word, value, body, otherwise, slots)
            self._close("else")
            otherwise, end = self._actions()
            if end is not None and end.text == "else":
                raise ScanError("expected end; found {{else}}", end.at)
        if end is None:
            raise ScanError("unexpected EOF", len(self.text))
        self._close("end")
        del self.seen[scope:]
        self._nested(token.at, -1)
        return _branch_of(word, value, body, otherwise, slots)

    # --- Pipelines ---

    def _range_pipeline(self) -> tuple[Value, list[int]]:
        """The pipeline of a range, and the places of ``$index, $element :=``."""
        start = self.at
        names: list[str] = []
        while self._is("variable"):
            names.append(self._next().text)
            if self._is("sign", ","):
                self.at += 1
                continue
            if self._is("declare"):
                self.at += 1
                if len(names) > _OPTIONS_OF_RANGE:
                    raise ScanError("too many declarations in range", self.tokens[start].at)
                value = self._commands("range")
                return value, [self._declare(name) for name in names]
            break
        self.at = start
        value, _ = self._pipeline("range")
        return value, []

    def _declare(self, name: str) -> int:
        slot = self.slots
        self.slots += 1
        self.seen.append((name, slot))
        return slot

    def _variable(self, token: Token) -> int:
        for name, slot in reversed(self.seen):
            if name == token.text:
                return slot
        raise ScanError(f'undefined variable "{token.text}"', token.at)

    def _pipeline(self, where: str) -> tuple[Value, bool]:
        """A pipeline's value, and whether it only sets a variable."""
        token = self._peek()
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if token is not None and following is not None and token.kind == "variable":
            if following.kind == "declare":
                self.at += 2
                value = self._commands(where)
                return _set(self._declare(token.text), value), True
            if following.kind == "sign" and following.text == "=":
                self.at += 2
                slot = self._variable(token)
                return _set(slot, self._commands(where)), True
        return self._commands(where), False

    def _commands(self, where: str) -> Value:
        token = self._peek()
        if token is None or token.kind == "close" or self._is("sign", ")"):
            raise ScanError(f"missing value for {where}", token.at if token else len(self.text))
        value = self._command(None)
        while self._is("sign", "|"):
            self.at += 1
            value = self._command(value)
        return value

    def _command(self, piped: Value | None) -> Value:
        first = self._peek()
        if first is None or first.kind == "close" or (first.kind == "sign" and first.text != "("):
            raise ScanError("missing value for command", first.at if first else len(self.text))
        start = first.at
        if first.kind == "word" and first.text not in {"true", "false", "nil"}:
            name = self._next()
            function = FUNCTIONS.get(name.text)
            if function is None and name.text not in {"and", "or", "now", "__line__", "__timestamp__"}:
                raise ScanError(f'function "{name.text}" not defined', name.at)
            if self._is("field") and not self.tokens[self.at].spaced:
                called = self._call(name, function, [], None, start)
                return self._fields(called, start)
            arguments = self._operands()
            return self._call(name, function, arguments, piped, start)
        operands = self._operands()
        value, at, text = operands[0]
        if len(operands) > 1 or piped is not None:
            return _failing(self._place(at, text), f"can't give argument to non-function {text}")
        if isinstance(value, _Nil):
            return _failing(self._place(at, text), "nil is not a command")
        return value

    def _operands(self) -> list[tuple[Value, int, str]]:
        operands: list[tuple[Value, int, str]] = []
        while (token := self._peek()) is not None and token.kind not in {"close", "text"}:
            if token.kind == "sign" and token.text != "(":
                break
            if token.kind == "declare":
                raise ScanError('unexpected ":=" in operand', token.at)
            value = self._operand()
            last = self.tokens[self.at - 1]
            operands.append((value, token.at, self.text[token.at : last.at + len(last.text)]))
        return operands

    def _operand(self) -> Value:
        token = self._next()
        value: Value
        match token.kind:
            case "string":
                value = _Constant(_unquoted(token))
            case "character":
                value = _Constant(_character(token))
            case "number":
                value = _Constant(_number(token))
            case "dot":
                self.whole = True
                value = _dot
            case "field":
                self.fields.add(token.text[1:])
                value = _field(token.text[1:], self._place(token.at, token.text), _dot)
            case "variable":
                if token.text == "$" and not self._is("field"):
                    self.whole = True
                if token.text == "$" and (following := self._peek()) is not None and following.kind == "field":
                    self.fields.add(following.text[1:])
                value = _read(self._variable(token))
            case "sign":
                self._nested(token.at, 1)
                value, _ = self._pipeline("parenthesized pipeline")
                self._nested(token.at, -1)
                closing = self._next()
                if closing.kind != "sign" or closing.text != ")":
                    raise ScanError("unclosed left paren", token.at)
            case _:
                value = self._word(token)
        return self._fields(value, token.at)

    def _word(self, token: Token) -> Value:
        if token.text in {"true", "false"}:
            return _Constant(token.text == "true")
        if token.text == "nil":
            return _Nil()
        function = FUNCTIONS.get(token.text)
        if function is None and token.text not in {"and", "or", "now", "__line__", "__timestamp__"}:
            raise ScanError(f'function "{token.text}" not defined', token.at)
        return self._call(token, function, [], None, token.at)

    def _fields(self, value: Value, start: int) -> Value:
        while self._is("field") and not self.tokens[self.at].spaced:
            token = self._next()
            text = self.text[start : token.at + len(token.text)]
            value = _field(token.text[1:], self._place(token.at, text), value)
        return value

    # --- Calls ---

    def _place(self, at: int, text: str) -> str:
        line = self.text.count("\n", 0, at) + 1
        column = byte_length(self.text[self.text.rfind("\n", 0, at) + 1 : at])
        if len(text) > _CONTEXT_CHARACTERS:
            text = text[:_CONTEXT_CHARACTERS] + "..."
        return f'template: {self.name}:{line}:{column}: executing "{self.name}" at <{text}>'

    def _call(
        self,
        name: Token,
        function: Function | None,
        arguments: list[tuple[Value, int, str]],
        piped: Value | None,
        start: int,
    ) -> Value:
        place = self._place(name.at, name.text)
        count = len(arguments) + (piped is not None)
        if function is None:
            evaluated = [value for value, _, _ in arguments] + ([piped] if piped is not None else [])
            if name.text in {"and", "or"}:
                if not count:
                    return _failing(place, f"wrong number of args for {name.text}: want at least 1 got 0")
                return _logic(evaluated, until=name.text == "or")
            if count:
                return _failing(place, f"wrong number of args for {name.text}: want 0 got {count}")
            return {"now": _now, "__line__": _line, "__timestamp__": _timestamp}[name.text]
        wanted = len(function.takes)
        if count < wanted or (count > wanted and function.rest is None):
            least = "at least " if function.rest is not None else ""
            return _failing(place, f"wrong number of args for {name.text}: want {least}{wanted} got {count}")
        kinds = [*function.takes, *[function.rest or functions.ANY] * (count - wanted)]
        checked = [
            _argument(value, kind, self._place(at, text))
            for (value, at, text), kind in zip(arguments, kinds, strict=False)
        ]
        if piped is not None:
            checked.append(_argument(piped, kinds[-1], place, computed=True))
        last = self.tokens[self.at - 1]
        whole = self._place(start, self.text[start : last.at + len(last.text)])
        return _called(function.call, checked, whole, name.text)


def tokens_of(text: str) -> list[Token]:
    """The tokens of a template; raises ScanError."""
    return list(tokens(text))


# --- What closures do ---


def _dot(_: _Run, dot: Any) -> Any:
    return dot


def _nothing(_: _Run, __: Any) -> None:
    return None


def _line(run: _Run, _: Any) -> str:
    return run.line


def _timestamp(run: _Run, _: Any) -> Time:
    return Time(run.ts_ns)


def _now(run: _Run, _: Any) -> Time:
    return Time(run.now_ns)


def _text(text: str) -> Action:
    return lambda run, _: run.write(text)


def _all(actions: list[Action]) -> Action:
    if len(actions) == 1:
        return actions[0]

    def action(run: _Run, dot: Any) -> None:
        for one in actions:
            one(run, dot)

    return action


def _written(value: Value) -> Action:
    def action(run: _Run, dot: Any) -> None:
        run.step()
        run.write(values.shown(value(run, dot)))

    return action


def _declared(value: Value) -> Action:
    def action(run: _Run, dot: Any) -> None:
        run.step()
        value(run, dot)

    return action


def _leave(how: type[Exception]) -> Action:
    def action(_: _Run, __: Any) -> None:
        raise how

    return action


def _set(slot: int, value: Value) -> Value:
    def setting(run: _Run, dot: Any) -> Any:
        run.variables[slot] = result = value(run, dot)
        return result

    return setting


def _read(slot: int) -> Value:
    return lambda run, _: run.variables[slot]


def _failing(place: str, reason: str) -> Value:
    def value(_: _Run, __: Any) -> Any:
        raise TemplateError(f"{place}: {reason}")

    return value


def _field(name: str, place: str, of: Value) -> Value:
    def value(run: _Run, dot: Any) -> Any:
        holder = of(run, dot)
        if isinstance(holder, values.Object):
            return holder.get(name)
        if isinstance(holder, dict):
            return holder.get(name, "")
        if holder is None:
            raise TemplateError(f"{place}: nil data; no entry for key {json.dumps(name)}")
        raise TemplateError(f"{place}: can't evaluate field {name} in type {values.type_name(holder)}")

    return value


def _logic(evaluated: list[Value], *, until: bool) -> Value:
    def value(run: _Run, dot: Any) -> Any:
        result = None
        for one in evaluated:
            result = one(run, dot)
            if values.true(result) is until:
                break
        return result

    return value


def _called(call: Callable[..., Any], arguments: list[Value], place: str, name: str) -> Value:
    def value(run: _Run, dot: Any) -> Any:
        given = [argument(run, dot) for argument in arguments]
        try:
            result = call(*given)
        except (ValueError, OverflowError, RecursionError) as error:
            raise TemplateError(f"{place}: error calling {name}: {error}") from None
        if isinstance(result, str) and len(result) > TEXT_CHARACTERS_MAX:
            raise TemplateError(f"{place}: error calling {name}: {TooLongError()}")
        return result

    return value


_CLASSES: Final[dict[str, type]] = {
    functions.STRING: str,
    functions.INT: int,
    functions.FLOAT: float,
    functions.TIME: Time,
}


def _argument(value: Value, kind: str, place: str, *, computed: bool = False) -> Value:
    """A value as an argument of ``kind``."""
    if kind == functions.ANY:
        return value
    wanted = _CLASSES[kind]
    if isinstance(value, _Nil):
        return _failing(place, f"cannot assign nil to {kind}")
    if isinstance(value, _Constant) and not computed:
        constant = value.value
        number = isinstance(constant, int | float) and not isinstance(constant, bool)
        if number and kind == functions.FLOAT:
            return _Constant(float(constant))
        if number and kind == functions.INT and constant == int(constant):
            return _Constant(int(constant))
        if not isinstance(constant, wanted) or isinstance(constant, bool):
            shown = json.dumps(constant, ensure_ascii=False) if isinstance(constant, str) else values.text_of(constant)
            return _failing(place, f"expected {_ARTICLES.get(kind, kind)}; found {shown}")
        return value

    def checked(run: _Run, dot: Any) -> Any:
        given = value(run, dot)
        if type(given) is wanted:
            return given
        if given is None:
            raise TemplateError(f"{place}: invalid value; expected {kind}")
        raise TemplateError(f"{place}: wrong type for value; expected {kind}; got {values.type_name(given)}")

    return checked


_ARTICLES: Final = {functions.INT: "integer", functions.FLOAT: "float"}


def _branch_of(word: str, value: Value, body: Action, otherwise: Action, slots: list[int]) -> Action:
    if word == "range":
        return _range(value, body, otherwise, slots)
    changes_dot = word == "with"

    def action(run: _Run, dot: Any) -> None:
        run.step()
        result = value(run, dot)
        if values.true(result):
            body(run, result if changes_dot else dot)
        else:
            otherwise(run, dot)

    return action


def _range(value: Value, body: Action, otherwise: Action, slots: list[int]) -> Action:
    def action(run: _Run, dot: Any) -> None:
        run.step()
        pairs = _pairs(value(run, dot))
        if not pairs:
            otherwise(run, dot)
            return
        for key, element in pairs:
            run.step()
            if slots:
                run.variables[slots[-1]] = element
                if len(slots) == _OPTIONS_OF_RANGE:
                    run.variables[slots[0]] = key
            try:
                body(run, element)
            except _Break:
                break
            except _Continue:
                continue

    return action


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if value > STEPS_MAX:
            raise ValueError(f"more than {STEPS_MAX} actions")
        return [(number, number) for number in range(value)]
    if value is None:
        return []
    raise ValueError(f"range can't iterate over {values.text_of(value)[:80]}")


# --- Constants ---


def _unquoted(token: Token) -> str:
    body = token.text[1:-1]
    if token.text[0] == "`":
        return body
    left = _BACKSLASH_LEFT.fullmatch(body)
    if left is None:
        raise ScanError(f"invalid syntax: {token.text}", token.at)
    try:
        return _ESCAPE.sub(_unescaped, body)
    except (ValueError, OverflowError):
        raise ScanError(f"invalid syntax: {token.text}", token.at) from None


def _unescaped(found: re.Match[str]) -> str:
    byte, short, long, octal, simple = found.groups()
    if simple:
        return _SIMPLE_ESCAPES.get(simple, simple)
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    if 0xD800 <= code < 0xE000:  # noqa: PLR2004 - surrogates are no characters
        raise ValueError("surrogate")
    return chr(code)


def _character(token: Token) -> int:
    text = _unquoted(token)
    if len(text) != 1:
        raise ScanError(f"malformed character constant: {token.text}", token.at)
    return ord(text)


def _number(token: Token) -> int | float:
    integer = values.parse_int(token.text)
    if integer is not None:
        return integer
    try:
        number = units.parse_float(token.text)
    except ValueError:
        raise ScanError(f'bad number syntax: "{token.text}"', token.at) from None
    # Go takes a whole number for an integer wherever one is wanted; printed they look the same.
    return number
