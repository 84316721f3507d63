"""``python -m simulator``, ``logboom-simulator``."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import time
import urllib.error
import urllib.request
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from service.options import DURATION, SIZE
from simulator import demo as demonstration
from simulator.children import ChildError
from simulator.kubelet import Rotation
from simulator.ledger import Check, Ledger
from simulator.lines import Manner
from simulator.node import Node, NotOursError, claim
from simulator.pods import CONTAINERS_MAX, pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.lines import Container

# Lines of one container at once, at full speed.
BLOCK_LINES: Final = 2000
# Lines a second where nothing says when to stop: it must not fill a disk before somebody looks.
GENTLE_RATE: Final = 50
# Steps a second at a set rate.
_STEPS: Final = 10
_SAVE_EVERY_S: Final = 5.0
_ANSWER_S: Final = 60.0
_READ_BYTES: Final = 1 << 20

_SHARE: Final = click.FloatRange(0, 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="logboom")
def main() -> None:
    """A node's pod logs, as a kubelet would write them."""


@main.command()
@click.option(
    "--pods-dir", type=click.Path(path_type=Path), required=True, help="Emptied first, if it is a former run's."
)
@click.option(
    "--docker-dir", type=click.Path(path_type=Path), help="Docker's files  [default: docker, beside the pods]"
)
@click.option("--pods", "pod_count", type=click.IntRange(1), default=20, show_default=True, help="How many pods.")
@click.option("--containers", type=click.IntRange(1, CONTAINERS_MAX), default=1, show_default=True, help="In each pod.")
@click.option("--lines", type=click.IntRange(0), help="Stop after so many lines in all.")
@click.option("--seconds", type=DURATION, help="Stop after that time.")
@click.option(
    "--rate",
    type=click.IntRange(0),
    help="Lines a second in all, 0: as fast as it goes  [default: 0, or 50 without end]",
)
@click.option(
    "--runtime",
    "runtimes",
    type=click.Choice([runtime.value for runtime in Runtime]),
    multiple=True,
    default=[Runtime.CONTAINERD.value],
    show_default=True,
    help="Given several times, the pods take turns.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed says the same, but for the time.")
@click.option("--rotate-size", type=SIZE, default="10MiB", show_default=True, help="Rotate a file of this size.")
@click.option(
    "--files", type=click.IntRange(2), default=5, show_default=True, help="Files kept of one container's run."
)
@click.option(
    "--compress-after", type=click.IntRange(1), default=1, show_default=True, help="Rotated files left plain."
)
@click.option("--stderr", type=_SHARE, default=0.2, show_default=True, help="Share of lines on stderr.")
@click.option("--long", type=_SHARE, default=0.0005, show_default=True, help="Share of lines that are cut in pieces.")
@click.option("--binary", type=_SHARE, default=0.0, show_default=True, help="Share of lines that are not UTF-8.")
@click.option("--offset-minutes", type=click.IntRange(-720, 840), default=0, help="Time zone that CRI-O writes.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Where to note what was written.")
def write(**values: Any) -> None:
    """Write logs, and note what was written."""
    pods_dir: Path = values["pods_dir"]
    docker_dir: Path = values["docker_dir"] or pods_dir.parent / "docker"
    runtimes = [Runtime(name) for name in values["runtimes"]]
    rate = values["rate"]
    if rate is None:
        rate = 0 if values["lines"] or values["seconds"] else GENTLE_RATE
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    manner = Manner(values["seed"], values["stderr"], values["long"], values["binary"])
    rotation = Rotation(values["rotate_size"], values["files"], values["compress_after"])
    try:
        claim(pods_dir, *([docker_dir] if Runtime.DOCKER in runtimes else []))
    except (NotOursError, OSError) as error:
        raise click.ClickException(str(error)) from error
    with Node(pods_dir, docker_dir, manner, rotation, values["offset_minutes"]) as node:
        for pod, runtime in zip(_pods(values), cycle(runtimes), strict=False):
            node.start(pod, runtime)
        started = time.monotonic()
        try:
            _write(node, values["lines"], values["seconds"], rate, values["ledger"])
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        finally:
            ledger = node.ledger()
            if values["ledger"]:
                ledger.save(values["ledger"])
        seconds = time.monotonic() - started
        click.echo(f"{ledger.lines} lines in {seconds:.2f} s into {pods_dir}", err=True)


def _pods(values: dict[str, Any]) -> Iterator[tuple[Container, ...]]:
    return islice(pods(values["seed"], values["containers"]), values["pod_count"])


def _write(node: Node, lines: int | None, seconds: float | None, rate: int, ledger: Path | None) -> None:
    """Let the containers write in turn until there are ``lines``, or ``seconds`` are over."""
    began = saved = time.monotonic()
    written = 0
    for writer in cycle(node.writers):
        now = time.monotonic()
        if (lines is not None and written >= lines) or (seconds is not None and now - began >= seconds):
            return
        block = BLOCK_LINES
        if rate:
            behind = int((now - began) * rate) - written
            if behind <= 0:
                time.sleep(1 / _STEPS)
                continue
            block = min(block, -(-rate // (_STEPS * len(node.writers))), behind)
        if lines is not None:
            block = min(block, lines - written)
        written += writer.write(block)
        if ledger and now - saved > _SAVE_EVERY_S:
            node.ledger().save(ledger)
            saved = now


@main.command()
@click.option("--pods-dir", type=click.Path(path_type=Path), default=Path("/var/log/pods"), show_default=True)
@click.option(
    "--run-dir", type=click.Path(path_type=Path), default=Path("run"), show_default=True, help="Store, and pods."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of the aggregator.")
@click.option("--agent-port", type=click.IntRange(0, 65535), default=8081, show_default=True)
def demo(**values: Any) -> None:
    """Run aggregator and agent on this machine's pods, or on simulated ones, until Ctrl-C."""
    try:
        sys.exit(asyncio.run(demonstration.run(demonstration.Demo(**values))))
    except (demonstration.RunDirInUseError, ChildError, NotOursError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--ledger", type=click.Path(exists=True, path_type=Path), required=True, help="What `write` noted.")
@click.option("--url", help="Aggregator to ask for everything  [default: read an answer from standard input]")
@click.option("--format", "form", type=click.Choice(["json", "text"]), default="json", show_default=True)
def check(ledger: Path, url: str | None, form: str) -> None:
    """Compare what a store gives back with what was written; exit code 1 if they differ."""
    checked = Check(Ledger.load(ledger))
    take = checked.json if form == "json" else checked.text
    try:
        take(_answer(url, form) if url else sys.stdin.buffer)
    except (msgspec.DecodeError, OSError) as error:
        raise click.ClickException(f"the answer breaks off: {error}") from error
    report = checked.report()
    click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    sys.exit(0 if report.exact else 1)


def _answer(url: str, form: str) -> Iterator[bytes]:
    """Every line that the store has."""
    query = f"{url.rstrip('/')}/query?limit=0&start=0&format={form}"
    if not query.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is not a URL like http://127.0.0.1:8080")
    try:
        with urllib.request.urlopen(query, timeout=_ANSWER_S) as answer:  # noqa: S310 - checked above
            # The answer's own lines are read byte by byte where it comes in chunks.
            yield from io.BufferedReader(answer, _READ_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise click.ClickException(f"{query}: {error.read(1000).decode(errors='replace').strip()}") from error


if __name__ == "__main__":
    main()
