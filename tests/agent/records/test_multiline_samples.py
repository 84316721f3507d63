from __future__ import annotations

import fnmatch
import re

import pytest

from tests.agent.multiline_samples import ROOT, Line, Score, load, measure, parse, score, table

SAMPLES = load()


def test_the_format_is_read_as_it_is_written() -> None:
    sample = parse("name", "traces", b">! E1\n> o 1\n|!   at x\n~ 2s\n|! \n?\n>! ! E2\n")
    assert sample.lines == (
        Line(b"E1", "stderr", 10_000, begins=True),
        Line(b"o 1", "stdout", 20_000, begins=True),
        Line(b"  at x", "stderr", 30_000, begins=False),
        Line(b"", "stderr", 2_000_030_000, begins=False),
        Line(b"", "stdout", 2_000_040_000, begins=False, either=True),
        Line(b"! E2", "stderr", 2_000_050_000, begins=True),
    )


@pytest.mark.parametrize("data", [b"| x\n", b"> x\n|! y\n", b"text\n", b">text\n", b"> a\n\n"])
def test_a_file_that_breaks_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="name:"):
        parse("name", "traces", data)


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        ([1, 0, 1, 1], Score(5, 3, 1, 0, 0, 3)),
        ([1, 1, 1, 1], Score(5, 3, 1, 0, 1, 2)),
        ([1, 0, 0, 1], Score(5, 3, 1, 1, 0, 1)),
        ([1, 0, 1, 0], Score(5, 3, 1, 1, 0, 1)),
        ([0, 1, 0, 0], Score(5, 3, 1, 3, 1, 0)),
    ],
)
def test_errors_are_counted_and_torn_or_glued_records_are_not_whole(begins: list[int], expected: Score) -> None:
    lines = parse("name", "traces", b"> a\n|  b\n> c\n? d\n> e\n").lines
    flags = [*begins[:3], 0, begins[3]]
    assert score(lines, map(bool, flags)) == expected


def test_streams_are_scored_apart() -> None:
    lines = parse("name", "traces", b"> a\n>! x\n| b\n|! y\n").lines
    assert score(lines, [True, True, False, False]) == Score(4, 2, 2, 0, 0, 2)
    assert score(lines, [True, True, False, True]) == Score(4, 2, 2, 0, 1, 1)


def test_the_truth_scores_without_error_and_splitting_everything_tears_each_continuation() -> None:
    truth = sum(measure(lambda lines: [line.begins for line in lines], SAMPLES).values(), Score())
    assert (truth.false_joins, truth.false_splits, truth.whole) == (0, 0, truth.records)
    apart = sum(measure(lambda lines: [True] * len(lines), SAMPLES).values(), Score())
    assert (apart.false_joins, apart.false_splits) == (0, truth.continuations)
    glued = sum(measure(lambda lines: [False] * len(lines), SAMPLES).values(), Score())
    assert (glued.false_joins, glued.false_splits) == (truth.records, 0)


def test_the_table_names_every_sample_and_the_rates() -> None:
    text = table(measure(lambda lines: [False] * len(lines), SAMPLES))
    assert all(f"{sample.kind}/{sample.name} " in text for sample in SAMPLES)
    rates = re.findall(r"^(\S+): (\S+) false joins per 1,000 lines, (\S+) false splits", text, re.MULTILINE)
    assert [name for name, _, _ in rates] == ["traces", "ordinary", "ordinary/hard-*"]
    assert all(float(joins) > 0 and float(splits) == 0 for _, joins, splits in rates)


def test_there_are_enough_samples_to_tell_a_rate() -> None:
    ordinary = [sample for sample in SAMPLES if sample.kind == "ordinary"]
    lines = [line for sample in ordinary for line in sample.lines]
    assert len(ordinary) >= 25
    assert sum(line.begins and not line.either for line in lines) >= 5_000
    assert sum(path.stat().st_size for path in (ROOT / "ordinary").iterdir()) < 400_000


def test_every_sample_has_its_provenance_and_every_provenance_a_sample() -> None:
    sections = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        kind = section.split("\n", 1)[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        patterns = [pattern for row in rows for pattern in re.findall(r"`(.+?)`", row)]
        names = [sample.name for sample in SAMPLES if sample.kind == kind]
        assert not [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        assert not [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
