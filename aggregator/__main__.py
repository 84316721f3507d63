"""`logboom-aggregator`, also `python -m aggregator`."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from typing import TYPE_CHECKING, Final

import click

from aggregator.check.command import check
from aggregator.config import command
from aggregator.errors import StoreError
from aggregator.moving.command import export_command, import_command
from service.environment import warn_of_unknown
from service.logs import configure
from service.options import text_of
from service.token import TokenFileError

if TYPE_CHECKING:
    from aggregator.config import Config


# How long threads have to come to an end, once everything else has.
END_WITHIN_S: Final = 0.5


def _main(config: Config) -> None:
    configure(config.log_level, config.log_format)
    # Logs are readable for root alone where they come from.
    os.umask(0o077)
    warn_of_unknown(main)
    # Every agent and client is a connection, every column of a part being read a file: the usual 1024 are soon used up.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        # Not before it is known that the options are right.
        from aggregator.app import run  # noqa: PLC0415 - it loads the engine, which takes a second

        with asyncio.Runner() as runner:
            runner.run(run(config))
            # The store is closed, all that is promised is kept: what a thread still works out for a query that was
            # ended is of use to nobody. It would be waited for.
            timer = threading.Timer(END_WITHIN_S, os._exit, (0,))
            timer.daemon = True
            timer.start()
    except (StoreError, TokenFileError, OSError) as error:
        # Something outside is not as it has to be; one line says what, a traceback would hide it.
        reason = text_of(error) if isinstance(error, OSError) else error
        click.echo(f"logboom-aggregator: {reason}", err=True)
        sys.exit(1)


main = command(_main)
for subcommand in (check, export_command, import_command):
    main.add_command(subcommand)

if __name__ == "__main__":
    main()
