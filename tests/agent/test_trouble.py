"""Whatever happens between agent and aggregator: nothing lost, nothing twice, no busy loop, and back soon after."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from agent.report import heartbeat
from agent.ship.backoff import LONGEST_S, Backoff
from service.web import json_response
from tests.agent.certificates import Authority
from tests.agent.way import Trouble, Way
from wire.answers import Refusal
from wire.batch import Flag
from wire.codec import BUILD_RULES, RULES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.stand_in import Aggregator, Fault, Node
    from wire.batch import Batch

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Get = Callable[[str], Awaitable[tuple[int, bytes]]]

# Waits double from here: short, so that the tests are.
FIRST_S = 0.05
# A request of which nothing is heard is given up after this.
TIMEOUT_S = 0.5
# Tries that are watched before the trouble is over; the next one comes within 2 ** TRIES * FIRST_S, and that is soon.
TRIES = 5
# Beyond the wait: for a machine with other things to do.
SLACK_S = 3.0


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted here are the connections of batches and of questions."""
    monkeypatch.setattr(heartbeat, "_FIRST_S", 3600.0)


def cri(number: int) -> bytes:
    return f"2023-04-05T02:29:{number // 1000:02}.{number % 1000:03}Z stdout F line {number}".encode()


def texts(first: int, last: int) -> list[bytes]:
    return [b"line %d" % number for number in range(first, last)]


@pytest.fixture
async def way(node: Node) -> AsyncIterator[Way]:
    """Between the node's agents and the aggregator."""
    way = Way(node.config.aggregator_url)
    await way.open()
    yield way
    await way.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ship.backoff.FIRST_S", FIRST_S)


def assert_no_busy_loop(tries_s: list[float]) -> None:
    """At least the shorter half of every wait lies between the tries, which began at ``tries_s``."""
    for number, (one_s, next_s) in enumerate(pairwise(tries_s)):
        assert next_s - one_s >= 0.9 * FIRST_S * 2**number / 2, (number, next_s - one_s)


async def through(
    way: Way, trouble: Trouble, node: Node, aggregator: Aggregator, until: Until, get: Get
) -> tuple[float, str]:
    """Have ``trouble`` amidst the lines of an agent: seconds until all was well after it, and what the agent said."""
    node.write("a_pod_u1/web/0.log", *map(cri, range(500)))
    async with node.agent(timeout_s=TIMEOUT_S, aggregator_url=f"http://{way.address}") as url:
        await until(lambda: len(aggregator.bodies()) == 500)
        await way.have(trouble)
        way.at_s.clear()
        node.write("a_pod_u1/web/0.log", *map(cri, range(500, 1000)))
        said = b"ok"
        if trouble is Trouble.REFUSED:
            while not said.startswith(b"the aggregator does not answer"):
                said = (await get(f"{url}/readyz"))[1]
        else:
            await until(lambda: len(way.at_s) >= TRIES)
            code, said = await get(f"{url}/readyz")
            assert code == 503
        tries_s = list(way.at_s)
        over_s = time.monotonic()
        await way.have(Trouble.NONE)
        await until(lambda: len(aggregator.bodies()) == 1000)
        while (await get(f"{url}/readyz"))[0] != 200:
            pass
        took_s = time.monotonic() - over_s
    assert aggregator.bodies() == texts(0, 1000)
    assert_no_busy_loop(tries_s)
    return took_s, said.decode()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        # A connection that was open when it began is cut; those that follow are refused.
        (Trouble.REFUSED, "Connect|disconnected"),
        (Trouble.RESET, "disconnected"),
        (Trouble.HALF, ""),
        (Trouble.GARBAGE, ""),
        (Trouble.NO_ANSWER, "no answer within 0.5 s"),
        (Trouble.SILENT, "no answer within 0.5 s"),
    ],
    ids=lambda value: value.value if isinstance(value, Trouble) else "",
)
async def test_broken_connections_lose_and_repeat_nothing(
    way: Way, node: Node, aggregator: Aggregator, until: Until, get: Get, trouble: Trouble, said: str
) -> None:
    took_s, found = await through(way, trouble, node, aggregator, until, get)
    assert took_s < FIRST_S * 2 ** (TRIES + 1) + SLACK_S
    assert re.search(said, found)


