"""What is joined to what, by samples of real logs: `multiline/README.md` says where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pytest

from agent.records.multiline import judge
from agent.records.shapes import Sequence
from tests.agent.multiline_samples import (
    Line,
    Sample,
    false_joins_per_1000,
    false_splits_per_1000,
    load,
    measure,
    score,
    table,
    totals,
)

if TYPE_CHECKING:
    import collections.abc

# Of a thousand lines that are records by themselves, glued to the one before. docs/multiline.md has the figures.
FALSE_JOINS_MAX: Final = 0.5
# Of a thousand lines that continue a record, made records: messages of several lines that are not indented, mostly.
FALSE_SPLITS_MAX: Final = 80
# Joined exactly, all of them: each runtime's traces as it prints and logs them.
EXACT: Final = (
    "burst-go",
    "burst-java",
    "burst-node",
    "crlf-java",
    "dotnet-aspnet",
    "dotnet-core",
    "dotnet-hosting",
    "dotnet-null",
    "dotnet-thread",
    "dotnet-uncaught",
    "go-custom",
    "go-deadlock",
    "go-http",
    "go-index",
    "go-map",
    "go-nil",
    "go-panic",
    "go-recovered",
    "java-circular",
    "java-oom",
    "java-printstack",
    "java-suppressed",
    "java-thread",
    "java-uncaught",
    "java-uncaught-cause",
    "log4j-kafka",
    "logback-colour",
    "logback-default",
    "logback-root",
    "node-aggregate",
    "node-logged",
    "node-missing",
    "node-rejection",
    "node-syserr",
    "node-thrown",
    "node-uncaught",
    "perl-confess",
    "php-type",
    "postgres-statements",
    "python-bare",
    "python-celery",
    "python-direct",
    "python-group",
    "python-indent",
    "python-recursion",
    "python-syntax",
    "python-taskgroup",
    "python13-bare",
    "ruby-multi",
    "ruby-uncaught",
    "rust-full",
    "rust-main",
    "rust-panic",
    "uvicorn",
)


def begins(lines: collections.abc.Sequence[Line]) -> list[bool]:
    """Whether each line would begin a record of its stream."""
    found = [True] * len(lines)
    for stream in ("stdout", "stderr"):
        rows = [row for row, line in enumerate(lines) if line.stream == stream]
        lengths = np.array([len(lines[row].text) for row in rows], np.int64)
        first = np.zeros(len(rows), np.bool_)
        first[:1] = True
        sequence = Sequence(
            np.frombuffer(b"".join(lines[row].text for row in rows), np.uint8),
            lengths.cumsum() - lengths,
            lengths,
            np.array([lines[row].time_ns for row in rows], np.int64),
            first,
            np.zeros(len(rows), np.bool_),
        )
        for row, continues in zip(rows, judge(sequence).continues.tolist(), strict=True):
            found[row] = not continues
    return found


def test_ordinary_lines_are_not_glued_and_traces_are_joined() -> None:
    measured = measure(begins, load())
    found = totals(measured)
    ordinary, traces = found["ordinary"], found["traces"]
    assert ordinary.lines > 3900, "samples are missing"
    assert false_joins_per_1000(ordinary) < FALSE_JOINS_MAX, table(measured)
    assert false_splits_per_1000(traces) < FALSE_SPLITS_MAX, table(measured)
    assert ordinary.false_splits == 0, table(measured)


@pytest.mark.parametrize("sample", [each for each in load() if each.name in EXACT], ids=lambda sample: sample.name)
def test_traces_of_every_runtime_are_joined_exactly(sample: Sample) -> None:
    found = score(sample.lines, begins(sample.lines))
    assert (found.false_joins, found.false_splits) == (0, 0)


@pytest.mark.parametrize("sample", [each for each in load() if each.name in EXACT], ids=lambda sample: sample.name)
def test_ordinary_lines_around_a_trace_change_nothing(sample: Sample) -> None:
    streams = {line.stream for line in sample.lines}
    ordinary = [Line(b"INFO served", stream, 10_000 * n, begins=True) for n in range(5) for stream in sorted(streams)]
    later = [msgspec.structs.replace(line, time_ns=line.time_ns + 10**9) for line in sample.lines]
    last = [msgspec.structs.replace(line, time_ns=line.time_ns + 10**12) for line in ordinary]
    found = begins([*ordinary, *later, *last])
    assert all(found[: len(ordinary)])
    assert found[len(ordinary) : -len(last)] == begins(sample.lines)
    assert all(found[-len(last) :])
