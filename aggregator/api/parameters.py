"""The parameters of GET requests: what there is, and what they mean as a LogQL tree.

Values of one parameter are alternatives; different parameters must all hold. What cannot be understood is refused with
400, naming the parameter: a filter that is silently not applied would be worse than none.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from aggregator.api.accept import accepted
from aggregator.api.forms import broken_escape
from aggregator.api.names import label_named
from aggregator.api.steps import default_step_ns, long_enough
from aggregator.api.times import DURATION_HINT, TIME_HINT, duration_ns, time_ns
from aggregator.errors import LogQLError
from aggregator.logql.metric import MetricQuery
from aggregator.logql.narrowing import narrowed, narrowed_logs
from aggregator.logql.parser import parse, parse_log
from aggregator.logql.patterns import matcher, word
from aggregator.logql.regex import RegexError, compiled
from aggregator.logql.tree import (
    LEVEL,
    LEVEL_UNKNOWN,
    TIME_MAX_NS,
    LabelFilter,
    LineFilter,
    LineOp,
    LogExpression,
    Query,
    Selector,
)
from aggregator.store.catalogue import Scope
from aggregator.store.rendering import Format, Rendering
from aggregator.store.windows import Window
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.logql.metric import Expression
    from aggregator.logql.tree import Stage


class Parameter(msgspec.Struct, frozen=True):
    """One parameter, as it is accepted and documented."""

    name: str
    about: str
    repeatable: bool = False
    choices: tuple[str, ...] = ()
    default: str = ""
    example: str = ""


# Names under which LogQL is given.
LOGQL_NAMES: Final = ("q", "query")
SELECTORS: Final = (
    Parameter("namespace", "Namespace of the pod; `*` stands for any characters.", repeatable=True, example="shop"),
    Parameter("pod", "Name of the pod; `*` stands for any characters.", repeatable=True, example="cart-*"),
    Parameter("container", "Name of the container; `*` stands for any characters.", repeatable=True, example="app"),
    Parameter("node", "Name of the node; `*` stands for any characters.", repeatable=True, example="node-1"),
    Parameter("stream", "Which output of the container: `stdout` or `stderr`.", repeatable=True, example="stderr"),
    Parameter("cluster", "Name of the cluster; `*` stands for any characters.", repeatable=True, example="east"),
    Parameter("uid", "Uid of the pod; `*` stands for any characters.", repeatable=True),
)
STREAM: Final = "stream"
OUTPUTS: Final = ("stdout", "stderr")
LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal", LEVEL_UNKNOWN)
# Other words for the levels, as the store reads them in lines.
_LEVEL_WORDS: Final = {"notice": "info", "warning": "warn", "err": "error", "crit": "fatal", "critical": "fatal"} | {
    "panic": "fatal",
    "emerg": "fatal",
    "alert": "fatal",
}
LINES: Final = (
    Parameter(
        "level", f"Level found in the line: {', '.join(LEVELS)}; `*` as above.", repeatable=True, example="error"
    ),
    Parameter("grep", "Text that the line contains; if repeated, all of them.", repeatable=True, example="timeout"),
    Parameter("word", "Whole word that the line contains; if repeated, all of them.", repeatable=True, example="panic"),
    Parameter("regex", "RE2 regular expression that matches somewhere in the line.", example=r"took \d{4,}ms"),
    Parameter("not", "Text that the line does not contain; if repeated, none of them.", repeatable=True),
)
LOGQL: Final = (
    Parameter("q", "LogQL; plain parameters beside it narrow it.", example='{namespace="shop"} |= "x" | json'),
    Parameter("query", "Another name of `q`."),
)
TIMES: Final = (
    Parameter("since", f"How far back from `end`: {DURATION_HINT}.", default="1h", example="15m"),
    Parameter("start", f"The first time that counts: {TIME_HINT}.", example="2026-01-31T12:00:00Z"),
    Parameter(
        "end",
        "The first time that does not count any more, written like `start`. Without it that is 5 minutes from now: "
        "enough for a node whose clock is ahead, while one record from the future does not hide the newest.",
    ),
)
SHAPE: Final = (
    Parameter("limit", "How many records: the newest ones. 0 gives all of the range.", default="1000"),
    Parameter("order", "`asc`: newest last; `desc`: newest first.", choices=("asc", "desc"), default="asc"),
    Parameter("format", "What the answer is made of; beats `Accept`.", choices=("text", "json", "csv"), default="text"),
    Parameter("color", "ANSI colours in text.", choices=("always", "never"), default="never"),
)
_STEP: Final = Parameter(
    "step", f"Time between the samples of a metric query: {DURATION_HINT}. Without it about a hundredth of the range."
)
WORKING: Final = (
    _STEP,
    Parameter("explain", "`1`: how the query would be run, and the engine's estimate.", choices=("1",)),
    Parameter("statistics", "`1`: NDJSON ends with an object that says what was read.", choices=("1",)),
)
QUERY: Final = SELECTORS + LINES + LOGQL + TIMES + SHAPE + WORKING
HISTOGRAM: Final = (
    *SELECTORS,
    *LINES,
    *LOGQL,
    *TIMES,
    _STEP,
    Parameter("by", "The label whose values are counted apart.", default="level", example="pod"),
    Parameter("format", "What the answer is made of; beats `Accept`.", choices=("text", "json", "csv"), default="json"),
)
CATALOGUE: Final = SELECTORS + TIMES

# Where a range ends that names no end, from now on: a cluster's clocks differ by less, or somebody has noticed.
AHEAD_NS: Final = 300 * 1_000_000_000
# Values in one request; more than a request line of 8 KiB commonly holds, fewer than would make a statement slow.
VALUES_MAX: Final = 200
_MEDIA_TYPES: Final = {
    "text/plain": Format.TEXT,
    "text/*": Format.TEXT,
    "*/*": Format.TEXT,
    "application/json": Format.JSON,
    "application/x-ndjson": Format.JSON,
    "application/ndjson": Format.JSON,
    "text/csv": Format.CSV,
}

# What is said of an expression that is none.
REGEX_HINT: Final = "it must be RE2: no lookaround, no backreferences"
_WORD_HINT: Final = "grep looks for any text"
_FORMAT_HINT: Final = "accept text/plain, application/x-ndjson or text/csv, or say format=text, json or csv"
_T = TypeVar("_T")


class Asked(msgspec.Struct, frozen=True):
    """What a request to ``/query`` asks for; ``explain``: instead of its answer how it would be found."""

    query: Query | MetricQuery
    rendering: Rendering
    explain: bool = False
    statistics: bool = False


class Counting(msgspec.Struct, frozen=True):
    """What a request to ``/histogram`` asks for: records of ``logs`` by ``label``, every ``step_ns`` of ``window``."""

    logs: LogExpression
    window: Window
    step_ns: int
    label: str
    format: Format


class Given:
    """The values a request gives to ``known`` parameters, percent-decoded, none of them empty."""

    def __init__(self, query_string: str, known: tuple[Parameter, ...]) -> None:
        self._values: dict[str, list[str]] = {}
        by_name = {parameter.name: parameter for parameter in known}
        parts = [part for part in query_string.split("&") if part]
        if len(parts) > VALUES_MAX:
            first_too_many = parts[VALUES_MAX].partition("=")[0]
            name = _text(first_too_many, first_too_many)
            raise _refused(name, f"more than {VALUES_MAX} parameters", "use * in a value, or a regex")
        for part in parts:
            quoted_name, _, quoted_value = part.partition("=")
            name = _text(quoted_name, quoted_name)
            if name not in by_name:
                raise _refused(name, f"there is no parameter {name!r}", _nearest(name, tuple(by_name)))
            value = _text(quoted_value, name)
            if not value:
                raise _refused(name, f"{name} is empty", f"give {name} a value, or leave it out")
            given = self._values.setdefault(name, [])
            if given and not by_name[name].repeatable:
                raise _refused(name, f"{name} is given more than once", "give it once")
            choices = by_name[name].choices
            if len(choices) == 1 and value not in choices:
                raise _refused(name, f"{name} is {choices[0]} or left out, not {value!r}", f"say {name}={choices[0]}")
            if choices and value not in choices:
                raise _refused(name, f"{value!r} is no {name}", f"it is one of {', '.join(choices)}")
            given.append(value)

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a parameter, in order."""
        return tuple(self._values.get(name, ()))

    def one(self, name: str) -> str | None:
        """The value of a parameter that is not repeatable."""
        return next(iter(self._values.get(name, ())), None)


