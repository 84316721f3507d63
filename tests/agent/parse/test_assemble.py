"""Partial lines to records, against a model that takes a line at a time; and reading on from every position."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.parse import cri
from agent.parse.assemble import Assembly, Records, assemble, flush
from agent.parse.lines import Segment
from agent.parse.overlong import note
from wire.batch import Flag

NO_LIMIT = 1 << 20
NONE = Flag(0)


class Record(msgspec.Struct, frozen=True, order=True):
    position: int
    time: int
    flags: Flag
    body: bytes


def records_of(records: Records) -> list[list[Record]]:
    """The records of each segment."""
    columns = (records.times, records.positions, records.flags, records.lengths, records.rows, records.ends)
    dtypes = ["int64", "uint64", "uint8", "uint32", "int64", "int64"]
    assert [str(column.dtype) for column in columns] == dtypes
    found: list[list[Record]] = []
    body, at, row = bytes(records.body), 0, 0
    for rows in records.rows.tolist():
        found.append([])
        for i in range(row, row + rows):
            size = int(records.lengths[i])
            text = body[at : at + size]
            found[-1].append(
                Record(int(records.positions[i]), int(records.times[i]), Flag(int(records.flags[i])), text)
            )
            at += size
        row += rows
    assert at == len(body)
    assert row == len(records.times) == len(records.positions) == len(records.flags) == len(records.lengths)
    return found


class Line(msgspec.Struct, frozen=True):
    """A line of a CRI log; ``stream`` None: malformed."""

    stream: str | None
    partial: bool
    message: bytes
    time: int

    def text(self) -> bytes:
        if self.stream is None:
            return self.message + b"\n"
        seconds, ns = divmod(self.time, 10**9)
        fraction = f".{ns:09d}".rstrip("0.")
        tag = "P" if self.partial else "F"
        return f"1970-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}{fraction}Z {self.stream} {tag} ".encode() + (
            self.message + b"\n"
        )


class Held(msgspec.Struct):
    start: int
    time: int
    flags: Flag
    pieces: list[bytes]
    rooms: list[int]
    completed: int = 0


class Model:
    """What `agent.parse.partials` says, one line after another. ``times``: those of the file's lines by offset."""

    def __init__(self, floor: int, record_bytes_max: int) -> None:
        self.floor = floor
        self.record_bytes_max = record_bytes_max
        self.held: dict[str, Held] = {}
        self.found: list[Record] = []

    def _deliver(self, line: Held, position: int, flags: Flag = NONE) -> None:
        body = b"".join(line.pieces)
        flags |= line.flags
        if len(line.pieces) > 1:
            flags |= Flag.JOINED
        left_out = len(body) - self.record_bytes_max
        if left_out > 0:
            flags |= Flag.TRUNCATED
            body = body[: self.record_bytes_max] + note(left_out)
        if position > self.floor:
            self.found.append(Record(position, line.time, flags, body))

    def _oldest(self) -> Held | None:
        return min(self.held.values(), key=lambda line: line.start, default=None)

    def read(self, line: Line, start: int, time: int) -> None:
        size = len(line.text())
        flags = Flag.MALFORMED if line.stream is None else Flag.STDERR if line.stream == "stderr" else NONE
        if line.partial and line.stream:
            held = self.held.setdefault(line.stream, Held(start, time, flags, [], []))
            held.pieces.append(line.message)
            held.rooms.append(size - 2)
            return
        complete = self.held.pop(line.stream or "", Held(start, time, flags, [], []))
        complete.pieces.append(line.message)
        oldest = self._oldest()
        self._deliver(complete, start + size if oldest is None else oldest.start + 1 + oldest.completed)
        for held in self.held.values():
            held.completed += 1
            held.rooms = [room - 1 for room in held.rooms]
        if any(room == 0 for held in self.held.values() for room in held.rooms):
            self.flush(start + size)

    def flush(self, position: int) -> None:
        while len(self.held) > 1:
            oldest = self._oldest()
            assert oldest is not None
            stream = next(name for name, line in self.held.items() if line is not oldest)
            self._deliver(self.held.pop(stream), oldest.start + 1 + oldest.completed, Flag.UNFINISHED)
        for line in self.held.values():
            self._deliver(line, position, Flag.UNFINISHED)
        self.held = {}

    def reached(self, end: int) -> int:
        oldest = self._oldest()
        last = self.found[-1].position if self.found else 0
        return max(self.floor, last, end if oldest is None else oldest.start)


