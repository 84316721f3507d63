"""Command line options: a flag beats its environment variable, that beats the TOML file, that beats the default."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click
import msgspec
from click.core import ParameterSource

from service.token import TokenFileError, read_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T", bound=msgspec.Struct)

_SIZES: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "": 1.0}
_PORT_MAX: Final = 65535
_SIZE_MAX: Final = 1 << 53  # floats count bytes exactly up to here
_DURATION_MAX_S: Final = 100 * 365 * 86400.0  # what every clock and date type can still add


class Address(msgspec.Struct, frozen=True):
    """Where a server listens. Port 0 lets the kernel choose."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a client on this machine would write it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class AddressType(click.ParamType[Address]):
    """``host:port``, ``:port`` (every interface) or ``[ipv6]:port``."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Parse one value; click reports what `fail` says together with the option's name."""
        if isinstance(value, Address):
            return value
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]*)):(\d{1,5})", str(value))
        if match is None or int(match[3]) > _PORT_MAX:
            self.fail(f"{value!r} is not host:port, for example 127.0.0.1:8080, :8080 or [::1]:8080", param, ctx)
        return Address(match[1] or match[2] or "0.0.0.0", int(match[3]))  # noqa: S104 - what `:port` asks for


class DurationType(click.ParamType[float]):
    """A number with a unit of time, as seconds: ``250ms``, ``15s``, ``2h``, ``7d``; without a unit seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse one value; click reports what `fail` says together with the option's name."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a duration, for example 250ms, 15s, 2h or 7d", param, ctx)
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds > _DURATION_MAX_S:
            self.fail(f"{value!r} is more than a hundred years", param, ctx)
        return seconds


class SizeType(click.ParamType[int]):
    """A number with a unit of size, as bytes: ``512KiB``, ``4MiB``, ``1GB``; without a unit bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse one value; click reports what `fail` says together with the option's name."""
        try:
            return size_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LineType(click.ParamType[str]):
    """Text that may have spaces in it: several of them in one environment variable stand on lines of their own."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Only text: a number in a TOML file was meant as something else."""
        if not isinstance(value, str):
            self.fail(f"{value!r} is not text", param, ctx)
        return value

    def split_envvar_value(self, rv: str) -> list[str]:
        """The lines that are not blank."""
        return [line for line in rv.splitlines() if line.strip()]


class TablesType(click.ParamType[tuple[_T, ...]], Generic[_T]):
    """An array of tables ``[[key]]`` in the TOML file, each made one ``table``; elsewhere, their TOML as text.

    What ``table`` refuses with `ValueError` is reported with the table's number and key.
    """

    name = "toml"

    def __init__(self, key: str, table: type[_T]) -> None:
        self.key = key
        self.table = table

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[_T, ...]:
        """Parse all tables; click reports what `fail` says together with the option's name."""
        if isinstance(value, tuple):
            return value
        if isinstance(value, str):
            try:
                found = tomllib.loads(value)
            except tomllib.TOMLDecodeError as error:
                self.fail(f"is not TOML: {error}", param, ctx)
            value = found.pop(self.key, [])
            if found:
                self.fail(f"has {next(iter(found))!r} outside of [[{self.key}]]", param, ctx)
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            self.fail(f"is an array of tables: begin each with [[{self.key}]]", param, ctx)
        tables = []
        for number, table in enumerate(value, 1):
            try:
                tables.append(msgspec.convert(table, self.table))
            except msgspec.ValidationError as error:
                self.fail(f"[[{self.key}]] number {number}: {self._reason(str(error))}", param, ctx)
        return tuple(tables)

    def _reason(self, message: str) -> str:
        """The key in front of what is wrong with it, as nobody writes ``$.key[0]``; a hint if there is no such key."""
        reason, _, path = message.partition(" - at `$")
        place = path.removesuffix("`").lstrip(".")
        reason = reason.replace(" | null", "")  # TOML has none: it is what a key that is not there means
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", reason)
        if unknown is not None:
            near = [] if place else difflib.get_close_matches(unknown[1], self.table.__struct_fields__, 1)
            reason = f"there is no key {unknown[1]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        return f"{place}: {reason}" if place else reason


class TokenFileType(click.ParamType[Path]):
    """A file with tokens in it, one a line."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the file, so that a wrong one is told before anything starts; it is read again when it is used."""
        path = Path(value)
        try:
            read_tokens(path)
        except TokenFileError as error:
            self.fail(str(error), param, ctx)
        return path


def text_of(error: OSError) -> str:
    """What an `OSError` says, for people: without its number, with the file if it is about one."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if isinstance(error.filename, str) else reason


ADDRESS: Final = AddressType()
DURATION: Final = DurationType()
SIZE: Final = SizeType()
LINE: Final = LineType()


def size_of(value: object) -> int:
    """The bytes of a size, as `SizeType` takes it. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", str(value).strip())
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(f"{value!r} is not a size, for example 512KiB, 4MiB or 1GB")
    size = float(match[1]) * _SIZES[match[2].upper()]
    if size > _SIZE_MAX:
        raise ValueError(f"{value!r} is more than any machine has")
    return int(size)


TOKEN_FILE: Final = TokenFileType()


def config_file_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--config``: a TOML file whose keys are option names, with ``-`` or ``_``; unknown keys are errors."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="LOGBOOM_CONFIG",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="TOML file with option names as keys; flags and environment variables win over it.",
    )


def refuse_options_before(ctx: click.Context) -> None:
    """Raise for options in front of a subcommand, which has its own and would not know of those."""
    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"options of {ctx.invoked_subcommand} stand after it", ctx)


def _load(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}", ctx, param) from error
    known = {
        flag.removeprefix("--").replace("-", "_"): option
        for option in ctx.command.params
        if option.name and option.expose_value  # not --config itself, --version, --help
        for flag in option.opts
        if flag.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0].replace('_', '-')!r}?" if near else ""
            if isinstance(value, dict):
                hint = f"; options do not stand in tables: leave [{key}] out"
            raise click.BadParameter(f"{path}: there is no option {key!r}{hint}", ctx, param)
        option = known[name]
        if isinstance(option, click.Option) and option.multiple:
            several = value if isinstance(value, list) else [value]
            if any(isinstance(each, dict | list) for each in several):
                raise click.BadParameter(f"{path}: {key!r} takes a list of values", ctx, param)
            defaults[str(option.name)] = several
            continue
        if isinstance(value, dict | list) and not isinstance(option.type, TablesType):
            raise click.BadParameter(f"{path}: {key!r} takes one value, not several", ctx, param)
        defaults[str(option.name)] = value
    ctx.default_map = defaults
