"""The aggregator's command line: flags, environment variables and a TOML file into one value."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from aggregator.sizing import INGEST_BYTES_MIN, QUERY_BYTES_MIN, sizes
from aggregator.store.server import names_servers
from aggregator.store.terms import Rule
from aggregator.store.tier import REGION, Tier, checked
from service.logs import log_options
from service.memory import limit_bytes
from service.options import (
    ADDRESS,
    DURATION,
    SIZE,
    TOKEN_FILE,
    Address,
    config_file_option,
    refuse_options_before,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DAY_S: Final = 86_400.0
# What is not told depends on the memory there is.
_SIZES: Final = sizes(limit_bytes())
# Below a few batches nothing would be left of a day.
_SIZE_MIN: Final = 16 << 20
_CONCURRENT_MAX: Final = 64


_F = TypeVar("_F", bound="Callable[..., Any] | click.Command")


class Config(msgspec.Struct, frozen=True):
    """What the aggregator was told. Durations in seconds, sizes in bytes."""

    listen: Address
    store: str
    store_password: str
    token_file: Path | None
    retention_s: float
    retention_size_bytes: int | None
    retention_rules: tuple[Rule, ...]
    ingest_memory_bytes: int
    disk_reserve_bytes: int | None
    cold: Tier | None
    cold_after_s: float
    query_time_s: float
    query_memory_bytes: int
    query_concurrent: int
    log_level: str
    log_format: str


def command(run: Callable[[Config], None]) -> click.Group:
    """The command that gives its `Config` to ``run``, to which subcommands may be added."""

    @click.pass_context
    def main(ctx: click.Context, /, **values: Any) -> None:
        if ctx.invoked_subcommand is not None:
            refuse_options_before(ctx)
            return
        if names_servers(values["store"]):
            _refuse_with_servers(values)
        config = Config(
            listen=values["listen"],
            store=values["store"],
            store_password=_password(values["store_password_file"]),
            token_file=values["token_file"],
            retention_s=values["retention"],
            retention_size_bytes=values["retention_size"],
            retention_rules=values["retention_namespace"],
            ingest_memory_bytes=values["ingest_memory"],
            disk_reserve_bytes=values["disk_reserve"],
            cold=tier_of(values),
            cold_after_s=values["cold_after"],
            query_time_s=values["query_time"],
            query_memory_bytes=values["query_memory"],
            query_concurrent=values["query_concurrent"],
            log_level=values["log_level"],
            log_format=values["log_format"],
        )
        if config.cold and config.cold_after_s >= config.retention_s:
            raise click.UsageError("--cold-after has to be less than --retention: else no day ever goes there")
        run(config)

    for option in reversed(_OPTIONS):
        main = option(main)
    named = click.version_option(version("logboom"), prog_name="logboom-aggregator")(
        config_file_option()(log_options(main))
    )
    return click.group(
        "logboom-aggregator",
        help=_HELP,
        context_settings=_SETTINGS,
        invoke_without_command=True,
        subcommand_metavar="[check|export|import [OPTIONS]]",
    )(named)


def tier_of(values: Mapping[str, Any]) -> Tier | None:
    """The cold tier that options name; None if none. Raises click's `UsageError`."""
    if values["cold"] is None:
        return None
    key, secret = _credentials(values)
    region = values["cold_region"]
    tier = Tier(
        bucket=values["cold"].rstrip("/"),
        endpoint=values["cold_endpoint"] or f"https://s3.{region}.amazonaws.com",
        key=key,
        secret=secret,
        region=region,
        cache_bytes=values["cold_cache"],
    )
    try:
        return checked(tier)
    except ValueError as error:
        raise click.UsageError(f"the cold tier: {error}") from error


def _credentials(values: Mapping[str, Any]) -> tuple[str, str]:
    """The key and its secret; what is wrong with them is said without them."""
    file: Path | None = values["cold_credentials"]
    key, secret = values["cold_key"], values["cold_secret"]
    if file is not None:
        lines = [line.partition("=") for line in file.read_text("ascii", "replace").splitlines()]
        found = {name.strip(): value.strip() for name, _, value in lines}
        key, secret = found.get("aws_access_key_id"), found.get("aws_secret_access_key")
    if not key or not secret:
        place = file or "the environment"
        raise click.UsageError(f"--cold needs aws_access_key_id and aws_secret_access_key; {place} has not both")
    return key, secret


