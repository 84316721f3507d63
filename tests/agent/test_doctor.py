"""`logboom-agent doctor`, the real command, on a pods directory with everything that can be wrong."""

from __future__ import annotations

import asyncio
import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import pytest
from aiohttp import web
from click.testing import CliRunner

from agent.__main__ import main
from agent.config import Config
from agent.doctor import examination
from agent.doctor.command import doctor
from agent.doctor.judgement import DISK_FREE_LEAST, INODES_FREE_LEAST
from agent.doctor.report import Report
from agent.doctor.tables import render
from service.options import Address
from service.web import json_response, serve
from simulator.children import Child
from tests.agent.certificates import Authority
from tests.agent.stand_in import Aggregator, Node
from tests.agent.way import Way
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiohttp.typedefs import Handler

    from wire.batch import Batch

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65532
IS_ROOT = os.geteuid() == 0


def line(number: int) -> bytes:
    return b"2023-04-05T02:29:34.%09dZ stdout F line %d\n" % (number, number)


class Tree:
    """A pods directory that other users can reach."""

    def __init__(self, root: Path) -> None:
        self.pods = root / "pods"
        self.pods.mkdir()

    def write(self, path: str, *lines: bytes) -> Path:
        file = self.pods / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join(lines)
        file.write_bytes(gzip.compress(data) if path.endswith(".gz") else data)
        return file


@pytest.fixture
def tree() -> Iterator[Tree]:
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield Tree(root)
    for directory, _, _ in os.walk(root):
        Path(directory).chmod(0o755)
    shutil.rmtree(root)


class Stand(Aggregator):
    """The stand-in, with `/readyz` and a token that it may ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.token = ""
        self.app.router.add_get("/readyz", self._readyz)
        self.app.middlewares.append(self._check)

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.token and request.path != "/readyz" and request.headers.get("Authorization") != f"Bearer {self.token}":
            return json_response(Refusal("the token is wrong", "Authorization"), 401)
        return await handler(request)


@pytest.fixture
async def stand() -> AsyncIterator[tuple[Stand, str]]:
    stand = Stand()
    async with serve(stand.app, Address("127.0.0.1", 0)) as address:
        yield stand, address.url


async def start(*arguments: str, code: str = "", **options: Any) -> tuple[int, bytes, bytes]:
    """Exit code and what is written, of the command in a process of its own."""
    program = ["-c", code] if code else ["-m", "agent"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "doctor",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


def options(tree: Tree, url: str) -> list[str]:
    return ["--pods-dir", str(tree.pods), "--aggregator-url", url, "--node-name", "node-1", "--listen", ":0"]


async def examine(tree: Tree, url: str, *arguments: str) -> Report:
    """The report with these options, in this process."""
    parameters = doctor.make_context("doctor", [*options(tree, url), *arguments]).params
    del parameters["as_json"]
    report = await examination.examine(Config(**parameters))
    return msgspec.json.decode(msgspec.json.encode(report), type=Report)


async def run(tree: Tree, url: str, *, code: str = "") -> Report:
    """The report of the command in a process of its own; its problems and its exit code agree."""
    done, out, err = await start("--json", *options(tree, url), code=code)
    assert err == b""
    report = msgspec.json.decode(out, type=Report)
    assert done == any(problem.severity == "problem" for problem in report.problems)
    return report


def kinds(report: Report) -> list[tuple[str, str]]:
    """Kind and last part of the path of every problem but a full disk, which is this machine's."""
    return [(problem.kind, problem.where.rsplit("/", 1)[-1]) for problem in report.problems if problem.kind != "disk"]


async def test_all_is_well(tree: Tree, stand: tuple[Stand, str]) -> None:
    tree.write("a_pod_u1/web/0.log", line(1), b"half a li")
    report = await run(tree, stand[1])
    assert kinds(report) == []
    assert [(step.name, step.ok) for step in report.aggregator.steps] == [
        ("name", True),
        ("connect", True),
        ("tls", None),
        ("status", True),
        ("token", True),
        ("protocol", True),
    ]
    assert (report.aggregator.store, report.node, report.user) == ("store/1", "node-1", os.geteuid())
    (file,) = report.files
    assert (file.namespace, file.pod, file.uid, file.container, file.restart) == ("a", "pod", "u1", "web", 0)
    assert (file.size, file.complete, file.committed, file.lag_bytes) == (
        len(line(1)) + 9,
        len(line(1)),
        0,
        len(line(1)),
    )
    assert stand[0].rows == {}, "nothing was stored"


