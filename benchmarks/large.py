"""What grows with a store: a real aggregator started over ever more lines, asked, killed, started again, examined.

``python -m benchmarks.large``. The lines are made inside the engine (`benchmarks.stock`): five million a day, 200 pods,
a file of each pod every 500,000 lines. The aggregator is the real one, over HTTP, with its defaults but for retention.
Seconds depend on what else the machine does; CPU seconds, bytes and rows hardly do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import click
import msgspec

from aggregator.store.engine import Engine
from aggregator.store.schema import LOGS, create
from benchmarks.processes import Process, running, wait_for
from benchmarks.stock import LINES_A_DAY, START_NS, Stock, needle
from wire.answers import SOURCES_PER_REQUEST_MAX
from wire.batch import DAY_NS, SOURCE_BYTES

MILLIONS: Final = (10, 30, 100)
TURNS: Final = 3
_MILLION: Final = 1_000_000
_MIB: Final = 1 << 20
_READY_WITHIN_S: Final = 900.0
_SPANS: Final = ("the last day", "everything")
# By name: path and parameters; each is asked of the last day and of everything.
_QUESTIONS: Final = {
    "/labels/pod/values": ("/labels/pod/values", {}),
    "/streams of a namespace": ("/streams", {"namespace": "shop"}),
    "newest 100 of a pod": ("/query", {"pod": "api-045", "limit": "100"}),
    "newest 100 of everything": ("/query", {"limit": "100"}),
    "needle, a trace id, as a word": ("/query", {"word": needle(), "limit": "100"}),
    "needle, as a bare substring": ("/query", {"grep": needle(), "limit": "100"}),
    "newest 100 of a rare substring": ("/query", {"grep": "eadloc", "limit": "100"}),
    "a JSON number, newest 100": ("/query", {"q": '{container="api"} | json | latency > 785.2', "limit": "100"}),
    "counts by level, 100 steps": ("/histogram", {"by": "level"}),
    "p99 of a JSON number, one value": (
        "/loki/api/v1/query",
        {"query": 'quantile_over_time(0.99, {container="api"} | json | unwrap latency [{span}]) by (namespace)'},
    ),
}


class Size(msgspec.Struct, frozen=True):
    """The store as the engine has it."""

    lines: int
    text_bytes: int
    disk_bytes: int
    parts: int
    files: int


class _Sum(msgspec.Struct):
    lines: int
    parts: int
    disk_bytes: int


class _Text(msgspec.Struct):
    text_bytes: int


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--millions", multiple=True, type=int, default=MILLIONS, show_default=True, help="Sizes, rising.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where to make the store and keep it.")
def main(millions: tuple[int, ...], directory: Path | None) -> None:
    """Measure an aggregator over a large store. Needs some 40 MiB of disk a million lines, and half an hour."""
    with contextlib.ExitStack() as stack:
        made = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logboom-large-")))
        made.mkdir(parents=True, exist_ok=True)
        for million in millions:
            began_s = time.monotonic()
            size = asyncio.run(_grow(made, million * _MILLION))
            click.echo(f"\n{size.lines:,} lines, {size.text_bytes / 1e9:.1f} GB of text, {size.files:,} log files")
            _tell("made and merged within", f"{time.monotonic() - began_s:,.0f} s")
            _tell("on disk", f"{size.disk_bytes / _MIB:,.0f} MiB in {size.parts} parts")
            _tell("bytes on disk / byte of text", f"{size.disk_bytes / size.text_bytes:.3f}")
            _measure(made, size)


def _tell(name: str, value: str) -> None:
    click.echo(f"{name:<48} {value}")


async def _grow(directory: Path, lines: int) -> Size:
    async with Engine.open(f"chdb://{directory / 'store'}") as engine:
        await create(engine)
        stock = Stock(engine, (await _sum(engine)).lines)
        await stock.grow(lines)
        found = await _sum(engine)
        text = (await engine.rows(f"SELECT sum(length(body)) AS text_bytes FROM {LOGS}", _Text))[0]  # noqa: S608 - a table name
    return Size(found.lines, text.text_bytes, found.disk_bytes, found.parts, stock.files)


async def _sum(engine: Engine) -> _Sum:
    sql = (
        "SELECT sum(rows) AS lines, count() AS parts, sum(bytes_on_disk) AS disk_bytes FROM system.parts "
        "WHERE active AND table = {table:String}"
    )
    return (await engine.rows(sql, _Sum, {"table": LOGS.rpartition(".")[2]}))[0]


def _measure(directory: Path, size: Size) -> None:
    options = ("--store", f"chdb://{directory / 'store'}", "--retention", "36500d", "--query-time", "10m")
    end_ns = START_NS + size.lines * (DAY_NS // LINES_A_DAY)
    with running("aggregator", directory / "first.log", *options) as process:
        _tell("RSS once it listens", f"{process.memory_mib('VmRSS'):,.0f} MiB")
    began_s = time.monotonic()
    with running("aggregator", directory / "second.log", *options) as process:
        _tell("second start: until it listens", f"{time.monotonic() - began_s:.2f} s, {process.cpu_s():.2f} s of CPU")
        wait_for(lambda: _is_ready(process), _READY_WITHIN_S)
        _tell("until it is ready", f"{time.monotonic() - began_s:.2f} s, {process.cpu_s():.2f} s of CPU")
        _positions(process, size)
        _questions(process, end_ns)
        peak, anonymous = process.memory_mib("VmHWM"), process.memory_mib("RssAnon")
        _tell("after all of this: peak RSS, anonymous now", f"{peak:,.0f} MiB, {anonymous:,.0f} MiB")
    Process("aggregator", directory / "killed.log", *options).kill()
    began_s = time.monotonic()
    with running("aggregator", directory / "again.log", *options) as process:
        _tell("after kill -9: until it listens", f"{time.monotonic() - began_s:.2f} s")
    _examine(directory)


def _is_ready(process: Process) -> bool:
    """Whether it is, and nothing is left to be looked for."""
    try:
        return process.get("/readyz") == b"ok\n"
    except urllib.error.HTTPError:
        return False


def _positions(process: Process, size: Size) -> None:
    """What an agent asks when it starts: files all over the store, and files that it does not have."""
    every = max(1, size.files // SOURCES_PER_REQUEST_MAX)
    for name, first, step in (("that are not in it", size.files + 1, 1), ("all over the store", 1, every)):
        numbers = range(first, first + step * SOURCES_PER_REQUEST_MAX, step)
        asked = [("source", number.to_bytes(SOURCE_BYTES, "little").hex()) for number in numbers]
        took_s, cpu_s = _took(process, f"/v1/positions?{urlencode(asked)}")
        _tell(f"positions of {len(numbers)} files {name}", f"{took_s:.3f} s, {cpu_s:.2f} s of CPU")


def _questions(process: Process, end_ns: int) -> None:
    click.echo(f"{'':<36}" + "".join(f"{span:>36}" for span in _SPANS))
    click.echo(f"{'':<36}" + f"{'first':>12}{'median':>12}{'CPU':>12}" * len(_SPANS))
    for name, (path, parameters) in _QUESTIONS.items():
        cells = ""
        for start_ns in (end_ns - DAY_NS, START_NS):
            span = f"{(end_ns - start_ns) // 10**9}s"
            asked = {key: value.replace("{span}", span) for key, value in parameters.items()}
            times = {"time": end_ns} if "query" in asked else {"start": start_ns, "end": end_ns}
            text = f"{path}?{urlencode(asked | times)}"
            took = [_took(process, text) for _ in range(1 + TURNS)]
            median_s, cpu_s = (statistics.median(turn[which] for turn in took[1:]) for which in (0, 1))
            cells += f"{took[0][0]:>10.3f} s{median_s:>10.3f} s{cpu_s:>10.2f} s"
        click.echo(f"{name:<36}{cells}")


def _took(process: Process, path: str) -> tuple[float, float]:
    """Seconds until the whole answer was there, and the CPU seconds that the aggregator used meanwhile."""
    began_s, began_cpu_s = time.monotonic(), process.cpu_s()
    if not process.get(path) and f"start={START_NS}&" in path:
        raise RuntimeError(f"{path}: nothing was found in all of the store")
    return time.monotonic() - began_s, process.cpu_s() - began_cpu_s


def _examine(directory: Path) -> None:
    """`logboom-aggregator check`, and what it took."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "aggregator", "check", "--store", f"chdb://{directory / 'store'}"]
    with (directory / "check.log").open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    cpu = f"{used.ru_utime + used.ru_stime:.1f} s of CPU, peak RSS {used.ru_maxrss / 1024:,.0f} MiB"
    _tell(f"check, exit code {code}", f"{time.monotonic() - began_s:.1f} s, {cpu}")


if __name__ == "__main__":
    main()