def _password(file: Path | None) -> str:
    try:
        return file.read_text("utf-8").rstrip("\r\n") if file is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = text_of(error) if isinstance(error, OSError) else f"{file}: no UTF-8"
        raise click.BadParameter(reason, param_hint="--store-password-file") from error


def _refuse_with_servers(values: Mapping[str, Any]) -> None:
    """Refuse what would delete out of a store that several aggregators write to, or say where its files lie."""
    for name, reason in _NOT_WITH_SERVERS.items():
        if values[name]:
            option = "--" + name.replace("_", "-")
            raise click.BadParameter(f"not with ClickHouse servers, which {reason}", param_hint=option)


_NOT_WITH_SERVERS: Final = {
    "retention_size": "keep every record for --retention: shorten that, or give the servers more disk",
    "retention_namespace": "keep every record for --retention: leave this out, or give those a store of their own",
    # What is said of a tier (--cold-endpoint and so on) is nothing without this.
    "cold": "have storage policies of their own: leave this out, and name the bucket there",
}
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_HELP: Final = """Take the batches of logboom's agents, keep them in one store, answer queries over HTTP.

Without any option it listens on http://127.0.0.1:8080 and keeps seven days in ./data."""


def _option(
    name: str, variable: str, kind: Any, default: Any, text: str, *, shown: str | bool = True, callback: Any = None
) -> Any:
    return click.option(
        name,
        type=kind,
        default=default,
        envvar=variable,
        show_envvar=True,
        show_default=shown,
        callback=callback,
        help=text,
    )


def _at_least(least: float, text: str) -> Callable[[click.Context, click.Parameter, float], float]:
    def check(_: click.Context, __: click.Parameter, value: float) -> float:
        if value < least:
            raise click.BadParameter(f"has to be at least {text}")
        return value

    return check


def _refuse_servers(_: click.Context, __: click.Parameter, value: str) -> str:
    if names_servers(value):
        raise click.BadParameter("not with ClickHouse servers, which have means of their own: see docs/cluster.md")
    return value


def _store(
    text: str, callback: Callable[[click.Context, click.Parameter, str], str] | None = None
) -> Callable[[_F], _F]:
    return click.option(
        "--store",
        default=lambda: f"chdb://{Path.cwd() / 'data'}",
        envvar="LOGBOOM_STORE",
        show_envvar=True,
        show_default="chdb://<working directory>/data",
        metavar="URL",
        callback=callback,
        help=text,
    )


_STORE: Final = _store(
    "The store: a directory of the embedded engine, chdb:///absolute/path, made if there is none; or servers, "
    "clickhouse://user@host:8123/database?cluster=name (clickhouses:// with TLS)."
)
# Of what looks at the store's own files, or writes rows that no agent sent.
STORE_HERE: Final = _store("The store: a directory of the embedded engine, chdb:///absolute/path.", _refuse_servers)


class RuleType(click.ParamType[Rule]):
    """``glob=duration``: how long records of the namespaces that match are kept."""

    name = "glob=duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rule:
        """Parse one value; click reports what `fail` says together with the option's name."""
        if isinstance(value, Rule):
            return value
        namespaces, equals, duration = str(value).partition("=")
        if not (namespaces and equals and duration):
            self.fail(f"{value!r} is not glob=duration, for example kube-*=2d", param, ctx)
        rule = Rule(namespaces, DURATION.convert(duration, param, ctx))
        if rule.retention_s < _DAY_S:
            self.fail(f"{value!r}: the duration has to be at least 1d, for whole days are kept", param, ctx)
        return rule


def _size_at_least(_: click.Context, __: click.Parameter, value: int | None) -> int | None:
    if value is not None and value < _SIZE_MIN:
        raise click.BadParameter(f"has to be at least {_SIZE_MIN >> 20}MiB")
    return value


