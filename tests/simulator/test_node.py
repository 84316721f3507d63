"""A node's files hold exactly what its ledger says."""

from __future__ import annotations

import gzip
import json
import random
import re
from itertools import cycle, islice
from typing import TYPE_CHECKING

import pytest

from simulator.kubelet import Rotation
from simulator.ledger import Run
from simulator.lines import Manner, read_mark
from simulator.node import GAP_LINES, Node, NotOursError, claim
from simulator.pods import CONTAINERS_MAX, pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = Rotation(size=20_000, files=1000, plain=3, runs=1000)


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, pieces joined."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    done: list[bytes] = []
    opened: dict[bytes, bytes] = {}
    for line in data.split(b"\n")[:-1]:
        if line.startswith(b"{"):
            row = json.loads(line)
            stream, text = row["stream"].encode(), row["log"].encode()
            partial = not text.endswith(b"\n")
            text = text.removesuffix(b"\n")
        else:
            _, stream, tag, text = line.split(b" ", 3)
            partial = tag == b"P"
        text = opened.pop(stream, b"") + text
        if partial:
            opened[stream] = text
        else:
            done.append(text)
    assert not opened
    return done


def stored(*roots: Path) -> dict[tuple[str, bool], list[int]]:
    """The sequences of every stream found in the trees."""
    found: dict[tuple[str, bool], list[int]] = {}
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and re.search(r"\.log", path.name):
                for text in lines_of(path):
                    mark = read_mark(text)
                    assert mark
                    found.setdefault((mark.key, mark.stderr), []).append(mark.sequence)
    return {stream: sorted(sequences) for stream, sequences in found.items()}


@pytest.mark.parametrize("offset", [0, -120])
def test_the_files_hold_what_the_ledger_says(tmp_path: Path, offset: int) -> None:
    draw = random.Random(offset)
    manner = Manner(long=0.01, binary=0.02)
    with Node(tmp_path / "pods", tmp_path / "docker", manner, EVERYTHING, offset) as node:
        for pod, runtime in zip(islice(pods(1, 2), 6), cycle(Runtime), strict=False):
            node.start(pod, runtime)
        for _ in range(300):
            writer = draw.choice(node.writers)
            writer.write(draw.randrange(60))
            if draw.random() < 0.05:
                writer.restart()
        assert sum(writer.rotations for writer in node.writers) > 20
        ledger = node.ledger()
    expected = {
        (f"{written.uid[:8]}/{written.container}", written.stream == "stderr"): list(range(written.lines))
        for written in ledger.streams
        if written.lines
    }
    assert stored(tmp_path / "pods", tmp_path / "docker") == expected
    assert ledger.lines == sum(map(len, expected.values()))


def test_a_writer_counts_its_runs(tmp_path: Path) -> None:
    with Node(tmp_path / "pods", tmp_path / "docker", Manner(stderr=0), Rotation()) as node:
        [writer] = node.start(next(pods(1, 1)), Runtime.CONTAINERD)
        assert writer.write(7) == 7
        writer.restart()
        writer.write(5)
        stdout, stderr = node.ledger().streams
    assert stdout.runs == (Run(0, 0, 7), Run(1, 7, 12))
    assert stdout.lines == 12
    assert stderr.lines == 0


def test_lines_of_the_gap_are_counted(tmp_path: Path) -> None:
    with Node(tmp_path / "pods", tmp_path / "docker", Manner(), Rotation(size=1)) as node:
        [writer] = node.start(next(pods(1, 1)), Runtime.CONTAINERD)
        assert writer.write(10) == 10 + GAP_LINES
        assert node.ledger().lines == 10 + GAP_LINES


def test_a_deleted_pod_stays_in_the_ledger(tmp_path: Path) -> None:
    with Node(tmp_path / "pods", tmp_path / "docker", Manner(), Rotation()) as node:
        for pod, runtime in zip(islice(pods(1, 2), 3), Runtime, strict=True):
            for writer in node.start(pod, runtime):
                writer.write(10)
        for uid in {writer.container.uid for writer in node.writers}:
            node.delete(uid)
        assert node.writers == []
        assert node.ledger().lines == 60
    assert list((tmp_path / "pods").iterdir()) == []
    assert list((tmp_path / "docker").iterdir()) == []


def test_names_are_those_of_kubernetes() -> None:
    some = list(islice(pods(3, CONTAINERS_MAX), 200))
    first = [(pod[0].namespace, pod[0].pod.split("-")[0]) for pod in some[:3]]
    assert first == [("shop", "cart"), ("shop", "checkout"), ("payments", "gateway")]
    assert some == list(islice(pods(3, CONTAINERS_MAX), 200))
    assert some != list(islice(pods(4, CONTAINERS_MAX), 200))
    for pod in some:
        assert len(pod) == CONTAINERS_MAX
        assert len({container.uid for container in pod}) == 1
        for container in pod:
            assert re.fullmatch(r"[a-z0-9-]{1,63}", container.namespace)
            assert re.fullmatch(r"[a-z0-9-]{1,63}", container.pod)
            assert re.fullmatch(r"[0-9a-f]{32}|[0-9a-f-]{36}", container.uid)
    assert len({pod[0].uid[:8] for pod in some}) == len(some)


def test_only_its_own_directories_are_emptied(tmp_path: Path) -> None:
    mine, others = tmp_path / "mine", tmp_path / "others"
    claim(mine)
    (mine / "a_b_c").mkdir()
    claim(mine)
    assert not (mine / "a_b_c").exists()
    (others / "precious").mkdir(parents=True)
    with pytest.raises(NotOursError):
        claim(mine, others)
    assert (others / "precious").exists()
