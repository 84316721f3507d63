"""The parser of containerd's and CRI-O's format, against one that reads a line at a time."""

import datetime as dt
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.parse import cri
from agent.parse.excerpts import gathered
from agent.parse.lines import Lines, Segment
from wire.batch import Flag
from wire.codec import TIME_NS_MAX

Row = tuple[int, int, int, int, bool, bytes]  # start, end, time, flags, partial, message

LINE = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))"
    rb" (stdout|stderr) ([PF])(?::[^ ]*)? (.*)",
    re.DOTALL,
)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def reference_line(line: bytes) -> tuple[int, int, bool, bytes] | None:
    match = LINE.fullmatch(line)
    if match is None:
        return None
    try:
        local = dt.datetime(*(int(part) for part in match.groups()[:6]), tzinfo=dt.UTC)  # type: ignore[misc, arg-type]  # six groups, six fields
    except ValueError:
        return None
    fraction, sign, hours, minutes, stream, tag, message = match.groups()[6:]
    seconds = (local - EPOCH) // dt.timedelta(seconds=1)
    if sign:
        seconds -= (1 if sign == b"+" else -1) * (int(hours) * 3600 + int(minutes) * 60)
    time = seconds * 10**9 + int((fraction or b"0").ljust(9, b"0"))
    if not (1970 <= local.year <= 2261 and 0 <= time <= TIME_NS_MAX):
        return None
    return time, Flag.STDERR if stream == b"stderr" else 0, tag == b"P", message


def reference(block: bytes, segments: list[Segment]) -> list[list[Row]]:
    found = []
    begin = 0
    for segment in segments:
        rows: list[Row] = []
        at, time = segment.position, min(max(segment.time, 0), TIME_NS_MAX)
        for line in block[begin : begin + segment.size].split(b"\n")[:-1]:
            time, flags, partial, message = reference_line(line) or (time, Flag.MALFORMED, False, line)
            rows.append((at, at + len(line) + 1, time, int(flags), partial, message))
            at += len(line) + 1
        found.append(rows)
        begin += segment.size
    return found


def rows_of(lines: Lines) -> list[list[Row]]:
    body, at, row = gathered(lines.text, lines.begins, lines.lengths).tobytes(), 0, 0
    messages = []
    for size in lines.lengths.tolist():
        messages.append(body[at : at + size])
        at += size
    assert at == len(body)
    columns = (lines.starts, lines.ends, lines.times, lines.flags, lines.partial)
    assert [str(column.dtype) for column in columns] == ["int64", "int64", "int64", "uint8", "bool"]
    assert str(lines.lengths.dtype) == "uint32"
    every = list(zip(*(column.tolist() for column in columns), messages, strict=True))
    found = []
    for count in lines.rows.tolist():
        found.append(every[row : row + count])
        row += count
    assert row == len(every)
    return found


def parse_one(line: bytes) -> Row:
    return rows_of(cri.parse(line + b"\n", [Segment(len(line) + 1, 500, 7)]))[0][0]


TIME = b"2023-04-05T02:29:34.687797577Z"
TIME_NS = 1_680_661_774_687_797_577


@pytest.mark.parametrize(
    ("line", "flags", "partial", "message"),
    [
        (TIME + b" stdout F hello", 0, False, b"hello"),
        (TIME + b" stderr P hello", Flag.STDERR, True, b"hello"),
        (TIME + b" stdout F ", 0, False, b""),
        (TIME + b" stdout F  two spaces ", 0, False, b" two spaces "),
        (TIME + b" stdout F a\x00b\r", 0, False, b"a\x00b\r"),
        (TIME + b" stdout F \xff\xfe", 0, False, b"\xff\xfe"),
        (TIME + b" stdout P:x hello", 0, True, b"hello"),
        (TIME + b" stdout F:x:y=z hello world", 0, False, b"hello world"),
        (TIME + b" stdout F: hello", 0, False, b"hello"),
        (b"2023-04-05T04:29:34.687797577+02:00 stderr F x", Flag.STDERR, False, b"x"),
    ],
)
def test_a_line_is_read(line: bytes, flags: int, partial: bool, message: bytes) -> None:  # noqa: FBT001 - a table's column
    assert parse_one(line) == (500, 500 + len(line) + 1, TIME_NS, flags, partial, message)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"hello",
        TIME,
        TIME + b" ",
        TIME + b" stdout",
        TIME + b" stdout ",
        TIME + b" stdout F",
        TIME + b" stdout F:more",
        TIME + b" stdout  message",
        TIME + b" stdout X message",
        TIME + b" stdout PF message",
        TIME + b" stdout f message",
        TIME + b" stdin F message",
        TIME + b" STDOUT F message",
        TIME + b"  stdout F message",
        TIME + b" stdout  F message",
        b" " + TIME + b" stdout F message",
        TIME + b"\tstdout F message",
        b"2023-02-30T00:00:00Z stdout F impossible",
        b"2023-04-05T02:29:34.6877975771Z stdout F ten digits",
        bytes(200),
    ],
)
def test_another_line_is_kept_raw_and_flagged(line: bytes) -> None:
    assert parse_one(line) == (500, 500 + len(line) + 1, 7, Flag.MALFORMED, False, line)


