"""A whole agent on real files, against an aggregator that misbehaves on cue."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from agent.follow.discovery import Discovery, Listing
from agent.parse.overlong import note
from agent.select.rules import Rule
from agent.ship.backoff import FIRST_S
from service.web import json_response
from wire.answers import Refusal
from wire.batch import Batch, Flag
from wire.codec import BATCH_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.stand_in import Aggregator, Fault, Node

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Get = Callable[[str], Awaitable[tuple[int, bytes]]]


def cri(number: int, text: str = "line", stream: str = "stdout", tag: str = "F") -> bytes:
    clock = f"02:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}"
    return f"2023-04-05T{clock}Z {stream} {tag} {text} {number}".encode()


def docker(number: int) -> bytes:
    return json.dumps(
        {"log": f"line {number}\n", "stream": "stderr", "time": f"2023-04-05T02:29:00.{number:09}Z"}
    ).encode()


def texts(first: int, last: int) -> list[bytes]:
    return [b"line %d" % number for number in range(first, last)]


async def test_lines_of_both_formats_arrive_once_and_in_order(node: Node, aggregator: Aggregator, until: Until) -> None:
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(1000)])
    node.write("a_pod_u2/web/0.log", *[docker(i) for i in range(1000)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 2000)
        node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(1000, 1500)])
        await until(lambda: len(aggregator.bodies()) == 2500)
    assert {tuple(row.body for row in rows) for rows in aggregator.rows.values()} == {
        tuple(texts(0, 1500)),
        tuple(texts(0, 1000)),
    }
    assert set(aggregator.chunks.values()) == {("a", "pod", "web", 0)}
    assert aggregator.most_running == 1


async def test_a_new_agent_reads_on_where_the_store_left_off(node: Node, aggregator: Aggregator, until: Until) -> None:
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(100)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 100)
    asked = len(aggregator.positions_asked)
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(100, 120)])
    seen: list[int] = []

    async def remember(_: web.Request, batch: Batch) -> None:
        seen.append(len(batch.flags))

    aggregator.always = remember
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 120)
    assert len(aggregator.positions_asked) > asked
    assert sum(seen) == 20


@pytest.mark.parametrize("inotify", [True, False])
async def test_rotation_and_restart_lose_nothing(
    node: Node, aggregator: Aggregator, until: Until, *, inotify: bool
) -> None:
    live = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(100)])
    async with node.agent(inotify=inotify):
        await until(lambda: len(aggregator.bodies()) == 100)
        rotated = live.rename(live.with_name("0.log.20230405-022934"))
        # The runtime still writes to the renamed file until it has opened the new one.
        node.write(f"a_pod_u1/web/{rotated.name}", *[cri(i) for i in range(100, 150)])
        await until(lambda: len(aggregator.bodies()) == 150)
        node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(150, 200)])
        node.write(f"a_pod_u1/web/{rotated.name}", cri(9999))
        node.write("a_pod_u1/web/1.log", *[cri(i) for i in range(200, 250)])
        await until(lambda: len(aggregator.bodies()) == 251)
    assert sorted(aggregator.bodies()) == sorted([*texts(0, 250), b"line 9999"])
    assert {restart for *_, restart in aggregator.chunks.values()} == {0, 1}


async def test_the_lag_grows_on_while_nothing_can_be_sent(
    node: Node, aggregator: Aggregator, until: Until, get: Get
) -> None:
    aggregator.always = status(503, **{"Retry-After": "0.5"})
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(60_000)])
    async with node.agent(batch_bytes=64 << 10) as url:
        read: list[int] = []

        async def follow() -> tuple[int, int]:
            """What is read of the file, and its size, as the agent tells."""
            found = json.loads((await get(f"{url}/status"))[1])
            return sum(each["read"] for each in found["files"]), found["lag_bytes"]

        async def gauge() -> float:
            metrics = (await get(f"{url}/metrics"))[1]
            return float(metrics.partition(b"\nlogboom_agent_lag_bytes ")[2].split()[0])

        async with asyncio.timeout(15):
            while len(read) < 20 or len(set(read[-20:])) > 1 or not read[-1]:
                read.append((await follow())[0])
                await asyncio.sleep(0.01)
        for number in range(60_000, 60_002):
            node.write("a_pod_u1/web/0.log", cri(number))
            async with asyncio.timeout(15):
                while await follow() != (read[-1], file.stat().st_size):
                    await asyncio.sleep(0.01)
                while await gauge() != file.stat().st_size:
                    await asyncio.sleep(0.01)
        assert aggregator.bodies() == []
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) == 60_002)


async def test_a_file_that_is_deleted_is_read_to_its_end_and_let_go(
    node: Node, aggregator: Aggregator, until: Until, get: Get
) -> None:
    held = asyncio.Event()

    async def hold(_: web.Request, __: Batch) -> None:
        await held.wait()

    aggregator.faults.append(hold)
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(30_000)])
    async with node.agent(batch_bytes=64 << 10) as url:
        await until(lambda: aggregator.requests == 1)
        file.unlink()
        file.parent.rmdir()
        file.parent.parent.rmdir()
        await until(lambda: not file.parent.exists())
        held.set()
        await until(lambda: len(aggregator.bodies()) == 30_000)
        files = [None]
        while files:
            files = json.loads((await get(f"{url}/status"))[1])["files"]
    assert aggregator.bodies() == texts(0, 30_000)


def status(code: int, **headers: str) -> Fault:
    async def fault(_: web.Request, __: Batch) -> web.StreamResponse:
        return json_response(Refusal("on cue"), code, headers)

    return fault


async def cut(request: web.Request, _: Batch) -> web.StreamResponse:
    """The connection breaks, nothing is committed."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def commit_then(fault: Fault, aggregator: Aggregator) -> Fault:
    async def committed(request: web.Request, batch: Batch) -> web.StreamResponse | None:
        assert aggregator.commit(batch)
        return await fault(request, batch)

    return committed


