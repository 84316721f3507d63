"""A record's labels as SQL: what they are once a parser has run.

Not everything Loki's parsers take can be said in SQL. What is said here is said together with its *doubt*: the
condition under which it might not be what Loki would say of that record. Of a statement whose records leave no doubt
the answer is exact; a record in doubt is kept for Python to decide, or ends the statement
(`aggregator.logql.compiler.samples`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from aggregator.logql.compiler.selection import NAMESPACE, OWN_LABELS, holds, labelled, matching
from aggregator.logql.tree import ERROR, ERROR_DETAILS, LEVEL, LEVEL_UNKNOWN, Matcher, MatchOp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggregator.logql.compiler.statement import Parameters

# The level as it is shown and asked for; in the store an unknown one is empty.
LEVEL_SQL: Final = f"if(level = '', '{LEVEL_UNKNOWN}', level)"
# A doubt that never is, and one that always is.
NEVER: Final = "0"
# A number that is none, with its type: else the engine has none for it.
NO_NUMBER: Final = "CAST(NULL AS Nullable(Float64))"
# How the name of an extracted label ends whose own name is one of the record's.
DUPLICATE: Final = "_extracted"
# Numbers as they are mostly written; of others Go and the engine may think differently.
_PLAIN_NUMBER: Final = r"'^-?[0-9]+(\\.[0-9]+)?$'"


# Comparisons with labels of streams in one statement: each looks up the streams twice or more often, which takes 30 ms
# before a query runs, and no limit of the engine ends that.
COMPARISONS_MAX: Final = 20
# Labels that one parser makes in a statement. Each is a kilobyte or two of SQL, and a filter repeats what those before
# it leave in doubt: of twenty filters the engine refuses the statement for its length.
FIELDS_MAX: Final = 10


class InexpressibleError(Exception):
    """There is no SQL for it: Python does it."""


class Expression(msgspec.Struct, frozen=True):
    """SQL and the condition, in SQL, under which it may not hold.

    ``cheaply``: of a condition, one that holds at least where it or its doubt does, and costs less than both.
    """

    sql: str
    doubt: str = NEVER
    cheaply: str = ""

    @property
    def kept(self) -> str:
        """Of a condition, one for the records that must not be passed over: it holds, or may."""
        if self.cheaply:
            return self.cheaply
        return self.sql if self.doubt == NEVER else f"({self.doubt} OR {self.sql})"


class Field(msgspec.Struct, frozen=True):
    """A label of a record: its text (empty if there is none) and its number (NULL if there is none)."""

    text: Expression
    number: Expression


class Extracted(Protocol):
    """What a parser makes of the stored line."""

    @property
    def error(self) -> Expression:
        """The text of ``__error__``."""

    @property
    def fine(self) -> str:
        """A cheap condition that holds at least for lines without an error and those in doubt; empty: none."""

    def field(self, name: str) -> Field:
        """The label ``name`` if no stream has it; raises `InexpressibleError`."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """All labels it may make; None if that is the line's choice."""


class Nothing:
    """What is extracted where no parser has run."""

    error = Expression("''")
    fine = ""
    names: tuple[str, ...] | None = ()

    def field(self, name: str) -> Field:  # noqa: ARG002 - of whatever name there is none
        """No label at all."""
        return Field(Expression("''"), Expression(NO_NUMBER))


class Metadata:
    """The structured metadata of records as SQL; ``is_asked``: whether any SQL looks at it."""

    def __init__(self, *, exists: bool = True) -> None:
        """``exists``: False for records of which it is known that they have none."""
        self.is_asked = False
        self._exists = exists

    @property
    def all(self) -> str:
        """All of it, a map."""
        return self._asked("meta", "CAST(map() AS Map(LowCardinality(String), String))")

    def text(self, name: str) -> str:
        """The text that ``name`` (SQL) has, empty if there is none."""
        return self._asked(f"meta[{name}]", "''")

    def has(self, name: str) -> str:
        """The condition that there is ``name`` (SQL)."""
        return self._asked(f"mapContains(meta, {name})", NEVER)

    def _asked(self, sql: str, otherwise: str) -> str:
        self.is_asked = True
        return sql if self._exists else otherwise


