"""The command line: flag > environment variable > TOML file > default."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from service.logs import log_options
from service.options import ADDRESS, DURATION, SIZE, TOKEN_FILE, Address, config_file_option
from wire.codec import BATCH_BYTES_MAX, NAME_BYTES_MAX, RECORD_BYTES_MAX

# A batch and a round more must stay under what the aggregator takes, and a record must fit beside them.
BATCH_BYTES_DEFAULT: Final = 4 << 20
BATCH_BYTES_LEAST: Final = 64 << 10
BATCH_BYTES_MOST: Final = BATCH_BYTES_MAX // 2
FLUSH_AFTER_MOST_S: Final = 60.0
RECORD_BYTES_LEAST: Final = 1 << 10


class Config(msgspec.Struct, frozen=True):
    """What one agent is told."""

    aggregator_url: str
    pods_dir: Path
    node_name: str
    cluster: str
    token_file: Path | None
    listen: Address
    batch_bytes: int
    flush_after_s: float
    record_bytes: int
    inotify: bool
    log_level: str
    log_format: str


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


def _between(least: float, most: float, unit: str) -> Any:
    def check(_: click.Context, __: click.Parameter, value: float) -> float:
        if not least <= value <= most:
            raise click.BadParameter(f"{value} is not between {least} and {most} {unit}")
        return value

    return check


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
        type=click.Path(path_type=Path, file_okay=False),
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
        "--inotify/--no-inotify",
        default=True,
        envvar="LOGBOOM_INOTIFY",
        show_default=True,
        show_envvar=True,
        help="Learn of new files from inotify, or by scanning only.",
    ),
    config_file_option(),
    log_options,
    click.version_option(package_name="logboom"),
)
