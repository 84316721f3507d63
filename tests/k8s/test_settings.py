"""What the manifests, the Compose file and the images set is what the commands understand."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import msgspec
import pytest
import yaml

from aggregator.sizing import sizes
from aggregator.store.server import server_of

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
# The others are ClickHouse's, of the profile `cluster`.
SERVICES = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("logboom/")}


class Stage(msgspec.Struct, frozen=True):
    """One stage of the Dockerfile, with what it inherits from the stages it is built on."""

    environment: dict[str, str]
    entrypoint: str
    user: str


def _stages() -> dict[str, Stage]:
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text()))
    stages: dict[str, Stage] = {}
    name = ""
    for line in text.splitlines():
        instruction, _, rest = line.strip().partition(" ")
        match instruction:
            case "FROM":
                parent, _, name = rest.split()
                stages[name] = stages.get(parent, Stage({}, "", ""))
            case "ENV":
                pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
                stage = stages[name]
                stages[name] = msgspec.structs.replace(stage, environment={**stage.environment, **pairs})
            case "ENTRYPOINT":
                (entrypoint,) = msgspec.json.decode(rest, type=list[str])
                stages[name] = msgspec.structs.replace(stages[name], entrypoint=entrypoint)
            case "USER":
                stages[name] = msgspec.structs.replace(stages[name], user=rest)
    return stages


STAGES = _stages()


class Use(msgspec.Struct, frozen=True):
    """One place that starts an image: with these settings over the image's own, and these arguments."""

    image: str
    environment: dict[str, str]
    arguments: list[str]


def _uses() -> dict[str, Use]:
    uses = {f"image {name}": Use(name, {}, []) for name in ("agent", "aggregator")}
    for name, service in SERVICES.items():
        target = service["build"]["target"]
        uses[f"compose {name}"] = Use(target, service.get("environment", {}), service.get("command", []))
    for path in (ROOT / "k8s").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            pod = document.get("spec", {}).get("template", {}).get("spec", {})
            for container in pod.get("containers", []):
                target = container["image"].partition(":")[0].removeprefix("logboom/")
                environment = {entry["name"]: entry.get("value", "from-the-pod") for entry in container["env"]}
                uses[f"{path.name} {container['name']}"] = Use(target, environment, container.get("args", []))
    return uses


USES = _uses()


def _command(stage: Stage) -> click.Command:
    """The command that a stage's entry point is, by the project's scripts."""
    module, _, attribute = PROJECT["scripts"][stage.entrypoint].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


def _settings(stage: Stage, use: Use) -> dict[str, str]:
    own = {"PATH", "PYTHONUNBUFFERED"}
    return {name: value for name, value in {**stage.environment, **use.environment}.items() if name not in own}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_every_variable_is_an_options(use: Use) -> None:
    stage = STAGES[use.image]
    known = {variable for option in _command(stage).params for variable in _variables(option)}
    if use.image != "simulator":  # built on the agent's image, whose variables mean nothing to it
        assert set(_settings(stage, use)) <= known


