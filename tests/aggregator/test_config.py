from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from aggregator.__main__ import main
from aggregator.config import Config, command
from aggregator.store.terms import Rule
from aggregator.store.tier import Tier
from service.options import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_S = 86_400.0


def told(*arguments: str, env: Mapping[str, str] | None = None) -> Config:
    heard: list[Config] = []
    result = CliRunner().invoke(command(heard.append), arguments, env=env or {})
    assert result.exit_code == 0, result.output
    return heard[0]


def test_without_options_it_listens_on_loopback_and_keeps_seven_days() -> None:
    assert told() == Config(
        listen=Address("127.0.0.1", 8080),
        store=f"chdb://{Path.cwd()}/data",
        store_password="",
        token_file=None,
        retention_s=7 * DAY_S,
        retention_size_bytes=None,
        retention_rules=(),
        ingest_memory_bytes=256 << 20,
        disk_reserve_bytes=None,
        cold=None,
        cold_after_s=2 * DAY_S,
        query_time_s=60.0,
        query_memory_bytes=1 << 30,
        query_concurrent=4,
        log_level="info",
        log_format="text",
    )


def test_a_flag_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'listen = "127.0.0.1:1"\nstore = "chdb:///file"\nretention = "3d"\nquery-concurrent = 2\n'
    )
    found = told(
        "--config",
        str(tmp_path / "config.toml"),
        "--listen",
        ":3",
        env={"LOGBOOM_LISTEN": "127.0.0.1:2", "LOGBOOM_STORE": "chdb:///environment"},
    )
    assert found.listen == Address("0.0.0.0", 3)  # noqa: S104 - compared, not bound
    assert found.store == "chdb:///environment"
    assert (found.retention_s, found.query_concurrent) == (3 * DAY_S, 2)


