"""Records that continue each other, joined: nothing lost or doubled wherever a file is cut, or reading began."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.parse import cri
from agent.parse.assemble import Assembly, Records, assemble
from agent.parse.lines import Segment
from agent.records import join
from agent.records.interleave import LINES_MAX
from agent.select.beginnings import Beginning
from agent.select.expression import Expression
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND_NS = 10**9


class Line(msgspec.Struct, frozen=True):
    """A line, written ``after_ns`` after the one before."""

    message: bytes
    after_ns: int = 1000
    stream: str = "stdout"
    tag: str = "F"


class Record(msgspec.Struct, frozen=True, order=True):
    position: int
    stream: str
    body: bytes
    flags: Flag = Flag(0)


def text_of(lines: Sequence[Line]) -> bytes:
    time_ns = 60 * SECOND_NS
    written = []
    for line in lines:
        time_ns += line.after_ns
        seconds, rest = divmod(time_ns, SECOND_NS)
        stamp = f"1970-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}.{rest:09d}Z"
        written.append(f"{stamp} {line.stream} {line.tag} ".encode() + line.message + b"\n")
    return b"".join(written)


class Reader:
    """Reads a file as `agent.follow.tail` does: again from where records were held back."""

    def __init__(self, text: bytes, position: int = 0, start: str | None = None) -> None:
        self.text = text
        self.start = None if start is None else Beginning(Expression(start))
        self.floor = position
        self.held = self.read = text.rfind(b"\n", 0, position) + 1
        self.assembly = Assembly(position)
        self.found: list[Record] = []

    def take(self, end: int, closed_ns: int = join.NEVER) -> None:
        """Read up to the last newline before ``end``."""
        end = self.text.rfind(b"\n", 0, end) + 1
        segment = Segment(end - self.held, self.held, 0)
        if end <= self.held:
            return
        self.read = end
        lines = cri.parse(self.text[self.held : end], [segment])
        if self.assembly.open_lines:
            closed_ns = join.ALWAYS
        records = assemble(lines, [self.assembly], [segment], 1 << 20)
        joined = join.join(
            records, [join.Segment(self.floor, end, closed_ns, self.assembly.open_start, start=self.start)]
        )
        self.found += records_of(joined.records)
        assert int(joined.records.ends[0]) >= self.floor
        held = int(joined.held[0])
        if joined.records.rows[0]:
            self.floor = int(joined.records.ends[0])
        self.held = held if held >= 0 else self.read
        if held >= 0:
            self.assembly = Assembly(self.floor)

    def take_all(self) -> list[Record]:
        self.take(len(self.text), join.ALWAYS)
        return self.found


def records_of(records: Records) -> list[Record]:
    edges = [0, *records.lengths.cumsum().tolist()]
    assert len(records.body) == edges[-1]
    assert int(records.rows.sum()) == records.times.size == records.positions.size == records.flags.size
    return [
        Record(
            int(records.positions[row]),
            "stderr" if records.flags[row] & Flag.STDERR else "stdout",
            bytes(records.body[edges[row] : edges[row + 1]]),
            Flag(int(records.flags[row])) & ~Flag.STDERR,
        )
        for row in range(records.times.size)
    ]


def bodies(lines: Sequence[Line]) -> list[bytes]:
    return [record.body for record in Reader(text_of(lines)).take_all()]


def lines_by_stream(records: Sequence[Record]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for record in records:
        found.setdefault(record.stream, []).extend(record.body.split(b"\n"))
    return found


LATER = 300_000_000
OUT, ERR = "stdout", "stderr"
TRACE = [Line(b"boom"), Line(b"java.lang.X: y"), Line(b"\tat a.b(C.java:1)"), Line(b"\tat a.c(C.java:2)")]


def test_what_continues_a_record_is_joined_with_newlines() -> None:
    assert bodies([Line(b"before"), *TRACE, Line(b"after")]) == [
        b"before",
        b"boom\njava.lang.X: y\n\tat a.b(C.java:1)\n\tat a.c(C.java:2)",
        b"after",
    ]


def test_a_joined_record_is_flagged_and_has_the_position_of_its_last_line() -> None:
    text = text_of([*TRACE, Line(b"after")])
    first, second = Reader(text).take_all()
    assert first.flags is Flag.JOINED
    assert first.position == text.rfind(b"\n", 0, len(text) - 1) + 1
    assert second == Record(len(text), OUT, b"after")


def test_what_comes_later_is_another_record() -> None:
    assert bodies([Line(b"a"), Line(b"\tat b", LATER), Line(b"\tat c")]) == [b"a", b"\tat b\n\tat c"]


def test_the_last_record_is_held_back_until_something_follows_or_time_has_passed() -> None:
    text = text_of([Line(b"a"), Line(b"b", LATER), Line(b"  c")])
    reader = Reader(text)
    reader.take(len(text))
    assert [record.body for record in reader.found] == [b"a"]
    assert text[reader.held :].count(b"\n") == 2
    reader.take(len(text), 62 * SECOND_NS)
    assert [record.body for record in reader.found] == [b"a", b"b\n  c"]


def test_lines_of_the_other_stream_between_are_records_of_their_own_inside_the_first_line() -> None:
    lines = [Line(b"a"), Line(b"1", stream=ERR), Line(b"  b"), Line(b"2", stream=ERR), Line(b"  c")]
    text = text_of([*lines, Line(b"end", LATER), Line(b"end", LATER, ERR)])
    found = Reader(text).take_all()
    assert [record.body for record in found] == [b"1", b"2", b"a\n  b\n  c", b"end", b"end"]
    assert [record.position for record in found[:2]] == [1, 2]


def test_two_traces_line_by_line_in_both_streams_stay_lines() -> None:
    pairs = [line for text in (b"a", b"  b", b"  c") for line in (Line(text), Line(text, stream=ERR))]
    found = bodies([*pairs, Line(b"end"), Line(b"end", stream=ERR)])
    assert found == [b"a", b"a", b"  b", b"  b", b"  c", b"  c", b"end", b"end"]


def test_a_record_has_a_limit_of_lines() -> None:
    found = bodies([Line(b"head"), *[Line(b" x")] * (LINES_MAX + 10)])
    assert [record.count(b"\n") + 1 for record in found] == [LINES_MAX, 11]


def test_a_record_has_a_limit_of_bytes() -> None:
    found = bodies([Line(b"head"), *[Line(b" " + b"x" * 1000)] * 300])
    assert len(found) > 2
    assert max(map(len, found)) <= join.BYTES_MAX + 2000


def test_a_long_record_is_not_joined() -> None:
    long = b" " + b"x" * join.BYTES_MAX
    pieces = [Line(long[at : at + 16384], tag="P") for at in range(0, len(long), 16384)]
    assert bodies([Line(b"head"), *pieces, Line(b""), Line(b" tail")]) == [b"head", long, b" tail"]


def test_a_malformed_line_is_never_joined() -> None:
    text = text_of([Line(b"a")]) + b"  no time\n" + text_of([Line(b"  b")])
    assert [record.body for record in Reader(text).take_all()] == [b"a", b"  no time", b"  b"]


def test_a_start_expression_decides_alone() -> None:
    lines = [Line(b"10:00 a"), Line(b"b"), Line(b"  c"), Line(b"10:01 d"), Line(b"\tat e")]
    found = Reader(text_of(lines), start=r"\d\d:\d\d ").take_all()
    assert [record.body for record in found] == [b"10:00 a\nb\n  c", b"10:01 d\n\tat e"]


def test_with_a_start_expression_only_the_last_record_is_held() -> None:
    reader = Reader(text_of([Line(b"10:00 a"), Line(b"  b"), Line(b"10:01 c"), Line(b"d")]), start=r"\d")
    reader.take(len(reader.text))
    assert [record.body for record in reader.found] == [b"10:00 a\n  b"]


def test_a_file_whose_records_are_not_to_be_joined_is_passed_on() -> None:
    text = text_of(TRACE)
    segment = Segment(len(text), 0, 0)
    records = assemble(cri.parse(text, [segment]), [Assembly()], [segment], 1 << 20)
    joined = join.join(records, [join.Segment(0, len(text), join.NEVER, joins=False)])
    assert records_of(joined.records) == records_of(records.records())
    assert joined.held.tolist() == [-1]


def test_held_back_is_only_so_much() -> None:
    lines = [Line(b"a", 0), *[Line(b"x" * 2000, 0, ERR) for _ in range(200)]]
    reader = Reader(text_of(lines))
    reader.take(len(reader.text))
    assert reader.found[0].body == b"a"
    assert len(reader.text) - reader.held < join.BYTES_MAX


def test_a_chain_of_records_that_overlap_in_both_streams_is_not_held() -> None:
    chain = []
    for _ in range(400):
        chain += [Line(b"a" * 200, 0), Line(b"b" * 200, 0, ERR), Line(b"\tat a", 0), Line(b"\tat b", 0, ERR)]
    reader = Reader(text_of(chain))
    for end in range(20_000, len(reader.text), 20_000):
        reader.take(end)
        assert end - reader.held < 2 * join.BYTES_MAX
    assert lines_by_stream(reader.take_all()) == {
        OUT: [line.message for line in chain if line.stream == OUT],
        ERR: [line.message for line in chain if line.stream == ERR],
    }


MESSAGES = (
    b"2026-11-24 INFO fine",
    b"java.lang.IllegalStateException: boom",
    b"\tat a.b(C.java:1)",
    b"Caused by: java.io.IOException",
    b"",
    b"  indented",
    b"Traceback (most recent call last):",
    b'  File "x.py", line 1, in f',
    b"ValueError: x",
    b"panic: x",
    b"goroutine 1 [running]:",
    b"main.f(0x1)",
    b"\t/x/y.go:1 +0x1",
    b"thread 'main' panicked at src/main.rs:1:1:",
    b"note: run with `RUST_BACKTRACE=1`",
    b"{",
    b"}",
)
LINES = st.lists(
    st.builds(
        Line,
        st.sampled_from(MESSAGES),
        st.sampled_from([0, 1000, 1000, 1000, 5_000_000, 30_000_000, LATER]),
        st.sampled_from([OUT, OUT, OUT, ERR]),
        st.sampled_from(["F"] * 12 + ["P"]),
    ),
    max_size=30,
)


def read_in_pieces(reader: Reader, sizes: Sequence[int]) -> list[Record]:
    end = reader.held
    for size in sizes:
        end += size
        reader.take(end)
    return reader.take_all()


@settings(max_examples=400, deadline=None)
@given(LINES, st.lists(st.integers(1, 900), max_size=12))
def test_every_line_is_in_one_record_however_a_file_is_cut(lines: list[Line], sizes: list[int]) -> None:
    text = text_of([line for line in lines if line.tag == "F"])
    found = read_in_pieces(Reader(text), sizes)
    expected: dict[str, list[bytes]] = {}
    for line in lines:
        if line.tag == "F":
            expected.setdefault(line.stream, []).append(line.message)
    assert lines_by_stream(found) == expected
    positions = [record.position for record in found]
    assert positions == sorted(set(positions))


# A chain of each stream, overlapping, and the cut of what is held between their beginnings.
TANGLED = [
    Line(b"2026-11-24 INFO fine", 0),
    Line(b"ValueError: x", 0, ERR),
    Line(b"\tat a.b(C.java:1)", 0),
    Line(b"2026-11-24 INFO fine", 0),
    Line(b"", 0),
    Line(b"  indented", 0, ERR),
    Line(b"2026-11-24 INFO fine", LATER),
]


@example(TANGLED, [326])
@settings(max_examples=400, deadline=None)
@given(LINES, st.lists(st.integers(1, 900), max_size=12))
def test_a_file_in_pieces_gives_the_records_of_the_whole(lines: list[Line], sizes: list[int]) -> None:
    text = text_of([line for line in lines if line.tag == "F"])
    assert read_in_pieces(Reader(text), sizes) == Reader(text).take_all()


@settings(max_examples=400, deadline=None)
@given(LINES, st.lists(st.integers(1, 900), max_size=6), st.lists(st.integers(1, 900), max_size=6), st.data())
def test_reading_on_from_any_record_gives_the_rest(
    lines: list[Line], sizes: list[int], others: list[int], data: st.DataObject
) -> None:
    """Also with partial lines, which may be joined another way, and must be there all the same."""
    text = text_of([*lines, Line(b"end", LATER), Line(b"end", LATER, ERR)])
    whole = read_in_pieces(Reader(text), sizes)
    if not whole:
        return
    at = data.draw(st.integers(0, len(whole) - 1))
    rest = read_in_pieces(Reader(text, whole[at].position), others)
    assert lines_by_stream(whole[: at + 1] + rest) == lines_by_stream(whole)


@pytest.mark.parametrize("closed_ns", [join.NEVER, join.ALWAYS])
def test_no_records_are_no_records(closed_ns: int) -> None:
    segment = Segment(0, 0, 0)
    records = assemble(cri.parse(b"", [segment]), [Assembly()], [segment], 1 << 20)
    joined = join.join(records, [join.Segment(0, 0, closed_ns)])
    assert joined.records.rows.tolist() == [0]
    assert joined.held.tolist() == [-1]
