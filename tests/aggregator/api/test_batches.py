from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import pytest
import zstandard

from aggregator.api.batches import COMPRESSED_BYTES_MAX, REQUEST_BYTES
from aggregator.store.schema import LOGS
from service.token import Tokens
from tests.aggregator.records import HEADERS, Part, batch, pack, part, source
from tests.aggregator.stand import Stand, serve_stand
from wire.answers import STORE_HEADER, Committed, Refusal
from wire.codec import BATCH_BYTES_MAX, TIME_NS_MAX, VERSION, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from multidict import CIMultiDictProxy

    from wire.batch import Batch

GOOD: Final = batch(part("a", 0, [10, 20]))
SHOP: Final = ("shop", "web-0", "uid-web-0", "app", 0)


class Server(msgspec.Struct, frozen=True):
    stand: Stand
    url: str
    client: aiohttp.ClientSession

    async def post(self, body: bytes, **headers: str) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(f"{self.url}/v1/batches", data=body, headers=HEADERS | named) as answer:
            return answer.status, await answer.read(), answer.headers


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serve_stand(tmp_path / "store") as (stand, url), aiohttp.ClientSession() as client:
        yield Server(stand, url, client)


def raw(batch_: Batch, **changed: object) -> bytes:
    """The encoded batch with some items of its array replaced."""
    names = ("version", "cluster", "node", "agent", "chunks", "times", "positions", "flags", "lengths", "body")
    items = dict(zip(names, msgspec.msgpack.decode(encode(batch_)), strict=True))
    return msgspec.msgpack.encode([(items | changed)[name] for name in names])