@pytest.mark.parametrize(
    "fault",
    [
        status(503, **{"Retry-After": "0"}),
        status(429, **{"Retry-After": "0.1"}),
        status(500),
        status(502),
        cut,
    ],
    ids=["503", "429", "500", "502", "cut"],
)
@pytest.mark.parametrize("committed", [False, True], ids=["before", "after commit"])
async def test_trouble_before_or_after_the_commit_loses_and_repeats_nothing(
    node: Node, aggregator: Aggregator, until: Until, fault: Fault, *, committed: bool
) -> None:
    aggregator.faults += [commit_then(fault, aggregator) if committed else fault] * 2
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(500)])
    async with node.agent():
        await until(lambda: aggregator.requests >= 3)
        await until(lambda: len(aggregator.bodies()) >= 500)
    assert aggregator.bodies() == texts(0, 500)


async def test_a_store_that_lost_rows_gets_them_again_from_finished_files_too(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    live = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(300)])
    live.rename(live.with_name("0.log.20230405-022934"))
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(300, 400)])
    node.write("a_pod_u2/web/0.log", *[docker(i) for i in range(100)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 500)
        aggregator.forget(keep=7)
        assert len(aggregator.bodies()) == 21
        node.write("a_pod_u1/web/0.log", cri(400))
        await until(lambda: len(aggregator.bodies()) == 501)
        aggregator.forget()
        node.write("a_pod_u2/web/0.log", docker(100))
        await until(lambda: len(aggregator.bodies()) == 502)
    assert {tuple(row.body for row in rows) for rows in aggregator.rows.values()} == {
        tuple(texts(0, 300)),
        tuple(texts(300, 401)),
        tuple(texts(0, 101)),
    }


async def test_a_quiet_agent_learns_of_another_store(
    node: Node, aggregator: Aggregator, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ship.positions.ASK_EVERY_S", 0.1)
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(30)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 30)
        aggregator.forget()
        await until(lambda: len(aggregator.bodies()) == 30)
    assert aggregator.bodies() == texts(0, 30)


async def test_an_answer_below_what_was_sent_makes_the_agent_send_the_rest_again(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    async def half(_: web.Request, batch: Batch) -> web.StreamResponse:
        assert aggregator.commit(batch)
        (rows,) = aggregator.rows.values()
        del rows[len(rows) // 2 :]
        aggregator.reached.clear()
        return aggregator.answer([chunk.source for chunk in batch.chunks])

    aggregator.faults.append(half)
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(200)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 200)
    assert aggregator.bodies() == texts(0, 200)


async def test_a_store_that_never_takes_what_it_is_sent_makes_no_busy_loop(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    async def take_nothing(_: web.Request, batch: Batch) -> web.StreamResponse:
        return aggregator.answer([chunk.source for chunk in batch.chunks])

    aggregator.always = take_nothing
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    async with node.agent():
        await until(lambda: aggregator.requests == 1)
        began_s = time.monotonic()
        await until(lambda: aggregator.requests == 4)
        assert time.monotonic() - began_s > (FIRST_S + 2 * FIRST_S + 4 * FIRST_S) / 2
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) == 10)
    assert aggregator.bodies() == texts(0, 10)


def refuse(code: int, rule: str, poison: bytes) -> Fault:
    async def fault(_: web.Request, batch: Batch) -> web.StreamResponse | None:
        if poison not in bytes(batch.body):
            return None
        return json_response(Refusal("on cue", rule), code)

    return fault


@pytest.mark.parametrize(("code", "rule"), [(400, "times"), (413, "size")])
async def test_a_record_refused_for_good_becomes_a_gap_and_the_others_arrive(
    node: Node, aggregator: Aggregator, until: Until, code: int, rule: str
) -> None:
    aggregator.always = refuse(code, rule, b"poison")
    lines = [cri(i) for i in range(100)]
    lines[37] = cri(37, "poison")
    node.write("a_pod_u1/web/0.log", *lines)
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 100)
    (rows,) = aggregator.rows.values()
    assert rows[37].flags == Flag.GAP
    assert json.loads(rows[37].body) == {"bytes": len(b"poison 37"), "reason": f"refused: {rule}"}
    assert [row.body for row in rows if not row.flags & Flag.GAP] == texts(0, 37) + texts(38, 100)


