"""What the runtimes write, read again line by line in the plainest way."""

from __future__ import annotations

import datetime as dt
import json
import re
from itertools import pairwise

import numpy as np
import pytest

from simulator.lines import Container, Lines, Manner, Voice
from simulator.messages import Messages
from simulator.runtimes import PIECE_BYTES, Runtime, pieces, render

NOW_NS = 1_700_000_000_999_990_000
CONTAINER = Container("shop", "cart-1", "0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app")
MESSAGES = Messages(1)
CRI = re.compile(rb"(\S+) (stdout|stderr) ([PF]) (.*)", re.DOTALL)


def ns(text: str) -> int:
    match = re.fullmatch(r"([-\dT:]{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    assert match
    second = dt.datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    return int(second) * 10**9 + int((match[2] or "0").ljust(9, "0"))


def parsed(runtime: Runtime, line: bytes) -> tuple[int, str, bool, bytes]:
    """Time, stream, whether the line goes on, text."""
    if runtime is Runtime.DOCKER:
        row = json.loads(line)
        assert list(row) == ["log", "stream", "time"]
        return ns(row["time"]), row["stream"], not row["log"].endswith("\n"), row["log"].removesuffix("\n").encode()
    match = CRI.fullmatch(line)
    assert match
    return ns(match[1].decode()), match[2].decode(), match[3] == b"P", match[4]


def joined(runtime: Runtime, data: bytes) -> list[tuple[int, str, bytes]]:
    """Whole lines with the time of their first piece, in the order in which they begin."""
    assert data.endswith(b"\n")
    whole: list[tuple[int, str, bytes]] = []
    opened: dict[str, int] = {}
    for line in data[:-1].split(b"\n"):
        time, stream, partial, text = parsed(runtime, line)
        at = opened.pop(stream, None)
        if at is None:
            at = len(whole)
            whole.append((time, stream, b""))
        whole[at] = (*whole[at][:2], whole[at][2] + text)
        if partial:
            opened[stream] = at
    assert not opened
    return whole


def said(lines: Lines) -> list[tuple[int, str, bytes]]:
    streams = ["stderr" if stderr else "stdout" for stderr in lines.stderr.tolist()]
    return list(zip(lines.times.tolist(), streams, lines.texts, strict=True))


@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("long", [0.0, 0.05, 0.6, 1.0])
@pytest.mark.parametrize("offset", [0, 330, -90])
def test_what_is_said_can_be_read_again(runtime: Runtime, long: float, offset: int) -> None:
    voice = Voice(CONTAINER, Manner(stderr=0.4, long=long, binary=0.05), MESSAGES, exact=runtime.exact)
    for count in (1, 2, 300):
        lines = voice.speak(count, NOW_NS)
        assert joined(runtime, render(runtime, lines, offset)) == said(lines)


@pytest.mark.parametrize("runtime", [Runtime.CONTAINERD, Runtime.CRIO])
def test_times_rise_strictly_in_a_file(runtime: Runtime) -> None:
    voice = Voice(CONTAINER, Manner(stderr=0.4, long=0.3), MESSAGES, exact=True)
    data = b"".join(render(runtime, voice.speak(100, NOW_NS)) for _ in range(3))
    times = [parsed(runtime, line)[0] for line in data.splitlines()]
    assert times == sorted(set(times))


@pytest.mark.parametrize("runtime", Runtime)
def test_lines_of_the_other_stream_come_between_the_pieces(runtime: Runtime) -> None:
    voice = Voice(CONTAINER, Manner(stderr=0.5, long=0.1), MESSAGES, exact=runtime.exact)
    rows = [parsed(runtime, line) for line in render(runtime, voice.speak(500, NOW_NS))[:-1].split(b"\n")]
    between = [one[2] and one[1] != two[1] for one, two in pairwise(rows)]
    assert any(between)


PIECES = [
    (Runtime.CONTAINERD, 16383, [16383]),
    (Runtime.CONTAINERD, 16384, [16384]),
    (Runtime.CONTAINERD, 16385, [16384, 1]),
    (Runtime.CONTAINERD, 32768, [16384, 16384]),
    (Runtime.CONTAINERD, 32769, [16384, 16384, 1]),
    (Runtime.CRIO, 8191, [8191]),
    (Runtime.CRIO, 8192, [8192, 0]),
    (Runtime.CRIO, 8193, [8192, 1]),
    (Runtime.CRIO, 16384, [8192, 8192, 0]),
    (Runtime.DOCKER, 16383, [16383]),
    (Runtime.DOCKER, 16384, [16384, 0]),
    (Runtime.DOCKER, 40000, [16384, 16384, 7232]),
    *((runtime, 0, [0]) for runtime in Runtime),
]


@pytest.mark.parametrize(("runtime", "size", "expected"), PIECES)
def test_where_a_runtime_cuts(runtime: Runtime, size: int, expected: list[int]) -> None:
    text = bytes(i % 251 for i in range(size))
    found = pieces(runtime, text)
    assert [len(piece) for piece in found] == expected
    assert b"".join(found) == text
    assert max(expected) <= PIECE_BYTES[runtime]


FORMATS = [
    (Runtime.CONTAINERD, 687_797_577, b"x", b"2023-11-14T22:13:20.687797577Z stdout F x\n"),
    (Runtime.CONTAINERD, 680_000_000, b"x", b"2023-11-14T22:13:20.68Z stdout F x\n"),
    (Runtime.CONTAINERD, 0, b"", b"2023-11-14T22:13:20Z stdout F \n"),
    (Runtime.CRIO, 680_000_000, b"x", b"2023-11-15T03:43:20.680000000+05:30 stdout F x\n"),
    (Runtime.DOCKER, 1, b"x", b'{"log":"x\\n","stream":"stdout","time":"2023-11-14T22:13:20.000000001Z"}\n'),
    (
        Runtime.DOCKER,
        500_000_000,
        b'a"b\\c\t\r\x1b<>&\xe2\x80\xa8\xc3\xbc\xff',
        (
            b'{"log":"a\\"b\\\\c\\u0009\\r\\u001b\\u003c\\u003e\\u0026\\u2028\xc3\xbc\\ufffd\\n",'
            b'"stream":"stdout","time":"2023-11-14T22:13:20.5Z"}\n'
        ),
    ),
]


@pytest.mark.parametrize(("runtime", "fraction", "text", "expected"), FORMATS)
def test_the_bytes_of_a_line(runtime: Runtime, fraction: int, text: bytes, expected: bytes) -> None:
    time = 1_700_000_000 * 10**9 + fraction
    assert render(runtime, Lines(np.array([False]), np.array([time]), [text]), 330) == expected


@pytest.mark.parametrize("runtime", Runtime)
def test_no_lines_are_no_bytes(runtime: Runtime) -> None:
    assert render(runtime, Lines(np.array([], bool), np.array([], np.int64), [])) == b""
