"""The shell of a server over real sockets: every error is JSON, and nothing half is taken for whole."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from service.options import Address
from service.web import RefusedError, add_health, add_metrics, errors_as_json, json_response, serve
from wire.answers import Committed, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY_MAX = 1000


class Site:
    """A server with a handler for every way to end, and what its handlers saw."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reason: str | None = None
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.app = web.Application(middlewares=[errors_as_json(self.registry)], client_max_size=BODY_MAX)
        add_health(self.app, self._not_ready)
        add_metrics(self.app, self.registry)
        router = self.app.router
        router.add_get("/ok", self._ok)
        router.add_get("/refused", self._refused)
        router.add_get("/moved", self._moved)
        router.add_get("/bug", self._bug)
        router.add_get("/bug-in-stream", self._bug_in_stream)
        router.add_get("/wait", self._wait)
        router.add_post("/body", self._body)
        self.address = Address("127.0.0.1", 0)

    def errors(self) -> float | None:
        return self.registry.get_sample_value("logboom_http_unexpected_errors_total")

    async def _not_ready(self) -> str | None:
        return self.reason

    async def _ok(self, _: web.Request) -> web.Response:
        return json_response(Committed({"00": 1}), headers={"Logboom-Store": "s"})

    async def _refused(self, _: web.Request) -> web.Response:
        raise RefusedError(503, Refusal("full", "body", "wait"), {"Retry-After": "2"})

    async def _moved(self, _: web.Request) -> web.Response:
        raise web.HTTPFound("/ok")

    async def _bug(self, _: web.Request) -> web.Response:
        raise LookupError("a bug")

    async def _bug_in_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half an answer\n")
        raise LookupError("a bug")

    async def _wait(self, _: web.Request) -> web.Response:
        self.waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return web.Response()

    async def _body(self, request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with serve(site.app, site.address) as site.address:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(site.address.url) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "parameter"),
    [
        ("GET", "/nowhere", 404, "path"),
        ("GET", "/%0a%ff", 404, "path"),
        ("POST", "/ok", 405, "method"),
        ("GET", "/refused", 503, "body"),
        ("GET", "/bug", 500, ""),
    ],
)
async def test_every_error_is_json(
    client: aiohttp.ClientSession, method: str, path: str, status: int, parameter: str
) -> None:
    async with client.request(method, path) as answer:
        assert answer.status == status
        assert answer.content_type == "application/json"
        refusal = msgspec.json.decode(await answer.read(), type=Refusal)
    assert refusal.error
    assert refusal.parameter == parameter


async def test_an_answer_keeps_its_headers(client: aiohttp.ClientSession) -> None:
    async with client.get("/ok") as answer:
        assert (answer.status, answer.headers["Logboom-Store"]) == (200, "s")
        assert await answer.json() == {"committed": {"00": 1}}
    async with client.get("/refused") as answer:
        assert answer.headers["Retry-After"] == "2"
    async with client.post("/ok") as answer:
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
    async with client.get("/moved", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/ok")


@pytest.mark.parametrize(("size", "status"), [(BODY_MAX, 200), (BODY_MAX + 1, 413)])
async def test_a_body_has_a_limit(client: aiohttp.ClientSession, size: int, status: int) -> None:
    async with client.post("/body", data=b"x" * size) as answer:
        assert answer.status == status
        if status == 413:
            assert msgspec.json.decode(await answer.read(), type=Refusal).parameter == "body"


async def test_a_bug_is_counted_and_logged_whole_but_not_told(
    site: Site, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with client.get("/bug") as answer:
            assert b"LookupError" not in await answer.read()
    assert site.errors() == 1
    assert "LookupError: a bug" in caplog.text


async def test_a_bug_in_a_stream_cuts_the_connection(site: Site, client: aiohttp.ClientSession) -> None:
    async with client.get("/bug-in-stream") as answer:
        assert await answer.content.readline() == b"half an answer\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert site.errors() == 1
    async with client.get("/ok") as answer:
        assert answer.status == 200


async def test_health_and_readiness(site: Site, client: aiohttp.ClientSession) -> None:
    for site.reason, status, text in ((None, 200, "ok\n"), ("the store is opening", 503, "the store is opening\n")):
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (status, text)


async def test_metrics_are_prometheus_text(site: Site, client: aiohttp.ClientSession) -> None:
    Counter("lines", "Lines.", registry=site.registry).inc(3)
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "lines_total 3.0\n" in await answer.text()


NOT_HTTP = (
    b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 9000),
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
)


@pytest.mark.parametrize("request_bytes", NOT_HTTP)
async def test_what_is_not_http_is_counted_and_logged_on_one_line(
    site: Site, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    reader, writer = await asyncio.open_connection(site.address.host, site.address.port)
    writer.write(request_bytes)
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()
    (record,) = caplog.records
    assert (record.levelname, record.message, record.exc_info) == ("WARNING", "a request is not HTTP", None)
    told = vars(record)["fields"]
    assert told["client"] == "127.0.0.1"
    assert 0 < len(told["reason"]) <= 200
    assert "\n" not in told["reason"]
    assert site.registry.get_sample_value("logboom_http_malformed_requests_total") == 1


async def test_a_handler_ends_when_its_client_goes_away(site: Site) -> None:
    _, writer = await asyncio.open_connection(site.address.host, site.address.port)
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(site.waiting.wait(), 5)
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(site.cancelled.wait(), 5)
    assert site.errors() == 0


async def test_nothing_listens_after_the_end() -> None:
    async with serve(Site().app, Address("127.0.0.1", 0)) as address:
        assert address.port
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(address.host, address.port)


async def test_an_address_in_use_is_an_os_error() -> None:
    async with serve(Site().app, Address("127.0.0.1", 0)) as address:
        with pytest.raises(OSError, match="in use"):
            async with serve(Site().app, address):
                raise AssertionError("served twice")
