"""`logboom-aggregator`, also `python -m aggregator`."""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import TYPE_CHECKING

import click

from aggregator.app import run
from aggregator.check.command import check
from aggregator.config import command
from aggregator.errors import StoreError
from service.logs import configure
from service.options import text_of
from service.token import TokenFileError

if TYPE_CHECKING:
    from aggregator.config import Config


def _main(config: Config) -> None:
    configure(config.log_level, config.log_format)
    # Every agent and client is a connection, every column of a part being read a file: the usual 1024 are soon used up.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(run(config))
    except (StoreError, TokenFileError, OSError) as error:
        # Something outside is not as it has to be; one line says what, a traceback would hide it.
        reason = text_of(error) if isinstance(error, OSError) else error
        click.echo(f"logboom-aggregator: {reason}", err=True)
        sys.exit(1)


main = command(_main)
main.add_command(check)

if __name__ == "__main__":
    main()
