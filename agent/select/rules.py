"""What is to be done with a container's log, by globs over its namespace, pod and name.

A glob is ``namespace/pod/container``, each part with ``*``, ``?`` and ``[…]``; parts that are left out are ``*``. What
is included by some glob (or no glob includes anything) and excluded by none is collected. For everything else each key
is looked for by itself: of the rules, in their order, the first one that matches and has the key gives its value. What
the options say is the last rule, for all. So a rule need only say what is different; ``[]`` and 0 undo what follows.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from typing import TYPE_CHECKING, Final

import msgspec

from agent.select.beginnings import Beginning
from agent.select.expression import Expression, ExpressionError
from agent.select.readymade import READY_MADE
from agent.select.redaction import REPLACEMENT_BYTES_MAX, Redaction
from service.options import size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.follow.generations import Container

# What is read at once of a file is half a megabyte; a lower rate would make it wait for longer than half a minute.
RATE_LEAST: Final = 16 << 10
# Every container is held against every rule once; more rules than this nobody can keep in mind.
RULES_MAX: Final = 1_000
ALL: Final = "all"
# What a regex of one's own is counted under, and what it leaves.
CUSTOM: Final = "custom"
REDACTED: Final = "[redacted]"

_PARTS: Final = 3


class Glob:
    """``namespace/pod/container``. Raises `ValueError` for what is none."""

    def __init__(self, text: str) -> None:
        parts = text.split("/")
        if len(parts) > _PARTS or not all(parts):
            raise ValueError(f"{text!r} is not a glob like shop/cart-*/app or kube-system/*")
        self._parts = [re.compile(fnmatch.translate(part)) for part in parts + ["*"] * (_PARTS - len(parts))]

    def matches(self, container: Container) -> bool:
        """Whether ``container`` is one of those meant."""
        names = container.namespace, container.pod, container.name
        return all(part.match(name) for part, name in zip(self._parts, names, strict=True))


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A redaction as it is configured: every match of ``pattern`` becomes ``replacement``, which may name groups."""

    pattern: str
    replacement: str = REDACTED

    def __post_init__(self) -> None:
        redaction_of(self)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of ``[[rules]]``: containers that ``match``, and what is different with them. None: not said.

    ``multiline``: whether lines are joined, or the regex that a record's first line begins with. ``drop``: regexes.
    ``redact``: ready-made names, regexes, or replacements. ``rate``: a size, read in a second of each pod.
    """

    match: str
    multiline: bool | str | None = None
    drop: tuple[str, ...] | None = None
    redact: tuple[str | Replacement, ...] | None = None
    rate: str | int | None = None

    def __post_init__(self) -> None:
        # What cannot be used is found when the file is read, and reported with the rule it is in.
        Glob(self.match)
        _Settings.of(self)


class Treatment(msgspec.Struct, frozen=True, eq=False):
    """What is done with the log of one container; found once, when the container is.

    ``multiline``: lines that belong together become one record; if ``multiline_start`` is given, a record begins where
    that matches the beginning of a line (`re.Pattern.match`), and nowhere else. ``drop``: records that one of these
    finds something in are left out. ``redact``: replacements, made one after another. ``rate_bytes_per_s``: what is
    read of the pod, at most; None for all there is.
    """

    multiline: bool = True
    multiline_start: Beginning | None = None
    drop: tuple[Expression, ...] = ()
    redact: tuple[Redaction, ...] = ()
    rate_bytes_per_s: int | None = None


# Of a container that nothing was said about.
PLAIN: Final = Treatment()


class _Settings(msgspec.Struct, frozen=True, eq=False):
    """The keys of a rule, ready to be used; None where it does not have one."""

    multiline: bool | None
    multiline_start: Beginning | None
    drop: tuple[Expression, ...] | None
    redact: tuple[Redaction, ...] | None
    rate_bytes_per_s: int | None

    @classmethod
    def of(cls, rule: Rule) -> _Settings:
        """Those of ``rule``. Raises `ValueError` naming the key."""
        start = rule.multiline if isinstance(rule.multiline, str) else None
        return cls(
            None if rule.multiline is None else bool(rule.multiline) or start is not None,
            None if start is None else Beginning(expression_of("multiline", start)),
            None if rule.drop is None else tuple(expression_of("drop", text) for text in rule.drop),
            None if rule.redact is None else tuple(each for one in rule.redact for each in redactions_of(one)),
            None if rule.rate is None else rate_of(rule.rate),
        )


class Rules:
    """What is done with which container. Raises `ValueError` for a glob that is none."""

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        rules: Sequence[Rule] = (),
    ) -> None:
        self._include = [Glob(text) for text in include]
        self._exclude = [Glob(text) for text in exclude]
        self._rules = [(Glob(rule.match), _Settings.of(rule)) for rule in rules]

    def collects(self, container: Container) -> bool:
        """Whether the files of ``container`` are to be followed."""
        is_included = not self._include or any(glob.matches(container) for glob in self._include)
        return is_included and not any(glob.matches(container) for glob in self._exclude)

    def treatment(self, container: Container) -> Treatment:
        """What is done with ``container``; containers under the same rules share the values."""
        multiline: bool | None = None
        start: Beginning | None = None
        drop: tuple[Expression, ...] | None = None
        redact: tuple[Redaction, ...] | None = None
        rate: int | None = None
        for glob, settings in self._rules:
            if not glob.matches(container):
                continue
            if multiline is None:
                multiline, start = settings.multiline, settings.multiline_start
            drop = settings.drop if drop is None else drop
            redact = settings.redact if redact is None else redact
            rate = settings.rate_bytes_per_s if rate is None else rate
        return Treatment(
            True if multiline is None else multiline,
            start,
            PLAIN.drop if drop is None else drop,
            PLAIN.redact if redact is None else redact,
            rate or None,
        )


def rate_of(value: str | int) -> int:
    """Bytes a second of a size; 0: no limit. Raises `ValueError`."""
    rate = size_of(value)
    if 0 < rate < RATE_LEAST:
        raise ValueError(f"rate: {value!r} is less than {RATE_LEAST >> 10}KiB a second")
    return rate


def expression_of(key: str, text: str) -> Expression:
    """The expression in ``text``. Raises `ValueError` naming ``key``."""
    try:
        return Expression(text)
    except ExpressionError as error:
        raise ValueError(f"{key} {error}") from error


def redaction_of(configured: Replacement) -> Redaction:
    """A redaction of one's own. Raises `ValueError`."""
    expression = expression_of("redact", configured.pattern)
    template = configured.replacement.encode()
    if len(template) > REPLACEMENT_BYTES_MAX:
        raise ValueError(f"redact: a replacement has at most {REPLACEMENT_BYTES_MAX} bytes")
    try:
        expression.alone.sub(template, b"")
    except (re.error, IndexError) as error:
        raise ValueError(f"redact: the replacement {configured.replacement!r} is no template: {error}") from error
    if re.search(rb"\\(0|[0-7]{3})", template):
        # It might make a byte that stands between records.
        raise ValueError(f"redact: the replacement {configured.replacement!r} has an octal escape; write the character")
    return Redaction(CUSTOM, expression, template)


def redactions_of(one: str | Replacement) -> tuple[Redaction, ...]:
    """The redactions that a name, a regex or a replacement stands for. Raises `ValueError`."""
    if isinstance(one, Replacement):
        return (redaction_of(one),)
    if one == ALL:
        return tuple(READY_MADE.values())
    if one in READY_MADE:
        return (READY_MADE[one],)
    if re.fullmatch(r"[\w-]*", one):
        # A name that is mistyped must not become a regex that finds nothing.
        near = difflib.get_close_matches(one, [*READY_MADE, ALL], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*READY_MADE, ALL])}."
        raise ValueError(f"redact: there is no ready-made pattern {one!r}; {hint} A regex that is one word is ({one})")
    return (redaction_of(Replacement(one)),)