class File:
    """Lines one after another, the first at offset 0."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        texts = [line.text() for line in lines]
        self.text = b"".join(texts)
        self.starts = np.cumsum([0, *map(len, texts)]).tolist()
        self.times: list[int] = []
        for line in lines:
            self.times.append(line.time if line.stream else self.time_before(len(self.times)))

    def time_before(self, index: int) -> int:
        return self.times[index - 1] if index else 77

    def segment(self, begin: int, end: int) -> Segment:
        size = self.starts[end] - self.starts[begin]
        return Segment(size, self.starts[begin], self.time_before(begin))

    def model(self, begin: int = 0, floor: int = 0, record_bytes_max: int = NO_LIMIT) -> Model:
        model = Model(floor, record_bytes_max)
        for i in range(begin, len(self.lines)):
            model.read(self.lines[i], self.starts[i], self.times[i])
        return model

    def line_at(self, offset: int) -> int:
        """Index of the line that holds the byte at ``offset``."""
        return int(np.searchsorted(self.starts, offset, "right")) - 1


class Reader:
    """Reads a file block by block into records."""

    def __init__(self, file: File, begin: int = 0, floor: int = 0, record_bytes_max: int = NO_LIMIT) -> None:
        self.file = file
        self.at = begin
        self.record_bytes_max = record_bytes_max
        self.assembly = Assembly(floor)
        self.found: list[Record] = []
        self.end = floor

    def read(self, lines: int) -> None:
        read_together([self], [lines])

    def read_all(self, sizes: list[int]) -> None:
        read_all_together([self], sizes)

    def take(self, records: list[Record], end: int) -> None:
        assert end >= self.end
        assert all(record.position > self.end for record in records)
        assert all(record.position <= end for record in records)
        self.found += records
        self.end = end
        assert self.assembly.floor == end
        assert self.assembly.open_bytes <= 2 * self.record_bytes_max


def read_together(readers: list[Reader], counts: list[int]) -> None:
    """One block with a segment of each reader."""
    ends = [min(reader.at + count, len(reader.file.lines)) for reader, count in zip(readers, counts, strict=True)]
    segments = [reader.file.segment(reader.at, end) for reader, end in zip(readers, ends, strict=True)]
    block = b"".join(
        reader.file.text[s.position : s.position + s.size] for reader, s in zip(readers, segments, strict=True)
    )
    lines = cri.parse(block, segments)
    records = assemble(lines, [reader.assembly for reader in readers], segments, readers[0].record_bytes_max).records()
    for reader, end, found, reached in zip(readers, ends, records_of(records), records.ends.tolist(), strict=True):
        reader.at = end
        reader.take(found, reached)


def read_all_together(readers: list[Reader], sizes: list[int]) -> None:
    """Blocks of so many lines of each, over and over, to the end; then everything is flushed."""
    turn = 0
    while any(reader.at < len(reader.file.lines) for reader in readers):
        read_together(readers, [sizes[turn % len(sizes)]] * len(readers))
        turn += 1
    for reader in readers:
        size = len(reader.file.text)
        records = flush(reader.assembly, size)
        if records is not None:
            reader.found += records_of(records)[0]
        assert flush(reader.assembly, size) is None


def line(kind: str, message: bytes = b"m", time: int = 1) -> Line:
    """``o``/``e``: a whole line of stdout or stderr; ``O``/``E``: a piece; ``!``: malformed."""
    streams: dict[str, str | None] = {"o": "stdout", "e": "stderr", "!": None}
    return Line(streams[kind.lower()], kind in "OE", message, time)


def file_of(kinds: str) -> File:
    return File([line(kind, b"%c%d" % (kind.encode(), i), i) for i, kind in enumerate(kinds)])


J, U, E, M = Flag.JOINED, Flag.UNFINISHED, Flag.STDERR, Flag.MALFORMED


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("o", [("o0", 0)]),
        ("oe!", [("o0", 0), ("e1", E), ("!2", M)]),
        ("OOo", [("O0O1o2", J)]),
        ("OOoo", [("O0O1o2", J), ("o3", 0)]),
        ("Oeo", [("e1", E), ("O0o2", J)]),
        ("OEoe", [("O0o2", J), ("E1e3", J | E)]),
        ("O!o", [("!1", M), ("O0o2", J)]),
        ("O", [("O0", U)]),
        ("OO", [("O0O1", U | J)]),
        ("oEO", [("o0", 0), ("O2", U), ("E1", U | E)]),
    ],
)
@pytest.mark.parametrize("sizes", [[100], [1]])
def test_pieces_of_a_stream_are_joined(kinds: str, expected: list[tuple[str, int]], sizes: list[int]) -> None:
    reader = Reader(file_of(kinds))
    reader.read_all(sizes)
    assert [(record.body.decode(), record.flags) for record in reader.found] == expected


def test_a_joined_record_has_the_time_of_its_first_piece() -> None:
    reader = Reader(File([line("O", time=5), line("e", time=6), line("o", time=7)]))
    reader.read_all([100])
    assert [record.time for record in reader.found] == [6, 5]


def test_positions_lie_inside_the_oldest_open_line() -> None:
    file = file_of("oOe!Eeoe")
    reader = Reader(file)
    reader.read_all([100])
    inside = file.starts[1] + 1
    assert [record.position for record in reader.found] == [
        file.starts[1],
        inside,
        inside + 1,
        inside + 2,
        file.starts[7],
        file.starts[8],
    ]


def test_a_file_is_at_the_start_of_its_open_line() -> None:
    file = file_of("oOOe")
    reader = Reader(file)
    reader.read(2)
    assert (reader.end, reader.assembly.open_start) == (file.starts[1], file.starts[1])
    assert reader.assembly.open_bytes == 2
    reader.read(1)
    assert (reader.end, reader.assembly.open_start) == (file.starts[1], file.starts[1])
    reader.read(1)
    assert (reader.end, reader.assembly.open_start) == (file.starts[1] + 1, file.starts[1])
    reader.read_all([1])
    assert (reader.assembly.open_start, reader.assembly.open_bytes) == (None, 0)
    assert reader.assembly.floor == len(file.text)


@pytest.mark.parametrize("sizes", [[1000], [1], [7, 1]])
def test_an_open_line_with_no_room_left_is_delivered_unfinished(sizes: list[int]) -> None:
    piece = line("O", b"piece")
    room = len(piece.text()) - 2
    file = File([piece, *[line("e")] * (room + 3), line("o", b"end")])
    reader = Reader(file)
    reader.read_all(sizes)
    assert [record.position for record in reader.found[:room]] == list(range(1, room + 1))
    assert reader.found[room] == Record(file.starts[room + 1], 1, U, b"piece")
    assert reader.found[room + 1].position == file.starts[room + 2]
    assert reader.found[-1] == Record(len(file.text), 1, NONE, b"end")
    assert reader.found == file.model().found


def test_a_line_with_room_stays_open_when_that_of_a_completed_one_is_over() -> None:
    file = File([line("O"), line("E", b"x" * 200), line("o"), *[line("!")] * 60, line("e", b"y")])
    reader = Reader(file)
    reader.read_all([1000])
    assert reader.found[-1] == Record(len(file.text), 1, J | E, b"x" * 200 + b"y")
    assert reader.found == file.model().found


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([b"0123456789"], [(b"0123456789", 0)]),
        ([b"0123456789a"], [(b"0123456789" + note(1), Flag.TRUNCATED)]),
        ([b"0123", b"456789"], [(b"0123456789", J)]),
        ([b"0123", b"456789a"], [(b"0123456789" + note(1), J | Flag.TRUNCATED)]),
        ([b"0123456789a", b"b", b""], [(b"0123456789" + note(2), J | Flag.TRUNCATED)]),
    ],
)
@pytest.mark.parametrize("sizes", [[100], [1]])
@pytest.mark.parametrize("finished", [True, False])
def test_a_record_is_cut_at_its_limit(
    messages: list[bytes],
    expected: list[tuple[bytes, int]],
    sizes: list[int],
    finished: bool,  # noqa: FBT001 - a table's column
) -> None:
    pieces = [line("O", message) for message in messages]
    file = File([*pieces[:-1], line("o" if finished else "O", messages[-1])])
    reader = Reader(file, record_bytes_max=10)
    reader.read_all(sizes)
    unfinished = 0 if finished else U
    assert [(record.body, record.flags) for record in reader.found] == [
        (body, flags | unfinished) for body, flags in expected
    ]


def test_lines_far_from_partial_ones_stay_where_they_are() -> None:
    kinds = ["oe!" * 30 + "OoEO!eo" + "o" * 40 + "Oo", "eoo" * 50, "O" + "e" * 50 + "o" + "e" * 50 + "EOo"]
    readers = [Reader(file_of(each * 3)) for each in kinds]
    read_all_together(readers, [1000])
    for reader in readers:
        model = reader.file.model()
        model.flush(len(reader.file.text))
        assert reader.found == model.found


def test_plain_lines_are_passed_on_as_they_are() -> None:
    file = file_of("oeo!")
    segments = [file.segment(0, 4)]
    lines = cri.parse(file.text, segments)
    records = assemble(lines, [Assembly()], segments, NO_LIMIT)
    assert records.text is lines.text
    assert records.times is lines.times
    assert records.positions.tolist() == file.starts[1:]
    assert records.ends.tolist() == [len(file.text)]


@pytest.mark.parametrize("kinds", ["", "O"])
def test_no_lines_change_nothing(kinds: str) -> None:
    reader = Reader(file_of(kinds + "o"))
    reader.read(len(kinds))
    before = reader.end
    reader.read(0)
    assert reader.found == []
    assert reader.end == before


def test_what_is_at_or_below_the_floor_is_dropped() -> None:
    file = file_of("oooo")
    reader = Reader(file, floor=file.starts[2])
    reader.read_all([1])
    assert [record.body for record in reader.found] == [b"o2", b"o3"]


def test_a_flood_of_small_pieces_is_held_once_and_joined() -> None:
    count = 20_000
    file = File([line("O", b"ab")] * count + [line("o", b"c")])
    reader = Reader(file)
    reader.read_all([1000])
    assert [(record.body, record.flags) for record in reader.found] == [(b"ab" * count + b"c", J)]


KINDS = st.sampled_from("ooeeOOOEE!")


@st.composite
def files(draw: st.DrawFn) -> File:
    """Lines of both streams; sometimes one stream stays silent long enough for the other's room to end."""
    kinds = draw(st.lists(KINDS, max_size=14))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(kinds)))
        kinds[at:at] = [draw(st.sampled_from("oe!"))] * draw(st.integers(20, 45))
        kinds += draw(st.lists(KINDS, max_size=6))
    if draw(st.integers(0, 3)) == 0:
        kinds *= 2
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    texts = "abcdefghijkl"
    return File(
        [
            line(kind, (texts[i % 11 :] + texts)[: sizes[i % len(sizes)]].encode(), 10**9 * i + i % 3)
            for i, kind in enumerate(kinds)
        ]
    )


