"""The subcommands ``export`` and ``import``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import click

from aggregator.config import STORE_HERE
from aggregator.errors import MovingError, StoreError
from service.logs import configure
from service.options import SIZE, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aggregator.moving.told import Exported, Imported

    Show = Callable[[str, int, int], None]

# Beside 0, it is done, and 2, the options are wrong, which is click's.
NOT_DONE_EXIT_CODE: Final = 1
# Resuming goes on with the file that was written; a day is not cut below this.
_FILE_BYTES: Final = "256MiB"
_FILE_BYTES_MIN: Final = 1 << 20

_DIRECTORY: Final = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


def _at_least(_: click.Context, __: click.Parameter, value: int) -> int:
    if value < _FILE_BYTES_MIN:
        raise click.BadParameter(f"has to be at least {_FILE_BYTES_MIN >> 20}MiB")
    return value


@click.command(name="export")
@STORE_HERE
@click.option(
    "--file-size",
    type=SIZE,
    default=_FILE_BYTES,
    show_default=True,
    callback=_at_least,
    help="How large the rows of one file may be before compression; they become about a quarter of it.",
)
@_DIRECTORY
def export_command(*, store: str, file_size: int, directory: Path) -> None:
    """Export the store to DIRECTORY, as Parquet files of one day each, with a manifest and checksums.

    Everything is exported as it is stored, also what an aggregator needs to go on exactly where this one stood. The
    aggregator must not run meanwhile. Ended at any time, the next run goes on with the file it was at; run again
    later, it writes the days anew that have changed, and removes those that the store has no more.
    Exit code: 0 everything is there, 1 it is not, and why, 2 the options are wrong.
    """
    # Not before it is known that the options are right.
    from aggregator.moving.exporting import export  # noqa: PLC0415 - it loads the engine, which takes a second

    _run("export", lambda show: export(store, directory, file_size, show))


@click.command(name="import")
@STORE_HERE
@click.option(
    "--merge",
    is_flag=True,
    help="Also into a store that has records of the same log files, from agents or from this directory as it was "
    "before: of each log file what the store lacks.",
)
@_DIRECTORY
def import_command(*, store: str, merge: bool, directory: Path) -> None:
    """Import what `export` wrote into DIRECTORY: into a new store, or one that has other log files.

    No aggregator must have the store meanwhile. Ended at any time, the next run goes on where it was, and stores
    nothing twice. At the end every day's rows are counted and summed up, and log files' positions compared.
    Exit code: 0 everything is there, 1 it is not, and why, 2 the options are wrong.
    """
    from aggregator.moving.importing import bring  # noqa: PLC0415 - as above

    _run("import", lambda show: bring(store, directory, show, merge=merge))


def _run(name: str, work: Callable[[Show], Coroutine[Any, Any, Exported | Imported]]) -> None:
    """Do it, and say what was done; or why it was not, and exit."""
    configure("warning", "text")
    try:
        with _Bars() as bars:
            done = asyncio.run(work(bars.show))
    except (StoreError, MovingError, OSError) as error:
        reason = text_of(error) if isinstance(error, OSError) else error
        click.echo(f"logboom-aggregator {name}: {reason}", err=True)
        sys.exit(NOT_DONE_EXIT_CODE)
    for line in done.lines():
        click.echo(line)


class _Bars:
    """A progress bar for each thing that is done, one after the other; leaving it ends the last."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._what = ""
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def show(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` is done of ``what``."""
        if what != self._what:
            self._stack.close()
            self._what = what
            self._bar = self._stack.enter_context(click.progressbar(length=1000, label=what, file=sys.stderr))
        self._bar.update(1000 * done // total - self._bar.pos if total else 0)
