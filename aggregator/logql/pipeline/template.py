"""Go's text templates, compiled to closures: what ``line_format`` and ``label_format`` write.

Source: https://pkg.go.dev/text/template. Actions: pipelines, variables, ``if``, ``with``, ``range``, ``break``,
``continue``; not ``define``, ``template``, ``block``, nor the methods of times. The data are the labels; one that is
not there is empty. Errors name their place as Go's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.logql.pipeline import actions, functions, literals
from aggregator.logql.pipeline.functions import FUNCTIONS, Function
from aggregator.logql.pipeline.scanner import ScanError, Token, tokens
from aggregator.logql.pipeline.stages import StageError
from aggregator.logql.pipeline.strings import TEXT_CHARACTERS_MAX, byte_length

if TYPE_CHECKING:
    from aggregator.logql.pipeline.labels import Labels

# Actions and parentheses within each other.
NESTING_MAX: Final = 50
TEMPLATE_CHARACTERS_MAX: Final = 64 << 10

_CONTEXT_CHARACTERS: Final = 20
_OPTIONS_OF_RANGE: Final = 2
_ENDS: Final = frozenset({"end", "else"})
_UNSUPPORTED: Final = frozenset({"define", "template", "block"})


class Template:
    """A compiled template; ``fields``: labels that it looks at, None if it may look at any."""

    def __init__(self, text: str, stage: str, name: str, now_ns: int) -> None:
        """Compile ``text``, which Loki calls ``name``; ``now_ns``: what ``now`` gives. Raises StageError."""
        if len(text) > TEMPLATE_CHARACTERS_MAX:
            raise StageError(stage, f"the template is longer than {TEMPLATE_CHARACTERS_MAX} characters")
        try:
            compiler = _Compiler(text, name)
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
        """What the template makes of a record; raises actions.TemplateError."""
        if self._simple is not None:
            get = labels.get
            text = "".join([piece if literal else get(piece) or "" for literal, piece in self._simple])
            if len(text) <= TEXT_CHARACTERS_MAX:
                return text
        data = labels.all()
        run = actions.Run(ts_ns, line, self._now_ns, [data] * self._slots)
        try:
            self._action(run, data)
        except actions.TemplateError:
            raise
        except (ValueError, RecursionError) as error:
            raise actions.TemplateError(f'template: {self._name}: executing "{self._name}": {error}') from None
        return "".join(run.out)


class _Compiler:
    """Reads the tokens of a template once, front to back."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.tokens = list(tokens(text))
        self.at = 0
        self.depth = 0
        self.ranges = 0
        # Variables that can be seen, and the place of each; `$` is the first.
        self.seen: list[tuple[str, int]] = [("$", 0)]
        self.slots = 1
        self.fields: set[str] = set()
        self.whole = False
        self.simple: list[tuple[bool, str]] | None = []

    def compile(self) -> actions.Action:
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

    def _actions(self) -> tuple[actions.Action, Token | None]:
        """What is up to an ``end`` or ``else``, which is given too, or to the template's end."""
        parts: list[actions.Action] = []
        while (token := self._peek()) is not None:
            if token.kind == "text":
                self.at += 1
                parts.append(actions.constant_text(token.text))
                self._note(literal=True, piece=token.text)
                continue
            if token.kind == "word" and token.text in _ENDS:
                self.at += 1
                return actions.all_of(parts), token
            parts.append(self._action(token))
        return actions.all_of(parts), None

    def _note(self, *, literal: bool, piece: str | None) -> None:
        """Keep account of whether nothing but texts and labels are written."""
        if piece is None:
            self.simple = None
        elif self.simple is not None:
            self.simple.append((literal, piece))

    def _action(self, token: Token) -> actions.Action:
        word = token.text if token.kind == "word" else ""
        if word in {"if", "with", "range"}:
            self._note(literal=False, piece=None)
            self.at += 1
            return self._branch(word, token)
        if word in {"break", "continue"} and self.tokens[self.at + 1].kind == "close":
            if not self.ranges:
                raise ScanError(f"{{{{{word}}}}} outside {{{{range}}}}", token.at)
            self.at += 2
            return actions.leave(actions.Break if word == "break" else actions.Continue)
        if word in _UNSUPPORTED:
            raise ScanError(f"{{{{{word}}}}} is not supported", token.at)
        lone = token.kind == "field" and self.tokens[self.at + 1].kind == "close"
        # The error labels are shown too, which a look-up of one label does not find.
        self._note(literal=False, piece=token.text[1:] if lone and not token.text.startswith(".__error") else None)
        value, declares = self._pipeline("command")
        self._close("command")
        return actions.declared(value) if declares else actions.written(value)

    def _branch(self, word: str, token: Token) -> actions.Action:
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
        otherwise: actions.Action = actions.nothing
        if end is not None and end.text == "else":
            if self._is("word", "if") or self._is("word", "with"):
                chained = self._next()
                otherwise = self._branch(chained.text, chained)
                del self.seen[scope:]
                self._nested(token.at, -1)
                return actions.branch_of(word, value, body, otherwise, slots)
            self._close("else")
            otherwise, end = self._actions()
            if end is not None and end.text == "else":
                raise ScanError("expected end; found {{else}}", end.at)
        if end is None:
            raise ScanError("unexpected EOF", len(self.text))
        self._close("end")
        del self.seen[scope:]
        self._nested(token.at, -1)
        return actions.branch_of(word, value, body, otherwise, slots)

    # --- Pipelines ---

    def _range_pipeline(self) -> tuple[actions.Value, list[int]]:
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

    def _pipeline(self, where: str) -> tuple[actions.Value, bool]:
        """A pipeline's value, and whether it only sets a variable."""
        token = self._peek()
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if token is not None and following is not None and token.kind == "variable":
            if following.kind == "declare":
                self.at += 2
                value = self._commands(where)
                return actions.setting(self._declare(token.text), value), True
            if following.kind == "sign" and following.text == "=":
                self.at += 2
                slot = self._variable(token)
                return actions.setting(slot, self._commands(where)), True
        return self._commands(where), False

    def _commands(self, where: str) -> actions.Value:
        token = self._peek()
        if token is None or token.kind == "close" or self._is("sign", ")"):
            raise ScanError(f"missing value for {where}", token.at if token else len(self.text))
        value = self._command(None)
        while self._is("sign", "|"):
            self.at += 1
            value = self._command(value)
        return value

    def _command(self, piped: actions.Value | None) -> actions.Value:
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
            return actions.failing(self._place(at, text), f"can't give argument to non-function {text}")
        if isinstance(value, actions.Nil):
            return actions.failing(self._place(at, text), "nil is not a command")
        return value

    def _operands(self) -> list[tuple[actions.Value, int, str]]:
        operands: list[tuple[actions.Value, int, str]] = []
        while (token := self._peek()) is not None and token.kind not in {"close", "text"}:
            if token.kind == "sign" and token.text != "(":
                break
            if token.kind == "declare":
                raise ScanError('unexpected ":=" in operand', token.at)
            value = self._operand()
            last = self.tokens[self.at - 1]
            operands.append((value, token.at, self.text[token.at : last.at + len(last.text)]))
        return operands

    def _operand(self) -> actions.Value:  # noqa: C901 - one of each kind
        token = self._next()
        value: actions.Value
        match token.kind:
            case "string":
                value = actions.Constant(literals.unquoted(token))
            case "character":
                value = actions.Constant(literals.character(token))
            case "number":
                value = actions.Constant(literals.number(token))
            case "dot":
                self.whole = True
                value = actions.current
            case "field":
                self.fields.add(token.text[1:])
                value = actions.field(token.text[1:], self._place(token.at, token.text), actions.current)
            case "variable":
                if token.text == "$" and not self._is("field"):
                    self.whole = True
                if token.text == "$" and (following := self._peek()) is not None and following.kind == "field":
                    self.fields.add(following.text[1:])
                value = actions.variable(self._variable(token))
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

    def _word(self, token: Token) -> actions.Value:
        if token.text in {"true", "false"}:
            return actions.Constant(token.text == "true")
        if token.text == "nil":
            return actions.Nil()
        function = FUNCTIONS.get(token.text)
        if function is None and token.text not in {"and", "or", "now", "__line__", "__timestamp__"}:
            raise ScanError(f'function "{token.text}" not defined', token.at)
        return self._call(token, function, [], None, token.at)

    def _fields(self, value: actions.Value, start: int) -> actions.Value:
        while self._is("field") and not self.tokens[self.at].spaced:
            token = self._next()
            text = self.text[start : token.at + len(token.text)]
            value = actions.field(token.text[1:], self._place(token.at, text), value)
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
        arguments: list[tuple[actions.Value, int, str]],
        piped: actions.Value | None,
        start: int,
    ) -> actions.Value:
        place = self._place(name.at, name.text)
        count = len(arguments) + (piped is not None)
        if function is None:
            evaluated = [value for value, _, _ in arguments] + ([piped] if piped is not None else [])
            if name.text in {"and", "or"}:
                if not count:
                    return actions.failing(place, f"wrong number of args for {name.text}: want at least 1 got 0")
                return actions.logic(evaluated, until=name.text == "or")
            if count:
                return actions.failing(place, f"wrong number of args for {name.text}: want 0 got {count}")
            return {"now": actions.now_of, "__line__": actions.line_of, "__timestamp__": actions.timestamp}[name.text]
        wanted = len(function.takes)
        if count < wanted or (count > wanted and function.rest is None):
            least = "at least " if function.rest is not None else ""
            return actions.failing(place, f"wrong number of args for {name.text}: want {least}{wanted} got {count}")
        kinds = [*function.takes, *[function.rest or functions.ANY] * (count - wanted)]
        checked = [
            actions.argument(value, kind, self._place(at, text))
            for (value, at, text), kind in zip(arguments, kinds, strict=False)
        ]
        if piped is not None:
            checked.append(actions.argument(piped, kinds[-1], place, computed=True))
        last = self.tokens[self.at - 1]
        whole = self._place(start, self.text[start : last.at + len(last.text)])
        return actions.called(function.call, checked, whole, name.text)
