"""The tables of a cluster, made by the engine against a real ZooKeeper, as three servers of two shards would.

The embedded engine takes such tables but cannot write to them, and runs nothing ON CLUSTER: here each server makes its
own, as a server that was asked to would.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from aggregator.store import schema
from aggregator.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

JAR: Final = Path("/usr/share/java/zookeeper.jar")
pytestmark = pytest.mark.skipif(
    not JAR.exists() or shutil.which("java") is None, reason="Debian's package zookeeper is not installed"
)

LAYOUT: Final = Layout("logboom", shared=True, cluster="logs_of_all", shards=2)
CONFIG: Final = """<clickhouse>
<zookeeper><node><host>127.0.0.1</host><port>{port}</port></node></zookeeper>
<macros><shard>{shard}</shard><replica>{replica}</replica></macros>
<remote_servers><logs_of_all><shard><replica><host>localhost</host><port>9000</port></replica></shard></logs_of_all></remote_servers>
</clickhouse>"""
# A process has one engine, and one that has replicated tables does not end by itself.
PROGRAM: Final = """
import os
import sys
import chdb
connection = chdb.connect(sys.argv[1])
for statement in sys.stdin.read().split(";"):
    found = connection.query(statement, "JSONEachRow")
sys.stdout.buffer.write(found.bytes())
sys.stdout.flush()
os._exit(0)
"""
ASKED: Final = (
    "SELECT table, zookeeper_path AS path, replica_name AS replica, toUInt64(total_replicas) AS replicas "
    "FROM system.replicas ORDER BY table"
)


class Replica(msgspec.Struct):
    table: str
    path: str
    replica: str
    replicas: int


@pytest.fixture
def zookeeper(tmp_path: Path) -> Iterator[int]:
    """The port of a new ZooKeeper."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    config = tmp_path / "zoo.cfg"
    config.write_text(
        f"tickTime=500\ndataDir={tmp_path}/zookeeper\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\n"
    )
    command = ["java", "-Xmx128m", "-cp", str(JAR), "org.apache.zookeeper.server.ZooKeeperServerMain", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"srvr")
        return b"Mode: standalone" in connection.makefile("rb").read()
    return False


def made(path: Path, port: int, shard: int, replica: str) -> list[Replica]:
    """What a server that makes its tables finds of replicas."""
    path.mkdir()
    (path / "server.xml").write_text(CONFIG.format(port=port, shard=shard, replica=replica))
    own = [statement.replace(LAYOUT.on_cluster, "") for statement in schema.statements(LAYOUT)]
    statements = ["CREATE DATABASE logboom ENGINE = Atomic", "USE logboom", *own, *own, ASKED]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{path}/engine?config-file={path}/server.xml"],
        input=";".join(statements).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.Decoder(Replica).decode_lines(done.stdout)


def test_shards_keep_their_own_records_and_everyone_all_labels(tmp_path: Path, zookeeper: int) -> None:
    servers = [(1, "a"), (1, "b"), (2, "a")]
    found = [made(tmp_path / f"{shard}{name}", zookeeper, shard, name) for shard, name in servers]
    everywhere = "/clickhouse/tables/all/logboom"
    for number, ((shard, name), tables) in enumerate(zip(servers, found, strict=True), 1):
        whole = [Replica(table, f"{everywhere}/{table}", f"{shard}-{name}", number) for table in ("pods", "streams")]
        assert tables == [
            Replica("identities", f"{everywhere}/identities", f"{shard}-{name}", number),
            Replica("logs_local", f"/clickhouse/tables/{shard}/logboom/logs_local", name, 2 if name == "b" else 1),
            *whole,
        ]