def running(stand: Stand, tree: Tree, url: str) -> Node:
    node = Node(tree.pods, url)
    node.config = msgspec.structs.replace(node.config, node_name="node-1", cluster="")
    assert stand.rows == {}
    return node


async def test_it_says_how_far_each_generation_is_stored_and_read(
    tree: Tree, stand: tuple[Stand, str], until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    aggregator, url = stand
    tree.write("a_pod_u1/web/1.log", line(1), line(2))
    tree.write("a_pod_u1/web/0.log", line(3))
    tree.write("a_pod_u1/web/0.log.20230405-022934", line(4))
    tree.write("b_pod_u2/web/0.log", b"not yet a whole li")
    async with running(aggregator, tree, url).agent() as agent:
        await until(lambda: len(aggregator.bodies()) == 4)
        packed = tree.write("a_pod_u1/web/0.log.20230405-010000.gz", line(5), line(6))
        report = await examine(tree, url, "--listen", agent.removeprefix("http://"))
    assert report.agent.answers
    assert report.agent.trouble == ""
    found = {Path(file.path).relative_to(tree.pods).as_posix(): file for file in report.files}
    assert {path: (file.generation, file.complete, file.committed) for path, file in found.items()} == {
        "a_pod_u1/web/0.log": ("live", len(line(3)), len(line(3))),
        "a_pod_u1/web/0.log.20230405-010000.gz": ("gzip", 2 * len(line(5)), found[_name(tree, packed)].committed),
        "a_pod_u1/web/0.log.20230405-022934": ("rotated", len(line(4)), len(line(4))),
        "a_pod_u1/web/1.log": ("live", 2 * len(line(1)), 2 * len(line(1))),
        "b_pod_u2/web/0.log": ("live", 0, None),
    }
    plain = {path: file for path, file in found.items() if not path.endswith(".gz")}
    assert {path: (file.state, file.read) for path, file in plain.items()} == {
        "a_pod_u1/web/0.log": ("stored", len(line(3))),
        "a_pod_u1/web/0.log.20230405-022934": ("stored", len(line(4))),
        "a_pod_u1/web/1.log": ("stored", 2 * len(line(1))),
        "b_pod_u2/web/0.log": ("empty", 0),
    }


def _name(tree: Tree, path: Path) -> str:
    return path.relative_to(tree.pods).as_posix()


async def test_lines_that_wait_for_long_are_a_problem(tree: Tree, stand: tuple[Stand, str]) -> None:
    file = tree.write("a_pod_u1/web/0.log", line(1))
    os.utime(file, (1e9, 1e9))
    report = await examine(tree, stand[1])
    assert kinds(report) == [("behind", "0.log")]
    assert report.files[0].state == "behind"
    assert (report.files[0].lag_seconds or 0.0) > 1e6


async def test_a_file_the_agent_does_not_follow_is_a_problem(tree: Tree, stand: tuple[Stand, str]) -> None:
    tree.write("a_pod_u1/web/0.log", line(1))
    agent = web.Application()
    told = {"node": "node-1", "aggregator": stand[1], "files": [], "inotify": True}

    async def status(_: web.Request) -> web.Response:
        return json_response(told)

    agent.router.add_get("/status", status)
    async with serve(agent, Address("127.0.0.1", 0)) as address:
        report = await examine(tree, stand[1], "--listen", f"{address.host}:{address.port}")
    assert kinds(report) == [("not-read", "0.log")]


async def test_what_cannot_be_used_is_named_with_its_reason(tree: Tree, stand: tuple[Stand, str]) -> None:
    containers = tree.pods.parent / "docker" / "containers"
    web = tree.pods / "a_pod_u1" / "web"
    tree.write("a_pod_u1/web/0.log.tmp", b"passed by")
    (web / "1.log").symlink_to(containers / "abc" / "abc-json.log")
    (web / "2.log").mkdir()
    (tree.pods / "a_pod_u1" / "db").symlink_to(tree.pods / "gone")
    tree.write("not-a-pod/web/0.log", line(2))
    tree.write("lost+found/README", b"")
    tree.write("a_pod_u3/web/0.log.20230405-022934.gz").write_bytes(b"no gzip file")
    tree.write("README", b"")
    (tree.pods / os.fsdecode(b"\xff")).mkdir()
    report = await run(tree, stand[1])
    assert sorted(kinds(report)) == [
        ("file-kind", "2.log"),
        ("link-dangling", "1.log"),
        ("link-dangling", "db"),
        ("name", r"\udcff"),
        ("name", "lost+found"),
        ("name", "not-a-pod"),
        ("unreadable", "0.log.20230405-022934.gz"),
    ]
    by_path = {problem.where.rsplit("/", 1)[-1]: problem for problem in report.problems}
    assert {name for name, problem in by_path.items() if problem.severity == "note"} == {"lost+found", r"\udcff"}
    assert f"mount {containers} into the agent" in by_path["1.log"].do
    assert f"leads to {containers}/abc/abc-json.log, of which only {tree.pods.parent} is there" in by_path["1.log"].why


async def test_a_link_to_a_removed_container_is_no_missing_mount(tree: Tree, stand: tuple[Stand, str]) -> None:
    containers = tree.pods.parent / "containers"
    containers.mkdir()
    (tree.pods / "a_pod_u1/web").mkdir(parents=True)
    (tree.pods / "a_pod_u1/web/0.log").symlink_to(containers / "abc" / "abc-json.log")
    (problem,) = [each for each in (await examine(tree, stand[1])).problems if each.kind == "link-dangling"]
    assert problem.do.startswith("nothing, if the container was removed")


async def test_a_link_to_the_root_names_what_to_mount(tree: Tree, stand: tuple[Stand, str]) -> None:
    (tree.pods / "a_pod_u1/web").mkdir(parents=True)
    (tree.pods / "a_pod_u1/web/0.log").symlink_to("/gone.log")
    (problem,) = [each for each in (await examine(tree, stand[1])).problems if each.kind == "link-dangling"]
    assert problem.do.startswith("mount /gone.log ")


async def test_dockers_files_are_found_beside_the_link(tree: Tree, stand: tuple[Stand, str]) -> None:
    target = tree.pods.parent / "containers" / "abc"
    target.mkdir(parents=True)
    entry = b'{"log":"text %d\\n","stream":"stderr","time":"2023-04-05T02:29:00.%09dZ"}\n'
    for name, number in (("abc-json.log", 1), ("abc-json.log.1", 2)):
        (target / name).write_bytes(entry % (number, number))
    (tree.pods / "a_pod_u1/web").mkdir(parents=True)
    (tree.pods / "a_pod_u1/web/0.log").symlink_to(target / "abc-json.log")
    report = await examine(tree, stand[1])
    assert [(Path(file.path).name, file.generation) for file in report.files] == [
        ("0.log", "live"),
        ("abc-json.log.1", "rotated"),
    ]
    assert report.limits.directories == 4, "the pods directory, pod, container, and Docker's"


# Everything is imported before the process becomes another user's, who may not be allowed to read it.
AS_NOBODY = f"""
import asyncio, encodings.ascii, encodings.idna, encodings.latin_1, importlib.metadata, os, stringprep, sys
from agent.__main__ import main
importlib.metadata.version("logboom")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
importlib.metadata.version = lambda _: "0"
sys.argv[0] = "logboom-agent"
main()
"""


async def test_what_others_own_is_told_with_owner_and_remedy(tree: Tree, stand: tuple[Stand, str]) -> None:
    tree.write("a_pod_u1/web/0.log", line(1)).chmod(0o000)
    tree.write("a_pod_u1/db/0.log", line(2)).parent.chmod(0o000)
    tree.write("b_pod_u2/web/0.log", line(3)).parent.parent.chmod(0o000)
    tree.write("c_pod_u3/web/0.log", line(4))
    report = await run(tree, stand[1], code=AS_NOBODY)
    assert sorted(kinds(report)) == [("permission", "0.log"), ("permission", "b_pod_u2"), ("permission", "db")]
    (problem,) = [each for each in report.problems if each.where.endswith("web/0.log")]
    me = NOBODY if IS_ROOT else os.geteuid()
    owner = f"{os.geteuid()}:{os.getegid()}"
    assert problem.why == f"Permission denied: it is ---------- {owner}, this process has uid {me}"
    assert "DAC_READ_SEARCH" in problem.do
    assert {Path(file.path).relative_to(tree.pods).as_posix(): file.state for file in report.files} == {
        "a_pod_u1/web/0.log": "unreadable",
        "c_pod_u3/web/0.log": "behind",
    }


# The limits that a process may use up or lower without disturbing others.
AT_ITS_LIMITS = AS_NOBODY.replace(
    "main()\n",
    """
import contextlib, resource
from agent.follow.inotify import Inotify
taken = []
with contextlib.suppress(OSError):
    while True:
        taken.append(Inotify())
resource.setrlimit(resource.RLIMIT_NOFILE, (len(taken) + 32, ) * 2)
main()
""",
)


async def test_limits_that_are_reached_are_told(tree: Tree, stand: tuple[Stand, str]) -> None:
    for number in range(200):
        tree.write(f"a_pod_u1/web/{number}.log", b"")
    report = await run(tree, stand[1], code=AT_ITS_LIMITS)
    assert [kind for kind, _ in kinds(report)] == ["inotify-instances", "open-files"]
    assert report.limits.instance
    assert report.limits.files == 200


@pytest.mark.skipif(not IS_ROOT or shutil.which("unshare") is None, reason="needs root and unshare")
async def test_a_disk_that_is_nearly_full_is_told(tree: Tree, stand: tuple[Stand, str]) -> None:
    # In a mount namespace of its own, which ends with the process.
    script = f"mount -t tmpfs -o size=1m none {tree.pods} && head -c 1000000 /dev/zero > {tree.pods}/full"
    command = shlex.join([sys.executable, "-m", "agent", "doctor", "--json", *options(tree, stand[1])])
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", f"{script} && exec {command}", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    report = msgspec.json.decode(out, type=Report)
    assert (process.returncode, [problem.kind for problem in report.problems]) == (1, ["disk"])
    assert "of 1048576 bytes are free, less than 10%" in report.problems[0].why


async def test_a_directory_on_the_way_is_what_refuses(tree: Tree, stand: tuple[Stand, str]) -> None:
    closed = tree.pods.parent / "closed"
    (closed / "containers").mkdir(parents=True)
    (closed / "containers" / "0-json.log").write_bytes(line(1))
    (tree.pods / "a_pod_u1/web").mkdir(parents=True)
    (tree.pods / "a_pod_u1/web/0.log").symlink_to(closed / "containers" / "0-json.log")
    closed.chmod(0o000)
    report = await run(tree, stand[1], code=AS_NOBODY)
    (problem,) = [each for each in report.problems if each.kind == "permission" and each.where.endswith("0.log")]
    assert f"{closed} is d---------" in problem.why


@pytest.mark.skipif(not IS_ROOT or shutil.which("setpriv") is None, reason="needs root and setpriv")
async def test_root_without_capabilities_is_told_which_it_needs(tree: Tree, stand: tuple[Stand, str]) -> None:
    file = tree.write("a_pod_u1/web/0.log", line(1))
    file.chmod(0o600)
    os.chown(file, NOBODY, NOBODY)
    arguments = ["--pods-dir", str(tree.pods), "--aggregator-url", stand[1], "--listen", ":0", "--json"]
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "agent", "doctor", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, check=False, timeout=30, env=dict(os.environ)
    )
    report = msgspec.json.decode(done.stdout, type=Report)
    assert (done.returncode, report.capabilities) == (1, "0000000000000000")
    (problem,) = [each for each in report.problems if each.kind == "permission"]
    assert problem.do.startswith("add the capability DAC_READ_SEARCH")


