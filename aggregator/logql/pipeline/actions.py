"""What the parts of a template do when it is written: closures over one another.

Values are those of `aggregator.logql.pipeline.values`; errors name their place in the template, as Go's do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from aggregator.logql.pipeline import functions, values
from aggregator.logql.pipeline.dates import Time
from aggregator.logql.pipeline.strings import TEXT_CHARACTERS_MAX, TooLongError

# Actions that a template may run for one record: ranges within ranges over an array of the record.
STEPS_MAX: Final = 20_000

_OPTIONS_OF_RANGE: Final = 2


class TemplateError(ValueError):
    """A template could not be written for a record; the text is what `__error_details__` shows."""


class Run:
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
        """Add to what is written; raises TooLongError."""
        self.size += len(text)
        if self.size > TEXT_CHARACTERS_MAX:
            raise TooLongError
        self.out.append(text)

    def step(self) -> None:
        """Count an action; raises ValueError."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise ValueError(f"more than {STEPS_MAX} actions")


Value = Callable[[Run, Any], Any]
Action = Callable[[Run, Any], None]


class Break(Exception):  # noqa: N818 - no error
    """Leaves a range."""


class Continue(Exception):  # noqa: N818 - no error
    """Leaves one turn of a range."""


class Constant:
    """A number or text that stands in the template."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _: Run, __: Any) -> Any:
        """Give the value."""
        return self.value


class Nil:
    """``nil``, which may stand for an argument only."""

    def __call__(self, _: Run, __: Any) -> None:
        """Give the value."""
        return


def current(_: Run, dot: Any) -> Any:
    """The dot."""
    return dot


def nothing(_: Run, __: Any) -> None:
    """Do nothing."""
    return


def line_of(run: Run, _: Any) -> str:
    """``__line__``."""
    return run.line


def timestamp(run: Run, _: Any) -> Time:
    """``__timestamp__``."""
    return Time(run.ts_ns)


def now_of(run: Run, _: Any) -> Time:
    """``now``."""
    return Time(run.now_ns)


def constant_text(text: str) -> Action:
    """Write a text."""
    return lambda run, _: run.write(text)


def all_of(actions: list[Action]) -> Action:
    """One after another."""
    if len(actions) == 1:
        return actions[0]

    def action(run: Run, dot: Any) -> None:
        for one in actions:
            one(run, dot)

    return action


def written(value: Value) -> Action:
    """Write a value."""

    def action(run: Run, dot: Any) -> None:
        run.step()
        run.write(values.shown(value(run, dot)))

    return action


def declared(value: Value) -> Action:
    """Only have a variable set."""

    def action(run: Run, dot: Any) -> None:
        run.step()
        value(run, dot)

    return action


def leave(how: type[Exception]) -> Action:
    """Leave a range, or a turn of it."""

    def action(_: Run, __: Any) -> None:
        raise how

    return action


def setting(slot: int, value: Value) -> Value:
    """A value that a variable is set to."""

    def setting(run: Run, dot: Any) -> Any:
        run.variables[slot] = result = value(run, dot)
        return result

    return setting


def variable(slot: int) -> Value:
    """What a variable is."""
    return lambda run, _: run.variables[slot]


def failing(place: str, reason: str) -> Value:
    """An error, whenever it is come to."""

    def value(_: Run, __: Any) -> Any:
        raise TemplateError(f"{place}: {reason}")

    return value


def field(name: str, place: str, of: Value) -> Value:
    """A member of what ``of`` gives."""

    def value(run: Run, dot: Any) -> Any:
        holder = of(run, dot)
        if isinstance(holder, values.Object):
            return holder.get(name)
        if isinstance(holder, dict):
            return holder.get(name, "")
        if holder is None:
            raise TemplateError(f"{place}: nil data; no entry for key {json.dumps(name)}")
        raise TemplateError(f"{place}: can't evaluate field {name} in type {values.type_name(holder)}")

    return value


def logic(evaluated: list[Value], *, until: bool) -> Value:
    """``and``, ``or``: the first value that decides, or the last."""

    def value(run: Run, dot: Any) -> Any:
        result = None
        for one in evaluated:
            result = one(run, dot)
            if values.true(result) is until:
                break
        return result

    return value


def called(call: Callable[..., Any], arguments: list[Value], place: str, name: str) -> Value:
    """What a function gives."""

    def value(run: Run, dot: Any) -> Any:
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


def argument(  # noqa: PLR0911 - one of each kind
    value: Value, kind: str, place: str, *, computed: bool = False
) -> Value:
    """A value as an argument of ``kind``."""
    if kind == functions.ANY:
        return value
    wanted = _CLASSES[kind]
    if isinstance(value, Nil):
        return failing(place, f"cannot assign nil to {kind}")
    if isinstance(value, Constant) and not computed:
        constant = value.value
        number = isinstance(constant, int | float) and not isinstance(constant, bool)
        if number and kind == functions.FLOAT:
            return Constant(float(constant))
        if number and kind == functions.INT and constant == int(constant):
            return Constant(int(constant))
        if not isinstance(constant, wanted) or isinstance(constant, bool):
            shown = json.dumps(constant, ensure_ascii=False) if isinstance(constant, str) else values.text_of(constant)
            return failing(place, f"expected {_ARTICLES.get(kind, kind)}; found {shown}")
        return value

    def checked(run: Run, dot: Any) -> Any:
        given = value(run, dot)
        if type(given) is wanted:
            return given
        if given is None:
            raise TemplateError(f"{place}: invalid value; expected {kind}")
        raise TemplateError(f"{place}: wrong type for value; expected {kind}; got {values.type_name(given)}")

    return checked


_ARTICLES: Final = {functions.INT: "integer", functions.FLOAT: "float"}


def branch_of(word: str, value: Value, body: Action, otherwise: Action, slots: list[int]) -> Action:
    """``if``, ``with`` or ``range``."""
    if word == "range":
        return _range(value, body, otherwise, slots)
    changes_dot = word == "with"

    def action(run: Run, dot: Any) -> None:
        run.step()
        result = value(run, dot)
        if values.true(result):
            body(run, result if changes_dot else dot)
        else:
            otherwise(run, dot)

    return action


def _range(value: Value, body: Action, otherwise: Action, slots: list[int]) -> Action:
    def action(run: Run, dot: Any) -> None:
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
            except Break:
                break
            except Continue:
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
