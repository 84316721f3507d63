"""The subcommand ``check``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from aggregator.config import COLD, STORE_HERE, tier_of
from aggregator.errors import StoreError
from service.logs import configure

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggregator.check.report import Report
    from aggregator.store.tier import Tier

_Command = TypeVar("_Command", bound="Callable[..., Any]")

# Beside 0, all is well, and 2, the options are wrong, which is click's.
NOT_CLEAN_EXIT_CODE = 1
NOT_CHECKED_EXIT_CODE = 3


def _cold(command: _Command) -> _Command:
    for option in reversed(COLD):
        command = option(command)
    return command


@click.command(name="check")
@STORE_HERE
@_cold
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def check(*, store: str, as_json: bool, **cold: Any) -> None:
    """Examine the store: files by their checksums, log files for holes and repeated stretches, positions, labels.

    The aggregator must not run meanwhile. Reads everything once, the cold tier too: some minutes for 100 million
    lines. Changes nothing.
    Exit code: 0 all is well, 1 something is wrong, 2 the options are wrong, 3 the store could not be examined.
    """
    # Not before it is known that the options are right.
    from aggregator.check.report import render  # noqa: PLC0415 - it loads the engine, which takes a second

    configure("warning", "text")
    try:
        report = _examined(store, tier_of(cold))
    except StoreError as error:
        click.echo(f"logboom-aggregator check: {error}", err=True)
        sys.exit(NOT_CHECKED_EXIT_CODE)
    text = msgspec.json.encode(report) + b"\n" if as_json else render(report).encode("utf-8", "backslashreplace")
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    sys.exit(0 if report.is_clean else NOT_CLEAN_EXIT_CODE)


def _examined(store: str, tier: Tier | None) -> Report:
    from aggregator.check.examine import examine  # noqa: PLC0415 - as above

    with click.progressbar(length=1000, label="examining", file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.update(1000 * done // total - bar.pos if total else 0)

        return asyncio.run(examine(store, show, tier))
