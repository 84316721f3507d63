"""What pages of other sites ask for is refused, where no token is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from service.token import Tokens
from tests.aggregator.stand import serve_stand
from wire.answers import Refusal

if TYPE_CHECKING:
    from pathlib import Path

OWN = "http://{host}"


@pytest.mark.parametrize(
    ("method", "headers", "parameter"),
    [
        ("GET", {}, None),
        ("GET", {"Origin": OWN}, None),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, None),  # somebody follows a link
        ("GET", {"Origin": "http://evil.example"}, "Origin"),
        ("GET", {"Origin": "null"}, "Origin"),
        ("GET", {"Origin": "http://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"}, "Origin"),
        ("POST", {}, None),
        ("POST", {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, None),
        ("POST", {"Sec-Fetch-Site": "none"}, None),
        ("POST", {"Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site"),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
        ("POST", {"Origin": "http://evil.example", "Content-Type": "text/plain"}, "Origin"),
    ],
)
async def test_who_may_ask(tmp_path: Path, method: str, headers: dict[str, str], parameter: str | None) -> None:
    async with serve_stand(tmp_path / "store") as (_, url), aiohttp.ClientSession() as client:
        path = "/v1/positions" if method == "GET" else "/v1/batches"
        named = {name: text.format(host=url.removeprefix("http://")) for name, text in headers.items()}
        async with client.request(method, url + path, headers=named) as answer:
            refused = msgspec.json.decode(await answer.read(), type=Refusal) if answer.status == 403 else None
    assert (refused and refused.parameter) == parameter
    assert refused is None or refused.hint


async def test_a_token_is_enough(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("secret\n")
    (tmp_path / "tokens").chmod(0o600)
    headers = {"Authorization": "Bearer secret", "Origin": "http://logs.example"}
    async with (
        serve_stand(tmp_path / "store", tokens=Tokens(tmp_path / "tokens")) as (_, url),
        aiohttp.ClientSession(headers=headers) as client,
        client.get(f"{url}/v1/positions") as answer,
    ):
        assert answer.status == 200
