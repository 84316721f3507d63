"""The labels of one record while it passes through a pipeline.

Loki keeps three categories, because its API shows them apart: those of the stream, structured metadata, and those that
stages made ("parsed"). A name is in one category at a time as far as anyone sees: parsed before metadata before stream.
Rules as in Loki's LabelsBuilder (https://github.com/grafana/loki, pkg/logql/log/labels.go): a parser whose label has
the name of one of the stream, even one that was dropped, or of metadata adds `EXTRACTED` to it; of several values for
a label parsers take the first, also across stages; other stages overwrite.
"""

from __future__ import annotations

import functools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aggregator.logql.tree import ERROR, ERROR_DETAILS

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRACTED: Final = "_extracted"

# Values of the label `ERROR`.
JSON_ERROR: Final = "JSONParserErr"
LOGFMT_ERROR: Final = "LogfmtParserErr"
CONDITION_ERROR: Final = "LabelFilterErr"
TEMPLATE_ERROR: Final = "TemplateFormatErr"
SAMPLE_ERROR: Final = "SampleExtractionErr"

# What Go's unicode.IsSpace takes for white space; Python's own idea of it has four control characters more.
SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

# Names seen of late: lines of one program have the same keys again and again.
_NAMES_MAX: Final = 4096
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_OUTSIDE_NAMES: Final = re.compile(r"[^a-zA-Z0-9_]")
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Labels:
    """The labels of one record; ``stream`` and ``metadata`` are read, never changed.

    ``error`` and ``error_details``: values of those two labels, empty where there are none.
    """

    __slots__ = ("_gone", "_spent", "error", "error_details", "metadata", "parsed", "stream")

    def __init__(self, stream: Mapping[str, str], metadata: Mapping[str, str] = _NOTHING) -> None:
        if not stream.keys().isdisjoint(metadata):
            metadata = {name + EXTRACTED if name in stream else name: value for name, value in metadata.items()}
        self.stream = stream
        self.metadata = metadata
        self.parsed: dict[str, str] = {}
        self.error = ""
        self.error_details = ""
        # Labels of the stream that were dropped, and parsed ones that were: their names are not free for parsers.
        self._gone: set[str] = set()
        self._spent: set[str] = set()

    def copy(self) -> Labels:
        """The same labels, to be changed apart."""
        other = Labels(self.stream)
        other.metadata = self.metadata
        other.parsed = dict(self.parsed)
        other.error, other.error_details = self.error, self.error_details
        other._gone, other._spent = set(self._gone), set(self._spent)
        return other

    def get(self, name: str) -> str | None:
        """The value of a label, None if there is none; errors are none in this sense."""
        value = self.parsed.get(name)
        if value is not None:
            return value
        value = self.metadata.get(name)
        if value is not None or name in self._gone:
            return value
        return self.stream.get(name)

    def set(self, name: str, value: str) -> None:
        """Make ``name`` a parsed label of this value, whatever it was."""
        if name in self.metadata:
            self._lose_metadata(name)
        self.parsed[name] = value

    def extract(self, name: str, value: str) -> None:
        """What a parser does with a label that it found."""
        if name in self.stream or name in self.metadata:
            name += EXTRACTED
            if name in self.metadata:
                self._lose_metadata(name)
        if name not in self.parsed and name not in self._spent:
            self.parsed[name] = value

    def free(self, name: str) -> bool:
        """Whether a parser may use a name as it is, for neither the stream nor metadata has it."""
        return name not in self.stream and name not in self.metadata

    def remove(self, name: str) -> None:
        """Drop a label if it is there."""
        if self.parsed.pop(name, None) is not None:
            self._spent.add(name)
        if name in self.metadata:
            self._lose_metadata(name)
        self._gone.add(name)

    def fail(self, error: str, details: str = "") -> None:
        """Set the error labels; without details those of before stay."""
        self.error = error
        if details:
            self.error_details = details

    def names(self) -> list[str]:
        """All labels but the error ones."""
        return [*self.stream_labels(), *self.metadata, *self.parsed]

    def stream_labels(self) -> Mapping[str, str]:
        """Those of the stream that are still there and that no other label hides."""
        hidden = self._gone or not self.stream.keys().isdisjoint(self.parsed)
        if not hidden:
            return self.stream
        out = self._gone | self.parsed.keys()
        return {name: value for name, value in self.stream.items() if name not in out}

    def parsed_labels(self) -> dict[str, str]:
        """Those that stages made, the error ones among them."""
        if not self.error and not self.error_details:
            return self.parsed
        labels = dict(self.parsed)
        if self.error:
            labels[ERROR] = self.error
        if self.error_details:
            labels[ERROR_DETAILS] = self.error_details
        return labels

    def all(self) -> dict[str, str]:
        """All labels."""
        return {**self.stream_labels(), **self.metadata, **self.parsed_labels()}

    def _lose_metadata(self, name: str) -> None:
        self.metadata = {other: value for other, value in self.metadata.items() if other != name}


@functools.lru_cache(maxsize=_NAMES_MAX)
def label_name(key: str) -> str:
    """The label of a key: its outer white space gone, ``_`` for what no label may have; empty if nothing is left."""
    name = name_part(key)
    return f"_{name}" if "0" <= name[:1] <= "9" else name


@functools.lru_cache(maxsize=_NAMES_MAX)
def name_part(key: str) -> str:
    """`label_name` of a key that does not stand in front: it may begin with a digit."""
    return _OUTSIDE_NAMES.sub("_", key.strip(SPACE))


def is_label_name(text: str) -> bool:
    """Whether a label may be called so."""
    return _NAME.fullmatch(text) is not None
