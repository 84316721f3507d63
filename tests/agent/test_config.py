"""What the agent's options take, what they refuse, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from agent.app import _shortened
from agent.config import Config, options
from agent.follow.generations import Container
from agent.select.readymade import READY_MADE
from agent.select.rules import RULES_MAX, Replacement, Rule
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
            ca_file=None,
            listen=Address("127.0.0.1", 8081),
            batch_bytes=4 << 20,
            flush_after_s=0.25,
            record_bytes=1 << 20,
            deleted_hold_s=300.0,
            deleted_bytes=1 << 30,
            deleted_files=1000,
            inotify=True,
            rotation_bytes=10 << 20,
            rotation_files=5,
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
        ("LOGBOOM_DELETED_HOLD", "1h", "deleted_hold_s", 3600.0),
        ("LOGBOOM_DELETED_BYTES", "10GiB", "deleted_bytes", 10 << 30),
        ("LOGBOOM_DELETED_FILES", "0", "deleted_files", 0),
        ("LOGBOOM_INOTIFY", "false", "inotify", False),
        ("LOGBOOM_ROTATION_BYTES", "100MiB", "rotation_bytes", 100 << 20),
        ("LOGBOOM_ROTATION_FILES", "3", "rotation_files", 3),
        ("LOGBOOM_LOG_LEVEL", "error", "log_level", "error"),
        ("LOGBOOM_INCLUDE", "shop/* default", "include", ("shop/*", "default")),
        ("LOGBOOM_EXCLUDE", "kube-system/*/*", "exclude", ("kube-system/*/*",)),
        ("LOGBOOM_MULTILINE", "false", "multiline", False),
        ("LOGBOOM_DROP", "GET /healthz\n\nlevel=debug \n", "drop", ("GET /healthz", "level=debug ")),
        ("LOGBOOM_REDACT", "email\nuser=[^ ]+", "redact", ("email", "user=[^ ]+")),
        ("LOGBOOM_RATE", "1MiB", "rate", 1 << 20),
        ("LOGBOOM_RULES", '[[rules]]\nmatch = "shop"\ndrop = ["x"]', "rules", (Rule("shop", drop=("x",)),)),
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
        ("--deleted-hold", "2d", "172800.0 is not between 0 and 86400.0 seconds"),
        ("--deleted-bytes", "2000GiB", "is not between 0 and 1099511627776 bytes"),
        ("--deleted-files", "-1", "-1 is not between 0 and 100000 files"),
        ("--rotation-bytes", "1KB", "is not between 1024 and"),
        ("--rotation-files", "0", "is not in the range 1<=x<=1000"),
        ("--flush-after", "61s", "61.0 is not between 0 and 60.0 seconds"),
        ("--flush-after", "soon", "is not a duration"),
        ("--log-level", "loud", "is not one of"),
        ("--include", "a/b/c/d", "'a/b/c/d' is not a glob like shop/cart-*/app"),
        ("--exclude", "", "is not a glob"),
        ("--drop", "a(", "drop is not a regular expression: missing ), unterminated subpattern at position 1: 'a('"),
        ("--redact", "emial", "there is no ready-made pattern 'emial'; did you mean 'email'?"),
        ("--rate", "1KiB", "is less than 16KiB a second"),
        ("--rules", "x =", "is not TOML"),
        ("--rules", "x = 1", "has 'x' outside of [[rules]]"),
        ("--rules", "rules = 1", "is an array of tables: begin each with [[rules]]"),
        ("--rules", "[[rules]]\nmatch='a'\n" * (RULES_MAX + 1), f"at most {RULES_MAX} rules"),
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


CONTAINER = Container("shop", "cart-1", "uid", "app")


def told(tmp_path: Path, text: str) -> str:
    (tmp_path / "agent.toml").write_text(text)
    return run("--config", str(tmp_path / "agent.toml"))


def test_the_file_has_lists_and_tables(tmp_path: Path) -> None:
    text = """
        exclude = ["kube-system", "*/*/proxy"]
        redact = "all"
        rate = "2MiB"
        [[rules]]
        match = "shop/cart-*"
        multiline = '\\d{4}-'
        drop = ["a", 'b']
        redact = ["email", { pattern = 'user=(\\w)\\w*', replacement = 'user=\\1' }]
        rate = 65536
        [[rules]]
        match = "shop"
        drop = []
    """
    assert told(tmp_path, text) == ""
    assert found[0].exclude == ("kube-system", "*/*/proxy")
    assert found[0].rules == (
        Rule(
            "shop/cart-*", r"\d{4}-", ("a", "b"), ("email", Replacement(r"user=(\w)\w*", r"user=\1")), 65536,
        ),
        Rule("shop", drop=()),
    )  # fmt: skip
    rules = found[0].all_rules()
    treatment = rules.treatment(CONTAINER)
    assert [each.text for each in treatment.drop] == ["a", "b"]
    assert treatment.redact[1].replace(b"user=jane") == (b"user=j", 1)
    elsewhere = rules.treatment(Container("blog", "web-1", "uid", "app"))
    assert elsewhere.redact == tuple(READY_MADE.values())
    assert elsewhere.rate_bytes_per_s == 2 << 20
    assert not rules.collects(Container("blog", "web-1", "uid", "proxy"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[rules]]\nmatch = "a"\n[[rules]]\nmatch = "a//"', "[[rules]] number 2: 'a//' is not a glob like"),
        ('[[rules]]\ndrop = ["a"]', "[[rules]] number 1: Object missing required field `match`"),
        ('[[rules]]\nmatch = "a"\ndorp = ["a"]', "[[rules]] number 1: there is no key 'dorp'; did you mean 'drop'?"),
        ('[[rules]]\nmatch = "a"\ndrop = "a"', "[[rules]] number 1: drop: Expected `array`, got `str`"),
        ('[[rules]]\nmatch = "a"\ndrop = ["b", "a("]', "number 1: drop is not a regular expression: missing )"),
        ('[[rules]]\nmatch = "a"\nmultiline = "["', "number 1: multiline is not a regular expression"),
        (
            '[[rules]]\nmatch = "a"\nredact = ["a(b)", {pattern = "("}]',
            "number 1: redact[1]: redact is not a",
        ),
        ('[[rules]]\nmatch = "a"\nredact = [{patern = "a"}]', "redact[0]: there is no key 'patern'"),
        ('[[rules]]\nmatch = "a"\nrate = "1KiB"', "number 1: rate: '1KiB' is less than 16KiB a second"),
        ('[rules]\nmatch = "a"', "is an array of tables: begin each with [[rules]]"),
        ("[[exclude]]\na = 1", "'exclude' takes a list of values"),
        ("drop = [1]", "1 is not text"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(tmp_path: Path, text: str, said: str) -> None:
    assert said in told(tmp_path, text)
    assert found == []