def asked(query_string: str, accept: str, now_ns: int, rows_max: int) -> Asked:
    """What a request to ``/query`` asks for. Raises `RefusedError` (400; 406 if only ``accept`` cannot be met)."""
    given = Given(query_string, QUERY)
    rendering = Rendering(
        _format(given, accept), colour=given.one("color") == "always", newest_first=given.one("order") == "desc"
    )
    if rendering.colour and rendering.format is not Format.TEXT:
        raise _refused("color", f"there are no colours in {rendering.format.value}", "leave color out, or format=text")
    statistics = given.one("statistics") is not None
    if statistics and rendering.format is not Format.JSON:
        raise _refused("statistics", "statistics stand at the end of NDJSON only", "add format=json")
    query = _query(given, now_ns, rows_max)
    return Asked(query, rendering, explain=given.one("explain") is not None, statistics=statistics)


def counting(query_string: str, accept: str, now_ns: int) -> Counting:
    """What a request to ``/histogram`` asks for. Raises `RefusedError` (400; 406)."""
    given = Given(query_string, HISTOGRAM)
    window = _window(given, now_ns, ahead_ns=0)
    by = label_named("by", given.one("by") or "level")
    wanted = given.one("format")
    shape = (
        Format(wanted) if wanted else accepted(accept, _MEDIA_TYPES | {"*/*": Format.JSON}, Format.JSON, _FORMAT_HINT)
    )
    return Counting(log_query(given), window, _step(given, window), LEVEL if by == "level" else by, shape)


