"""``logboom-agent``, ``python -m agent``."""

from __future__ import annotations

import os

# numpy's linear algebra, which nothing here uses, would start a thread with a buffer of its own for every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import sys
from typing import Any

import click

from agent.app import run
from agent.config import Config, options
from agent.doctor.command import doctor
from service.environment import warn_of_unknown
from service.logs import configure
from service.options import refuse_options_before, text_of


@click.group(
    name="logboom-agent",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    subcommand_metavar="[doctor [OPTIONS]]",
)
@options
@click.pass_context
def main(ctx: click.Context, /, **values: Any) -> None:
    """Tail this node's pod logs and ship every line to the aggregator, exactly once.

    Keeps nothing on disk: where to read on, it asks the aggregator. If lines are missing: logboom-agent doctor.
    """
    if ctx.invoked_subcommand is not None:
        refuse_options_before(ctx)
        return
    config = Config(**values)
    configure(config.log_level, config.log_format)
    warn_of_unknown(ctx.command)
    try:
        asyncio.run(run(config))
    except OSError as error:
        click.echo(f"logboom-agent: {text_of(error)}", err=True)
        sys.exit(1)


main.add_command(doctor)

if __name__ == "__main__":
    main()