# What `check` has to be told as well.
COLD: Final = (
    _option(
        "--cold",
        "LOGBOOM_COLD",
        str,
        None,
        "Where old days go, s3://bucket/prefix; they can be queried as before. The bucket has to be there.",
    ),
    _option(
        "--cold-endpoint",
        "LOGBOOM_COLD_ENDPOINT",
        str,
        None,
        "The server that has the bucket, https://host:port; the bucket is put into the path.",
        shown="Amazon's, in the region",
    ),
    _option("--cold-region", "LOGBOOM_COLD_REGION", str, REGION, "The bucket's region."),
    _option(
        "--cold-credentials",
        "LOGBOOM_COLD_CREDENTIALS",
        click.Path(exists=True, dir_okay=False, path_type=Path),
        None,
        "File with lines aws_access_key_id = … and aws_secret_access_key = …, read at start.",
    ),
    _option("--cold-key", "AWS_ACCESS_KEY_ID", str, None, "Without --cold-credentials: the id of the key."),
    _option(
        "--cold-secret",
        "AWS_SECRET_ACCESS_KEY",
        str,
        None,
        "Its secret: in the variable, as a command line is for everyone to see.",
    ),
    _option(
        "--cold-cache",
        "LOGBOOM_COLD_CACHE",
        SIZE,
        1 << 30,
        "Of what was read there lately, kept on the store's disk; 0: nothing.",
        shown="1GiB",
    ),
)
_OPTIONS: Final = (
    _option("--listen", "LOGBOOM_LISTEN", ADDRESS, "127.0.0.1:8080", "Where to listen; port 0 takes a free one."),
    _STORE,
    click.option(
        "--store-password-file",
        type=click.Path(path_type=Path),
        envvar="LOGBOOM_STORE_PASSWORD_FILE",
        show_envvar=True,
        help="File with the password of the user in --store, where that names servers.",
    ),
    click.option(
        "--token-file",
        type=TOKEN_FILE,
        envvar="LOGBOOM_TOKEN_FILE",
        show_envvar=True,
        help="File with the accepted bearer tokens, one a line; read again when it changes. "
        "Without it everyone who reaches the address may read and write.",
    ),
    _option(
        "--retention",
        "LOGBOOM_RETENTION",
        DURATION,
        "7d",
        "How long records are kept, by their own time; whole days (UTC) are dropped.",
        callback=_at_least(_DAY_S, "1d"),
    ),
    _option(
        "--retention-size",
        "LOGBOOM_RETENTION_SIZE",
        SIZE,
        None,
        "How large the store may become on disk; the oldest days (UTC) are dropped, then the oldest records of the "
        "last one. Without it only the age counts.",
        callback=_size_at_least,
    ),
    click.option(
        "--retention-namespace",
        type=RuleType(),
        multiple=True,
        envvar="LOGBOOM_RETENTION_NAMESPACE",
        show_envvar=True,
        help="How long records of some namespaces are kept instead, for example 'kube-*=2d'; the first that matches "
        "counts. May be given several times; in the environment separated by spaces, in TOML a list.",
    ),
    _option(
        "--ingest-memory",
        "LOGBOOM_INGEST_MEMORY",
        SIZE,
        _SIZES.ingest,
        "Bytes of batches held until they are committed; beyond it agents are told to wait.",
        shown="256MiB; less below 2 GiB of memory",
        callback=_at_least(INGEST_BYTES_MIN, f"{INGEST_BYTES_MIN >> 20}MiB"),
    ),
    _option(
        "--disk-reserve",
        "LOGBOOM_DISK_RESERVE",
        SIZE,
        None,
        "Refuse batches while less than this is free on the store's disk: agents wait, nothing is lost, queries go on.",
        shown="1GiB; a twentieth of a disk below 20 GiB",
    ),
    *COLD,
    _option(
        "--cold-after",
        "LOGBOOM_COLD_AFTER",
        DURATION,
        "2d",
        "How old a day is, counted from its end, when it goes there; less than --retention.",
        callback=_at_least(_DAY_S, "1d"),
    ),
    _option(
        "--query-time",
        "LOGBOOM_QUERY_TIME",
        DURATION,
        "60s",
        "How long one query may run.",
        callback=_at_least(0.001, "1ms"),
    ),
    _option(
        "--query-memory",
        "LOGBOOM_QUERY_MEMORY",
        SIZE,
        _SIZES.query,
        "Memory one query may use.",
        shown="1GiB; a quarter of memory below 4 GiB",
        callback=_at_least(QUERY_BYTES_MIN, f"{QUERY_BYTES_MIN >> 20}MiB"),
    ),
    _option(
        "--query-concurrent",
        "LOGBOOM_QUERY_CONCURRENT",
        click.IntRange(1, _CONCURRENT_MAX),
        _SIZES.concurrent,
        "Queries that run at once; more wait for a while.",
        shown="4; fewer below 4 GiB of memory",
    ),
)