async def test_a_slow_reader_on_the_other_side_is_waited_for(
    way: Way, node: Node, aggregator: Aggregator, until: Until
) -> None:
    await way.have(Trouble.SLOW)
    noise = random.Random(1)
    lines = [cri(i) + b" " + noise.randbytes(200).hex().encode() for i in range(500)]
    node.write("a_pod_u1/web/0.log", *lines)
    async with node.agent(aggregator_url=f"http://{way.address}"):
        await until(lambda: len(aggregator.bodies()) == 500)
    assert aggregator.bodies() == [line.split(b" ", 3)[3] for line in lines]
    assert len(way.at_s) == 1


@pytest.mark.parametrize(
    ("code", "headers", "refusal"),
    [
        (429, {}, Refusal("too many")),
        (429, {"Retry-After": "0"}, Refusal("too many")),
        (500, {}, Refusal("a bug")),
        (503, {}, Refusal("full")),
        (503, {"Retry-After": "0.2"}, Refusal("full")),
        (400, {}, Refusal("version: expected 1, found 2", "version")),
        (400, {}, Refusal("version: expected 3, found 2", "version")),
        (400, {}, Refusal("encoding: Array of length 9 expected", "encoding")),
        (400, {}, Refusal("flags: unknown bits 0x40", "flags")),
        (400, {}, Refusal("of a rule that this agent does not know", "seal")),
        (404, {}, Refusal("no such page")),
        (415, {}, Refusal("expected application/x-another", "Content-Type")),
    ],
    ids=[
        "429",
        "429 at once",
        "500",
        "503",
        "503 in 0.2 s",
        "older aggregator",
        "newer aggregator",
        "other shape",
        "other flags",
        "other rules",
        "other address",
        "other type",
    ],
)
async def test_an_aggregator_that_cannot_take_it_now_is_asked_less_and_less_and_gets_all_of_it(
    node: Node,
    aggregator: Aggregator,
    until: Until,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    code: int,
    headers: dict[str, str],
    refusal: Refusal,
) -> None:
    tries_s: list[float] = []

    async def refuse(_: web.Request, __: Batch) -> web.StreamResponse:
        tries_s.append(time.monotonic())
        return json_response(refusal, code, headers)

    aggregator.always = refuse
    node.write("a_pod_u1/web/0.log", *map(cri, range(500)))
    async with node.agent() as url:
        await until(lambda: len(tries_s) >= TRIES)
        said = (await get(f"{url}/readyz"))[1].decode()
        assert f"{code}: {refusal.error}" in said
        is_other = refusal.parameter in BUILD_RULES
        assert is_other == ("agent and aggregator are of different versions" in said)
        assert is_other == ("the aggregator is of another version, waiting until both are alike" in caplog.text)
        outcome = "incompatible" if is_other else "unavailable"
        assert re.search(rf'batches_total{{outcome="{outcome}"}} [1-9]', (await get(f"{url}/metrics"))[1].decode())
        aggregator.always = None
        over_s = time.monotonic()
        await until(lambda: len(aggregator.bodies()) == 500)
        assert time.monotonic() - over_s < FIRST_S * 2 ** (TRIES + 1) + SLACK_S
    assert aggregator.bodies() == texts(0, 500)
    if "Retry-After" in headers:
        asked_s = max(FIRST_S, float(headers["Retry-After"]))
        assert all(next_s - one_s >= asked_s for one_s, next_s in pairwise(tries_s))
    else:
        assert_no_busy_loop(tries_s)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a name server knows; of other names nothing. Emptied, it is one that is gone."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host in known:
            return real(known[host], *arguments, **options)
        if host == "aggregator.logboom":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


async def test_a_name_that_is_gone_and_comes_back_elsewhere_is_looked_up_again(
    way: Way, node: Node, aggregator: Aggregator, until: Until, get: Get, names: dict[str, str]
) -> None:
    port = way.address.rpartition(":")[2]
    node.write("a_pod_u1/web/0.log", *map(cri, range(10)))
    async with node.agent(aggregator_url=f"http://aggregator.logboom:{port}") as url:
        said = b""
        while b"name resolution" not in said:
            said = (await get(f"{url}/readyz"))[1]
        names["aggregator.logboom"] = "127.0.0.1"
        await until(lambda: len(aggregator.bodies()) == 10)
        # It moves: what was resolved once is of no use, and asking again must not wait for a cache.
        await way.have(Trouble.REFUSED)
        names["aggregator.logboom"] = "127.0.0.2"
        elsewhere = Way(node.config.aggregator_url)
        elsewhere.listen(f"127.0.0.2:{port}")
        await elsewhere.open()
        node.write("a_pod_u1/web/0.log", *map(cri, range(10, 20)))
        await until(lambda: len(aggregator.bodies()) == 20)
        await elsewhere.close()
    assert aggregator.bodies() == texts(0, 20)


