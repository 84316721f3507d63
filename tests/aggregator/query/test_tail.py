"""What waits for a reader, against what should."""

from __future__ import annotations

import asyncio

from aggregator.logql.tree import LogExpression, Selector
from aggregator.query.cursor import Cursor
from aggregator.query.tail import Missed, Piece, Tail


def tail(limit: int) -> Tail:
    return Tail(LogExpression(Selector()), lambda _, __: b"", 10, limit)


def piece(at_ms: int, size: int = 10, records: int = 1) -> Piece:
    return Piece(records, b"x" * size, Cursor(at_ms))


async def taken(one: Tail) -> list[Piece | Missed]:
    found = []
    while not one.is_empty:
        got = await one.take()
        assert got is not None
        found.append(got)
    return found


async def test_commits_that_are_none_of_its_do_not_wait() -> None:
    one = tail(100)
    one.offer(piece(9))
    one.offer(piece(10))
    one.miss(10)
    one.offer(piece(11))
    assert await taken(one) == [piece(11)]


async def test_what_finds_no_room_is_counted_and_told_behind_what_waits() -> None:
    one = tail(25)
    for at_ms in (11, 12, 13, 14):
        one.offer(piece(at_ms, records=3))
    assert one.has_missed
    assert await taken(one) == [piece(11, records=3), piece(12, records=3), Missed(6, Cursor(12))]
    assert not one.has_missed


async def test_it_goes_on_when_half_is_taken_and_says_so_first() -> None:
    one = tail(40)
    for at_ms in range(11, 16):
        one.offer(piece(at_ms))
    await one.take()
    one.offer(piece(16))
    await one.take()
    await one.take()
    one.offer(piece(17))
    assert await taken(one) == [piece(14), Missed(2, Cursor(14)), piece(17)]


async def test_a_line_larger_than_the_room_is_not_lost() -> None:
    one = tail(5)
    one.offer(piece(11, size=50))
    assert await taken(one) == [piece(11, size=50)]


async def test_what_nobody_counted_stays_so() -> None:
    one = tail(15)
    one.offer(piece(11))
    one.offer(piece(12))
    one.miss(13)
    one.offer(piece(14))
    assert await taken(one) == [piece(11), Missed(None, Cursor(11))]


async def test_a_reader_waits_and_cancelling_it_loses_nothing() -> None:
    one = tail(100)
    waiting = asyncio.ensure_future(one.take())
    await asyncio.sleep(0)
    waiting.cancel()
    one.offer(piece(11))
    assert await one.take() == piece(11)
    waiting = asyncio.ensure_future(one.take())
    await asyncio.sleep(0)
    one.offer(piece(12))
    assert await waiting == piece(12)


async def test_closed_it_gives_what_waits_and_then_nothing() -> None:
    one = tail(100)
    one.offer(piece(11))
    one.close()
    assert [await one.take(), await one.take()] == [piece(11), None]