@pytest.mark.parametrize("code", [401, 403, 404, 415])
async def test_trouble_that_someone_has_to_mend_is_told_and_waited_out(
    node: Node, aggregator: Aggregator, until: Until, get: Get, code: int
) -> None:
    aggregator.always = status(code)
    node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    async with node.agent() as url:
        await until(lambda: aggregator.requests >= 2)
        ready, body = await get(f"{url}/readyz")
        assert (ready, str(code).encode() in body) == (503, True)
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) == 10)
        async with asyncio.timeout(15):  # the answer is still on its way
            while (await get(f"{url}/readyz"))[0] != 200:
                pass


async def test_partial_lines_are_joined_by_stream(node: Node, aggregator: Aggregator, until: Until) -> None:
    node.write(
        "a_pod_u1/web/0.log",
        b"2023-04-05T02:29:34.1Z stdout P 1",
        b"2023-04-05T02:29:34.2Z stderr F 2",
        b"2023-04-05T02:29:34.3Z stdout P 3",
        b"2023-04-05T02:29:34.4Z stdout F 4",
    )
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 2)
    assert sorted(aggregator.bodies()) == [b"134", b"2"]


async def test_a_partial_line_whose_end_never_comes_is_delivered_flagged(
    node: Node, aggregator: Aggregator, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.follow.tail.PATIENCE_S", 0.2)
    node.write("a_pod_u1/web/0.log", cri(1), b"2023-04-05T02:29:34.1Z stdout P begun")
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 2)
    (rows,) = aggregator.rows.values()
    assert (rows[1].body, bool(rows[1].flags & Flag.UNFINISHED)) == (b"begun", True)


