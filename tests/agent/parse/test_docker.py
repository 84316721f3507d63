r"""The parser of Docker's json-file format, against one that reads a line at a time."""

import datetime as dt
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.parse import docker
from agent.parse.excerpts import gathered
from agent.parse.lines import Lines, Segment
from wire.batch import Flag
from wire.codec import TIME_NS_MAX

Row = tuple[int, int, int, int, bool, bytes]  # start, end, time, flags, partial, message

# With `attrs` as Docker writes them: a flat object of strings.
PAIR = rb'"[^"\\\x00-\x1f\x80-\xff]*":"[^"\\\x00-\x1f\x80-\xff]*"'
ATTRS = rb'(?:,"attrs":\{(?:' + PAIR + rb"(?:," + PAIR + rb")*)?\})?"
SHAPE = re.compile(
    rb'\{"log":"((?:[^"\\]|\\.)*)","stream":"(stdout|stderr)"' + ATTRS + rb',"time":"([^"]*)"\}', re.DOTALL
)
ESCAPE = re.compile(rb'\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))')
TIME_SHAPE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
SIMPLE = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def reference_text(text: bytes) -> bytes | None:
    units: list[int | bytes] = []  # UTF-16 units and plain bytes
    at = 0
    while at < len(text):
        if text[at] != ord("\\"):
            units.append(text[at : at + 1])
            at += 1
            continue
        match = ESCAPE.match(text, at)
        if match is None:
            return None
        units.append(int(match[2], 16) if match[2] else bytes([SIMPLE[match[1][0]]]))
        at = match.end()
    out = b""
    for index, unit in enumerate(units):
        if isinstance(unit, bytes):
            out += unit
            continue
        before = units[index - 1] if index else b""
        after = units[index + 1] if index + 1 < len(units) else b""
        if 0xD800 <= unit < 0xDC00 and isinstance(after, int) and 0xDC00 <= after < 0xE000:
            out += chr(0x10000 + ((unit - 0xD800) << 10) + after - 0xDC00).encode()
        elif 0xDC00 <= unit < 0xE000 and isinstance(before, int) and 0xD800 <= before < 0xDC00:
            continue
        else:
            out += (chr(unit) if not 0xD800 <= unit < 0xE000 else "\ufffd").encode()
    return out


def reference_line(line: bytes) -> tuple[int, int, bool, bytes] | None:
    match = SHAPE.fullmatch(line)
    if match is None:
        return None
    text = reference_text(match[1])
    time = TIME_SHAPE.fullmatch(match[3])
    if text is None or time is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(time[1].decode() + "+00:00")
    except ValueError:
        return None
    ns = (moment - EPOCH) // dt.timedelta(seconds=1) * 10**9 + int((time[2] or b"0").ljust(9, b"0"))
    if not 0 <= ns <= TIME_NS_MAX:
        return None
    return (
        ns,
        Flag.STDERR if match[2] == b"stderr" else 0,
        not match[1].endswith(b"\\n") or not text.endswith(b"\n"),
        text,
    )


def reference(block: bytes, segments: list[Segment]) -> list[list[Row]]:
    found = []
    begin = 0
    for segment in segments:
        rows: list[Row] = []
        at, time = segment.position, segment.time
        for line in block[begin : begin + segment.size].split(b"\n")[:-1]:
            time, flags, partial, message = reference_line(line) or (time, Flag.MALFORMED, False, line)
            if not partial and flags != Flag.MALFORMED:
                message = message[:-1]
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


def parse(*lines: bytes) -> list[Row]:
    block = b"".join(line + b"\n" for line in lines)
    return rows_of(docker.parse(block, [Segment(len(block), 500, 7)]))[0]


TIME = b"2023-04-05T02:29:34.687797577Z"
TIME_NS = 1_680_661_774_687_797_577


def line_of(text: bytes, stream: bytes = b"stdout", time: bytes = TIME, attrs: bytes | None = None) -> bytes:
    between = b"" if attrs is None else b',"attrs":{%b}' % attrs
    return b'{"log":"%b","stream":"%b"%b,"time":"%b"}' % (text, stream, between, time)


