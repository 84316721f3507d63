from __future__ import annotations

import pytest

from agent.follow.generations import Container
from agent.follow.identity import FIRST_LINE_BYTES_MAX, HEAD_BYTES, TAIL_BYTES, first_line, source_of

WEB = Container("shop", "cart", "uid-1", "web")
LINE = b"2023-04-05T02:29:34.687797577Z stdout F hello"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", None),
        (b"half a line", None),
        (b"one\n", b"one"),
        (b"one\ntwo", b"one"),
        (b"\n", b""),
        (b"x" * FIRST_LINE_BYTES_MAX, b"x" * FIRST_LINE_BYTES_MAX),
        (b"x" * (FIRST_LINE_BYTES_MAX + 5) + b"\n", b"x" * FIRST_LINE_BYTES_MAX),
        (b"x" * (FIRST_LINE_BYTES_MAX - 1), None),
    ],
)
def test_the_first_line_is_known_once_it_is_complete(head: bytes, expected: bytes | None) -> None:
    assert first_line(head) == expected


def test_the_source_of_a_file_stays_what_it_was() -> None:
    # Sources are stored: another value here would make every agent send everything again.
    assert source_of("prod", WEB, 0, LINE).hex() == "8d6f7cb8c3d988db57ae6936f4a2c069"


@pytest.mark.parametrize(
    "other",
    [
        source_of("test", WEB, 0, LINE),
        source_of("prod", Container("shop", "cart", "uid-2", "web"), 0, LINE),
        source_of("prod", Container("shop", "cart", "uid-1", "sidecar"), 0, LINE),
        source_of("prod", WEB, 1, LINE),
        source_of("prod", WEB, 0, LINE.replace(b"577Z", b"578Z")),
        source_of("prod", WEB, 0, b""),
    ],
)
def test_another_file_is_another_source(other: bytes) -> None:
    assert other != source_of("prod", WEB, 0, LINE)
    assert len(other) == 16


def test_the_end_of_a_long_first_line_counts_and_its_middle_does_not() -> None:
    def source(middle: bytes, end: bytes) -> bytes:
        return source_of("prod", WEB, 0, b"h" * HEAD_BYTES + middle + end.rjust(TAIL_BYTES, b"."))

    assert source(b"a" * 100, b"1") == source(b"b" * 100, b"1")
    assert source(b"a" * 100, b"1") != source(b"a" * 100, b"2")
