"""Where an option's value comes from, and what its text may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from service.options import ADDRESS, DURATION, LINE, SIZE, Address, TablesType, config_file_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--flush-after", "flush_after_s", type=DURATION, default="250ms", envvar="LOGBOOM_FLUSH_AFTER")
@click.option("--batch-bytes", type=SIZE, default="4MiB", envvar="LOGBOOM_BATCH_BYTES")
@click.option("--inotify/--no-inotify", default=True, envvar="LOGBOOM_INOTIFY")
@click.option("--listen", type=ADDRESS, default="127.0.0.1:8081", envvar="LOGBOOM_LISTEN")
@config_file_option()
@click.version_option("1.2.3")
def command(**values: Any) -> None:
    """A command with an option of every kind."""
    click.echo(f"{values['flush_after_s']} {values['batch_bytes']} {values['inotify']} {values['listen'].url}")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    count: int = 1


@click.command()
@click.option("--word", multiple=True, type=LINE, envvar="LOGBOOM_WORD")
@click.option("--tables", type=TablesType("tables", Table), default=(), envvar="LOGBOOM_TABLES")
@config_file_option()
def several(**values: Any) -> None:
    """A command with options that take several values."""
    click.echo(f"{list(values['word'])} {[(table.name, table.count) for table in values['tables']]}")


def _run(*arguments: str, **environment: str) -> str:
    result = CliRunner(env=environment).invoke(command, arguments)
    return result.output.strip()


@pytest.mark.parametrize(
    ("flag", "variable", "toml", "expected"),
    [
        ("1s", "2s", "3s", 1.0),
        ("", "2s", "3s", 2.0),
        ("", "", "3s", 3.0),
        ("", "", "", 0.25),
        ("1s", "", "3s", 1.0),
        ("1s", "2s", "", 1.0),
    ],
)
def test_flag_beats_variable_beats_file_beats_default(
    tmp_path: Path, flag: str, variable: str, toml: str, expected: float
) -> None:
    arguments = ["--flush-after", flag] if flag else []
    environment = {"LOGBOOM_FLUSH_AFTER": variable} if variable else {}
    if toml:
        (tmp_path / "c.toml").write_text(f'flush-after = "{toml}"\n')
        arguments += ["--config", str(tmp_path / "c.toml")]
    assert _run(*arguments, **environment).split()[0] == str(expected)


def test_every_kind_of_option_may_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('flush_after = 2\nbatch-bytes = 1024\ninotify = false\nlisten = "[::1]:1"\n')
    assert _run(LOGBOOM_CONFIG=str(path)) == "2.0 1024 False http://[::1]:1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('flush-aftr = "1s"', "there is no option 'flush-aftr'; did you mean 'flush-after'?"),
        ("zzz = 1", "there is no option 'zzz'"),
        ("[zzz]\nx = 1", "there is no option 'zzz'; options do not stand in tables: leave [zzz] out"),
        ('config = "other.toml"', "there is no option 'config'"),
        ("version = true", "there is no option 'version'"),
        ('flush_after_s = "1s"', "there is no option 'flush_after_s'; did you mean 'flush-after'?"),
        ('flush-after = "soon"', "'soon' is not a duration"),
        ("[flush-after]\nx = 1", "'flush-after' takes one value, not several"),
        ('listen = [":1", ":2"]', "'listen' takes one value, not several"),
        ("batch-bytes = 1.5.2", "is not TOML"),
        ("batch-bytes = nan", "is not a size"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert said in " ".join(_run("--config", str(path)).split())


@pytest.mark.parametrize(
    ("text", "arguments", "environment", "expected"),
    [
        ("", [], {}, "[] []"),
        ('word = ["a b", "c"]', [], {}, "['a b', 'c'] []"),
        ('word = "a"', [], {}, "['a'] []"),
        ('word = ["a"]', ["--word", "b", "--word", "c"], {}, "['b', 'c'] []"),
        ('word = ["a"]', [], {"LOGBOOM_WORD": "b c\n\nd\n"}, "['b c', 'd'] []"),
        ('[[tables]]\nname = "a"\n[[tables]]\nname = "b"\ncount = 2', [], {}, "[] [('a', 1), ('b', 2)]"),
        ('[[tables]]\nname = "a"', [], {"LOGBOOM_TABLES": '[[tables]]\nname = "b"'}, "[] [('b', 1)]"),
        ('[[tables]]\nname = "a"', ["--tables", ""], {}, "[] []"),
    ],
)
def test_options_that_take_several_values(
    tmp_path: Path, text: str, arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    result = CliRunner(env=environment).invoke(several, ["--config", str(path), *arguments])
    assert result.output.strip() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("word = [1]", "1 is not text"),
        ('word = [["a"]]', "'word' takes a list of values"),
        ("[word]\na = 1", "'word' takes a list of values"),
        ("[tables]\na = 1", "is an array of tables: begin each with [[tables]]"),
        ('[[tables]]\nname = "a"\n[[tables]]\nnam = "b"', "number 2: there is no key 'nam'; did you mean 'name'?"),
        ('[[tables]]\nname = "a"\ncount = "b"', "number 1: count: Expected `int`, got `str`"),
        ("[[tables]]\ncount = 1", "number 1: Object missing required field `name`"),
    ],
)
def test_what_is_wrong_with_several_values_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert said in " ".join(CliRunner().invoke(several, ["--config", str(path)]).output.split())


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    assert "is not TOML" in _run("--config", str(tmp_path / "c.toml"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in _run("--config", str(tmp_path / "c.toml"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("15s", 15.0),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1w", 604800.0),
        ("30", 30.0),
        (" 5 s ", 5.0),
        ("0", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 day", "1s1s", "1e3", "inf", "nan", "1S", "9" * 400, "101000w"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1B", 1),
        ("512KiB", 512 << 10),
        ("4MiB", 4 << 20),
        ("1.5GiB", 3 << 29),
        ("1kb", 1000),
        ("1MB", 10**6),
        ("1GB", 10**9),
        ("2 mib", 2 << 20),
        (7, 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1TiBs", "1,5MiB", "1MiB1", "9" * 400, "99999999GiB"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SIZE.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        ("localhost:0", Address("localhost", 0), "http://localhost:0"),
        (":8080", Address("0.0.0.0", 8080), "http://127.0.0.1:8080"),  # noqa: S104 - a value to compare
        ("[::1]:8080", Address("::1", 8080), "http://[::1]:8080"),
        ("[::]:65535", Address("::", 65535), "http://[::1]:65535"),
        (Address("a", 1), Address("a", 1), "http://a:1"),
    ],
)
def test_addresses(text: object, address: Address, url: str) -> None:
    found = ADDRESS.convert(text, None, None)
    assert found == address
    assert found.url == url


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:65536", "::1:8080", "[::1]", "a:b:1", "h:-1"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ADDRESS.convert(text, None, None)