def streamed(content: bytes) -> bytes:
    """A frame that does not declare its content size."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(content) + compressor.flush()


def lying(content: bytes, declared: int) -> bytes:
    """A frame whose header declares another size than it has."""
    frame = bytearray(pack(content))
    # RFC 8878: with a content size of 4 bytes (flag 2) and a single segment it stands right behind the descriptor.
    assert frame[4] >> 6 == 2
    at = 5 if frame[4] & 0x20 else 6
    frame[at : at + 4] = struct.pack("<I", declared)
    return bytes(frame)


BAD: Final = {
    "nothing": (b"", 400, "body"),
    "random bytes": (b"\x00\xff\x13random bytes that are no frame" * 10, 400, "zstd"),
    "random bytes in a frame": (pack(b"\xc1" * 100), 400, "encoding"),
    "an empty frame": (pack(b""), 400, "encoding"),
    "a truncated frame": (pack(encode(GOOD))[:-5], 400, "zstd"),
    "two frames": (pack(GOOD) + pack(GOOD), 400, "zstd"),
    "a declared bomb": (pack(bytes(BATCH_BYTES_MAX + 1)), 413, "size"),
    "an undeclared bomb": (streamed(bytes(BATCH_BYTES_MAX * 4)), 400, "zstd"),
    "a bomb that declares little": (lying(bytes(BATCH_BYTES_MAX), 70_000), 400, "zstd"),
    "another version": (pack(raw(GOOD, version=VERSION + 1)), 400, "version"),
    "a version that is no number": (pack(raw(GOOD, version="one")), 400, "encoding"),
    "one item more": (pack(msgspec.msgpack.encode([*msgspec.msgpack.decode(encode(GOOD)), 0])), 400, "encoding"),
    "an object instead of an array": (pack(msgspec.msgpack.encode({"version": 1})), 400, "encoding"),
    "JSON": (pack(b'{"unknown": true}'), 400, "encoding"),
    "negative times": (pack(raw(GOOD, times=struct.pack("<2q", -1, 5))), 400, "times"),
    "times like NaN": (pack(raw(GOOD, times=struct.pack("<2d", float("nan"), float("nan")))), 400, "times"),
    "times beyond the calendar": (pack(raw(GOOD, times=struct.pack("<2q", 0, TIME_NS_MAX + 1))), 400, "times"),
    "shrinking positions": (pack(raw(GOOD, positions=struct.pack("<2Q", 20, 10))), 400, "positions"),
    "equal positions": (pack(raw(GOOD, positions=struct.pack("<2Q", 10, 10))), 400, "positions"),
    "positions beyond the end": (pack(raw(GOOD, positions=struct.pack("<2Q", 10, 21))), 400, "positions"),
    "overlapping chunks": (pack(raw(GOOD, chunks=[[b"a" * 16, 0, 20, *SHOP, 1, False]] * 2)), 400, "source"),
    "a range backwards": (pack(raw(GOOD, chunks=[[b"a" * 16, 20, 10, *SHOP, 2, False]])), 400, "range"),
    "too few rows": (pack(raw(GOOD, flags=b"\0")), 400, "columns"),
    "half a number": (pack(raw(GOOD, times=b"\0" * 15)), 400, "columns"),
    "unknown flags": (pack(raw(GOOD, flags=b"\0\x80")), 400, "flags"),
    "lengths beyond the body": (pack(raw(GOOD, lengths=struct.pack("<2I", 4, 1 << 31))), 400, "lengths"),
    "no node": (pack(raw(GOOD, node="")), 400, "names"),
    "too many chunks": (pack(raw(GOOD, chunks=[[b"a" * 16, 0, 0, *SHOP, 0, False]] * ((1 << 14) + 1))), 413, "chunks"),
}


async def test_bad_input_is_answered_by_name_counted_and_blocks_nobody(server: Server) -> None:
    for name, (body, status, rule) in BAD.items():
        outcome = "too_large" if status == 413 else "malformed"
        before = server.stand.metric("batches_total", outcome=outcome, rule=rule)
        found, answer, _ = await server.post(body)
        refusal = msgspec.json.decode(answer, type=Refusal)
        assert (found, refusal.parameter) == (status, rule), f"{name}: {refusal}"
        assert refusal.error, name
        assert refusal.hint, name
        assert server.stand.metric("batches_total", outcome=outcome, rule=rule) == before + 1, name
    assert (await server.post(pack(GOOD)))[0] == 200
    assert await server.stand.stored() == [("a", 10), ("a", 20)]
    assert server.stand.registry.get_sample_value("logboom_http_unexpected_errors_total") == 0
    assert server.stand.metric("held_bytes") == 0


async def test_bad_and_good_at_once(server: Server) -> None:
    good = [pack(batch(part(f"s{number}", 0, [1]), node=f"n{number}")) for number in range(len(BAD))]
    answers = await asyncio.gather(
        *(server.post(body) for body in good), *(server.post(body) for body, _, _ in BAD.values())
    )
    assert [status for status, _, _ in answers[: len(good)]] == [200] * len(good)
    assert await server.stand.count(LOGS) == len(good)


@pytest.mark.parametrize(
    ("headers", "status", "parameter"),
    [
        ({"Content_Type": "application/json"}, 415, "Content-Type"),
        ({"Content_Encoding": "gzip"}, 415, "Content-Encoding"),
    ],
)
async def test_other_formats_are_told_what_is_expected(
    server: Server, headers: dict[str, str], status: int, parameter: str
) -> None:
    found, answer, _ = await server.post(pack(GOOD), **headers)
    refusal = msgspec.json.decode(answer, type=Refusal)
    assert (found, refusal.parameter) == (status, parameter)
    assert "expected" in refusal.error


async def connect(url: str, text: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request, written by hand, was begun."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    writer.write(f"POST /v1/batches HTTP/1.1\r\nHost: test\r\n{head}{text}\r\n\r\n".encode() + body)
    return reader, writer


async def begin(url: str, text: str, body: bytes) -> asyncio.StreamWriter:
    """The same where nobody reads the answer."""
    return (await connect(url, text, body))[1]


async def request(url: str, text: str, body: bytes = b"", *, finish: bool = True) -> bytes:
    """The answer to a request written by hand, up to the end of its JSON."""
    reader, writer = await connect(url, text, body)
    try:
        if not finish:
            return b""
        async with asyncio.timeout(10):
            return await reader.readuntil(b"}")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_of_unknown_size_is_refused(server: Server) -> None:
    answer = await request(server.url, "Transfer-Encoding: chunked")
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b'"parameter":"Content-Length"' in answer


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    answer = await request(server.url, f"Content-Length: {COMPRESSED_BYTES_MAX + 1}")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"parameter":"size"' in answer


async def test_full_memory_is_told_before_the_body_is_sent(tmp_path: Path) -> None:
    async with serve_stand(tmp_path / "store", ingest_memory=1 << 20) as (stand, url):
        answer = await request(url, f"Content-Length: {1 << 20}")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        # The compressed bytes would fit, what they declare to become does not.
        frame = pack(bytes(2 << 20))
        answer = await request(url, f"Content-Length: {len(frame)}", frame)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert stand.metric("batches_total", outcome="memory_full", rule="") == 2
        assert stand.metric("held_bytes") == 0


async def test_what_is_declared_and_not_sent_keeps_nobody_out(server: Server) -> None:
    begun = pack(bytes(BATCH_BYTES_MAX))[:100]
    writers = [await begin(server.url, f"Content-Length: {BATCH_BYTES_MAX}", begun) for _ in range(20)]
    async with asyncio.timeout(10):
        while server.stand.metric("held_bytes") < 20 * (REQUEST_BYTES + len(begun)):
            await asyncio.sleep(0.01)
    assert server.stand.metric("held_bytes") == 20 * (REQUEST_BYTES + len(begun))
    assert (await server.post(pack(GOOD)))[0] == 200
    for writer in writers:
        writer.close()
    async with asyncio.timeout(10):
        while server.stand.metric("held_bytes"):
            await asyncio.sleep(0.01)


async def test_bytes_that_arrive_are_held_up_to_the_limit(tmp_path: Path) -> None:
    frame = pack(random.Random(1).randbytes(3 << 20))
    async with serve_stand(tmp_path / "store", ingest_memory=8 << 20) as (stand, url):
        writers = [await begin(url, f"Content-Length: {len(frame)}", frame[:-1]) for _ in range(3)]
        async with asyncio.timeout(10):
            while not stand.metric("batches_total", outcome="memory_full", rule=""):
                assert stand.metric("held_bytes") <= 8 << 20
                await asyncio.sleep(0.01)
        for writer in writers:
            writer.close()


async def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    async with serve_stand(tmp_path / "store", body_time_s=0.2) as (stand, url):
        frame = pack(GOOD)
        answer = await request(url, f"Content-Length: {len(frame)}", frame[:20])
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert stand.metric("held_bytes") == 0


async def test_a_client_that_leaves_in_the_middle_of_its_body_frees_what_it_held(server: Server) -> None:
    await request(server.url, "Content-Length: 5000", pack(GOOD)[:20], finish=False)
    async with asyncio.timeout(10):
        while server.stand.metric("held_bytes"):
            await asyncio.sleep(0.01)
    assert server.stand.registry.get_sample_value("logboom_http_unexpected_errors_total") == 0
    assert (await server.post(pack(GOOD)))[0] == 200


async def test_a_client_that_leaves_during_its_commit_has_its_records_stored(server: Server) -> None:
    frame = pack(GOOD)
    await server.post(pack(batch(part("z", 0, [1]))))  # so that the next commit waits for its interval
    await request(server.url, f"Content-Length: {len(frame)}", frame, finish=False)
    async with asyncio.timeout(10):
        while ("a", 20) not in await server.stand.stored():
            await asyncio.sleep(0.01)
        while server.stand.metric("held_bytes"):
            await asyncio.sleep(0.01)


async def test_answers_name_positions_and_the_store(server: Server) -> None:
    status, answer, headers = await server.post(pack(GOOD))
    assert status == 200
    assert msgspec.json.decode(answer, type=Committed) == Committed({source("a").hex(): 20})
    assert headers[STORE_HEADER] == "store/boot"


async def test_a_hole_is_a_conflict_with_the_positions_of_every_source(server: Server) -> None:
    await server.post(pack(GOOD))
    status, answer, headers = await server.post(pack(batch(part("b", 0, [1]), part("a", 30, [40]))))
    assert status == 409
    assert msgspec.json.decode(answer, type=Committed) == Committed({source("a").hex(): 20, source("b").hex(): 0})
    assert headers[STORE_HEADER] == "store/boot"
    assert server.stand.metric("batches_total", outcome="hole", rule="") == 1


async def test_a_batch_without_records_still_answers_positions(server: Server) -> None:
    await server.post(pack(GOOD))
    status, answer, _ = await server.post(pack(batch(Part(source("a"), 20, (), 25))))
    assert (status, msgspec.json.decode(answer, type=Committed)) == (200, Committed({source("a").hex(): 25}))


async def test_a_failing_store_is_a_503_that_says_when_to_come_back(server: Server) -> None:
    await server.stand.engine.execute(f"DETACH TABLE {LOGS}")
    status, answer, headers = await server.post(pack(GOOD))
    assert status == 503
    assert headers["Retry-After"] == "2"
    assert msgspec.json.decode(answer, type=Refusal).error == "the store could not commit"
    async with server.client.get(f"{server.url}/readyz") as ready:
        assert ready.status == 200, "queries are answered"
        assert (await ready.text()).startswith("ok: ")
    assert server.stand.metric("ingest_refused", reason="failed") == 1
    await server.stand.engine.execute(f"ATTACH TABLE {LOGS}")
    assert (await server.post(pack(GOOD)))[0] == 200
    async with server.client.get(f"{server.url}/readyz") as ready:
        assert await ready.text() == "ok\n"
    assert server.stand.metric("ingest_refused", reason="failed") == 0


async def test_a_token_is_asked_for_before_the_body(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    async with serve_stand(tmp_path / "store", tokens=Tokens(tmp_path / "token")) as (stand, url):
        missing = await request(url, "Content-Length: 100000")
        assert missing.startswith(b"HTTP/1.1 401 ")
        assert b"WWW-Authenticate: Bearer" in missing
        assert STORE_HEADER.encode() in missing
        wrong = await request(url, "Authorization: Bearer guess\r\nContent-Length: 100000")
        assert wrong.startswith(b"HTTP/1.1 403 ")
        frame = pack(GOOD)
        right = await request(url, f"Authorization: Bearer secret\r\nContent-Length: {len(frame)}", frame)
        assert right.startswith(b"HTTP/1.1 200 ")
        assert stand.metric("unauthorized_total", reason="wrong") == 1
        async with aiohttp.ClientSession(url) as client:
            for path, status in {
                "/healthz": 200,
                "/readyz": 200,
                "/metrics": 200,
                "/v1/positions": 401,
                "/x": 401,
            }.items():
                async with client.get(path) as answer:
                    assert answer.status == status, path
        (tmp_path / "token").unlink()
        found = 200
        async with aiohttp.ClientSession(url) as client, asyncio.timeout(10):
            while found == 200:  # the file is not looked at for every request
                async with client.get("/v1/positions", headers={"Authorization": "Bearer secret"}) as answer:
                    found = answer.status
        assert found == 503
