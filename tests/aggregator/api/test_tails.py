"""Tails over real sockets, of a real store and real commits: every line once, whatever is cut off and when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
import pyarrow as pa
import pytest

from aggregator.api.queries import QueryLimits
from aggregator.query.cursor import Cursor, Cursors
from aggregator.query.replay import Catching
from aggregator.store.schema import LOGS
from tests.aggregator.api.following import DEADLINE_S, Followed, following, lines, until
from tests.aggregator.records import Part, Record, batch, source
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from pathlib import Path

    from aggregator.query.tail import Piece

DAY_NS = 86_400 * 10**9


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0), read_bufsize=1 << 20
    ) as opened:
        yield opened


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    async with following(tmp_path / "store") as opened:
        yield opened


async def test_text_begins_with_the_newest_lines(followed: Followed, session: aiohttp.ClientSession) -> None:
    await followed.commit(*(b"old %d" % n for n in range(20)))
    async with session.get(f"{followed.url}/tail") as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        found = [await answer.content.readline() for _ in range(10)]
        assert [line.split(b" ", 2)[2] for line in found] == [b"old %d\n" % n for n in range(10, 20)]
        await followed.commit(b"new \xff")
        line = await asyncio.wait_for(answer.content.readline(), DEADLINE_S)
        assert line.split(b" ", 1)[1] == b"shop/web-0/app new \xff\n"
    await until(lambda: followed.figure("tails") == 0)
    assert followed.figure("tail_lines_total") == 11


# What is asked, and whether a line (its pod, its body) is meant.
FILTERS: tuple[tuple[str, Callable[[str, bytes], bool]], ...] = (
    ("", lambda _, __: True),
    ("pod=web-1", lambda pod, _: pod == "web-1"),
    ("pod=web-*&grep=even", lambda _, body: b"even" in body),
    ("not=even", lambda _, body: b"even" not in body),
    ("regex=n%3D%5Cd*7%5Cb", lambda _, body: body.split(b"n=")[1].split(b" ")[0].endswith(b"7")),
    ("level=error", lambda _, body: b"level=error" in body),
    ("level=error&level=info&grep=odd", lambda _, body: b"level=warn" not in body and b"odd" in body),
    (urlencode({"q": '{pod=~"web-(1|2)"} | logfmt | n > 40'}), lambda pod, body: pod != "web-0" and number(body) > 40),
    (urlencode({"query": '{namespace="shop"} |= "n=" | logfmt | kind = "odd"'}), lambda _, body: b"odd" in body),
    (
        urlencode({"q": '{container="app", pod!="web-1"} | logfmt | line_format "{{.n}}"', "grep": "odd"}),
        lambda pod, body: pod != "web-1" and b"odd" in body,
    ),
)
WRITERS, COMMITS, RECORDS = 3, 30, 9


def number(body: bytes) -> int:
    return int(body.split(b"n=")[1].split(b" ")[0])


async def write(followed: Followed, writer: int, chance: random.Random) -> dict[tuple[str, int], tuple[str, bytes]]:
    """Commit records with times that jump, stand still, and go back days; gives what was written."""
    written = {}
    position = 0
    pod = f"web-{writer}"
    for _ in range(COMMITS):
        now_ns = time.time_ns()
        records = []
        for _ in range(RECORDS):
            position += 1
            n = chance.randrange(100)
            body = b"n=%d kind=%s level=%s" % (n, (b"even", b"odd")[n % 2], chance.choice((b"error", b"warn", b"info")))
            ts_ns = now_ns - chance.choice((0, 0, 0, 1, 10**9, 2 * DAY_NS))
            records.append(Record(position, body, ts_ns))
            written[source(f"w{writer}").hex(), position] = (pod, body)
        part = Part(source(f"w{writer}"), position - RECORDS, tuple(records), pod=pod)
        await followed.stand.commit(batch(part, node=f"node-{writer}"))
        await asyncio.sleep(chance.random() / 50)
    return written


async def follow(url: str, asked: str, session: aiohttp.ClientSession, chance: random.Random) -> list[tuple[str, int]]:
    """What a tail gets that begins at some moment, and is cut off and goes on any number of times."""
    await asyncio.sleep(chance.random() * 3)
    got: list[tuple[str, int]] = []
    cursor = ""
    while True:
        parameters = f"{asked}&format=json&since=4d&lines=1000"
        headers = {}
        if cursor and chance.random() < 0.5:
            headers["Last-Event-ID"] = cursor
        elif cursor:
            parameters += f"&cursor={cursor}"
        async with session.get(f"{url}/tail?{parameters}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            for _ in range(chance.randrange(1, 250)):
                (line,) = await lines(answer, 1)
                assert "missed" not in line
                cursor = line["cursor"]
                if line["position"] > 1_000_000:
                    return got
                got.append((line["source"], line["position"]))


@pytest.mark.parametrize("queue_bytes", [64 << 20, 0], ids=["from memory", "always behind"])
async def test_every_line_comes_once(tmp_path: Path, session: aiohttp.ClientSession, queue_bytes: int) -> None:
    chance = random.Random(queue_bytes)
    async with following(tmp_path / "store", queue_bytes=queue_bytes) as followed:
        tails = [
            (meant, asyncio.create_task(follow(followed.url, asked, session, random.Random(chance.random()))))
            for asked, meant in FILTERS * 2
        ]
        wrote = await asyncio.gather(*(write(followed, n, random.Random(chance.random())) for n in range(WRITERS)))
        # After everything else: whatever a filter lets through, one of these is the last of it.
        for n, (pod, kind) in enumerate((pod, kind) for pod in ("web-0", "web-1") for kind in (b"odd", b"even")):
            last = Record(2_000_000, b"n=7777777 kind=%s level=error last" % kind, time.time_ns() - n * DAY_NS)
            await followed.stand.commit(batch(Part(source(f"last{n}"), 0, (last,), pod=pod)))
        written = {key: value for one in wrote for key, value in one.items()}
        async with asyncio.timeout(40):
            for meant, task in tails:
                got = await task
                wanted = sorted(key for key, (pod, body) in written.items() if meant(pod, body))
                assert sorted(got) == wanted
                assert wanted


async def test_live_lines_are_in_order_of_commits_and_then_of_time(
    followed: Followed, session: aiohttp.ClientSession
) -> None:
    now_ns = time.time_ns()
    async with session.get(f"{followed.url}/tail?format=json&lines=0") as answer:
        await followed.commit(b"first", ts_ns=now_ns)
        await followed.commit(b"older", ts_ns=now_ns - DAY_NS)
        await followed.commit(b"same", b"time", ts_ns=now_ns - 5)
        found = await lines(answer, 4)
    assert [one["line"] for one in found] == ["first", "older", "same", "time"]


async def test_an_insert_whose_answer_was_lost_is_followed_too(
    followed: Followed, session: aiohttp.ClientSession
) -> None:
    await followed.commit(b"before")
    async with session.get(f"{followed.url}/tail?format=json&lines=1") as answer:
        stand = followed.stand
        await lines(answer, 1)
        # As a failed insert that is in the store all the same: nobody says that it was stored.
        (row,) = await stand.engine.rows(f"SELECT toString(stream_id) AS id FROM {LOGS}", dict[str, str])  # noqa: S608 - a table name
        rows = stand.commits.stamp(one_row(int(row["id"])), time.time())
        await stand.engine.insert(LOGS, rows)
        await followed.commit(b"after")
        assert [one["line"] for one in await lines(answer, 2)] == ["lost and found", "after"]


def one_row(stream: int) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "namespace": pa.array(["shop"]),
            "stream_id": pa.array([stream], pa.uint64()),
            "ts": pa.array([time.time_ns()], pa.int64()).cast(pa.timestamp("ns", "UTC")),
            "source": pa.array([source("lost")], pa.binary(16)),
            "position": pa.array([1], pa.uint64()),
            "flags": pa.array([0], pa.uint8()),
            "body": pa.array([b"lost and found"], pa.binary()),
        }
    )


async def test_many_tails_cost_one_statement_a_commit(followed: Followed, session: aiohttp.ClientSession) -> None:
    async def statements() -> int:
        rows = await followed.stand.engine.rows(
            "SELECT toInt64(value) AS value FROM system.events WHERE event = 'SelectQuery'", dict[str, int]
        )
        return rows[0]["value"]

    async def spent(commits: int, got: Callable[[], float]) -> int:
        before, had = await statements(), got()
        for n in range(commits):
            await followed.commit(b"line %d" % n)
        if followed.live:
            await until(lambda: got() == had + commits * len(followed.live))
        return await statements() - before

    def sent() -> float:
        return followed.figure("tail_lines_total")

    await followed.commit(b"the stream is known")
    nobody = await spent(5, sent)
    answers = [await session.get(f"{followed.url}/tail?lines=0&grep=line")]
    await spent(1, sent)  # its labels are looked up
    one = await spent(5, sent)
    for n in range(299):
        # No two ask the same; of some the engine does all, of some Python does a part.
        asked = (
            {"q": f'{{container="app", pod!="x{n}"}} | logfmt | nothing=""'} if n % 3 == 0 else {"not": f"absent {n}"}
        )
        answers.append(await session.get(f"{followed.url}/tail?lines=0&grep=line&{urlencode(asked)}"))
    await spent(1, sent)
    before = followed.live.scanned.statements
    many = await spent(5, sent)
    assert followed.live.scanned.statements - before == 5
    assert (one - nobody, many - nobody) == (5, 5)
    assert followed.figure("tails") == 300
    for answer in answers:
        answer.close()
    await until(lambda: followed.figure("tails") == 0)


async def test_a_slow_reader_is_told_what_it_missed_and_can_get_it(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with following(tmp_path / "store", waiting_bytes=128 << 10) as followed:
        host, _, port = followed.url.removeprefix("http://").partition(":")
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(0)
        await asyncio.get_running_loop().sock_connect(slow, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=slow, limit=1 << 16)
        writer.write(b"GET /tail?lines=0&format=json HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for n in range(24):
            await followed.commit(*(b"%d %d " % (n, m) + b"x" * 20_000 for m in range(50)))
        got: list[dict[str, Any]] = []
        chunks = Chunks(reader)
        finish = asyncio.create_task(keep_committing(followed))
        async with asyncio.timeout(60):
            while not (got and got[-1].get("line", "").startswith("the end")):
                got.append(msgspec.json.decode(await chunks.line()))
        finish.cancel()
        writer.close()
        told = [one for one in got if "missed" in one]
        assert told
        assert followed.figure("tail_missed_total") == sum(one["missed"] for one in told)
        place = got.index(told[0])
        assert got[place - 1]["cursor"] == told[0]["cursor"]
        async with session.get(f"{followed.url}/tail?format=json&cursor={told[0]['cursor']}") as answer:
            again = await lines(answer, told[0]["missed"] + 1)
        # What it got before, what it missed, and what it got after join without a seam.
        assert keys(again)[-1] == keys(got[place + 1 : place + 2])[0]
        assert not set(keys(again)[:-1]) & set(keys(got))
        assert set(keys(again[:1])) != set(keys(got[place - 1 : place]))


async def keep_committing(followed: Followed) -> None:
    while True:
        await followed.commit(b"the end")


def keys(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["source"], one["position"]) for one in found if "position" in one]


class Chunks:
    """The lines of a chunked answer, however it was cut into chunks, read no sooner than asked for."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._held = b""

    async def line(self) -> bytes:
        while b"\n" not in self._held:
            size = int(await self._reader.readline(), 16)
            assert size, "the answer ended"
            self._held += (await self._reader.readexactly(size + 2))[:size]
        line, _, self._held = self._held.partition(b"\n")
        return line