def _query(given: Given, now_ns: int, rows_max: int) -> Query | MetricQuery:
    expression = _expression(given)
    if isinstance(expression, LogExpression):
        if given.one("step") is not None:
            raise _refused("step", "a log query has no steps", "leave step out, or count: count_over_time({…}[1m])")
        window = _window(given, now_ns)
        limit = _limit(given, rows_max)
        return Query(expression.selector, expression.stages, window.start_ns, window.end_ns, limit)
    if given.one("limit") is not None:
        raise _refused("limit", "a metric query gives all its samples", "leave limit out, or use topk(10, …)")
    window = _window(given, now_ns, ahead_ns=0)
    step_ns = _step(given, window)
    # The last sample is of the step that has begun: else the newest records would be in none.
    first, last = (-(-edge // step_ns) * step_ns for edge in (window.start_ns, window.end_ns))
    return MetricQuery(expression, first, last, step_ns)


def _step(given: Given, window: Window) -> int:
    text = given.one("step")
    span_ns = window.end_ns - window.start_ns
    if text is not None:
        return long_enough(_parsed("step", text, duration_ns, DURATION_HINT), span_ns)
    return default_step_ns(span_ns)


def _expression(given: Given) -> Expression:
    """What the plain parameters and the LogQL text ask for together, whatever it is."""
    plain = LogExpression(_selector(given), _stages(given))
    name, text = _logql(given)
    if text is None:
        return plain
    parsed = _read(name, text, parse)
    if isinstance(parsed, LogExpression):
        return narrowed_logs(parsed, plain.selector, plain.stages)
    return narrowed(parsed, plain.selector, plain.stages)


def log_query(given: Given) -> LogExpression:
    """What the plain parameters and the log query in LogQL ask for together. Raises `RefusedError` (400).

    The plain ones come first: they are about the line as it is stored.
    """
    plain = LogExpression(_selector(given), _stages(given))
    name, text = _logql(given)
    return plain if text is None else narrowed_logs(_read(name, text, parse_log), plain.selector, plain.stages)


def _logql(given: Given) -> tuple[str, str | None]:
    """The LogQL text, if there is one, and the name under which it is given."""
    name = next((name for name in LOGQL_NAMES if given.one(name) is not None), LOGQL_NAMES[0])
    if all(given.one(each) is not None for each in LOGQL_NAMES):
        raise _refused(name, f"{' and '.join(LOGQL_NAMES)} are both given", "give one of them")
    return name, given.one(name)


def _read(name: str, text: str, read: Callable[[str], _T]) -> _T:
    try:
        return read(text)
    except LogQLError as error:
        raise _refused(name, str(error), error.pointed()) from error


def scope(query_string: str, now_ns: int) -> Scope:
    """Which streams a request to ``/labels`` and the like asks about. Raises `RefusedError` (400)."""
    given = Given(query_string, CATALOGUE)
    return Scope(_selector(given), _window(given, now_ns))


def _refused(parameter: str, error: str, hint: str) -> RefusedError:
    return RefusedError(400, Refusal(error, parameter, hint))


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    every = f"there are {', '.join(known)}"
    return f"did you mean {near[0]!r}? {every}" if near else every


def _text(quoted: str, name: str) -> str:
    if (broken := broken_escape(quoted)) is not None:
        raise _refused(name, f"the value of {name} has {broken!r} in it, which encodes nothing", "write % as %25")
    try:
        return unquote_to_bytes(quoted.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise _refused(name, f"the value of {name} is not UTF-8", "percent-encode the UTF-8 bytes of a text") from error


def _selector(given: Given) -> Selector:
    for value in given.every(STREAM):
        if "*" not in value and value not in OUTPUTS:
            raise _refused(STREAM, f"{value!r} is no stream", f"it is one of {', '.join(OUTPUTS)}, or has * in it")
    names = (parameter.name for parameter in SELECTORS)
    return Selector(tuple(matcher(name, given.every(name)) for name in names if given.every(name)))


def _stages(given: Given) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    levels = tuple(_level(value) for value in given.every("level"))
    if levels:
        stages.append(LabelFilter(matcher(LEVEL, levels)))
    stages += [LineFilter.of(LineOp.CONTAINS, value) for value in given.every("grep")]
    stages += [LineFilter.of(LineOp.MATCHES, _parsed("word", value, word, _WORD_HINT)) for value in given.every("word")]
    stages += [LineFilter.of(LineOp.LACKS, value) for value in given.every("not")]
    stages += [LineFilter.of(LineOp.MATCHES, f"(?s){_valid(value)}") for value in given.every("regex")]
    return tuple(stages)


def _valid(value: str) -> str:
    """``value``, found to be an expression before it is made a part of another one."""
    try:
        compiled(value)
    except RegexError as error:
        raise _refused("regex", error.reason, REGEX_HINT) from error
    return value


def _level(value: str) -> str:
    level = value.lower()
    level = _LEVEL_WORDS.get(level, level)
    if "*" not in level and level not in LEVELS:
        raise _refused("level", f"{value!r} is no level", _nearest(level, LEVELS))
    return level


def _window(given: Given, now_ns: int, ahead_ns: int = AHEAD_NS) -> Window:
    since, start, end = given.one("since"), given.one("start"), given.one("end")
    if since is not None and start is not None:
        raise _refused("since", "since and start are both given", "give one of them; since counts back from end")
    end_ns = min(now_ns + ahead_ns, TIME_MAX_NS) if end is None else _parsed("end", end, time_ns, TIME_HINT)
    if start is not None:
        start_ns = _parsed("start", start, time_ns, TIME_HINT)
    else:
        back_ns = _parsed("since", since or _default("since"), duration_ns, DURATION_HINT)
        start_ns = max(0, (now_ns if end is None else end_ns) - back_ns)
    if start_ns >= end_ns:
        hint = "start < end; without end that is 5 minutes from now"
        raise _refused("start" if start else "end", "the range is empty: start is not before end", hint)
    return Window(start_ns, end_ns)


def _parsed(name: str, text: str, parse: Callable[[str], _T], hint: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise _refused(name, str(error), hint) from error


def _limit(given: Given, rows_max: int) -> int:
    text = given.one("limit") or _default("limit")
    # As many digits as any number that could be meant: longer ones cost time to convert.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(TIME_MAX_NS))):
        raise _refused("limit", f"{text!r} is no limit", f"it is 0 (everything in the range) to {rows_max}")
    if int(text) > rows_max:
        raise _refused("limit", f"limit is over {rows_max}", "limit=0 streams everything in the range")
    return int(text)


def _format(given: Given, accept: str) -> Format:
    wanted = given.one("format")
    return Format(wanted) if wanted is not None else accepted(accept, _MEDIA_TYPES, Format.TEXT, _FORMAT_HINT)


def _default(name: str) -> str:
    return next(parameter.default for parameter in QUERY if parameter.name == name)
