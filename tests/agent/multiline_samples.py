"""Logs of real programs with the beginning of each record marked by hand, and the count of what a joiner gets wrong.

The samples lie in `multiline/`: `traces/` holds stack traces and other records of several lines, `ordinary/` what must
never be glued; `multiline/README.md` names the program behind each. One file a sample, one line a line::

    > text    a record begins here, on stdout          >! text   the same on stderr
    | text    this line belongs to the record before   |! text   (the one before in the same stream)
    ? text    a person could take it either way        ?! text
    ~ 2s      so much time passed before the next line

The text is bytes, anything but a newline. Without a `~` the next line follows after LINE_GAP_NS, be it of another
record or not: a burst, in which time tells nothing.

`python -m tests.agent.multiline_samples package.module:function` prints the table for a function that takes the lines
of one container as they came and gives a flag a line, true where it would begin a record.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

ROOT = Path(__file__).parent / "multiline"
LINE_GAP_NS = 10_000  # writes of one process in a row; also what a whole trace takes in one write
MARKS = b">|?~"

Stream = Literal["stdout", "stderr"]
Kind = Literal["traces", "ordinary"]
KINDS: tuple[Kind, ...] = ("traces", "ordinary")
HARD = "hard-"  # ordinary samples made to mislead; no program writes so many such lines in a row


class Line(msgspec.Struct, frozen=True):
    """One line of a container: `begins` is the truth, unless `either` says that both are right."""

    text: bytes
    stream: Stream
    time_ns: int
    begins: bool
    either: bool = False


class Sample(msgspec.Struct, frozen=True):
    """The lines of one container in the order they came, both streams interleaved."""

    name: str
    kind: Kind
    lines: tuple[Line, ...]


class Score(msgspec.Struct, frozen=True):
    """What a joiner made of some lines: counts, which add up."""

    lines: int = 0
    records: int = 0
    continuations: int = 0
    false_joins: int = 0
    false_splits: int = 0
    whole: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )


Joiner = Callable[[Sequence[Line]], Iterable[bool]]


def parse(name: str, kind: Kind, data: bytes) -> Sample:
    """The sample written in `data`; ValueError names the line that breaks the format."""
    lines: list[Line] = []
    time_ns = 0
    seen: set[Stream] = set()
    for number, raw in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        mark, rest = raw[:1], raw[1:]
        if not mark or mark not in MARKS:
            raise ValueError(f"{name}:{number}: no mark: {raw[:40]!r}")
        if mark == b"~":
            time_ns += int(float(rest.strip().removesuffix(b"s")) * 1e9) - LINE_GAP_NS
            continue
        stream: Stream = "stderr" if rest[:1] == b"!" else "stdout"
        rest = rest.removeprefix(b"!")
        if rest and rest[:1] != b" ":
            raise ValueError(f"{name}:{number}: no space after the mark: {raw[:40]!r}")
        if stream not in seen and mark != b">":
            raise ValueError(f"{name}:{number}: the first line of {stream} has nothing to belong to")
        seen.add(stream)
        time_ns += LINE_GAP_NS
        lines.append(Line(rest[1:], stream, time_ns, begins=mark == b">", either=mark == b"?"))
    return Sample(name, kind, tuple(lines))


def load(kind: Kind | None = None) -> list[Sample]:
    """Every sample, or those of one kind, by name."""
    return [
        parse(path.stem, each, path.read_bytes())
        for each in KINDS
        if kind in {None, each}
        for path in sorted((ROOT / each).glob("*.log"))
    ]


def score(lines: Sequence[Line], begins: Iterable[bool]) -> Score:
    """Count the errors in `begins`, one flag a line.

    A false join is a record glued to the one before, a false split a record torn; a record is whole when neither
    touches it. Lines marked as either way count for nothing.
    """
    records = continuations = joins = splits = whole = 0
    unbroken: dict[Stream, bool] = {}  # the record that is open in each stream
    for line, flag in zip(lines, map(bool, begins), strict=True):
        if line.either:
            continue
        if line.begins:
            records += 1
            joins += not flag
            whole += flag and unbroken.get(line.stream, False)
            unbroken[line.stream] = flag
        else:
            continuations += 1
            splits += flag
            unbroken[line.stream] &= not flag
    return Score(len(lines), records, continuations, joins, splits, whole + sum(unbroken.values()))


def measure(joiner: Joiner, samples: Iterable[Sample]) -> dict[str, Score]:
    """The score of each sample, by kind and name."""
    return {f"{sample.kind}/{sample.name}": score(sample.lines, joiner(sample.lines)) for sample in samples}


def false_joins_per_1000(total: Score) -> float:
    """False joins per 1,000 lines."""
    return 1000 * total.false_joins / max(total.lines, 1)


def false_splits_per_1000(total: Score) -> float:
    """False splits per 1,000 lines that continue a record."""
    return 1000 * total.false_splits / max(total.continuations, 1)


def totals(scores: dict[str, Score]) -> dict[str, Score]:
    """The sums over the traces, over what ordinary programs write, and over the ordinary lines made to mislead."""

    def part(name: str) -> str:
        return name.partition(HARD)[0] + HARD + "*" if HARD in name else name.partition("/")[0]

    sums: dict[str, Score] = {}
    for name, each in scores.items():
        sums[part(name)] = sums.get(part(name), Score()) + each
    return sums


def table(scores: dict[str, Score]) -> str:
    """A line a sample, then the totals with their rates."""
    rows = [f"{'sample':<32}{'lines':>7}{'records':>9}{'whole':>7}{'false joins':>13}{'false splits':>14}"]
    sums = totals(scores)
    rows += [
        f"{name:<32}{each.lines:>7}{each.records:>9}{each.whole:>7}{each.false_joins:>13}{each.false_splits:>14}"
        for name, each in (*scores.items(), *sums.items())
    ]
    rows += [
        f"{name}: {false_joins_per_1000(total):.2f} false joins per 1,000 lines, "
        f"{false_splits_per_1000(total):.2f} false splits per 1,000 continuation lines, "
        f"{100 * total.whole / max(total.records, 1):.2f} % of records whole"
        for name, total in sums.items()
    ]
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> None:
    """Print the table for the function named by `package.module:function`."""
    module, _, function = arguments[0].partition(":")
    joiner: Joiner = getattr(importlib.import_module(module), function)
    sys.stdout.write(table(measure(joiner, load())) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