async def test_no_pods_directory(tree: Tree, stand: tuple[Stand, str]) -> None:
    report = await examine(tree, stand[1], "--pods-dir", f"{tree.pods}/not/there")
    assert kinds(report) == [("pods-dir-absent", "there")]
    assert report.problems[0].why == f"there is nothing beyond {tree.pods}"


async def test_a_token_is_needed(tree: Tree, stand: tuple[Stand, str]) -> None:
    aggregator, url = stand
    aggregator.token = "secret"  # noqa: S105 - of the stand-in
    file = tree.pods.parent / "token"
    file.write_text("secret\n")
    assert kinds(await examine(tree, url, "--token-file", str(file))) == []
    file.write_text("another\n")
    report = await examine(tree, url, "--token-file", str(file))
    assert [kind for kind, _ in kinds(report)] == ["aggregator-token"]
    problem = next(each for each in report.problems if each.kind == "aggregator-token")
    assert problem.what == "the aggregator does not accept the token"
    assert "401" in problem.why
    file.write_text("")
    with pytest.raises(click.BadParameter, match="is empty"):
        await examine(tree, url, "--token-file", str(file))


async def older(_: web.Request) -> web.StreamResponse:
    return json_response(Refusal("version 1 is not known", "version"), 400)


async def test_an_aggregator_that_speaks_another_protocol(tree: Tree, stand: tuple[Stand, str]) -> None:
    stand[0].always = lambda request, _: older(request)
    report = await examine(tree, stand[1])
    assert [kind for kind, _ in kinds(report)] == ["aggregator-protocol"]