async def test_a_private_authority_is_trusted_by_its_file_and_a_wrong_certificate_is_named(
    way: Way,
    node: Node,
    aggregator: Aggregator,
    until: Until,
    get: Get,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right, wrong = Authority(tmp_path, "right"), Authority(tmp_path, "wrong")
    await way.close()
    await way.open(wrong.server())
    node.write("a_pod_u1/web/0.log", *map(cri, range(10)))
    async with node.agent(aggregator_url=f"https://{way.address}", ca_file=right.file) as url:
        said = b""
        while b"certificate is not trusted: " not in said:
            code, said = await get(f"{url}/readyz")
        assert code == 503
        assert b"see --ca-file" in said
        assert b"certificate is not trusted: " in (await get(f"{url}/status"))[1]
        assert any("certificate is not trusted" in str(getattr(record, "fields", "")) for record in caplog.records)
        assert not aggregator.requests
        await way.close()
        await way.open(right.server())
        await until(lambda: len(aggregator.bodies()) == 10)
        # A name that the certificate does not have is refused as well.
        await way.close()
        await way.open(right.server("DNS:elsewhere"))
        node.write("a_pod_u1/web/0.log", *map(cri, range(10, 20)))
        while b"127.0.0.1" not in said or b"not valid for" not in said:
            said = (await get(f"{url}/readyz"))[1]
        # The authority is replaced, in the file that was mounted.
        right.file.write_bytes(wrong.file.read_bytes())
        await way.close()
        await way.open(wrong.server())
        await until(lambda: len(aggregator.bodies()) == 20)
    assert aggregator.bodies() == texts(0, 20)


SAID = '{"error":"on cue","parameter":"names"}'
NGINX = "<html><head><title>413 Request Entity Too Large</title></head>nginx</html>"


def limiting(bytes_max: int, tries: list[tuple[float, int]]) -> Fault:
    """A proxy that takes no body of more than ``bytes_max`` bytes, as nginx does; ``tries``: when, how many records."""

    async def limit(request: web.Request, batch: Batch) -> web.StreamResponse | None:
        if (request.content_length or 0) <= bytes_max:
            return None
        tries.append((time.monotonic(), len(batch.flags)))
        return web.Response(status=413, text=NGINX, content_type="text/html")

    return limit


def noisy(number: int, size: int) -> bytes:
    """A line of ``size`` bytes and a few that no compression makes much smaller."""
    return cri(number) + b" " + random.Random(number).randbytes(size // 2).hex().encode()


async def test_below_the_limit_of_a_proxy_batches_are_sent_in_pieces(
    node: Node, aggregator: Aggregator, until: Until, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[tuple[float, int]] = []
    aggregator.always = limiting(5_000, tries)
    lines = [noisy(number, 1_000) for number in range(64)]
    node.write("a_pod_u1/web/0.log", *lines)
    async with node.agent() as url:
        await until(lambda: len(aggregator.bodies()) == 64)
        metrics = (await get(f"{url}/metrics"))[1].decode()
        assert (await get(f"{url}/readyz"))[0] == 200
    assert aggregator.bodies() == [line.split(b" ", 3)[3] for line in lines]
    assert 'batches_total{outcome="unavailable"}' not in metrics
    assert f'batches_total{{outcome="too_large"}} {len(tries)}.0' in metrics
    said = [record for record in caplog.records if "a proxy" in str(getattr(record, "fields", ""))]
    assert len(said) == 1, "said once, however often"


async def test_a_record_over_the_limit_of_a_proxy_waits_until_the_limit_is_raised(
    node: Node, aggregator: Aggregator, until: Until, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[tuple[float, int]] = []
    aggregator.always = limiting(5_000, tries)

    def alone_s() -> list[float]:
        return [at_s for at_s, rows in tries if rows == 1]

    node.write("a_pod_u1/web/0.log", *map(cri, range(3)), noisy(3, 20_000), *map(cri, range(4, 7)))
    async with node.agent() as url:
        await until(lambda: len(alone_s()) >= TRIES)
        assert aggregator.bodies() == texts(0, 3)
        code, said = await get(f"{url}/readyz")
        assert code == 503
        assert b"413: <html>" in said
        assert b"client_max_body_size" in said
        assert b"413: <html>" in (await get(f"{url}/status"))[1]
        assert "the body of a single record is too large for a proxy in between" in caplog.text
        assert_no_busy_loop(alone_s()[:TRIES])
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) == 7)
        metrics = (await get(f"{url}/metrics"))[1].decode()
    assert [body[:6] for body in aggregator.bodies()] == texts(0, 7), "no gap in the place of the record"
    assert "logboom_agent_refused_records_total 0.0" in metrics


@pytest.mark.parametrize("rule", sorted(RULES.keys() - BUILD_RULES))
async def test_a_record_of_which_no_gap_is_taken_either_waits_until_it_is(
    node: Node, aggregator: Aggregator, until: Until, get: Get, caplog: pytest.LogCaptureFixture, rule: str
) -> None:
    tries: list[tuple[float, bool]] = []

    async def refuse(_: web.Request, batch: Batch) -> web.StreamResponse | None:
        (chunk,) = batch.chunks
        if chunk.end <= 2 * len(cri(0) + b"\n"):
            return None
        if len(batch.flags) == 1:  # no half of a batch
            tries.append((time.monotonic(), bool(batch.flags[0] & Flag.GAP)))
        return json_response(Refusal("on cue", rule), 400)

    aggregator.always = refuse
    node.write("shop_cart-0_u1/web/0.log", *map(cri, range(3)))
    async with node.agent() as url:
        await until(lambda: len(tries) >= 2 * TRIES)
        code, said = await get(f"{url}/readyz")
        assert code == 503
        for part in (f"rule '{rule}'", "shop/cart-0", "web", "on cue", "one version"):
            assert part in said.decode()
        assert "nor the gap record in its place is taken, trying again; nothing is dropped" in caplog.text
        metrics = (await get(f"{url}/metrics"))[1].decode()
        assert re.search(r'batches_total{outcome="incompatible"} [1-9]', metrics)
        assert "logboom_agent_refused_records_total 0.0" in metrics
        assert [is_gap for _, is_gap in tries[: 2 * TRIES]] == [False, True] * TRIES
        assert_no_busy_loop([at_s for at_s, is_gap in tries if not is_gap])
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) == 3)
        while (await get(f"{url}/readyz"))[0] != 200:
            pass
    assert aggregator.bodies() == texts(0, 3), "it is the record that is stored"


