"""Which tokens a file gives, and what a header is worth."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from service.token import RECHECK_S, Access, TokenFileError, Tokens, read_tokens

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("one", ("one",)),
        ("one\ntwo\n", ("one", "two")),
        ("# the old one\r\n  one \r\n\r\n# the new one\ntwo", ("one", "two")),
    ],
)
def test_one_token_a_line(tmp_path: Path, text: str, tokens: tuple[str, ...]) -> None:
    (tmp_path / "token").write_text(text)
    assert read_tokens(tmp_path / "token") == tokens


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"# only\n\n", "is empty"),
        (b"a b\n", "a space in it"),
        (b"a\tb\n", "a space in it"),
        (b"\xff\n", "ASCII"),
    ],
)
def test_a_file_without_a_usable_token_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(data)
    with pytest.raises(TokenFileError, match=said) as caught:
        Tokens(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for use in (read_tokens, Tokens):
        with pytest.raises(TokenFileError, match="No such file"):
            use(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "access"),
    [
        (None, Access.MISSING),
        ("", Access.MISSING),
        ("Bearer", Access.MISSING),
        ("Bearer ", Access.MISSING),
        ("Basic b25l", Access.MISSING),
        ("one", Access.MISSING),
        ("Bearer one", Access.GRANTED),
        ("bearer  one ", Access.GRANTED),
        ("Bearer two", Access.GRANTED),
        ("Bearer three", Access.WRONG),
        ("Bearer on", Access.WRONG),
        ("Bearer ONE", Access.WRONG),
        ("Bearer # no", Access.WRONG),
        ("Bearer ö", Access.WRONG),
        ("Bearer \udcff", Access.WRONG),  # how aiohttp gives the byte 0xff
    ],
)
async def test_what_a_header_is_worth(tmp_path: Path, header: str | None, access: Access) -> None:
    (tmp_path / "token").write_text("one\ntwo\n# no\n")
    assert await Tokens(tmp_path / "token").check(header) is access


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_rotated_secret_is_read_again(tmp_path: Path, clock: Clock) -> None:
    path, new = tmp_path / "token", tmp_path / "new"
    path.write_text("one")
    tokens = Tokens(path, clock)
    new.write_text("two")
    new.rename(path)  # as the kubelet does, by exchanging a link
    clock.now_s += RECHECK_S
    assert await tokens.check("Bearer one") is Access.WRONG
    assert await tokens.check("Bearer two") is Access.GRANTED


async def test_a_secret_written_in_place_is_read_again(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = Tokens(path, clock)
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert await tokens.check("Bearer one") is Access.GRANTED  # not looked at for every request
    clock.now_s += RECHECK_S
    assert await tokens.check("Bearer two") is Access.GRANTED


async def test_a_secret_that_went_bad_lets_nobody_in_until_it_is_mended(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = Tokens(path, clock)
    path.unlink()
    for text in (None, "", "a b"):
        clock.now_s += RECHECK_S
        if text is not None:
            path.write_text(text)
        for _ in range(2):
            with pytest.raises(TokenFileError):
                await tokens.check("Bearer one")
    path.write_text("one")
    clock.now_s += RECHECK_S
    assert await tokens.check("Bearer one") is Access.GRANTED


async def test_a_file_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = Tokens(path, clock)
    path.unlink()
    os.mkfifo(path)  # whoever opens it waits for a writer
    clock.now_s += RECHECK_S
    async with asyncio.timeout(10):
        for _ in range(3):
            assert await tokens.check("Bearer one") is Access.GRANTED
            clock.now_s += RECHECK_S
    with path.open("w") as writer:
        path.unlink()
        path.write_text("two")
        writer.write("two")
    async with asyncio.timeout(10):
        while await tokens.check("Bearer one") is not Access.WRONG:
            await asyncio.sleep(0.01)
    assert await tokens.check("Bearer two") is Access.GRANTED