@pytest.mark.parametrize("place", ["flag", "environment", "file"])
def test_rules_for_namespaces_keep_their_order(place: str, tmp_path: Path) -> None:
    rules = ["kube-system=30d", "kube-*=2d"]
    (tmp_path / "config.toml").write_text(f"retention-size = '1GiB'\nretention-namespace = {rules}\n")
    given = {
        "flag": lambda: told("--retention-size=1GiB", *(f"--retention-namespace={rule}" for rule in rules)),
        "environment": lambda: told(
            env={"LOGBOOM_RETENTION_SIZE": "1GiB", "LOGBOOM_RETENTION_NAMESPACE": " ".join(rules)}
        ),
        "file": lambda: told("--config", str(tmp_path / "config.toml")),
    }
    found = given[place]()
    assert found.retention_rules == (Rule("kube-system", 30 * DAY_S), Rule("kube-*", 2 * DAY_S))
    assert found.retention_size_bytes == 1 << 30


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--listen", "nowhere"), "--listen"),
        (("--retention", "1h"), "at least 1d"),
        (("--retention-size", "1MiB"), "at least 16MiB"),
        (("--retention-namespace", "kube-*"), "glob=duration"),
        (("--retention-namespace", "kube-*=1h"), "at least 1d"),
        (("--retention-namespace", "kube-*=soon"), "--retention-namespace"),
        (("--ingest-memory", "1MiB"), "at least 128MiB"),
        (("--query-memory", "1KiB"), "at least 64MiB"),
        (("--query-time", "0s"), "at least 1ms"),
        (("--query-concurrent", "0"), "--query-concurrent"),
        (("--config", "/does/not/exist"), "--config"),
        (
            ("--store", "clickhouse://servers", "--retention-size", "1GiB"),
            "--retention-size: not with ClickHouse servers",
        ),
        (("--store", "clickhouses://s", "--retention-namespace", "a=2d"), "--retention-namespace"),
        (("--store", "clickhouse://s", "--cold", "s3://b"), "--cold: not with ClickHouse servers, which have storage"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_a_wrong_option_is_named(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(command(lambda _: None), arguments)
    assert result.exit_code == 2
    assert named in result.output


@pytest.mark.parametrize("arguments", [("check",), ("export", "out"), ("import", "out"), ("import", "--merge", "out")])
@pytest.mark.parametrize("is_variable", [False, True])
def test_what_is_of_the_embedded_engine_refuses_servers(
    arguments: tuple[str, ...], *, is_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "clickhouse://servers/logboom?cluster=logs"
    given, env = ((), {"LOGBOOM_STORE": url}) if is_variable else (("--store", url), {})
    result = CliRunner().invoke(main, [arguments[0], *given, *arguments[1:]], env=env)
    assert result.exit_code == 2
    assert "not with ClickHouse servers, which have means of their own: see docs/cluster.md" in result.output
    assert not list(tmp_path.iterdir())


def test_help_names_every_option_with_its_variable() -> None:
    text = CliRunner().invoke(command(lambda _: None), ["--help"], terminal_width=200).output
    for parameter in command(lambda _: None).params:
        assert parameter.opts[0] in text
        assert isinstance(parameter.envvar, str) or parameter.name == "version", parameter.name
        if isinstance(parameter.envvar, str):
            assert parameter.envvar in text


def test_the_cold_tier_is_told_by_options_and_its_key_by_a_file_or_the_environment(tmp_path: Path) -> None:
    assert told().cold is None
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    found = told("--cold", "s3://bucket/a/b/", "--cold-region", "eu-west-1", env=keys)
    assert found.cold == Tier(
        "s3://bucket/a/b", "https://s3.eu-west-1.amazonaws.com", "k", "s", region="eu-west-1", cache_bytes=1 << 30
    )
    assert found.cold.url == "https://s3.eu-west-1.amazonaws.com/bucket/a/b/"
    (tmp_path / "key").write_text("[default]\naws_access_key_id=K\n aws_secret_access_key = S=\n")
    options = ["--cold", "s3://bucket", "--cold-credentials", str(tmp_path / "key")]
    found = told(*options, "--cold-endpoint", "http://s3:9000", "--cold-cache", "0", "--cold-after", "3d", env=keys)
    assert found.cold == Tier("s3://bucket", "http://s3:9000", "K", "S=")
    assert found.cold_after_s == 3 * DAY_S
    assert "S=" not in repr(found)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--cold", "s3://bucket"), "the environment has not both"),
        (("--cold", "bucket", "--cold-key", "k", "--cold-secret", "hush"), "is not s3://bucket"),
        (("--cold", "s3://b/<x>", "--cold-key", "k", "--cold-secret", "hush"), "is not s3://bucket"),
        (("--cold", "s3://bucket", "--cold-endpoint", "s3:9000", "--cold-key", "k", "--cold-secret", "hush"), "http"),
        (
            ("--cold", "s3://bucket", "--cold-endpoint", "http://a:b@s3", "--cold-key", "k", "--cold-secret", "hush"),
            "password",
        ),
        (("--cold", "s3://bucket", "--cold-after", "7d", "--cold-key", "k", "--cold-secret", "hush"), "--retention"),
    ],
)
def test_a_cold_tier_that_cannot_be_is_refused(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(command(lambda _: None), arguments, env={"AWS_ACCESS_KEY_ID": None})
    assert result.exit_code == 2
    assert named in result.output
    assert "hush" not in result.output


def test_the_password_of_the_store_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass word\n")
    assert told("--store-password-file", str(file)).store_password == "pass word"  # noqa: S105 - a test's
    assert told(env={"LOGBOOM_STORE_PASSWORD_FILE": str(file)}).store_password == "pass word"  # noqa: S105 - a test's
    file.unlink()
    result = CliRunner().invoke(command(lambda _: None), ["--store-password-file", str(file)])
    assert result.exit_code == 2
    assert "--store-password-file" in result.output
    assert "No such file" in result.output
