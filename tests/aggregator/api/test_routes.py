"""The whole application over real HTTP: what holds for every path, and what the page on HTTP says of it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from aggregator.api.deletions import add_deletions
from aggregator.api.openapi import document
from aggregator.api.queries import QueryLimits, add_queries
from aggregator.query.live import Live
from aggregator.store.deletions import Deletions
from aggregator.store.eraser import Eraser
from service.token import Tokens
from tests.aggregator.stand import Stand, serve_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

DOCUMENT = document(100_000)
PAGE = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text("utf-8")
TOKEN = {"Authorization": "Bearer secret"}
LOKI = "/loki/api/v1/query_range"


def add_rest(app: web.Application, stand: Stand) -> None:
    add_queries(app, stand.engine, QueryLimits(), CollectorRegistry(), live=Live(stand.engine, stand.commits))
    deletions = Deletions(stand.engine, [])
    add_deletions(app, stand.engine, deletions, Eraser(stand.engine, stand.commits, deletions, stand.metrics))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Asks an aggregator with the token `TOKEN`; bears none by itself."""
    (tmp_path / "token").write_text("secret\n")
    tokens = Tokens(tmp_path / "token", itertools.count(step=10).__next__)  # looks at the file for every request
    async with (
        serve_stand(tmp_path / "store", tokens=tokens, add=add_rest) as (_, url),
        aiohttp.ClientSession(url) as session,
    ):
        yield session


async def test_the_page_says_which_paths_answer_head(client: aiohttp.ClientSession) -> None:
    answered = set()
    for path in [path for path, methods in DOCUMENT["paths"].items() if "get" in methods]:
        async with client.head(path.replace("{name}", "pod").replace("{id}", "x"), headers=TOKEN) as answer:
            assert answer.status in {200, 405}
            if answer.status == 200:
                answered.add(path)
    (row,) = re.findall(r"^\| 404, 405 \|.*$", PAGE, re.MULTILINE)
    assert answered == set(re.findall(r"`(/[^`]*)`", row))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("GET", LOKI, {}, 401, "application/json"),
        ("GET", LOKI, {"Authorization": "Bearer guess"}, 403, "application/json"),
        ("GET", LOKI, TOKEN, 400, "text/plain"),
        ("POST", LOKI, TOKEN | {"Content-Type": "text/csv"}, 415, "text/plain"),
        ("HEAD", LOKI, TOKEN, 405, "application/json"),
        ("GET", "/loki/api/v1/patterns", TOKEN, 404, "application/json"),
        ("GET", '/loki/api/v1/tail?query={a="b"}', TOKEN, 400, "text/plain"),
        ("GET", "/query?limit=x", TOKEN, 400, "application/json"),
        ("GET", "/query", {}, 401, "application/json"),
    ],
    ids=str,
)
async def test_a_refusal_is_json_but_in_lokis_own_routes(
    client: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    body = b"x" if method == "POST" else None
    async with client.request(method, path, headers=headers, data=body) as answer:
        assert (answer.status, answer.content_type) == (status, kind)
    described = DOCUMENT["paths"].get(path.partition("?")[0], {}).get(method.lower(), {}).get("responses", {})
    if str(status) in described:
        assert kind in described[str(status)]["content"]
    else:
        assert status in {404, 405}


async def test_tokens_that_cannot_be_checked_are_told_as_described(
    client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("")
    async with client.get(LOKI, headers=TOKEN) as answer:
        assert (answer.status, answer.content_type) == (503, "application/json")
    assert answer.content_type in DOCUMENT["paths"][LOKI]["get"]["responses"]["503"]["content"]
