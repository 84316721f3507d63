"""The kustomize base and its overlays: valid Kubernetes objects, and as careful as the documentation says."""

from __future__ import annotations

import copy
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator
from aggregator.store.server import server_of

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "k8s/base"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CLUSTER_SCOPED = {"Namespace", "PriorityClass"}
# The oldest version with support anywhere and the newest that the schemas know.
KUBERNETES_VERSIONS = ["1.28", kubernetes_validate.latest_version()]


def _kustomization() -> dict[str, Any]:
    return dict(yaml.safe_load((BASE / "kustomization.yaml").read_text()))


def _placed(document: dict[str, Any], kustomization: dict[str, Any]) -> dict[str, Any]:
    """``document`` with the labels and the namespace that ``kustomization`` adds."""
    metadata = document["metadata"]
    added = {key: value for entry in kustomization["labels"] for key, value in entry["pairs"].items()}
    metadata["labels"] = {**metadata.get("labels", {}), **added}
    if document["kind"] not in CLUSTER_SCOPED:
        metadata["namespace"] = kustomization["namespace"]
    return document


def _objects() -> list[dict[str, Any]]:
    """The base's objects, with what its kustomization adds; so that the test needs no kubectl."""
    kustomization = _kustomization()
    return [
        _placed(document, kustomization)
        for name in kustomization["resources"]
        for document in yaml.safe_load_all((BASE / name).read_text())
    ]


OBJECTS = _objects()


def _object(kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in OBJECTS if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def _pod(kind: str, name: str) -> dict[str, Any]:
    return dict(_object(kind, name)["spec"]["template"]["spec"])


AGENT, AGGREGATOR = _pod("DaemonSet", "agent"), _pod("Deployment", "aggregator")
PODS = [pytest.param(AGENT, id="agent"), pytest.param(AGGREGATOR, id="aggregator")]


def test_the_base_lists_every_file() -> None:
    assert {path.name for path in BASE.iterdir()} == {*_kustomization()["resources"], "kustomization.yaml"}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("document", OBJECTS, ids=lambda document: f"{document['kind']} {document['metadata']['name']}")
def test_every_object_is_valid(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_kustomize_renders_the_same() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))
    assert sorted(rendered, key=_key) == sorted(OBJECTS, key=_key)


def _key(document: dict[str, Any]) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment"])
def test_a_selector_matches_its_pods_and_no_others(kind: str) -> None:
    spec = _object(kind, {"DaemonSet": "agent", "Deployment": "aggregator"}[kind])["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/component"] in {"agent", "aggregator"}