class Fields:
    """The labels of records from ``start_ns`` to before ``end_ns``, whose statement binds ``parameters``."""

    def __init__(
        self,
        start_ns: int,
        end_ns: int,
        parameters: Parameters,
        extracted: Extracted | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self.parameters = parameters
        self.extracted: Extracted = extracted or Nothing()
        self.metadata = metadata or Metadata()
        self._span = (start_ns, end_ns)
        self._known: dict[str, Field] = {}
        self._comparisons = 0

    def after(self, extracted: Extracted) -> Fields:
        """The labels once a parser has run, the first one."""
        if not isinstance(self.extracted, Nothing):
            raise InexpressibleError
        return Fields(*self._span, self.parameters, extracted, self.metadata)

    def is_of_streams(self, name: str) -> bool:
        """Whether the label is one that records have from their streams: it is not in their rows."""
        return name in OWN_LABELS - {NAMESPACE} or (
            isinstance(self.extracted, Nothing) and name not in {NAMESPACE, LEVEL, ERROR, ERROR_DETAILS}
        )

    def field(self, name: str) -> Field:
        """A label that rows tell of; raises `InexpressibleError`."""
        if name not in self._known:
            if len(self._known) >= FIELDS_MAX:
                raise InexpressibleError
            self._known[name] = self._field(name)
        return self._known[name]

    def _field(self, name: str) -> Field:
        if name == ERROR:
            return _textual(self.extracted.error)
        if name == LEVEL:
            return _textual(Expression(LEVEL_SQL))
        if name == NAMESPACE:
            # A record without a namespace may get one from its line.
            doubt = NEVER if isinstance(self.extracted, Nothing) else f"{NAMESPACE} = ''"
            return _textual(Expression(f"toString({NAMESPACE})", doubt))
        if name == ERROR_DETAILS or name.endswith(DUPLICATE) or self.is_of_streams(name):
            raise InexpressibleError
        field = self.extracted.field(name)
        taken = self.taken(name)
        return Field(_doubted(field.text, taken), _doubted(field.number, taken))

    def is_own(self, name: str) -> bool:
        """Whether no parser can make the label."""
        return self.is_of_streams(name) or name in {NAMESPACE, LEVEL, ERROR, ERROR_DETAILS}

    def taken(self, name: str) -> str:
        """The condition that the record, or its stream, has the label whatever a parser makes."""
        return either((self.metadata.has(self.parameters.text(name)), f"stream_id IN {self.having(name)}"))

    def having(self, name: str) -> str:
        """The ids of the streams that have the label ``name``, as a subquery."""
        return labelled(name, *self._span, self.parameters)

    def matches(self, matcher: Matcher) -> Expression:
        """The condition that a matcher holds; raises `InexpressibleError`."""
        if not self.is_of_streams(matcher.label):
            text = self.field(matcher.label).text
            is_fine = matcher.label == ERROR and matcher.op is MatchOp.EQUAL and not matcher.value
            cheaply = self.extracted.fine if is_fine else ""
            return Expression(holds(text.sql, matcher, self.parameters), text.doubt, cheaply)
        if matcher.label.endswith(DUPLICATE):
            # Metadata with the name of a stream's label has that name.
            raise InexpressibleError
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            raise InexpressibleError
        found = matching(matcher, *self._span, self.parameters)
        having = self.having(matcher.label)
        without = holds(self.metadata.text(self.parameters.text(matcher.label)), matcher, self.parameters)
        # Where a parser ran, a stream without the label may have got it from the line.
        doubt = NEVER if isinstance(self.extracted, Nothing) else f"stream_id NOT IN {having}"
        return Expression(f"if(stream_id IN {having}, stream_id IN {found}, {without})", doubt)


def _textual(text: Expression) -> Field:
    return Field(text, number_of(text))


def number_of(text: Expression) -> Expression:
    """The number that a text is: as Go reads it, in doubt where that is not plain to see."""
    doubt = either((text.doubt, f"({text.sql} != '' AND NOT match({text.sql}, {_PLAIN_NUMBER}))"))
    return Expression(f"toFloat64OrNull({text.sql})", doubt)


def _doubted(expression: Expression, doubt: str) -> Expression:
    return Expression(expression.sql, either((expression.doubt, doubt)))


def either(conditions: Iterable[str]) -> str:
    """The condition that any of ``conditions`` holds; `NEVER` counts as none."""
    real = tuple(dict.fromkeys(one for one in conditions if one != NEVER))
    return f"({' OR '.join(real)})" if real else NEVER
