"""What the agent's options take, what they refuse, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from agent.app import _shortened
from agent.config import Config, options
from service.options import Address
from wire.codec import NAME_BYTES_MAX

found: list[Config] = []


@click.command()
@options
def command(**values: Any) -> None:
    """Keep what was given."""
    found.append(Config(**values))


def run(*arguments: str, **environment: str) -> str:
    """What the command says, and in `found` what it was given."""
    found.clear()
    return " ".join(CliRunner(env=environment).invoke(command, arguments).output.split())


def test_the_defaults_are_those_of_a_node() -> None:
    assert run("--node-name", "node-1") == ""
    assert found == [
        Config(
            aggregator_url="http://127.0.0.1:8080",
            pods_dir=Path("/var/log/pods"),
            node_name="node-1",
            cluster="",
            token_file=None,
            listen=Address("127.0.0.1", 8081),
            batch_bytes=4 << 20,
            flush_after_s=0.25,
            record_bytes=1 << 20,
            inotify=True,
            log_level="info",
            log_format="text",
        )
    ]


def test_every_option_has_an_environment_variable_and_help() -> None:
    for option in command.params:
        assert isinstance(option, click.Option)
        if option.name not in {"version", "help"}:
            assert option.envvar, option.name
            assert option.show_envvar, option.name
        assert (option.help or "").endswith("."), option.name


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("LOGBOOM_AGGREGATOR_URL", "https://logs.example:8443/in/", "aggregator_url", "https://logs.example:8443/in"),
        ("LOGBOOM_AGGREGATOR_URL", "http://[::1]:8080", "aggregator_url", "http://[::1]:8080"),
        ("LOGBOOM_PODS_DIR", "/not/there/yet", "pods_dir", Path("/not/there/yet")),
        ("NODE_NAME", "node-7", "node_name", "node-7"),
        ("LOGBOOM_CLUSTER", "prod é", "cluster", "prod é"),
        ("LOGBOOM_LISTEN", ":0", "listen", Address("0.0.0.0", 0)),  # noqa: S104 - a value to compare
        ("LOGBOOM_BATCH_BYTES", "1MiB", "batch_bytes", 1 << 20),
        ("LOGBOOM_FLUSH_AFTER", "0", "flush_after_s", 0.0),
        ("LOGBOOM_RECORD_BYTES", "8MiB", "record_bytes", 8 << 20),
        ("LOGBOOM_INOTIFY", "false", "inotify", False),
        ("LOGBOOM_LOG_LEVEL", "error", "log_level", "error"),
        ("LOGBOOM_LOG_FORMAT", "json", "log_format", "json"),
    ],
)
def test_an_environment_variable_gives_its_option(variable: str, value: str, name: str, expected: object) -> None:
    assert run(**{variable: value}) == ""
    assert getattr(found[0], name) == expected


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        *[
            ("--aggregator-url", url, "is not a URL like http://aggregator.logboom:8080")
            for url in (
                "aggregator:8080",
                "ftp://h",
                "http://",
                "http://h/?q=1",
                "http://h/#f",
                "http://[::1",
                "http://h:x",
                "http://h:65536",
                "http://h:0",
            )
        ],
        ("--node-name", "", "is empty; name the node"),
        ("--node-name", "n" * (NAME_BYTES_MAX + 1), f"at most {NAME_BYTES_MAX} bytes"),
        ("--node-name", "é" * (NAME_BYTES_MAX // 2 + 1), f"at most {NAME_BYTES_MAX} bytes"),
        ("--node-name", "a\nb", "no control characters"),
        ("--cluster", "\udcff", "bytes of UTF-8"),
        ("--token-file", "/not/there", "No such file"),
        ("--listen", "8081", "is not host:port"),
        ("--batch-bytes", "1KiB", "is not between 65536 and 16777216 bytes"),
        ("--batch-bytes", "17MiB", "is not between 65536 and 16777216 bytes"),
        ("--record-bytes", "9MiB", "is not between 1024 and 8388608 bytes"),
        ("--flush-after", "61s", "61.0 is not between 0 and 60.0 seconds"),
        ("--flush-after", "soon", "is not a duration"),
        ("--log-level", "loud", "is not one of"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(option: str, value: str, said: str) -> None:
    output = run(option, value)
    assert said in output
    assert option in output
    assert found == []


@pytest.mark.parametrize("name", ["n" * NAME_BYTES_MAX, "é" * (NAME_BYTES_MAX // 2), "node-1"])
def test_the_longest_node_name_leaves_room_for_the_agents(name: str) -> None:
    assert run("--node-name", name) == ""
    short = _shortened(name)
    assert name.startswith(short)
    assert NAME_BYTES_MAX - 12 <= len(short.encode()) <= NAME_BYTES_MAX - 9 or short == name == "node-1"
