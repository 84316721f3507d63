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
from service.logs import configure
from service.options import text_of


@click.command(name="logboom-agent", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@options
def main(**values: Any) -> None:
    """Tail this node's pod logs and ship every line to the aggregator, exactly once.

    Keeps nothing on disk: where to read on, it asks the aggregator.
    """
    config = Config(**values)
    configure(config.log_level, config.log_format)
    try:
        asyncio.run(run(config))
    except OSError as error:
        click.echo(f"logboom-agent: {text_of(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