def test_tags_do_not_reach_into_the_next_line() -> None:
    block = TIME + b" stdout F:more\n" + TIME + b" stdout F x\n"
    first, second = rows_of(cri.parse(block, [Segment(len(block), 0, 7)]))[0]
    assert first[3] == Flag.MALFORMED
    assert second[5] == b"x"


def test_a_malformed_line_has_the_time_of_the_line_before_it_in_its_file() -> None:
    good = TIME + b" stdout F x\n"
    block = b"bad\n" + good + b"bad\nbad\n" + b"bad\n"
    size = len(good) + 12
    found = rows_of(cri.parse(block, [Segment(size, 0, 7), Segment(0, 0, 3), Segment(4, 0, 9)]))
    assert [[row[2] for row in rows] for rows in found] == [[7, TIME_NS, TIME_NS, TIME_NS], [], [9]]


@pytest.mark.parametrize(("mtime", "expected"), [(-5, 0), (1 << 70, TIME_NS_MAX)])
def test_a_time_the_wire_cannot_carry_is_brought_to_its_range(mtime: int, expected: int) -> None:
    assert cri.parse(b"bad\n", [Segment(4, 0, mtime)]).times.tolist() == [expected]


@pytest.mark.parametrize("segments", [[], [Segment(0, 9, 9)]])
def test_nothing_gives_no_lines(segments: list[Segment]) -> None:
    lines = cri.parse(b"", segments)
    assert rows_of(lines) == [[]] * len(segments)


DIGITS = st.text("0123456789", max_size=10)


@st.composite
def cri_lines(draw: st.DrawFn) -> bytes:
    """A line as runtimes write it, or nearly so."""
    date = draw(
        st.sampled_from(["2023-04-05T02:29:34", "2023-04-05T02:30:00", "1970-01-01T00:00:00", "2261-12-31T23:59:59"])
    )
    fraction = draw(st.one_of(st.just(""), DIGITS.map(lambda digits: f".{digits}")))
    zone = draw(st.sampled_from(["Z", "Z", "Z", "+00:00", "+02:00", "-11:30", ""]))
    stream = draw(st.sampled_from(["stdout", "stdout", "stderr", "stdin"]))
    tag = draw(st.sampled_from(["F", "F", "P", "F:x", "P:x:y", "F:", "X", ""]))
    message = draw(st.binary(max_size=30)).replace(b"\n", b" ")
    line = bytearray(f"{date}{fraction}{zone} {stream} {tag} ".encode() + message)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, max(len(line) - 1, 0)))
        edit = draw(st.binary(max_size=2)).replace(b"\n", b"")
        line[at : at + draw(st.integers(0, 2))] = edit
    return bytes(line)


@given(
    st.lists(
        st.tuples(
            st.lists(cri_lines() | st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=6),
            st.integers(0, 1 << 60),
            st.integers(0, TIME_NS_MAX),
        ),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=250)
def test_any_bytes_are_read_as_one_line_at_a_time_would(files: list[tuple[list[bytes], int, int]]) -> None:
    parts = [b"".join(line + b"\n" for line in lines) for lines, _, _ in files]
    segments = [Segment(len(part), at, time) for part, (_, at, time) in zip(parts, files, strict=True)]
    block = b"".join(parts)
    assert rows_of(cri.parse(block, segments)) == reference(block, segments)
