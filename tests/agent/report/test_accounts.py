"""Each container's figures, from a tail on real files with a clock that passes only when told to."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import pytest

from agent.follow.discovery import Discovery
from agent.follow.tail import Tail
from agent.metrics import Metrics
from agent.report.accounts import ON_ITS_WAY_S, WARN_BELOW_S, Account
from agent.report.forecast import Rotation
from service.web import json_response
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from aiohttp import web

    from tests.agent.stand_in import Aggregator, Node
    from wire.batch import Batch

ROTATION = Rotation(file_bytes=1000, files=3)
WEB, DB = "a_pod_u1/web", "a_pod_u1/db"


class Followed:
    """A pods directory that a tail follows; nothing is committed but by `commit`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.now_s = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)
        self.metrics = Metrics()
        self.tail = Tail("test", 1 << 20, self.metrics, rotation=ROTATION)
        self.discovery = Discovery(str(root), lambda _: True)
        self.lines = 0

    def write(self, path: str, lines: int) -> Path:
        """Append lines of 50 bytes, each with another time."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            for _ in range(lines):
                self.lines += 1
                stream.write(b"2023-04-05T02:29:34.%09dZ stdout F ninebytes\n" % self.lines)
        return file

    def step(self, seconds: float = 2.0) -> None:
        """Let time pass, then look, read and measure as the collector does."""
        self.now_s += seconds
        for listing in self.discovery.scan():
            self.tail.update(listing)
        self.tail._unsettle()
        self.tail.look()
        self.tail.place(dict.fromkeys(self.tail.unplaced(), 0))
        while self.tail.look():
            self.tail.read_round()
        self.tail.measure()

    def commit(self) -> None:
        self.tail.place({file.source: file.shipped for file in self.tail.files() if file.source})
        self.tail._unsettle()
        self.tail.look()

    def account(self, name: str) -> Account:
        (found,) = (account for account, files in self.tail.containers() if files[0].directory.endswith(name))
        return found

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    followed = Followed(tmp_path, monkeypatch)
    yield followed
    followed.tail.close()


def test_bytes_are_counted_for_each_container(followed: Followed) -> None:
    followed.write(f"{WEB}/0.log", 4)
    followed.write(f"{DB}/0.log", 2)
    followed.step()
    assert [(followed.account(name).read_bytes, followed.account(name).committed_bytes) for name in (WEB, DB)] == [
        (200, 0),
        (100, 0),
    ]
    followed.commit()
    assert [followed.account(name).committed_bytes for name in (WEB, DB)] == [200, 100]


def test_what_was_committed_before_the_agent_came_is_not_counted(followed: Followed) -> None:
    followed.write(f"{WEB}/0.log", 4)
    for listing in followed.discovery.scan():
        followed.tail.update(listing)
    followed.tail.look()
    followed.tail.place(dict.fromkeys(followed.tail.unplaced(), 150))
    followed.step()
    followed.commit()
    assert (followed.account(WEB).read_bytes, followed.account(WEB).committed_bytes) == (50, 50)


def test_bytes_lost_are_the_containers(followed: Followed) -> None:
    kept, gone = followed.write(f"{WEB}/1.log", 1), followed.write(f"{WEB}/0.log", 1)
    followed.step()
    followed.commit()
    with gone.open("ab") as stream:
        stream.write(b"a line\n")
    followed.tail._unsettle()
    followed.tail.look()
    file = next(file for file in followed.tail.files() if file.entry.path == str(gone))
    file.close()
    gone.unlink()
    followed.step()
    followed.step(3600.0)
    followed.tail.lost()
    assert kept.exists()
    assert followed.account(WEB).lost_bytes == len(b"a line\n")


def test_the_rate_counts_across_a_rotation(followed: Followed) -> None:
    live = followed.write(f"{WEB}/0.log", 2)
    followed.step()
    followed.write(f"{WEB}/0.log", 2)
    live.rename(live.with_name("0.log.20230405-022934"))
    followed.write(f"{WEB}/0.log", 4)
    followed.step()
    assert followed.account(WEB).rate.per_s == 150.0, "100 bytes before the rename and 200 after it, in two seconds"


def test_a_compressed_file_is_nothing_written(followed: Followed) -> None:
    followed.write(f"{WEB}/0.log", 2)
    followed.step()
    (followed.root / WEB / "0.log.20230405-022934.gz").write_bytes(bytes(500))
    followed.step()
    assert followed.account(WEB).rate.per_s == 0.0


def behind(followed: Followed, *, commit: bool = False) -> None:
    """Write 100 bytes a second until what came first has waited longer than is usual."""
    for _ in range(int(ON_ITS_WAY_S / 2) + 2):
        followed.write(f"{WEB}/0.log", 4)
        followed.step()
        if commit:
            followed.commit()


def test_who_falls_behind_has_a_forecast_and_is_named_once(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.write(f"{DB}/0.log", 1)
    with caplog.at_level(logging.WARNING, "agent.report.accounts"):
        behind(followed)
        behind(followed)
    # 1600 bytes are in the live file, so it is rotated at once; two more rotations at ten seconds.
    assert followed.account(WEB).forecast_s == 20.0
    assert followed.account(DB).forecast_s is None
    assert followed.gauge("logboom_agent_rotation_forecast_seconds") == 20.0
    assert (followed.gauge("logboom_agent_lag_seconds") or 0.0) >= ON_ITS_WAY_S
    (record,) = caplog.records
    assert record.getMessage() == "log files will be rotated away before they are stored"
    told = record.__dict__["fields"]
    assert (told["pod"], told["container"]) == ("a/pod", "web")
    assert float(told["in_s"]) < WARN_BELOW_S


def test_who_keeps_up_has_no_forecast(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "agent.report.accounts"):
        behind(followed, commit=True)
    assert followed.account(WEB).rate.per_s == 100.0
    assert followed.account(WEB).forecast_s is None
    assert followed.gauge("logboom_agent_rotation_forecast_seconds") == math.inf
    assert not caplog.records


def test_who_stopped_writing_has_no_forecast_although_it_is_behind(followed: Followed) -> None:
    behind(followed)
    for _ in range(150):
        followed.step()
    assert followed.account(WEB).forecast_s is None
    assert (followed.gauge("logboom_agent_lag_seconds") or 0.0) > 300


@pytest.mark.parametrize("has_live", [True, False])
def test_an_old_generation_goes_first(followed: Followed, *, has_live: bool) -> None:
    live = followed.write(f"{WEB}/0.log", 4)
    followed.step()
    followed.step(ON_ITS_WAY_S)
    live.rename(live.with_name("0.log.20230405-022934"))
    if has_live:
        followed.write(f"{WEB}/0.log", 0).touch()
    followed.write(f"{WEB}/0.log" if has_live else f"{WEB}/0.log.20230405-022934", 4)
    followed.step()
    rate = followed.account(WEB).rate.per_s or 0.0
    live_bytes = 200 if has_live else 0
    assert followed.account(WEB).forecast_s == pytest.approx((1000 - live_bytes) / rate + max(1000 / rate, 10.0))


def test_an_older_run_is_not_rotated(followed: Followed) -> None:
    followed.write(f"{WEB}/0.log", 4)
    followed.step()
    followed.step(ON_ITS_WAY_S)
    followed.write(f"{WEB}/1.log", 4)
    followed.step()
    assert followed.account(WEB).rate.per_s
    assert followed.account(WEB).forecast_s is None


def test_an_account_ends_with_its_container(followed: Followed) -> None:
    file = followed.write(f"{WEB}/0.log", 1)
    followed.step()
    followed.commit()
    file.unlink()
    file.parent.rmdir()
    followed.step()
    followed.step(3600.0)
    assert list(followed.tail.containers()) == []
    assert followed.tail._accounts._accounts == {}


async def test_status_lists_containers(
    node: Node,
    aggregator: Aggregator,
    until: Callable[[Callable[[], bool]], Awaitable[None]],
    get: Callable[[str], Awaitable[tuple[int, bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(_: web.Request, __: Batch) -> web.StreamResponse:
        return json_response(Refusal("on cue"), 503, {"Retry-After": "0"})

    monkeypatch.setattr("agent.report.accounts.ON_ITS_WAY_S", 0.5)
    line = b"2023-04-05T02:29:34.000000001Z stdout F " + b"x" * 960
    aggregator.always = unavailable
    node.write("a_pod_u1/web/0.log", line)
    async with node.agent(rotation_bytes=10_000, rotation_files=2) as url:
        container: dict[str, Any] = {"forecast_seconds": None}
        while container["forecast_seconds"] is None:
            node.write("a_pod_u1/web/0.log", line)
            told = json.loads((await get(f"{url}/status"))[1])["containers"]
            (container,) = told or [container]
        assert container["write_rate"] >= 1.0
        assert container["lag_seconds"] >= 0.5
        assert container["lag_bytes"] > 0
        assert container["committed_bytes"] == 0
        metrics = (await get(f"{url}/metrics"))[1].decode()
        assert "logboom_agent_rotation_forecast_seconds +Inf" not in metrics
        aggregator.always = None
        await until(lambda: len(aggregator.bodies()) > 1)
        while container["lag_bytes"] or container["committed_bytes"] == 0:
            (container,) = json.loads((await get(f"{url}/status"))[1])["containers"]
    size = (node.root / "a_pod_u1/web/0.log").stat().st_size
    assert {key: container[key] for key in ("namespace", "pod", "uid", "container", "files", "lost_bytes")} == {
        "namespace": "a",
        "pod": "pod",
        "uid": "u1",
        "container": "web",
        "files": 1,
        "lost_bytes": 0,
    }
    assert container["committed_bytes"] == size
    assert container["read_bytes"] >= size
