"""``make bench``: measure everything and print it as ratios of one run."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks import backlog, beside, delay, everyday, formats, many, queries, quiet, throughput

if TYPE_CHECKING:
    from collections.abc import Callable

_MB = 1e6
_PARTS = ("throughput", "cri", "docker", "everyday", "quiet", "many", "backlog", "delay", "queries", "beside")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--lines", default=2_000_000, show_default=True, help="Lines for the throughput.")
@click.option("--pods", default=32, show_default=True, help="Pods for the throughput.")
@click.option("--nodes", default=8, show_default=True, help="Nodes, each with an agent, for the throughput.")
@click.option("--files", default=1_000, show_default=True, help="Files for the quiet agent.")
@click.option("--many-files", default=5_000, show_default=True, help="Files for the agent with a few busy ones.")
@click.option("--backlog", "megabytes", default=1_000, show_default=True, help="Megabytes to catch up with.")
@click.option("--millions", default=10, show_default=True, help="Millions of lines that queries go through at most.")
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Measure one thing; may be given several times.")
def main(  # noqa: PLR0917 - one of each option
    lines: int, pods: int, nodes: int, files: int, many_files: int, megabytes: int, millions: int, only: tuple[str, ...]
) -> None:
    """Measure logboom on the simulator's data. Needs about a gigabyte below the temporary directory."""
    click.echo(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="logboom-bench-") as name:
        parts: dict[str, Callable[[Path], None]] = {
            "throughput": lambda directory: _throughput(throughput.measure(directory, lines, pods, nodes)),
            "cri": lambda directory: _cost("CRI", 3, formats.measure(directory, "cri", lines // 2)),
            "docker": lambda directory: _cost("Docker", 5, formats.measure(directory, "docker", lines // 2)),
            "everyday": lambda directory: _everyday(everyday.measure(directory, 300, 2.0)),
            "quiet": lambda directory: _quiet(quiet.measure(directory, files, 300)),
            "many": lambda directory: _many(many.measure(directory, many_files)),
            "backlog": lambda directory: _backlog(backlog.measure(directory, megabytes)),
            "delay": lambda directory: _delay(delay.measure(directory)),
            "queries": lambda directory: _queries(directory, millions),
            "beside": lambda directory: _beside(beside.measure(directory)),
        }
        for part, measure in parts.items():
            if not only or part in only:
                directory = Path(name) / part
                directory.mkdir()
                measure(directory)


def _throughput(found: throughput.Throughput) -> None:
    _line("lines", f"{found.lines:,} in {found.log_bytes / _MB:,.0f} MB, stored within {found.seconds:.0f} s")
    _line("agent CPU / zstd -1", f"{found.agent_ratio:.2f}", "at most 4", f"{found.agent_cpu_s:.2f} s")
    _line(
        "aggregator CPU / Parquet insert",
        f"{found.aggregator_ratio:.2f}",
        "at most 1.5",
        f"{found.aggregator_cpu_s:.2f} s",
    )
    _line("the same, both until their merges were over", f"{found.aggregator_merged_ratio:.2f}", "at most 1.5")
    _line("agent, lines a second a core", f"{found.lines / found.agent_cpu_s:,.0f}")
    _line("aggregator, lines a second a core", f"{found.lines / found.aggregator_cpu_s:,.0f}")
    _line("agent, peak RSS", f"{found.agent_peak_mib:.0f} MiB")
    _line("aggregator, RSS at rest", f"{found.aggregator_rest_mib:.0f} MiB")
    _line(
        "aggregator, peak RSS",
        f"{found.aggregator_peak_mib:.0f} MiB",
        "",
        f"anonymous {found.aggregator_anonymous_mib:.0f} MiB",
    )
    _line("bytes on disk / byte of log", f"{found.store_bytes / found.log_bytes:.3f}")


def _cost(form: str, most: int, found: formats.Cost) -> None:
    zstd = f"zstd -1 does {found.log_bytes / found.zstd_cpu_s / _MB:,.0f} MB/s"
    _line(f"agent CPU / zstd -1, {form}", f"{found.ratio:.2f}", f"at most {most}", zstd)
    size = f"{found.log_bytes / found.lines:.0f} bytes a line"
    _line(f"agent, lines a second a core, {form}", f"{found.lines / found.agent_cpu_s:,.0f}", "", size)


def _everyday(found: everyday.Everyday) -> None:
    name = f"agent, {found.files:,} files of {found.lines_per_second:g} lines a second, CPU"
    late = f"{found.batches} batches, at most {found.late_s:.2f} s late"
    _line(name, f"{100 * found.cpu_share:.2f} % of a core", "at most 3 %", late)


def _many(found: many.Many) -> None:
    name = f"CPU of {many.BUSY} busy files among {found.files:,} / alone"
    _line(name, f"{found.ratio:.2f}", "at most 1.2", f"{found.among_cpu_s:.2f} s, {found.peak_mib:.0f} MiB")


def _backlog(found: backlog.Backlog) -> None:
    caught_up = f"{found.records:,} of {found.expected:,} lines in {found.seconds:.0f} s"
    _line(f"catching up with {found.log_bytes / _MB:,.0f} MB, new lines late", f"{found.late_s:.2f} s", "at most 5 s")
    memory = f"at rest {found.rest_mib:.0f} MiB, up to the half of it {found.half_mib:.0f} MiB"
    _line("the same, peak RSS", f"{found.peak_mib:.0f} MiB", "flat", f"{memory}; {caught_up}")


def _quiet(found: quiet.Quiet) -> None:
    _line(f"agent with {found.files:,} files, peak RSS", f"{found.peak_mib:.0f} MiB", "at most 80 MiB")
    _line(f"agent with {found.files:,} quiet files, RSS", f"{found.rest_mib:.0f} MiB", "at most 60 MiB")
    _line(f"agent with {found.files:,} quiet files, CPU", f"{100 * found.cpu_share:.2f} % of a core", "at most 1 %")


def _delay(found: delay.Delay) -> None:
    _line("write to queryable, median", f"{found.median_s:.2f} s")
    _line(
        "write to queryable, p99",
        f"{found.p99_s:.2f} s",
        "under 1 s",
        f"{found.samples} samples, at most {found.most_s:.2f} s",
    )


def _queries(directory: Path, most: int) -> None:
    sizes = tuple(sorted({min(million, most) for million in queries.MILLIONS} | {most}))
    click.echo(f"{'':<45}{'lines':>12}{'ms':>9}{'by hand':>9}{'ratio':>7}{'CPU':>7}{'HTTP':>7}")
    queries.measure(directory, sizes, _took)


def _beside(found: beside.Beside) -> None:
    rates = f"{found.beside:,.0f} lines a second, alone {found.alone:,.0f}; {found.asked} queries answered"
    _line("ingestion beside heavy queries / alone", f"{found.ratio:.2f}", "at least 0.8", rates)


def _took(found: queries.Took) -> None:
    http = f"{found.http_s / found.bare_s:7.2f}" if found.http_s else ""
    seconds = f"{1000 * found.asked_s:>9,.0f}{1000 * found.bare_s:>9,.0f}"
    click.echo(f"{found.name:<45}{found.lines:>12,}{seconds}{found.ratio:>7.2f}{found.cpu_ratio:>7.2f}{http}")


def _line(name: str, value: str, goal: str = "", note: str = "") -> None:
    click.echo(f"{name:<52} {value:>16}  {f'goal: {goal}' if goal else '':<22} {note}".rstrip())


if __name__ == "__main__":
    main()
