"""A record as it comes out of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """A record: its line, and its labels in the three categories that Loki knows.

    ``line``: the stored bytes, unless a stage made another one. ``stream``: the labels of its stream and its pod;
    ``metadata``: ``detected_level`` and what was pushed with it; ``parsed``: what stages made, ``__error__`` included.
    A label is in one of them, and none is empty but parsed ones. ``source``: 16 bytes.
    """

    ts_ns: int
    line: bytes
    stream: Mapping[str, str]
    metadata: Mapping[str, str]
    parsed: Mapping[str, str]
    stream_id: int
    source: bytes
    position: int
    flags: int

    @property
    def labels(self) -> dict[str, str]:
        """All labels."""
        return {**self.stream, **self.metadata, **self.parsed}