@pytest.mark.parametrize(
    ("text", "partial", "message"),
    [
        (rb"hello\n", False, b"hello"),
        (rb"hello", True, b"hello"),
        (rb"\n", False, b""),
        (rb"", True, b""),
        (rb"n", True, b"n"),
        (rb"\\n", True, rb"\n"),
        (rb"\\\n", False, b"\\"),
        (rb"\r\n", False, b"\r"),
        (rb"a\nb\n", False, b"a\nb"),
        (rb"\"\\\/\b\f\n\r\t\n", False, b'"\\/\b\f\n\r\t'),
        (rb"\u003cb\u003e \u0026\n", False, b"<b> &"),
        (rb"\u0000\u007f\u0080\u07ff\u0800\uffff\n", False, "\0\x7f\x80\u07ff\u0800\uffff".encode()),
        (rb"\ud83d\ude00\uD83D\uDE00", True, "😀😀".encode()),
        (rb"\ud83d", True, "\ufffd".encode()),
        (rb"\ude00\n", False, "\ufffd".encode()),
        (rb"\ud83d\ud83d\ude00x\ude00\ud83dx\ude00", True, "\ufffd😀x\ufffd\ufffdx\ufffd".encode()),
        (rb"\ud83d \ude00", True, "\ufffd \ufffd".encode()),
        (b"\xc3\xa4\xff\xfe\\n", False, b"\xc3\xa4\xff\xfe"),
        (b"a\x01b\x00\\n", False, b"a\x01b\x00"),
        (b'{\\"a\\":1}\\n', False, b'{"a":1}'),
        (rb"\",\"stream\":\"stderr\",\"time\":\"x\n", False, b'","stream":"stderr","time":"x'),
    ],
)
def test_a_text_is_unescaped(text: bytes, partial: bool, message: bytes) -> None:  # noqa: FBT001 - a table's column
    line = line_of(text)
    assert parse(line) == [(500, 500 + len(line) + 1, TIME_NS, 0, partial, message)]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (line_of(rb"x\n", b"stderr"), (TIME_NS, Flag.STDERR, False, b"x")),
        (line_of(rb"x\n", time=b"2023-04-05T02:29:34Z"), (TIME_NS // 10**9 * 10**9, 0, False, b"x")),
        (line_of(rb"x\n", time=b"2023-04-05T02:29:34.6Z"), (TIME_NS // 10**9 * 10**9 + 600_000_000, 0, False, b"x")),
        (line_of(rb"x\n", time=b"2023-04-05T04:29:34.687797577+02:00"), (TIME_NS, 0, False, b"x")),
        (line_of(rb"x\n", b"stderr", attrs=b'"a":"b"'), (TIME_NS, Flag.STDERR, False, b"x")),
        (line_of(rb"\"\u0041", attrs=b""), (TIME_NS, 0, True, b'"A')),
        (line_of(b"", attrs=b'"stream":"stderr","time":"x","log":"y"'), (TIME_NS, 0, True, b"")),
        (b'{"log":"\\ud800\x01","x":1,"stream":"stdout","time":"%b"}' % TIME, (TIME_NS, 0, True, b"\xef\xbf\xbd\x01")),
        # of an odd shape
        (line_of(rb"x\n", attrs=rb'"a\n":"\"b,","log":"no"'), (TIME_NS, 0, False, b"x")),
        (line_of(rb"x\n", attrs='"ä":"€"'.encode()), (TIME_NS, 0, False, b"x")),
        (line_of(rb"x\n", attrs=b'"a":{"b":["c",1]},"d":null, "e" : "f"'), (TIME_NS, 0, False, b"x")),
        (line_of(rb"x\n", attrs=b'"a":"b"},"log":"y\\n","z":{"c":"d"'), (TIME_NS, 0, False, b"y")),
        (line_of(rb"x\n", attrs=b'"a":"b"},"stream":"stderr","z":{"c":"d"'), (TIME_NS, Flag.STDERR, False, b"x")),
        (line_of(rb"x\n")[:-1] + b"} ", (TIME_NS, 0, False, b"x")),
        (line_of(rb"x\n") + b"\r", (TIME_NS, 0, False, b"x")),
        (
            b'{"log":"\\u0041\\n","stream":"stderr","attrs":{"log":"no","q":"\\\\\\"\\n"},"time":"%b"}' % TIME,
            (TIME_NS, Flag.STDERR, False, b"A"),
        ),
        (b'{ "time" : "%b", "stream":"stdout", "log":"\xff\\tx" }' % TIME, (TIME_NS, 0, True, b"\xff\tx")),
        (b'{"log":"a\\n","log":"b\\n","stream":"stdout","time":"%b"}' % TIME, (TIME_NS, 0, False, b"b")),
        (b'{"log":"a\\n","x":"y","stream":"stdout","time":"%b"}' % TIME, (TIME_NS, 0, False, b"a")),
        (b'{"stream":"stdout","time":"%b"}' % TIME, (TIME_NS, 0, True, b"")),
        (b'{"stream":"stdout","log":"","time":"%b"}' % TIME, (TIME_NS, 0, True, b"")),
    ],
)
def test_a_line_is_read(line: bytes, row: tuple[int, int, bool, bytes]) -> None:
    assert parse(line) == [(500, 500 + len(line) + 1, *row)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{}",
        b'{"log":"',
        b'"}',
        line_of(rb"x\n")[:-1],
        line_of(rb"x\n")[1:],
        line_of(rb"x\n") + b"x",
        line_of(rb"x\n", b"stdin"),
        line_of(rb"x\n", time=b""),
        line_of(rb"x\n", time=b"2023-04-31T02:29:34Z"),
        line_of(rb"x\n", time=b"2023-04-05T02:29:34.1234567891Z"),
        line_of(b'a"b\\n'),
        line_of(rb"x\n", attrs=b'"a":"b",'),
        line_of(rb"x\n", attrs=b'"a","b"'),
        line_of(rb"x\n", attrs=b'"a":"b":"c":"d"'),
        line_of(rb"x\n", attrs=b'"a":"b" "c":"d"'),
        line_of(rb"x\n", attrs=b'"a":"b","c"'),
        line_of(rb"x\n", attrs=b'"a":"\x01"'),
        line_of(rb"x\n", attrs=b'"a":"\\x"'),
        line_of(rb"x\n", attrs=b"x"),
        line_of(b'a"b\\n', attrs=b'"a":"b"'),
        line_of(b"a\\"),
        line_of(rb"a\x\n"),
        line_of(rb"a\u12g4\n"),
        line_of(rb"a\u12"),
        line_of(rb"a\u"),
        line_of(rb"\\\u00\n"),
        b'{"log":1,"stream":"stdout","time":"%b"}' % TIME,
        b'{"log":null,"stream":"stdout","time":"%b"}' % TIME,
        b'{"log":"x\\n","time":"%b"}' % TIME,
        b'{"log":"x\\n","stream":"stdout"}',
        b'{"x":1,"log":"\\ud800","stream":"stdout","time":"%b"}' % TIME,
        b'{"log":"x\\n","stream":"stdout","time":"\\u0032%b"}' % TIME[1:],
        b'{"log":"x\\n","stream":"std\xff","time":"%b"}' % TIME,
        b'{"a":' * 100_000,
        bytes(200),
    ],
)
def test_another_line_is_kept_raw_and_flagged(line: bytes) -> None:
    odd = (500, 500 + len(line) + 1, 7, Flag.MALFORMED, False, line)
    good = line_of(rb"\u0041\"\n")
    start = 500 + len(line) + 1
    # Alone, and beside a line with escapes of its own.
    assert parse(line) == [odd]
    assert parse(line, good) == [odd, (start, start + len(good) + 1, TIME_NS, 0, False, b'A"')]


@pytest.mark.parametrize("attrs", [b'"n":"x"', b'"n":"x","\xc3\xa4":"\\n\\"y"', b'"n":"%b"' % (b"x" * 500)])
def test_lines_with_attributes_are_not_read_one_by_one(attrs: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = docker._decoded_line

    def count(line: bytes) -> object:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr("agent.parse.docker._decoded_line", count)
    streams = [b"stderr" if i % 3 else b"stdout" for i in range(100)]
    lines = [line_of(rb"\"%d\"\n" % i, stream, attrs=attrs) for i, stream in enumerate(streams)]
    lines[5] = line_of(rb"\"5\"\n")
    lines[7] = line_of(rb"\"7\"\n", attrs=b'"other":"y"')
    lines[50] = line_of(b'\\"50\\"","log":"no\\n', attrs=attrs)
    rows = parse(*lines)
    assert [row[5] for row in rows] == [b'"%d"' % i if i != 50 else b"no" for i in range(100)]
    assert [bool(row[3] & Flag.STDERR) for row in rows] == [
        stream == b"stderr" and i not in {5, 7, 50} for i, stream in enumerate(streams)
    ]
    assert len(decoded) < 8


def test_a_line_with_attributes_is_read_alike_whatever_is_beside_it() -> None:
    texts = [rb"plain\n", b"\x01\\n", rb"\ud800\n", b"\xff\\n", rb"\x\n", b'quo"te\\n', b"", rb"\\", rb"\u00e4\n"]
    lines = [line_of(text, attrs=b'"a":"b"') for text in texts]
    alone = [parse(line)[0][3:] for line in lines]
    others = [line_of(rb"other %d\n" % i, attrs=b'"a":"b"') for i in range(20)]
    assert [row[3:] for row in parse(*others, *lines)][20:] == alone
    assert [row[3:] for row in parse(*lines, *others)][: len(lines)] == alone


def test_lines_with_and_without_escapes_do_not_disturb_each_other() -> None:
    texts = [rb"plain\n", rb"", rb"\"q\"", rb"\\\\\n", rb"part", rb"\u00e4\n", rb"plain\n"]
    messages = [b"plain", b"", b'"q"', b"\\\\", b"part", "ä".encode(), b"plain"]
    assert [row[5] for row in parse(*(line_of(text) for text in texts))] == messages


@pytest.mark.parametrize("segments", [[], [Segment(0, 9, 9)]])
def test_nothing_gives_no_lines(segments: list[Segment]) -> None:
    assert rows_of(docker.parse(b"", segments)) == [[]] * len(segments)


PLAIN = st.text(st.characters(exclude_characters='\n"\\', exclude_categories=["Cs", "Cc"]), max_size=12).map(str.encode)
ESCAPES = st.sampled_from(
    [
        rb"\n",
        rb"\"",
        rb"\\",
        rb"\t",
        rb"\u003c",
        rb"\u20AC",
        rb"\ud83d",
        rb"\ude00",
        rb"\ud83d\ude00",
        rb"\x",
        rb"\u12",
        b"\xff",
    ]
)
TIMES = st.sampled_from(
    [
        b"2023-04-05T02:29:34Z",
        b"2023-04-05T02:29:34.5Z",
        TIME,
        b"2023-04-05T02:30:00.123456Z",
        b"2023-13-05T02:29:34Z",
        b"2023-04Z",
        b"",
    ]
)

WORDS = st.sampled_from(
    [b'"tag":"web/cart"', b'"":""', b'"log":"x"', b'"stream":"stderr"', b'"time":"2023"', b'"a":"}{"']
)


@st.composite
def docker_lines(draw: st.DrawFn) -> bytes:
    """A line as Docker writes it, or nearly so; never one of an odd shape that is good JSON."""
    text = b"".join(draw(st.lists(PLAIN | ESCAPES, max_size=5))) + draw(st.sampled_from([rb"\n", rb"\n", b""]))
    stream = draw(st.sampled_from([b"stdout", b"stderr", b"stdin"]))
    attrs = draw(st.none() | st.lists(WORDS, max_size=3).map(b",".join))
    line = bytearray(line_of(text, stream, draw(TIMES), attrs))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(line) - 1))
        # No spaces and line ends: with them the line may stay good JSON, which the reference does not read.
        line[at : at + draw(st.integers(0, 2))] = draw(st.text('"\\,:{}nu0Z#!', max_size=2)).encode()
    return bytes(line)


def is_odd(line: bytes) -> bool:
    """Whether it is JSON of an odd shape: those are tested one by one above."""
    try:
        return isinstance(json.loads(line.decode("latin-1")), dict) and SHAPE.fullmatch(line) is None
    except ValueError:
        return False


@given(
    st.lists(
        st.tuples(
            st.lists(docker_lines() | st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=6),
            st.integers(0, 1 << 60),
            st.integers(0, TIME_NS_MAX),
        ),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=250)
def test_any_bytes_are_read_as_one_line_at_a_time_would(files: list[tuple[list[bytes], int, int]]) -> None:
    parts = [b"".join(line + b"\n" for line in lines if not is_odd(line)) for lines, _, _ in files]
    segments = [Segment(len(part), at, time) for part, (_, at, time) in zip(parts, files, strict=True)]
    block = b"".join(parts)
    assert rows_of(docker.parse(block, segments)) == reference(block, segments)