async def test_open_lines_of_many_files_never_make_a_batch_that_is_too_large(
    node: Node, aggregator: Aggregator, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.follow.tail.PATIENCE_S", 0.5)
    monkeypatch.setattr("agent.parse.unfinished.OPEN_BYTES_MAX", 1 << 30)
    begun = b"2023-04-05T02:29:34.1Z stdout P " + b"x" * (1 << 20)
    pods = (BATCH_BYTES_MAX >> 20) + 8
    for pod in range(pods):
        node.write(f"a_pod_u{pod}/web/0.log", begun)
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == pods)
    assert aggregator.largest_bytes < 6 << 20


async def test_a_batch_that_is_too_large_arrives_in_pieces(
    node: Node, aggregator: Aggregator, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ship.collect.Collector._is_due", lambda self: self._builder.size_bytes > BATCH_BYTES_MAX)
    node.write("a_pod_u1/web/0.log", *[cri(i, "x" * 1_000_000) for i in range(36)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) >= 33)
    assert aggregator.largest_bytes > BATCH_BYTES_MAX
    assert aggregator.bodies() == [b"x" * 1_000_000 + b" %d" % i for i in range(36)]


async def test_a_line_written_in_pieces_is_read_when_it_is_complete(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    file = node.write("a_pod_u1/web/0.log", cri(0))
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 1)
        whole = cri(1, "x" * 600_000)
        for start in range(0, len(whole), 100_000):
            with file.open("ab") as stream:
                stream.write(whole[start : start + 100_000])
            await asyncio.sleep(0)
        node.write("a_pod_u1/web/0.log", b"")
        node.write("a_pod_u1/web/0.log", cri(2))
        await until(lambda: len(aggregator.bodies()) == 3)
    assert aggregator.bodies() == [b"line 0", b"x" * 600_000 + b" 1", b"line 2"]


async def test_a_line_over_the_limit_is_cut_and_reading_goes_on(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    node.write("a_pod_u1/web/0.log", cri(0), cri(1, "x" * 700_000), cri(2))
    async with node.agent(record_bytes=1 << 16):
        await until(lambda: len(aggregator.bodies()) == 3)
    (rows,) = aggregator.rows.values()
    assert (rows[1].body, bool(rows[1].flags & Flag.TRUNCATED)) == (b"x" * (1 << 16) + note(700_002 - (1 << 16)), True)
    assert rows[2].body == b"line 2"


async def test_what_is_there_is_read_without_waiting_for_the_next_look(
    node: Node, aggregator: Aggregator, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ship.collect.LOOK_EVERY_S", 60.0)
    monkeypatch.setattr("agent.ship.collect.LOOK_EVERY_LEAST_S", 60.0)
    node.write("a_pod_u1/web/0.log", cri(0), cri(1, "x" * (4 << 20)), cri(2))
    async with node.agent(record_bytes=1 << 16):
        await until(lambda: len(aggregator.bodies()) == 3)


async def test_status_says_where_every_file_stands(node: Node, aggregator: Aggregator, until: Until, get: Get) -> None:
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    async with node.agent() as url:
        await until(lambda: len(aggregator.bodies()) == 10)
        found: dict[str, object] = {}
        while not found.get("committed"):
            code, body = await get(f"{url}/status")
            assert code == 200
            (found,) = json.loads(body)["files"]
        size = file.stat().st_size
        (source,) = aggregator.rows
        expected = {
            "path": str(file),
            "namespace": "a",
            "pod": "pod",
            "container": "web",
            "restart": 0,
            "source": source.hex(),
            "size": size,
            "read": size,
            "committed": size,
            "lag_bytes": 0,
            "lag_seconds": 0.0,
            "open": True,
            "deleted": False,
            "unfinished_bytes": 0,
            "damaged": False,
        }
        assert found == expected
        metrics = (await get(f"{url}/metrics"))[1].decode()
    assert "logboom_agent_committed_records_total 10.0" in metrics
    assert 'logboom_agent_batches_total{outcome="committed"}' in metrics


@pytest.fixture
def leave_leases_alone() -> Iterator[None]:
    """Have the signal that asks a holder to give its lease up not end the tests."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.mark.usefixtures("leave_leases_alone")
async def test_a_file_that_cannot_be_opened_is_told_and_tried_again(
    node: Node, aggregator: Aggregator, until: Until, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.follow.following.RETRY_AFTER_S", 0.1)
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    node.write("a_pod_u2/web/0.log", cri(10))
    # Permissions would not keep root out. A lease keeps everyone from opening the file without waiting.
    held = os.open(file, os.O_RDWR)
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    async with node.agent() as url:
        await until(lambda: aggregator.bodies() == [b"line 10"])
        files = json.loads((await get(f"{url}/status"))[1])["files"]
        (found,) = (each for each in files if each["path"] == str(file))
        assert (found["open"], found["source"], found["lag_bytes"]) == (False, "", os.fstat(held).st_size)
        metrics = (await get(f"{url}/metrics"))[1].decode()
        assert "logboom_agent_read_errors_total 0.0" not in metrics
        os.close(held)
        await until(lambda: len(aggregator.bodies()) == 11)
    assert sorted(aggregator.bodies()) == sorted(texts(0, 11))


async def test_a_stopping_agent_sends_what_it_has_read(node: Node, aggregator: Aggregator, get: Get) -> None:
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    async with node.agent(flush_after_s=60.0) as url:
        read = 0
        while read < file.stat().st_size:
            files = json.loads((await get(f"{url}/status"))[1])["files"]
            read = files[0]["read"] if files else 0
        assert aggregator.bodies() == []
    assert aggregator.bodies() == texts(0, 10)


async def test_two_files_with_the_same_content_are_one(node: Node, aggregator: Aggregator, until: Until) -> None:
    lines = [cri(i) for i in range(10)]
    node.write("a_pod_u1/web/0.log", *lines)
    node.write("a_pod_u1/web/0.log.20230405-022934", *lines)
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 10)
        node.write("a_pod_u2/web/0.log", cri(0))
        await until(lambda: len(aggregator.bodies()) == 11)
    assert sorted(aggregator.bodies()) == sorted([*texts(0, 10), *texts(0, 1)])


async def test_a_pods_directory_that_comes_later_is_found(
    node: Node, aggregator: Aggregator, until: Until, tmp_path: Path
) -> None:
    async with node.agent(pods_dir=tmp_path / "later"):
        (tmp_path / "pods").rename(tmp_path / "later")
        node.root = tmp_path / "later"
        node.write("a_pod_u1/web/0.log", cri(0))
        await until(lambda: len(aggregator.bodies()) == 1)


async def test_a_file_that_shrinks_is_read_anew_as_another_source(
    node: Node, aggregator: Aggregator, until: Until
) -> None:
    file = node.write("a_pod_u1/web/0.log", *[cri(i) for i in range(10)])
    async with node.agent():
        await until(lambda: len(aggregator.bodies()) == 10)
        file.write_bytes(cri(50) + b"\n")
        await until(lambda: len(aggregator.bodies()) == 11)
    assert len(aggregator.rows) == 2


async def test_what_is_excluded_is_neither_followed_nor_watched(
    node: Node, aggregator: Aggregator, until: Until, get: Get
) -> None:
    node.write("a_pod_u1/web/0.log", cri(1))
    node.write("a_pod_u1/proxy/0.log", cri(2))
    node.write("b_pod_u2/web/0.log", cri(3))
    async with node.agent(include=("a", "b"), exclude=("a/*/proxy", "b")) as url:
        await until(lambda: bool(aggregator.bodies()))
        node.write("c_pod_u3/web/0.log", cri(4))
        node.write("a_pod_u1/web/0.log", cri(5))
        await until(lambda: len(aggregator.bodies()) == 2)
        _, body = await get(url + "/status")
        status = json.loads(body)
        _, metrics = await get(url + "/metrics")
    assert aggregator.bodies() == [b"line 1", b"line 5"]
    assert [file["path"] for file in status["files"]] == [str(node.root / "a_pod_u1/web/0.log")]
    assert status["excluded_containers"] in {2, 3}  # the third may not have been scanned yet
    assert b"logboom_agent_excluded_containers 2.0" in metrics or b"logboom_agent_excluded_containers 3.0" in metrics


async def test_records_are_dropped_and_redacted_by_the_rules_of_their_container(
    node: Node, aggregator: Aggregator, until: Until, get: Get
) -> None:
    for pod in ("a_pod_u1", "b_pod_u2"):
        node.write(f"{pod}/web/0.log", cri(1, "GET /healthz"), cri(2, "from a@b.de"), cri(3, "GET /healthz"), cri(4))
    rules = (Rule("a", drop=("/healthz",)),)
    async with node.agent(rules=rules, redact=("email",), drop=(r"^line 4$",)) as url:
        await until(lambda: len(aggregator.bodies()) == 5)
        _, metrics = await get(url + "/metrics")
    assert sorted([row.body for row in rows] for rows in aggregator.rows.values()) == [
        [b"GET /healthz 1", b"from [redacted:email] 2", b"GET /healthz 3"],
        [b"from [redacted:email] 2", b"line 4"],
    ]
    assert b"logboom_agent_dropped_records_total 3.0" in metrics
    assert b'logboom_agent_redacted_records_total{pattern="email"} 2.0' in metrics


async def test_a_file_whose_records_are_all_dropped_is_committed_to_its_end(
    node: Node, aggregator: Aggregator, until: Until, get: Get
) -> None:
    lines = [cri(i, "debug") for i in range(100)]
    file = node.write("a_pod_u1/web/0.log", *lines)
    async with node.agent(drop=("debug",)) as url:
        await until(lambda: list(aggregator.reached.values()) == [file.stat().st_size])
        node.write("a_pod_u1/web/0.log", cri(1))
        await until(lambda: aggregator.bodies() == [b"line 1"])
        # An aggregator that has forgotten gets the same again, and no more than that.
        aggregator.forget(keep=0)
        await until(lambda: aggregator.bodies() == [b"line 1"])
        node.write("a_pod_u1/web/0.log", cri(2, "debug"))
        await until(lambda: list(aggregator.reached.values()) == [file.stat().st_size])

        async def lag() -> int:
            _, body = await get(url + "/status")
            return int(json.loads(body)["lag_bytes"])

        async with asyncio.timeout(15):
            while await lag():
                await asyncio.sleep(0.01)
    assert aggregator.bodies() == [b"line 1"]


async def test_an_agent_without_files_is_ready_and_says_so(node: Node, get: Get) -> None:
    async with node.agent(pods_dir=node.root / "none") as url:
        async with asyncio.timeout(5):
            while (found := await get(f"{url}/readyz"))[0] != 200:
                pass
        assert found[1] == f"ok: no log files found below {node.root}/none yet\n".encode()
        node.write("none/a_pod_u1/web/0.log", cri(1))
        async with asyncio.timeout(15):
            while (await get(f"{url}/readyz")) != (200, b"ok\n"):
                pass
        _, page = await get(url)
        for line in re.findall(rb"'(http[^']*)'", page):
            assert (await get(line.decode()))[0] == 200


async def test_an_agent_without_files_tells_at_once_that_nobody_answers(
    node: Node, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with node.agent(aggregator_url=nobody) as url, asyncio.timeout(5):
            while b"the aggregator does not answer: " not in (found := await get(f"{url}/readyz"))[1]:
                pass
    assert found[0] == 503
    assert nobody.encode() in found[1]
    assert "positions not known" in caplog.text


async def test_a_pods_directory_that_cannot_be_read_is_the_reason(
    node: Node, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Discovery) -> list[Listing]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Discovery, "scan", refuse)  # root, who runs the tests here, may read everything
    async with node.agent() as url, asyncio.timeout(5):
        while (found := await get(f"{url}/readyz"))[1] != f"{node.root} cannot be read: Permission denied\n".encode():
            pass
        assert found[0] == 503