@pytest.mark.parametrize("pod", PODS)
def test_a_container_may_do_no_more_than_it_must(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert not pod.get("hostNetwork")
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security.get("privileged")
        assert {**pod.get("securityContext", {}), **security}["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("pod", PODS)
def test_a_container_has_limits_and_probes(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}
        ports = {port["name"] for port in container["ports"]}
        for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"]["path"] == path
            assert container[probe]["httpGet"]["port"] in ports


@pytest.mark.parametrize("pod", PODS)
def test_every_mount_has_a_volume(pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} == volumes


@pytest.mark.parametrize("pod", PODS)
def test_an_image_has_the_projects_version(pod: dict[str, Any]) -> None:
    assert [container["image"].partition(":")[2] for container in pod["containers"]] == [VERSION]


@pytest.mark.parametrize("pod", PODS)
def test_an_account_exists_and_has_no_token(pod: dict[str, Any]) -> None:
    assert _object("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False


def test_the_agent_runs_on_every_node_and_changes_nothing_there() -> None:
    assert AGENT["tolerations"] == [{"operator": "Exists"}]
    assert _object("PriorityClass", AGENT["priorityClassName"])["value"] > 0
    assert all("hostPath" in volume for volume in AGENT["volumes"])
    mounts = AGENT["containers"][0]["volumeMounts"]
    assert all(mount["readOnly"] for mount in mounts)
    assert {mount["mountPath"] for mount in mounts} == {volume["hostPath"]["path"] for volume in AGENT["volumes"]}


def test_the_aggregator_is_alone_with_its_store() -> None:
    spec = _object("Deployment", "aggregator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert AGGREGATOR["securityContext"]["runAsNonRoot"] is True
    assert AGGREGATOR["securityContext"]["fsGroup"] == AGGREGATOR["securityContext"]["runAsUser"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in AGGREGATOR["volumes"] if "persistentVolumeClaim" in v]
    assert [_object("PersistentVolumeClaim", claim)["kind"] for claim in claims] == ["PersistentVolumeClaim"]


def test_the_service_leads_to_the_aggregator() -> None:
    spec = _object("Service", "aggregator")["spec"]
    assert spec["selector"] == _object("Deployment", "aggregator")["spec"]["selector"]["matchLabels"]
    (port,) = spec["ports"]
    assert port["targetPort"] in {port["name"] for port in AGGREGATOR["containers"][0]["ports"]}
    (url,) = [e["value"] for e in AGENT["containers"][0]["env"] if e["name"] == "LOGBOOM_AGGREGATOR_URL"]
    assert url == f"http://{_object('Service', 'aggregator')['metadata']['name']}:{port['port']}"


CLUSTER = ROOT / "k8s/overlays/cluster"
# That one takes objects away, which is left to kubectl: its tests are the last ones here.
OVERLAYS = {path.name: path for path in sorted((ROOT / "k8s/overlays").iterdir()) if path != CLUSTER}


def _overlaid(overlay: Path) -> list[dict[str, Any]]:
    """The overlay's objects: the base's and its own, with its patches and images; so that the test needs no kubectl."""
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    base, *own = kustomization["resources"]
    assert base == "../../base"
    objects = copy.deepcopy(OBJECTS)
    objects += [_placed(d, kustomization) for name in own for d in yaml.safe_load_all((overlay / name).read_text())]
    for patch in kustomization.get("patches", []):
        (target,) = [o for o in objects if _key(o) == (patch["target"]["kind"], patch["target"]["name"])]
        for operation in yaml.safe_load(patch["patch"]):
            *way, last = operation["path"].removeprefix("/").split("/")
            place: Any = target
            for step in way:
                place = place[int(step) if isinstance(place, list) else step]
            match operation["op"], last:
                case "add", "-":
                    place.append(operation["value"])
                case "replace", _:
                    assert last in place
                    place[last] = operation["value"]
                case _:
                    pytest.fail(f"an operation that this test does not know: {operation}")
    for image in kustomization.get("images", []):
        for document in objects:
            for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                name, _, tag = container["image"].partition(":")
                if name == image["name"]:
                    container["image"] = f"{image['newName']}:{tag}"
    return objects


OVERLAID = {name: _overlaid(path) for name, path in OVERLAYS.items()}
CHANGED = {
    name: {_key(document): document for document in documents if document not in OBJECTS}
    for name, documents in OVERLAID.items()
}
EACH_CHANGED = [
    pytest.param(document, id=f"{name} {' '.join(key)}")
    for name, documents in CHANGED.items()
    for key, document in documents.items()
]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("agent-nonroot", {("DaemonSet", "agent")}),
        (
            "locked",
            {
                ("DaemonSet", "agent"),
                ("Deployment", "aggregator"),
                ("NetworkPolicy", "agent"),
                ("NetworkPolicy", "aggregator"),
            },
        ),
    ],
)
def test_an_overlay_changes_what_it_is_for_and_lists_every_file(name: str, changed: set[tuple[str, str]]) -> None:
    assert set(CHANGED[name]) == changed
    own = yaml.safe_load((OVERLAYS[name] / "kustomization.yaml").read_text())["resources"][1:]
    assert {path.name for path in OVERLAYS[name].iterdir()} == {"kustomization.yaml", *own}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("document", EACH_CHANGED)
def test_what_an_overlay_changes_is_valid(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_renders_an_overlay_the_same(name: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(OVERLAYS[name])], capture_output=True, text=True, check=True)
    assert sorted(yaml.safe_load_all(done.stdout), key=_key) == sorted(OVERLAID[name], key=_key)


def test_the_nonroot_agent_has_one_capability_and_no_more_than_the_bases() -> None:
    (container,) = copy.deepcopy(CHANGED["agent-nonroot"]["DaemonSet", "agent"])["spec"]["template"]["spec"][
        "containers"
    ]
    security = container.pop("securityContext")
    assert security == {
        **AGENT["containers"][0]["securityContext"],
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": True,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]},
    }
    assert container.pop("image") == f"logboom/agent-nonroot:{VERSION}"
    (base,) = copy.deepcopy(AGENT["containers"])
    del base["securityContext"], base["image"]
    assert container == base


@pytest.mark.parametrize(
    ("key", "command", "mode"),
    [(("DaemonSet", "agent"), agent, 0o400), (("Deployment", "aggregator"), aggregator, 0o440)],
)
def test_locked_pods_get_their_token_from_one_secret(key: tuple[str, str], command: click.Command, mode: int) -> None:
    pod = copy.deepcopy(CHANGED["locked"][key])["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (option,) = [option for option in command.params if option.name == "token_file"]
    mount, volume, variable = container["volumeMounts"].pop(), pod["volumes"].pop(), container["env"].pop()
    # Without the Secret no pod starts, rather than one that is open; as a whole directory it is changed while mounted.
    assert volume == {"name": "token", "secret": {"secretName": "token", "defaultMode": mode}}
    assert mount == {"name": "token", "mountPath": "/etc/logboom", "readOnly": True}
    assert variable == {"name": option.envvar, "value": "/etc/logboom/token"}
    assert pod == _pod(*key)
    # Who may read it: its owner, root, or the pod's group.
    user = container["securityContext"].get("runAsUser", pod.get("securityContext", {}).get("runAsUser"))
    assert mode == (0o400 if user == 0 else 0o440)
    assert (user == 0) or pod["securityContext"]["fsGroup"]
    page = (ROOT / "docs/operations.md").read_text()
    assert "create secret generic token --from-file=token=/dev/stdin" in page


@pytest.mark.parametrize("key", [("DaemonSet", "agent"), ("Deployment", "aggregator")])
def test_locked_ports_are_for_agents_and_the_namespaces_that_are_named(key: tuple[str, str]) -> None:
    policy = CHANGED["locked"]["NetworkPolicy", key[1]]["spec"]
    assert policy["podSelector"] == _object(*key)["spec"]["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    (container,) = _pod(*key)["containers"]
    assert {port["port"] for port in rule["ports"]} == {port["name"] for port in container["ports"]}
    readers = {"namespaceSelector": {"matchLabels": {"logboom/reader": "true"}}}
    agents = {"podSelector": _object("DaemonSet", "agent")["spec"]["selector"]}
    assert rule["from"] == ([agents, readers] if key[1] == "aggregator" else [readers])
    assert "logboom/reader=true" in (ROOT / "docs/operations.md").read_text()


def test_the_base_says_that_it_is_open() -> None:
    for name in ("README.md", "k8s/base/kustomization.yaml"):
        assert "k8s/overlays/locked" in (ROOT / name).read_text()


@pytest.fixture(scope="module")
def clustered() -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of the overlay with ClickHouse servers, by kind and name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(CLUSTER)], capture_output=True, text=True, check=True)
    return {_key(document): document for document in yaml.safe_load_all(done.stdout)}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_overlay_with_servers_is_valid(clustered: dict[tuple[str, str], dict[str, Any]], version: str) -> None:
    for document in clustered.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_aggregators_on_servers_are_several_and_keep_nothing(
    clustered: dict[tuple[str, str], dict[str, Any]],
) -> None:
    assert clustered.keys() == {_key(document) for document in OBJECTS} - {("PersistentVolumeClaim", "aggregator")}
    spec = clustered["Deployment", "aggregator"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    settings = {one["name"]: one["value"] for one in container["env"]}
    assert (spec["replicas"], spec["strategy"]) == (2, {"type": "RollingUpdate"})
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"secret", "emptyDir"}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert server_of(settings["LOGBOOM_STORE"]).layout.shared
    (secret,) = [one for one in container["volumeMounts"] if one["name"] == "clickhouse"]
    assert settings["LOGBOOM_STORE_PASSWORD_FILE"].startswith(secret["mountPath"] + "/")
    assert clustered["Service", "aggregator"]["spec"]["sessionAffinity"] == "ClientIP"