@pytest.mark.parametrize(("code", "answer"), [(400, SAID), (413, SAID), (413, NGINX)], ids=["400", "413", "nginx"])
async def test_a_gap_that_is_not_taken_waits_until_it_is(
    node: Node, aggregator: Aggregator, until: Until, code: int, answer: str
) -> None:
    tries_s: list[float] = []

    async def refuse(_: web.Request, batch: Batch) -> web.StreamResponse | None:
        if not (batch.flags & Flag.GAP).any():
            return None
        if len(batch.flags) == 1:  # no half of a batch
            tries_s.append(time.monotonic())
        return web.Response(status=code, text=answer)

    aggregator.always = refuse
    packed = gzip.compress(b"".join(noisy(number, 100) + b"\n" for number in range(3_000)))
    packed = packed[: len(packed) // 2] + bytes(100) + packed[len(packed) // 2 + 100 :]
    node.write("a_pod_u1/web/0.log", cri(5_000))
    rotated = node.root / "a_pod_u1/web/0.log.20230405-022934.gz"
    rotated.write_bytes(packed)
    os.utime(rotated, (0, 0))
    async with node.agent():
        await until(lambda: len(tries_s) >= TRIES)
        assert_no_busy_loop(tries_s)
        aggregator.always = None
        await until(lambda: aggregator.bodies()[-1:] == texts(5_000, 5_001))
    gaps = [row for rows in aggregator.rows.values() for row in rows if row.flags & Flag.GAP]
    assert [json.loads(row.body)["reason"] for row in gaps] == ["corrupt gzip file"]


AGENTS = 1000


@pytest.mark.parametrize("away_s", [10.0, 30.0, 600.0])
def test_many_agents_do_not_come_back_in_the_same_moment(monkeypatch: pytest.MonkeyPatch, away_s: float) -> None:
    monkeypatch.undo()
    back_s = []
    for seed in range(AGENTS):
        backoff = Backoff(random.Random(seed))
        at_s = 0.0
        while at_s < away_s:
            at_s += backoff.next_s()
        back_s.append(at_s - away_s)
    assert max(back_s) <= min(LONGEST_S, 2 * away_s)
    # As even as can be: each tenth of the time that they take sees less than a third of them.
    tenth_s = max(back_s) / 10
    counts = [sum(int(each // tenth_s) == number for each in back_s) for number in range(10)]
    assert max(counts) < AGENTS / 3, counts
