"""The subcommand ``doctor``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import msgspec

from agent.config import Config, options
from agent.doctor.examination import examine
from agent.doctor.tables import render
from service.logs import configure

# Beside 0, all is well, and 2, the options are wrong, which is click's.
PROBLEMS_EXIT_CODE = 1


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
@options
def doctor(*, as_json: bool, **values: Any) -> None:
    """Say what is there, what is read and stored of it, and what is wrong.

    Takes the options and the environment of the agent, which may be running. Changes nothing.
    Exit code: 0 all is well, 1 there are problems, 2 the options are wrong.
    """
    config = Config(**values)
    configure(config.log_level, config.log_format)
    report = asyncio.run(examine(config))
    text = msgspec.json.encode(report) + b"\n" if as_json else render(report).encode("utf-8", "backslashreplace")
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    sys.exit(PROBLEMS_EXIT_CODE if any(problem.severity == "problem" for problem in report.problems) else 0)
