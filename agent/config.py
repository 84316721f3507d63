"""The command line: flag > environment variable > TOML file > default."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from agent.errors import UnavailableError
from agent.report.forecast import FILE_BYTES_DEFAULT, FILES_DEFAULT
from agent.select.readymade import READY_MADE
from agent.select.rules import RULES_MAX, Glob, Rule, Rules, expression_of, rate_of, redactions_of
from agent.ship.trust import Trust
from service.logs import log_options
from service.options import ADDRESS, DURATION, LINE, SIZE, TOKEN_FILE, Address, TablesType, config_file_option
from wire.codec import BATCH_BYTES_MAX, NAME_BYTES_MAX, POSITION_MAX, RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

# A batch and a round more must stay under what the aggregator takes, and a record must fit beside them.
BATCH_BYTES_DEFAULT: Final = 4 << 20
BATCH_BYTES_LEAST: Final = 64 << 10
BATCH_BYTES_MOST: Final = BATCH_BYTES_MAX // 2
FLUSH_AFTER_MOST_S: Final = 60.0
RECORD_BYTES_LEAST: Final = 1 << 10
DELETED_HOLD_MOST_S: Final = 86_400.0
DELETED_BYTES_MOST: Final = 1 << 40
DELETED_FILES_MOST: Final = 100_000
# Smaller, every line would be a rotation; more files than discovery looks at are not read.
ROTATION_BYTES_LEAST: Final = 1 << 10
ROTATION_FILES_MOST: Final = 1_000


class Config(msgspec.Struct, frozen=True):
    """What one agent is told."""

    aggregator_url: str
    pods_dir: Path
    node_name: str
    cluster: str
    token_file: Path | None
    ca_file: Path | None
    listen: Address
    batch_bytes: int
    flush_after_s: float
    record_bytes: int
    deleted_hold_s: float
    deleted_bytes: int
    deleted_files: int
    inotify: bool
    rotation_bytes: int
    rotation_files: int
    log_level: str
    log_format: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    multiline: bool = True
    drop: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    rate: int = 0
    rules: tuple[Rule, ...] = ()

    def all_rules(self) -> Rules:
        """What is done with which container: what holds for all of them comes last."""
        rest = Rule("*", self.multiline, self.drop, self.redact, self.rate)
        return Rules(self.include, self.exclude, (*self.rules, rest))


def _url(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _is_url(value):
        raise click.BadParameter(f"{value!r} is not a URL like http://aggregator.logboom:8080")
    return value.rstrip("/")


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # brackets without an address in them, a port that is no number or too large
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0 and not parts.query + parts.fragment


def _name(_: click.Context, parameter: click.Parameter, value: str) -> str:
    # Bytes that are not UTF-8 come from the environment as surrogates.
    if not re.fullmatch(r"[^\x00-\x1f\ud800-\udfff]*", value) or len(value.encode()) > NAME_BYTES_MAX:
        raise click.BadParameter(f"at most {NAME_BYTES_MAX} bytes of UTF-8 and no control characters")
    if not value and parameter.name == "node_name":
        raise click.BadParameter("is empty; name the node")
    return value


def _certificates(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    try:
        Trust(value).context()
    except UnavailableError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _between(least: float, most: float, unit: str) -> Any:
    def check(_: click.Context, __: click.Parameter, value: float) -> float:
        if not least <= value <= most:
            raise click.BadParameter(f"{value} is not between {least} and {most} {unit}")
        return value

    return check


def _each(check: Callable[[str], object]) -> Any:
    """Every value is one that ``check`` does not raise `ValueError` for."""

    def checked(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                check(value)
            except ValueError as error:
                raise click.BadParameter(str(error)) from error
        return values

    return checked


def _rate(_: click.Context, __: click.Parameter, value: int) -> int:
    try:
        return rate_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _rules(_: click.Context, __: click.Parameter, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    if len(rules) > RULES_MAX:
        raise click.BadParameter(f"at most {RULES_MAX} rules, found {len(rules)}")
    return rules


def options(command: Any) -> Any:
    """Every option of the agent, for its command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.option(
        "--aggregator-url",
        default="http://127.0.0.1:8080",
        envvar="LOGBOOM_AGGREGATOR_URL",
        callback=_url,
        show_default=True,
        show_envvar=True,
        help="Where batches are sent.",
    ),
    click.option(
        "--pods-dir",
        # Whether it is readable is seen when it is read: access(2), which click would ask, knows no capabilities.
        type=click.Path(path_type=Path, file_okay=False, readable=False),
        default=Path("/var/log/pods"),
        envvar="LOGBOOM_PODS_DIR",
        show_default=True,
        show_envvar=True,
        help="Where the kubelet keeps pod logs. It may come later.",
    ),
    click.option(
        "--node-name",
        default=socket.gethostname,
        envvar="NODE_NAME",
        callback=_name,
        show_default="the host name",
        show_envvar=True,
        help="Name of the node, a label of every record.",
    ),
    click.option(
        "--cluster",
        default="",
        envvar="LOGBOOM_CLUSTER",
        callback=_name,
        show_envvar=True,
        help="Name of the cluster, a label of every record.",
    ),
    click.option(
        "--token-file",
        type=TOKEN_FILE,
        envvar="LOGBOOM_TOKEN_FILE",
        show_envvar=True,
        help="File with the token that the aggregator asks for.",
    ),
    click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="LOGBOOM_CA_FILE",
        callback=_certificates,
        show_envvar=True,
        help="PEM file of the authorities to trust for https://; the system's if there is none.",
    ),
    click.option(
        "--listen",
        type=ADDRESS,
        default="127.0.0.1:8081",
        envvar="LOGBOOM_LISTEN",
        show_default=True,
        show_envvar=True,
        help="Where /healthz, /readyz, /metrics and /status are served; port 0 takes a free one.",
    ),
    click.option(
        "--batch-bytes",
        type=SIZE,
        default=BATCH_BYTES_DEFAULT,
        callback=_between(BATCH_BYTES_LEAST, BATCH_BYTES_MOST, "bytes"),
        envvar="LOGBOOM_BATCH_BYTES",
        show_default="4MiB",
        show_envvar=True,
        help="Size at which a batch is sent; about four of them are held in memory at most.",
    ),
    click.option(
        "--flush-after",
        "flush_after_s",
        type=DURATION,
        default="250ms",
        callback=_between(0, FLUSH_AFTER_MOST_S, "seconds"),
        envvar="LOGBOOM_FLUSH_AFTER",
        show_default=True,
        show_envvar=True,
        help="Age at which a batch is sent, full or not.",
    ),
    click.option(
        "--record-bytes",
        type=SIZE,
        default=1 << 20,
        callback=_between(RECORD_BYTES_LEAST, RECORD_BYTES_MAX, "bytes"),
        envvar="LOGBOOM_RECORD_BYTES",
        show_default="1MiB",
        show_envvar=True,
        help="Longest record, after partial lines are joined; what is longer is cut and flagged.",
    ),
    click.option(
        "--deleted-hold",
        "deleted_hold_s",
        type=DURATION,
        default="5m",
        callback=_between(0, DELETED_HOLD_MOST_S, "seconds"),
        envvar="LOGBOOM_DELETED_HOLD",
        show_default=True,
        show_envvar=True,
        help="How long a deleted file is held open until all of it is stored; then the rest is a gap.",
    ),
    click.option(
        "--deleted-bytes",
        type=SIZE,
        default=1 << 30,
        callback=_between(0, DELETED_BYTES_MOST, "bytes"),
        envvar="LOGBOOM_DELETED_BYTES",
        show_default="1GiB",
        show_envvar=True,
        help="Disk space that deleted files held open may take together; the newest are held.",
    ),
    click.option(
        "--deleted-files",
        type=int,
        default=1000,
        callback=_between(0, DELETED_FILES_MOST, "files"),
        envvar="LOGBOOM_DELETED_FILES",
        show_default=True,
        show_envvar=True,
        help="How many deleted files may be held open; the newest are held.",
    ),
    click.option(
        "--inotify/--no-inotify",
        default=True,
        envvar="LOGBOOM_INOTIFY",
        show_default=True,
        show_envvar=True,
        help="Learn of new files, and of writes to quiet ones, from inotify; or by scanning and asking only.",
    ),
    click.option(
        "--rotation-bytes",
        type=SIZE,
        default=FILE_BYTES_DEFAULT,
        callback=_between(ROTATION_BYTES_LEAST, POSITION_MAX, "bytes"),
        envvar="LOGBOOM_ROTATION_BYTES",
        show_default="10MiB",
        show_envvar=True,
        help="Size at which the node rotates a log file: the kubelet's containerLogMaxSize, Docker's max-size. "
        "Only the forecast of what is rotated away depends on it.",
    ),
    click.option(
        "--rotation-files",
        type=click.IntRange(1, ROTATION_FILES_MOST),
        default=FILES_DEFAULT,
        envvar="LOGBOOM_ROTATION_FILES",
        show_default=True,
        show_envvar=True,
        help="Log files the node keeps of a container: the kubelet's containerLogMaxFiles, Docker's max-file.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        callback=_each(Glob),
        envvar="LOGBOOM_INCLUDE",
        show_envvar=True,
        help="Collect only containers like namespace/pod/container (shop/cart-*; what is left out is *). Repeatable.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        callback=_each(Glob),
        envvar="LOGBOOM_EXCLUDE",
        show_envvar=True,
        help="Do not collect containers like namespace/pod/container, included or not. Repeatable.",
    ),
    click.option(
        "--multiline/--no-multiline",
        default=True,
        envvar="LOGBOOM_MULTILINE",
        show_default=True,
        show_envvar=True,
        help="Join lines that belong together, as those of a stack trace, to one record.",
    ),
    click.option(
        "--drop",
        multiple=True,
        type=LINE,
        metavar="REGEX",
        callback=_each(lambda text: expression_of("drop", text)),
        envvar="LOGBOOM_DROP",
        show_envvar=True,
        help="Leave out records that the regex finds something in. Repeatable; in the variable one a line.",
    ),
    click.option(
        "--redact",
        multiple=True,
        type=LINE,
        metavar="NAME|REGEX",
        callback=_each(redactions_of),
        envvar="LOGBOOM_REDACT",
        show_envvar=True,
        help=f"Replace what a regex finds, or something ready-made: {', '.join(READY_MADE)}, or all. Repeatable; in "
        "the variable one a line.",
    ),
    click.option(
        "--rate",
        type=SIZE,
        default=0,
        callback=_rate,
        envvar="LOGBOOM_RATE",
        show_default="no limit",
        show_envvar=True,
        help="Bytes read of one pod in a second; what it writes beyond that is read later.",
    ),
    click.option(
        "--rules",
        type=TablesType("rules", Rule),
        default=(),
        metavar="TOML",
        callback=_rules,
        envvar="LOGBOOM_RULES",
        show_envvar=True,
        help="What is different with some containers: tables [[rules]], in the TOML file or as text.",
    ),
    config_file_option(),
    log_options,
    click.version_option(package_name="logboom"),
)
