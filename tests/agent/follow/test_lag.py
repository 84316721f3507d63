"""What lags is what could be stored and is not: no half a line, nothing that can never be read."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import os
import time
from typing import TYPE_CHECKING

import pytest

from agent.parse.unfinished import PATIENCE_S
from agent.report import accounts
from tests.agent.tailing import Clock, TailedNode, cri, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.agent.stand_in import Aggregator, Node

LIVE = "a_pod_u1/web/0.log"
ROTATED = "a_pod_u1/web/0.log.20230405-022934"
HALF = b"2023-04-05T02:29:34.1Z stdout F half a li"
WHOLE = b"".join(cri(number, os.urandom(60).hex()) for number in range(3000))


def damaged() -> bytes:
    packed = gzip.compress(WHOLE)
    half = len(packed) // 2
    return packed[:half] + bytes(100) + packed[half + 100 :]


def aged(path: Path) -> None:
    """Let the file be too old to be in the making."""
    long_ago_s = time.time() - 3600
    os.utime(path, (long_ago_s, long_ago_s))


def lag(node: TailedNode) -> tuple[float, float]:
    node.tail.measure()
    return node.metric("lag_bytes"), node.metric("lag_seconds")


@pytest.mark.parametrize("content", [b"not gzip, with a trailer", damaged()], ids=["from the start", "in the middle"])
def test_a_damaged_file_is_lost_and_does_not_lag(tailed: TailedNode, clock: Clock, content: bytes) -> None:
    aged(tailed.write(f"{ROTATED}.gz", content))
    for _ in range(2):
        tailed.settle()
        clock.forward(10)
        tailed.settle()
        assert tailed.gaps == [(None, "corrupt gzip file")]
        assert lag(tailed) == (0, 0)
        file = tailed.file(".gz")
        assert (file.lag_bytes, file.unfinished_bytes, file.spoilt) == (0, 0, True)
        tailed.restart()


@pytest.mark.parametrize("lines", [[], [cri(1)]], ids=["alone", "behind a line"])
def test_half_a_line_does_not_lag_however_long_it_is_there(
    tailed: TailedNode, clock: Clock, lines: list[bytes]
) -> None:
    tailed.write(LIVE, *lines, HALF)
    tailed.settle()
    clock.forward(3600)
    tailed.look()
    assert lag(tailed) == (0, 0)
    assert tailed.file(LIVE).unfinished_bytes == len(HALF)
    tailed.write(LIVE, b"ne\n")
    clock.forward(1)
    tailed.look()
    tailed.place()
    clock.forward(2)
    found_bytes, found_s = lag(tailed)
    # Since it could be stored, not since it began.
    assert found_bytes == len(HALF) + 3
    assert found_s <= 4
    tailed.settle()
    assert lag(tailed) == (0, 0)
    assert tailed.bodies[-1] == b"half a line"


def test_whole_lines_before_half_a_one_lag_until_they_are_stored(tailed: TailedNode, clock: Clock) -> None:
    tailed.write(LIVE, cri(1), cri(2), HALF)
    tailed.scan()
    tailed.place()
    rounds = tailed.tail.read_round()
    clock.forward(5)
    tailed.tail.close_held()
    rounds += tailed.tail.read_round()
    assert lag(tailed)[0] == len(cri(1) + cri(2))
    tailed.commit(rounds)
    assert lag(tailed) == (0, 0)


def test_half_a_line_at_the_end_of_a_file_that_is_over_is_stored(tailed: TailedNode, clock: Clock) -> None:
    tailed.write(ROTATED, cri(1), HALF)
    tailed.write(LIVE, cri(2))
    tailed.settle()
    clock.forward(PATIENCE_S + 1)
    tailed.overdue()
    file = tailed.file(ROTATED)
    assert (file.committed, file.unfinished_bytes, lag(tailed)) == (file.size, 0, (0, 0))


def test_of_files_that_are_not_placed_it_is_not_known_whether_they_lag(tailed: TailedNode, clock: Clock) -> None:
    tailed.tail.measure()
    assert math.isnan(tailed.metric("lag_bytes")), "nothing was scanned yet"
    tailed.write(LIVE, cri(1))
    tailed.scan()
    assert [math.isnan(figure) for figure in lag(tailed)] == [True, True]
    assert tailed.metric("unplaced_files") == 1
    tailed.settle()
    assert (lag(tailed), tailed.metric("unplaced_files")) == ((0, 0), 0)
    clock.forward(60)
    tailed.look()  # at rest
    tailed.tail.displace()
    for _ in range(2):
        assert math.isnan(tailed.metric("lag_bytes")), "the store may be another"
        assert tailed.metric("unplaced_files") == 1
        tailed.tail.measure()
    tailed.write("a_pod_u1/api/0.log", cri(2))
    tailed.settle()
    assert (lag(tailed), tailed.metric("unplaced_files")) == ((0, 0), 0)


def test_files_that_lag_are_told_of_while_others_are_not_placed(tailed: TailedNode) -> None:
    tailed.write(LIVE, cri(1))
    tailed.scan()
    tailed.place()
    tailed.write("a_pod_u1/api/0.log", cri(2))
    tailed.scan()
    assert (lag(tailed)[0], tailed.metric("unplaced_files")) == (len(cri(1)), 1)


def test_how_old_bytes_are_that_were_there_before_the_agent_nobody_knows(tailed: TailedNode, clock: Clock) -> None:
    def of_unknown_age() -> int:
        ((_, files),) = tailed.tail.containers()
        return accounts.lag(files, clock.now_s).of_unknown_age

    tailed.write(LIVE, cri(1), cri(2))
    pack(tailed.write(ROTATED, cri(0)))
    tailed.scan()
    tailed.place()
    assert of_unknown_age() == lag(tailed)[0] > len(cri(1) + cri(2)), "the compressed one counts, too"
    tailed.settle()
    assert of_unknown_age() == 0
    tailed.write(LIVE, cri(3))
    (tailed.root / LIVE).rename(tailed.root / f"{LIVE}.20230405-022935")
    tailed.write(LIVE, cri(4))
    tailed.scan()
    tailed.place()
    assert (of_unknown_age(), lag(tailed)[0]) == (0, len(cri(3) + cri(4))), "the agent saw them come"
    tailed.settle()
    tailed.committed.clear()
    tailed.tail.displace()
    tailed.look()
    tailed.place()
    assert of_unknown_age() == lag(tailed)[0] > 0


async def test_an_agent_is_ready_once_it_is_told_what_is_stored_of_its_files(
    node: Node,
    aggregator: Aggregator,
    until: Callable[[Callable[[], bool]], Awaitable[None]],
    get: Callable[[str], Awaitable[tuple[int, bytes]]],
) -> None:
    node.write(LIVE, cri(1).rstrip())
    told = asyncio.Event()

    async def late(sources: list[bytes]) -> None:
        if sources:
            await told.wait()

    aggregator.before_positions = late
    async with node.agent() as url:
        await until(lambda: bool(aggregator.positions_asked))
        status = json.loads((await get(f"{url}/status"))[1])
        assert (status["lag_bytes"], status["unplaced_files"]) == (None, 1)
        (file,) = status["files"]
        (container,) = status["containers"]
        assert [(of["lag_bytes"], of["lag_seconds"]) for of in (file, container)] == [(None, None)] * 2
        assert container["unplaced_files"] == 1
        assert (await get(f"{url}/readyz"))[0] == 503
        told.set()
        await until(lambda: aggregator.bodies() == [b"line 1"])
        assert (await get(f"{url}/readyz")) == (200, b"ok\n")
        told.clear()
        aggregator.positions_asked.clear()
        node.write("a_pod_u1/api/0.log", cri(2).rstrip())
        await until(lambda: bool(aggregator.positions_asked))
        code, text = await get(f"{url}/readyz")
        assert (code, text) == (200, b"ok: it is not known what is stored of 1 log file\n")
        told.set()


async def test_status_tells_half_a_line_and_damage_from_lag(
    node: Node,
    aggregator: Aggregator,
    until: Callable[[Callable[[], bool]], Awaitable[None]],
    get: Callable[[str], Awaitable[tuple[int, bytes]]],
) -> None:
    live = node.write("a_pod_u1/web/0.log", cri(1).rstrip())
    with live.open("ab") as stream:
        stream.write(HALF)
    packed = live.with_name("0.log.20230405-022934.gz")
    packed.write_bytes(damaged())
    aged(packed)
    async with node.agent() as url:
        await until(lambda: b"line 1" in aggregator.bodies())
        told: dict[str, dict[str, object]] = {}
        while not (told and all(file["lag_bytes"] == 0 for file in told.values())):
            found = json.loads((await get(f"{url}/status"))[1])
            told = {file["path"]: file for file in found["files"]}
    assert (told[str(live)]["unfinished_bytes"], told[str(live)]["damaged"]) == (len(HALF), False)
    assert (told[str(packed)]["unfinished_bytes"], told[str(packed)]["damaged"]) == (0, True)
