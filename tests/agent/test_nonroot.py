"""The agent as another user with the one capability DAC_READ_SEARCH, as the image `agent-nonroot` starts it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.doctor.report import Report
from service.options import Address
from service.web import serve
from tests.agent.stand_in import Aggregator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
USER = 65532
# CAP_DAC_READ_SEARCH is bit 2.
MASK = "0000000000000004"
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
WITH_IT, WITHOUT_IT = "--bounding-set=-all,+dac_read_search", "--bounding-set=-all"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a program a capability"),
    pytest.mark.skipif(not all(map(shutil.which, ("setcap", "setpriv"))), reason="needs setcap and setpriv"),
    pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment to copy"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that others can reach, with a pods directory in it of which they can read nothing."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    log = home / "pods/a_pod_u1/web/0.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2023-04-05T02:29:34.000000001Z stdout F for root only\n")
    log.chmod(0o600)
    for closed in log.parents[:3]:
        closed.chmod(0o700)
    yield home
    shutil.rmtree(home)


@pytest.fixture
def program(home: Path) -> Path:
    """``logboom-agent`` as pip writes it, of a virtual environment with an interpreter that has the capability."""
    binaries = home / "venv/bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    shutil.copy(Path(sys.executable).resolve(), python)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", home / "venv")
    (home / "venv/lib").symlink_to(Path(sys.prefix) / "lib")
    setcap = shutil.which("setcap")
    assert setcap
    done = subprocess.run([setcap, "cap_dac_read_search=ep", python], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this file system keeps no capabilities: {done.stderr}")
    program = binaries / "logboom-agent"
    program.write_text(f"#!{python}\nfrom agent.__main__ import main\nmain()\n")
    program.chmod(0o755)
    return program


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def options(home: Path, url: str) -> list[str]:
    return ["--pods-dir", str(home / "pods"), "--aggregator-url", url, "--listen", "127.0.0.1:0"]


async def test_it_ships_what_only_root_may_read(
    home: Path, program: Path, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    aggregator = Aggregator()
    async with serve(aggregator.app, Address("127.0.0.1", 0)) as address:
        command = [*AS_USER, WITH_IT, str(program), *options(home, address.url)]
        agent = await asyncio.create_subprocess_exec(*command, env=environment())
        try:
            await until(lambda: aggregator.bodies() == [b"for root only"])
            status = await asyncio.to_thread(Path(f"/proc/{agent.pid}/status").read_text)
        finally:
            agent.terminate()
            async with asyncio.timeout(10):
                await agent.wait()
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert told["Uid"].split() == [str(USER)] * 4
    assert (told["CapEff"], told["CapPrm"], told["CapBnd"]) == (MASK, MASK, MASK)
    assert agent.returncode == 0


def doctor(home: Path, program: Path, *privileges: str) -> subprocess.CompletedProcess[bytes]:
    command = [*AS_USER, *privileges, str(program), "doctor", "--json", *options(home, "http://127.0.0.1:1")]
    return subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=30)


def test_doctor_says_that_it_can_read(home: Path, program: Path) -> None:
    report = msgspec.json.decode(doctor(home, program, WITH_IT).stdout, type=Report)
    assert (report.user, report.capabilities) == (USER, MASK)
    assert [file.state for file in report.files] == ["unknown"]
    assert not [problem for problem in report.problems if problem.kind == "permission"]


def test_a_container_that_does_not_allow_it_cannot_start_the_program(home: Path, program: Path) -> None:
    done = doctor(home, program, WITHOUT_IT)
    assert done.returncode != 0
    assert b"Operation not permitted" in done.stderr


def test_it_reads_and_cannot_write(home: Path, program: Path) -> None:
    log = home / "pods/a_pod_u1/web/0.log"
    python = program.with_name("python")
    done = subprocess.run(
        [*AS_USER, WITH_IT, str(python), "-c", f"open({str(log)!r}).read(); print('read'); open({str(log)!r}, 'a')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "read\n"
    assert "PermissionError" in done.stderr