async def test_a_server_that_is_no_aggregator(tree: Tree) -> None:
    async with serve(web.Application(), Address("127.0.0.1", 0)) as address:
        report = await examine(tree, address.url)
    assert [kind for kind, _ in kinds(report)] == ["aggregator-status", "aggregator-token"]


@pytest.mark.parametrize(
    ("url", "failed", "reason"),
    [
        ("http://aggregator.invalid:8080", "name", "aggregator.invalid"),
        ("http://127.0.0.1:1", "connect", "Connection refused"),
        ("https://{stand}", "tls", "WRONG_VERSION_NUMBER"),
    ],
)
async def test_the_first_step_that_fails_is_told(
    tree: Tree, stand: tuple[Stand, str], url: str, failed: str, reason: str
) -> None:
    report = await examine(tree, url.format(stand=stand[1].removeprefix("http://")))
    (step,) = [step for step in report.aggregator.steps if step.ok is False]
    assert step.name == failed
    assert reason.lower().replace("_", " ") in step.detail.lower().replace("_", " ")
    assert [kind for kind, _ in kinds(report)] == [f"aggregator-{failed}"]


async def test_a_private_authority_is_trusted_as_by_the_agent(
    tree: Tree, stand: tuple[Stand, str], tmp_path: Path
) -> None:
    right, wrong = Authority(tmp_path, "right"), Authority(tmp_path, "wrong")
    way = Way(stand[1])
    await way.open(right.server())
    url = f"https://{way.address}"
    try:
        report = await examine(tree, url, "--ca-file", str(right.file))
        assert [step.ok for step in report.aggregator.steps] == [True] * 6
        assert report.aggregator.steps[2].detail.startswith("TLSv1.")
        assert kinds(report) == []
        for arguments in ((), ("--ca-file", str(wrong.file))):
            report = await examine(tree, url, *arguments)
            assert [step.ok for step in report.aggregator.steps] == [True, True, False, None, None, None]
            (problem,) = (each for each in report.problems if each.kind == "aggregator-tls")
            assert "certificate" in problem.why
            assert "--ca-file" in problem.do
    finally:
        await way.close()


