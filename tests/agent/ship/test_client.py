"""What each answer of an aggregator, or of whatever stands in its place, means."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent.errors import BodyLimitError, OtherBuildError, RefusedError, UnavailableError
from agent.ship.batch import Origin
from agent.ship.client import Answer, Client
from service.options import Address
from service.web import serve
from wire.answers import STORE_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SOURCE = bytes(range(16))
COMMITTED = b'{"committed":{"' + SOURCE.hex().encode() + b'":7}}'


class Server:
    """Answers everything with what it is told to."""

    def __init__(self) -> None:
        self.answer = (200, COMMITTED, {STORE_HEADER: "store/1"})
        self.asked: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        await request.read()
        status, body, headers = self.answer
        return web.Response(status=status, body=body, headers=headers)

    def client(self, session: aiohttp.ClientSession, token_file: Path | None = None) -> Client:
        return Client(session, self.url, Origin("prod", "node-1", "agent"), token_file)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with serve(app, Address("127.0.0.1", 0)) as address:
        server.url = address.url
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(("status", "hole"), [(200, False), (409, True)])
async def test_committed_positions_are_the_answer(
    server: Server, session: aiohttp.ClientSession, status: int, *, hole: bool
) -> None:
    server.answer = (status, COMMITTED, {STORE_HEADER: "store/1"})
    assert await server.client(session).send(b"batch") == Answer("store/1", {SOURCE: 7}, hole)
    assert (server.asked[0].path, server.asked[0].headers["Content-Encoding"]) == ("/v1/batches", "zstd")


DEEP = b'{"x":' + b"[" * 100_000
SAID = b'{"error":"on cue","parameter":"%s"}'

# status, body, whether it is worth another try, what is said
ANSWERS: list[tuple[int, bytes, bool, str]] = [
    (200, b"", True, "200 without committed positions"),
    (200, b"<html>", True, "200 without committed positions"),
    (200, b'{"committed":{"zz":1}}', True, "200 without committed positions"),
    (200, b'{"committed":{"\xff":1}}', True, "200 without committed positions"),
    (200, DEEP, True, "200 without committed positions"),
    (200, b'{"committed":{"00":-1}}', True, "positions that no file has"),
    (200, b'{"committed":{"00":9223372036854775808}}', True, "positions that no file has"),
    (409, b"{}", True, "409 without committed positions"),
    (204, b"", True, "204: no reason given"),
    (302, b"elsewhere", True, "302: elsewhere"),
    (400, b"<html>", True, "400: <html>"),
    (400, SAID % b"version", True, "400: on cue; agent and aggregator are of different versions"),
    (400, SAID % b"encoding", True, "400: on cue; agent and aggregator are of different versions"),
    (400, SAID % b"columns", True, "400: on cue; agent and aggregator are of different versions"),
    (400, SAID % b"flags", True, "400: on cue; agent and aggregator are of different versions"),
    (400, SAID % b"a rule of later versions", True, "400: on cue"),
    (400, SAID % b"times", False, "times: on cue"),
    (401, SAID % b"", True, "401: on cue; see --token-file"),
    (403, b"", True, "403: no reason given; see --token-file"),
    (404, b"not here", True, "404: not here"),
    (413, SAID % b"rows", False, "rows: on cue"),
    (413, SAID % b"size", False, "size: on cue"),
    (413, b"<html>413 Request Entity Too Large", True, "413: <html>413 Request Entity Too Large; a proxy"),
    (413, b"", True, "413: no reason given; a proxy"),
    (413, SAID % b"", True, "413: on cue; a proxy"),
    (413, SAID % b"a rule of later versions", True, "413: on cue; a proxy"),
    (415, b"", True, "415: no reason given"),
    (500, b'{"error":"\xff"}', True, '500: {"error":"\N{REPLACEMENT CHARACTER}"}'),
    (502, DEEP, True, '502: {"x":[[['),
    (503, SAID % b"", True, "503: on cue"),
]


@pytest.mark.parametrize(("status", "body", "is_worth_a_try", "said"), ANSWERS)
async def test_an_answer_that_is_none_is_waited_out_or_the_records(
    server: Server, session: aiohttp.ClientSession, status: int, body: bytes, said: str, *, is_worth_a_try: bool
) -> None:
    server.answer = (status, body, {})
    with pytest.raises(UnavailableError if is_worth_a_try else RefusedError) as caught:
        await server.client(session).send(b"batch")
    assert isinstance(caught.value, OtherBuildError) == ("different versions" in said)
    assert isinstance(caught.value, BodyLimitError) == ("a proxy" in said)
    assert str(caught.value).startswith(said) or said in str(caught.value)
    if isinstance(caught.value, RefusedError):
        assert caught.value.too_large == (status == 413)


def in_an_hour() -> str:
    return email.utils.formatdate(time.time() + 3600, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", 300.0),
        ("86400", 300.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (in_an_hour(), 300.0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999", None),
    ],
    ids=itertools.count(),  # not the times: they are others in each process that collects
)
async def test_the_time_a_server_names_is_kept_within_reason(
    server: Server, session: aiohttp.ClientSession, value: str, seconds: float | None
) -> None:
    server.answer = (503, b"", {"Retry-After": value})
    with pytest.raises(UnavailableError) as caught:
        await server.client(session).send(b"batch")
    assert caught.value.retry_after_s == seconds


async def test_positions_are_asked_by_source(server: Server, session: aiohttp.ClientSession) -> None:
    assert (await server.client(session).positions([SOURCE])).committed == {SOURCE: 7}
    query = server.asked[0].query
    assert (query["cluster"], query["node"], query.getall("source")) == ("prod", "node-1", [SOURCE.hex()])


async def test_positions_of_other_sources_are_no_answer(server: Server, session: aiohttp.ClientSession) -> None:
    # Taken for one, they would be asked for again at once, for ever.
    with pytest.raises(UnavailableError, match="does not say where to read on"):
        await server.client(session).positions([SOURCE, bytes(16)])


async def test_positions_refused_are_asked_again(server: Server, session: aiohttp.ClientSession) -> None:
    server.answer = (413, SAID % b"size", {})
    with pytest.raises(UnavailableError, match="positions refused"):
        await server.client(session).positions([SOURCE])


async def test_an_answer_that_does_not_end_is_cut_off(server: Server, session: aiohttp.ClientSession) -> None:
    server.answer = (200, b" " * (5 << 20), {})
    with pytest.raises(UnavailableError, match="answered more than"):
        await server.client(session).send(b"batch")


async def test_a_token_is_read_for_every_request(
    server: Server, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    client = server.client(session, token)
    await client.send(b"")
    token.write_text("two\n")
    await client.send(b"")
    assert [request.headers["Authorization"] for request in server.asked] == ["Bearer one", "Bearer two"]
    token.unlink()
    with pytest.raises(UnavailableError, match="token"):
        await client.send(b"")


async def test_an_aggregator_that_is_not_there_or_hangs_up_is_unavailable(session: aiohttp.ClientSession) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = Client(session, f"http://127.0.0.1:{port}", Origin("", "node", ""), None)
    with pytest.raises(UnavailableError):
        await client.send(b"batch")
    listener.close()
    await listener.wait_closed()
    with pytest.raises(UnavailableError, match=str(port)):
        await client.send(b"batch")