async def test_server_sent_events(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with following(tmp_path / "store", alive_s=0.05) as followed:
        await followed.commit(b"one")
        async with session.get(f"{followed.url}/quick", headers={"Accept": "text/event-stream"}) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            blocks = [await asyncio.wait_for(answer.content.readuntil(b"\n\n"), DEADLINE_S) for _ in range(3)]
            await followed.commit(b"two")
            while b"two" not in blocks[-1]:
                blocks.append(await asyncio.wait_for(answer.content.readuntil(b"\n\n"), DEADLINE_S))
        assert blocks[0] == b"retry: 2000\n\n"
        name, data, *_ = blocks[1].split(b"\n")
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        assert event["line"] == "one"
        assert name == b"id: " + event["cursor"].encode()
        comment, alive, *_ = blocks[2].split(b"\n")
        assert comment == b": alive"
        # The cursor of a sign of life goes on behind everything that was sent.
        headers = {"Last-Event-ID": alive.removeprefix(b"id: ").decode()}
        async with session.get(f"{followed.url}/tail?format=json&lines=5", headers=headers) as answer:
            assert [one["line"] for one in await lines(answer, 1)] == ["two"]


async def test_a_gap_is_followed_like_a_line(followed: Followed, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{followed.url}/tail?lines=0") as answer:
        await followed.commit(b'{"bytes":12,"reason":"deleted"}', flags=Flag.GAP)
        line = await asyncio.wait_for(answer.content.readline(), DEADLINE_S)
        assert line.endswith(b" [gap: 12 bytes lost: deleted]\n")


async def test_tails_end_whole_when_the_server_stops(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with following(tmp_path / "store") as followed:
        await followed.commit(b"one")
        answer = await session.get(f"{followed.url}/tail?format=json")
        (first,) = await lines(answer, 1)
        began = time.monotonic()
    assert await answer.content.read() == b""
    assert time.monotonic() - began < DEADLINE_S / 2
    # In the next process, whose clock is behind, it goes on where it was.
    behind = time.time() - 3600
    async with following(tmp_path / "store", clock=lambda: behind) as followed:
        await followed.stand.commit(batch(Part(source("a"), 1, (Record(2, b"two", time.time_ns()),))))
        async with session.get(f"{followed.url}/tail?format=json&cursor={first['cursor']}") as answer:
            assert [one["line"] for one in await lines(answer, 1)] == ["two"]
            await followed.stand.commit(batch(Part(source("a"), 2, (Record(3, b"three", time.time_ns()),))))
            assert [one["line"] for one in await lines(answer, 1)] == ["three"]


async def test_one_that_still_reads_from_the_store_ends_behind_a_line_when_the_server_stops(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = Catching.resumed

    async def slow(self: Catching, cursor: Cursor, to_ms: int) -> AsyncGenerator[Piece]:
        async with contextlib.aclosing(resumed(self, cursor, to_ms)) as pieces:
            yield await anext(pieces)
        await asyncio.Event().wait()

    async with following(tmp_path / "store") as followed:
        await followed.commit(b"one")
        async with session.get(f"{followed.url}/tail?format=json") as answer:
            (first,) = await lines(answer, 1)
        await followed.commit(b"two", b"three")
        monkeypatch.setattr(Catching, "resumed", slow)
        answer = await session.get(f"{followed.url}/tail?format=json&cursor={first['cursor']}")
        found = await lines(answer, 2)
    assert [one["line"] for one in found] == ["two", "three"]
    assert await answer.content.read() == b""


@contextlib.contextmanager
def deaf(url: str, cursor: str) -> Iterator[None]:
    """A reader behind ``cursor`` that takes nothing."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = urlsplit(url)
        connection.connect((address.hostname, address.port))
        connection.sendall(f"GET /tail?format=json&cursor={cursor} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        yield


async def test_readers_that_take_nothing_hold_no_place_and_do_not_keep_the_server(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.api.tails._PATIENCE_S", 0.1)
    places = QueryLimits().concurrent
    with contextlib.ExitStack() as readers:
        async with following(tmp_path / "store") as followed:
            await followed.commit(b"one")
            async with session.get(f"{followed.url}/tail?format=json") as answer:
                (first,) = await lines(answer, 1)
            for _ in range(8):
                await followed.commit(*(random.randbytes(512 << 10).hex().encode() for _ in range(8)))
            for _ in range(places):
                readers.enter_context(deaf(followed.url, first["cursor"]))
            await until(lambda: followed.figure("tails") == places and followed.figure("queries_running") == 0)
            async with session.get(f"{followed.url}/query?limit=1") as answer:
                assert answer.status == 200
            began = time.monotonic()
        assert time.monotonic() - began < DEADLINE_S / 6


OTHER = Cursors("f" * 32).text(Cursor(5))
REFUSALS = (
    ("?lines=1001", 400, "lines"),
    ("?lines=-1", 400, "lines"),
    ("?limit=5", 400, "limit"),
    ("?since=yesterday", 400, "since"),
    ("?cursor=abc", 400, "cursor"),
    ("?cursor=%C3%A9", 400, "cursor"),
    (f"?cursor={OTHER}", 410, "cursor"),
    ("?format=csv", 400, "format"),
    ("?format=json&color=always", 400, "color"),
    ("?q=%7Ba%3D%22b%22%7D&query=%7Ba%3D%22b%22%7D", 400, "q"),
    ("?q=%7Ba%3D%22b%22", 400, "q"),
    ("?q=rate(%7Ba%3D%22b%22%7D%5B5m%5D)", 400, "q"),
    ("?regex=(", 400, "regex"),
)


async def test_refusals_name_what_is_wrong(followed: Followed, session: aiohttp.ClientSession) -> None:
    for parameters, status, parameter in REFUSALS:
        async with session.get(f"{followed.url}/tail{parameters}") as answer:
            assert answer.status == status, parameters
            refusal = await answer.json()
        assert refusal["parameter"] == parameter, parameters
        assert refusal["error"]
    headers = {"Last-Event-ID": OTHER}
    async with session.get(f"{followed.url}/tail", headers=headers) as answer:
        assert (answer.status, (await answer.json())["parameter"]) == (410, "Last-Event-ID")
    async with session.get(f"{followed.url}/tail", headers={"Accept": "image/png"}) as answer:
        assert answer.status == 406


async def test_there_are_not_more_tails_than_there_may_be(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with following(tmp_path / "store", tails_max=1) as followed:
        async with session.get(f"{followed.url}/tail"), session.get(f"{followed.url}/tail") as second:
            assert second.status == 429
            assert second.headers["Retry-After"]
        await until(lambda: not followed.live)
        async with session.get(f"{followed.url}/tail") as answer:
            assert answer.status == 200