async def test_what_is_not_to_be_collected_is_shown_and_is_no_problem(
    tree: Tree, stand: tuple[Stand, str], until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    aggregator, url = stand
    excluded = ("kube-system", "shop/*/proxy", "batch/job-*")
    tree.write("shop_cart-0_u1/app/0.log", line(1))
    for number, path in enumerate(("kube-system_dns_u2/dns", "shop_cart-0_u1/proxy", "batch_job-1_u3/run"), 2):
        os.utime(tree.write(f"{path}/0.log", line(number)), (1e9, 1e9))
    # What nobody reads need not be readable.
    (tree.pods / "batch_job-1_u3/run/1.log").symlink_to("/not/there")
    tree.write("batch_job-1_u3/run/0.log.20230405-022934.gz").write_bytes(b"no gzip file")
    (tree.pods / "batch_job-1_u3/run/2.log").mkdir()
    node = running(aggregator, tree, url)
    node.config = msgspec.structs.replace(node.config, exclude=excluded)
    async with node.agent() as agent:
        await until(lambda: aggregator.bodies() == [b"line 1"])
        arguments = [word for glob in excluded for word in ("--exclude", glob)]
        report = await examine(tree, url, *arguments, "--listen", agent.removeprefix("http://"))
        only = await examine(tree, url, "--include", "shop/*/app", "--listen", agent.removeprefix("http://"))
        without = await examine(tree, url, "--listen", agent.removeprefix("http://"))
    assert [(Path(file.path).relative_to(tree.pods).as_posix(), file.state) for file in report.files] == [
        ("batch_job-1_u3/run/0.log", "excluded"),
        ("batch_job-1_u3/run/0.log.20230405-022934.gz", "excluded"),
        ("kube-system_dns_u2/dns/0.log", "excluded"),
        ("shop_cart-0_u1/app/0.log", "stored"),
        ("shop_cart-0_u1/proxy/0.log", "excluded"),
    ]
    assert kinds(report) == kinds(only) == []
    assert [file.state for file in only.files] == [file.state for file in report.files]
    assert (report.limits.directories, report.limits.files) == (5, 1), "the pods directory, 3 pods, app"
    text = render(report)
    assert "SUMMARY 5 files (4 excluded, 1 stored), 0 B behind; " in text
    assert ["excluded", "shop/cart-0", "proxy", "0.log", *"-----"] in [row.split() for row in text.splitlines()]
    remedies = {problem.do for problem in without.problems if problem.kind == "not-read"}
    assert len(remedies) == 1
    assert "--exclude" in remedies.pop(), "doctor may have other options than the agent"


async def test_without_inotify_its_limits_are_no_matter(tree: Tree, stand: tuple[Stand, str]) -> None:
    tree.write("a_pod_u1/web/0.log", line(1))
    report = await examine(tree, stand[1], "--no-inotify")
    assert (report.limits.directories, report.limits.instance) == (0, "")


async def test_the_tables_say_the_same(tree: Tree, stand: tuple[Stand, str]) -> None:
    tree.write("a_pod_u1/web/0.log", line(1), line(2))
    (tree.pods / "a_pod_u1/web/1.log").symlink_to("/not/there/at/all")
    done, out, err = await start(*options(tree, stand[1]))
    text = out.decode()
    assert (done, err) == (1, b"")
    assert "  STATE   POD    CONTAINER  FILE   LINES  STORED  READ   LAG  SINCE\n" in text
    assert "  behind  a/pod  web        0.log   94 B     0 B     -  94 B" in text
    assert "SUMMARY 1 file (1 behind), 94 B behind; 1 problem, 0 notes\n" in text.replace("2 problems", "1 problem")
    assert "1. PROBLEM a log is a link to a file that is not there:" in text
    assert "\n   why: it leads to /not/there/at/all, of which only / is there\n   do:  mount /not/there " in text
    assert not any(row.endswith(" ") for row in text.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctor", "--nonsense"], "No such option"),
        (["doctor", "--aggregator-url", "nowhere"], "is not a URL"),
        (["--no-inotify", "doctor"], "options of doctor stand after it"),
        (["docotr"], "No such command"),
    ],
)
def test_wrong_options_are_another_exit_code(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert said in done.output


async def test_what_the_running_agent_knows_to_be_lost_is_told(tree: Tree, stand: tuple[Stand, str]) -> None:
    aggregator, url = stand

    async def away(_: web.Request, __: Batch) -> web.StreamResponse:
        return json_response(Refusal("away"), 503, {"Retry-After": "0"})

    aggregator.always = away
    # More than is read ahead; and what is deleted is not held.
    long = line(1).rstrip() + b"x" * 1000 + b"\n"
    directory = tree.write("a_pod_u1/web/0.log", *[long] * 10_000).parent
    async with running(aggregator, tree, url).agent(deleted_files=0) as agent:
        listen = agent.removeprefix("http://")
        while not (report := await examine(tree, url, "--listen", listen)).files[0].read:
            pass
        assert (report.agent.lost, "lost     nothing known" in render(report)) == ((), True)
        (directory / "0.log.20230405-022934").write_bytes(line(200))
        (directory / "0.log").unlink()
        async with asyncio.timeout(30):
            while not (report := await examine(tree, url, "--listen", listen)).agent.lost:
                pass
    assert report.agent.pods_dir == str(tree.pods)
    (lost,) = report.agent.lost
    assert (lost.namespace, lost.pod, lost.container) == ("a", "pod", "web")
    assert 0 < lost.lost_bytes < 10_000 * len(long)
    assert ("lost", "web") in kinds(report)
    assert f"lost     {lost.lost_bytes / (1 << 20):.1f} MiB of 1 container" in render(report)


async def test_an_agent_that_reads_another_directory(tree: Tree, stand: tuple[Stand, str]) -> None:
    aggregator, url = stand
    node = running(aggregator, tree, url)
    node.config = msgspec.structs.replace(node.config, pods_dir=tree.pods.parent / "others")
    async with node.agent() as agent:
        report = await examine(tree, url, "--listen", agent.removeprefix("http://"))
    (problem,) = (each for each in report.problems if each.kind == "agent-differs")
    assert problem.what == "the agent that runs has another --pods-dir"
    assert problem.why == f"it has '{tree.pods.parent}/others', doctor was given '{tree.pods}'"


async def test_a_damaged_file_and_a_long_last_line_without_an_end_do_not_lag(
    tree: Tree, stand: tuple[Stand, str], until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    aggregator, url = stand
    live = tree.write("a_pod_u1/web/0.log", line(1), line(2).rstrip() + b"x" * 200_000)
    packed = tree.write("a_pod_u1/web/0.log.20230405-022934.gz", *map(line, range(10, 5000)))
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2] + bytes(100) + content[len(content) // 2 + 100 :])
    os.utime(packed, (0, 0))
    async with running(aggregator, tree, url).agent() as agent:
        rows = aggregator.rows.values
        await until(lambda: len(rows()) == 2 and any(row.flags for mine in rows() for row in mine))
        report = await examine(tree, url, "--listen", agent.removeprefix("http://"))
        assert [(file.state, file.lag_bytes) for file in report.files] == [("stored", 0), ("damaged", 0)]
        assert report.files[0].complete == len(line(1))
        assert kinds(report) == [("damaged", packed.name)]
    assert live.stat().st_size > 200_000


async def test_options_come_from_environment_and_file_as_the_agents(tree: Tree, stand: tuple[Stand, str]) -> None:
    config = tree.pods.parent / "agent.toml"
    config.write_text(f'pods-dir = "{tree.pods}"\naggregator-url = "http://127.0.0.1:1"\nlisten = ":0"\n')
    environment = {**os.environ, "LOGBOOM_CONFIG": str(config), "LOGBOOM_AGGREGATOR_URL": stand[1]}
    _, out, _ = await start("--json", "--node-name", "node-7", env=environment)
    report = msgspec.json.decode(out, type=Report)
    assert (report.pods_dir, report.aggregator.url, report.node) == (str(tree.pods), stand[1], "node-7")


def test_help_mentions_it() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert "logboom-agent doctor" in " ".join(done.output.split())
    assert "Commands:\n  doctor " in done.output


async def test_the_disk_is_judged_as_it_is(tree: Tree) -> None:
    found = os.statvfs(tree.pods)
    is_full = found.f_bavail < DISK_FREE_LEAST * found.f_blocks or found.f_favail < INODES_FREE_LEAST * found.f_files
    report = await examine(tree, "http://127.0.0.1:1")
    assert any(problem.kind == "disk" for problem in report.problems) is is_full
    assert report.limits.disk_bytes == found.f_blocks * found.f_frsize


async def test_with_a_real_aggregator(tree: Tree, tmp_path: Path) -> None:
    said: list[str] = []

    def show(name: str, text: str) -> None:
        said.append(f"{name}: {text}")

    tree.write("a_pod_u1/web/0.log", line(1), line(2))
    store = ["--listen", "127.0.0.1:0", "--store", f"chdb://{tmp_path}/store"]
    aggregator = await Child.start("aggregator", "aggregator", store, show)
    try:
        before = await run(tree, aggregator.address)
        assert kinds(before) == []
        assert [(file.state, file.committed) for file in before.files] == [("behind", 0)]
        arguments = [*options(tree, aggregator.address), "--listen", "127.0.0.1:0"]
        agent = await Child.start("agent", "agent", arguments, show)
        try:
            listen = agent.address.removeprefix("http://")
            async with asyncio.timeout(30):
                while (after := await examine(tree, aggregator.address, "--listen", listen)).files[0].state != "stored":
                    pass
            assert kinds(after) == []
            size = 2 * len(line(1))
            assert (after.files[0].committed, after.files[0].read, after.files[0].lag_bytes) == (size, size, 0)
        finally:
            await agent.kill()
    finally:
        await aggregator.kill()