def _variables(option: click.Parameter) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or [])


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_every_value_and_flag_is_understood(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = STAGES[use.image]
    for name, value in _settings(stage, use).items():
        monkeypatch.setenv(name, value)
    command, arguments = _command(stage), list(use.arguments)
    context = command.make_context(stage.entrypoint, arguments.copy())
    if isinstance(command, click.Group) and arguments:
        inner = command.get_command(context, arguments[0])
        assert inner is not None
        context = inner.make_context(arguments[0], arguments[1:], parent=context)
        assert context.args == []


def _parameters(image: str, use: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, value in _settings(STAGES[image], USES[use]).items():
        monkeypatch.setenv(name, value)
    return _command(STAGES[image]).make_context(image, []).params


@pytest.mark.parametrize(("image", "port"), [("agent", 8081), ("aggregator", 8080)])
def test_an_image_listens_where_its_users_look(image: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = _parameters(image, f"image {image}", monkeypatch)["listen"]
    assert (listen.host, listen.port) == ("0.0.0.0", port)  # noqa: S104 - compared, not bound
    assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("use", ["image aggregator", "compose aggregator", "aggregator.yaml aggregator"])
def test_the_store_is_inside_the_volume(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(_parameters("aggregator", use, monkeypatch)["store"]).startswith("chdb:///data/")


def test_the_aggregators_memory_is_what_the_operators_page_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _parameters("aggregator", "aggregator.yaml aggregator", monkeypatch)
    (busy,) = re.findall(r"([0-9.]+) GiB while many agents catch up", (ROOT / "docs/operations.md").read_text())
    manifest = (ROOT / "k8s/base/aggregator.yaml").read_text()
    (limit,) = re.findall(r"limits:\s+cpu: \S+\s+memory: (\d+)Gi", manifest)
    shares = sizes(int(limit) << 30)  # what the container's limit makes of what is not set
    assert float(busy) * (1 << 30) + shares.concurrent * found["query_memory"] <= shares.engine
    assert "LOGBOOM_QUERY_CONCURRENT" not in manifest
    (told,) = re.findall(r"With the limit below (\w+) queries run at once", manifest)
    assert told == {1: "one", 2: "two", 4: "four"}[shares.concurrent]


def test_the_aggregators_image_is_not_roots() -> None:
    assert STAGES["aggregator"].user == "10001:10001"
    pod = next(
        document["spec"]["template"]["spec"]
        for document in yaml.safe_load_all((ROOT / "k8s/base/aggregator.yaml").read_text())
        if document["kind"] == "Deployment"
    )
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == "10001:10001"


def test_the_nonroot_agents_image_is_the_agents_with_a_user() -> None:
    agent, nonroot = STAGES["agent"], STAGES["agent-nonroot"]
    assert nonroot == msgspec.structs.replace(agent, user="65532:65532")
    assert agent.user == ""


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_a_compose_service_is_one_of_the_projects_images(service: dict[str, Any]) -> None:
    assert service["image"] == f"logboom/{service['build']['target']}:{PROJECT['version']}"
    assert "depends_on" not in service, "the services may start in any order"
    assert {mount.partition(":")[0] for mount in service.get("volumes", [])} <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["aggregator", "agent"])
def test_compose_lets_a_service_finish_what_it_is_at(name: str) -> None:
    assert COMPOSE["services"][name]["stop_grace_period"] == "30s"


def test_the_cluster_of_compose_is_as_its_files_say() -> None:
    services = {name: one for name, one in COMPOSE["services"].items() if one.get("profiles") == ["cluster"]}
    servers = {name: one for name, one in services.items() if "clickhouse-server" in one["image"]}
    places = [(int(one["environment"]["SHARD"]), one["environment"]["REPLICA"]) for one in servers.values()]
    assert places == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    config = ET.parse(ROOT / "compose/cluster.xml").getroot()  # noqa: S314 - our own file
    shards = config.findall("remote_servers/logs/shard")
    hosts = [[host.text for host in shard.findall("replica/host")] for shard in shards]
    assert hosts == [["clickhouse-1a", "clickhouse-1b"], ["clickhouse-2a", "clickhouse-2b"]]
    assert {shard.findtext("internal_replication") for shard in shards} == {"true"}
    keeper = ET.parse(ROOT / "compose/keeper.xml").getroot()  # noqa: S314 - our own file
    assert config.findtext("zookeeper/node/port") == keeper.findtext("keeper_server/tcp_port")
    assert config.findtext("zookeeper/node/host") in services
    aggregators = [one for one in services.values() if one["image"].startswith("logboom/aggregator:")]
    for one in aggregators:
        server = server_of(one["environment"]["LOGBOOM_STORE"])
        assert (server.layout.cluster, server.host) == ("logs", "clickhouse")
    password = (ROOT / "compose/password").read_text().strip()
    assert len(aggregators) == 2
    assert {one["environment"]["CLICKHOUSE_PASSWORD"] for one in servers.values()} == {password}
    assert {one["environment"]["CLICKHOUSE_USER"] for one in servers.values()} == {server.user}


def test_compose_publishes_to_this_machine_only() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "version" not in COMPOSE
