"""``make bench``: measure everything and print it as ratios of one run."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks import delay, quiet, throughput

if TYPE_CHECKING:
    from collections.abc import Callable

_MB = 1e6


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--lines", default=2_000_000, show_default=True, help="Lines for the throughput.")
@click.option("--pods", default=32, show_default=True, help="Pods for the throughput.")
@click.option("--nodes", default=8, show_default=True, help="Nodes, each with an agent, for the throughput.")
@click.option("--files", default=1_000, show_default=True, help="Files for the quiet agent.")
@click.option("--only", type=click.Choice(["throughput", "quiet", "delay"]), help="Measure one thing.")
def main(lines: int, pods: int, nodes: int, files: int, only: str | None) -> None:
    """Measure logboom on the simulator's data. Needs about a gigabyte below the temporary directory."""
    click.echo(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="logboom-bench-") as name:
        parts: dict[str, Callable[[Path], None]] = {
            "throughput": lambda directory: _throughput(throughput.measure(directory, lines, pods, nodes)),
            "quiet": lambda directory: _quiet(quiet.measure(directory, files, files * 300)),
            "delay": lambda directory: _delay(delay.measure(directory)),
        }
        for part, measure in parts.items():
            if only in {None, part}:
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


def _quiet(found: quiet.Quiet) -> None:
    _line(f"agent with {found.files:,} files, peak RSS", f"{found.peak_mib:.0f} MiB", "at most 80 MiB")
    _line(f"agent with {found.files:,} quiet files, CPU", f"{100 * found.cpu_share:.2f} % of a core", "at most 2 %")


def _delay(found: delay.Delay) -> None:
    _line("write to queryable, median", f"{found.median_s:.2f} s")
    _line(
        "write to queryable, p99",
        f"{found.p99_s:.2f} s",
        "under 1 s",
        f"{found.samples} samples, at most {found.most_s:.2f} s",
    )


def _line(name: str, value: str, goal: str = "", note: str = "") -> None:
    click.echo(f"{name:<44} {value:>16}  {f'goal: {goal}' if goal else '':<22} {note}".rstrip())


if __name__ == "__main__":
    main()