@given(
    st.lists(st.tuples(files(), st.lists(st.integers(0, 9), min_size=1, max_size=9)), min_size=1, max_size=3),
    st.integers(1, 30),
)
@settings(deadline=None, max_examples=150)
def test_any_files_are_assembled_as_one_line_at_a_time_would(drawn: list[tuple[File, list[int]]], limit: int) -> None:
    readers = [Reader(file, record_bytes_max=limit) for file, _ in drawn]
    for turn in range(9):
        read_together(readers, [counts[turn % len(counts)] for _, counts in drawn])
    for reader in readers:
        model = Model(0, limit)
        for i in range(reader.at):
            model.read(reader.file.lines[i], reader.file.starts[i], reader.file.times[i])
        assert reader.found == model.found
        assert reader.end == model.reached(reader.file.starts[reader.at])
        reader.read_all([5])
        model = reader.file.model(record_bytes_max=limit)
        model.flush(len(reader.file.text))
        assert reader.found == model.found


@given(files(), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 30))
@example(file_of("EO" + "!" * 24 + "eo"), [1], 20)
@example(file_of("EOE" + "!" * 27 + "eo"), [100], 20)
@example(file_of("EO!eo"), [2], 20)
@settings(deadline=None, max_examples=60)
def test_reading_on_from_any_position_gives_the_rest(file: File, sizes: list[int], limit: int) -> None:
    whole = Reader(file, record_bytes_max=limit)
    whole.read_all([7])
    positions = [record.position for record in whole.found]
    assert positions == sorted(set(positions))
    readers, rests = [], []
    for i, position in enumerate(positions):
        # From the start of the line that holds the byte before it; if that byte ends a line, from behind it as well.
        begins = {file.line_at(position - 1)} | ({file.line_at(position)} if position in file.starts else set())
        readers += [Reader(file, begin, position, limit) for begin in begins]
        rests += [whole.found[i + 1 :] for _ in begins]
    read_all_together(readers, sizes)
    assert [reader.found for reader in readers] == rests


@given(files(), st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_reading_on_from_any_end_gives_the_rest(file: File, sizes: list[int]) -> None:
    whole = Reader(file)
    whole.read_all([1000])
    reader = Reader(file)
    readers, rests = [], []
    while reader.at < len(file.lines):
        reader.read(sizes[reader.at % len(sizes)])
        begin = file.line_at(reader.end if reader.end in file.starts else reader.end - 1)
        readers.append(Reader(file, begin, reader.end))
        rests.append(whole.found[len(reader.found) :])
    read_all_together(readers, [4])
    assert [again.found for again in readers] == rests
