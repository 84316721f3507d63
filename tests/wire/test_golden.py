"""The bytes of every released version of the format, kept in ``golden/``.

These files are never written again: a change of the format is a new version with new files beside them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from wire.batch import FLAGS_ALL, Batch, Chunk, Flag
from wire.codec import NAME_BYTES_MAX, POSITION_MAX, TIME_NS_MAX, VERSION, decode, encode
from wire.errors import BatchError

GOLDEN = Path(__file__).parent / "golden"

_WEB = Chunk(
    bytes.fromhex("00112233445566778899aabbccddeeff"),
    start=4096,
    end=4260,
    namespace="shop",
    pod="web-7d9c5b6f4-x2x8k",
    uid="3f6c3f0e-5f1e-4a53-9a8e-0d6a4f1f2b11",
    container="nginx",
    restart=3,
    rows=3,
    joint=False,
)
_WEB_ON = msgspec.structs.replace(_WEB, start=4260, end=4400, rows=1)
_QUIET = Chunk(bytes(range(16)), 0, 512, "kube-system", "dns-0", "uid-2", "coredns", 0, 0, joint=False)
_EXTREME = Chunk(
    b"\xff" * 16,
    0,
    POSITION_MAX,
    "n" * NAME_BYTES_MAX,
    "é" * (NAME_BYTES_MAX // 2),
    "u",
    "c",
    2**31 - 1,
    2,
    joint=False,
)
_ROTATED = Chunk(b"r" * 16, 900, 1000, "shop", "web-0", "uid-3", "app", 1, 0, joint=True)
_NEXT = msgspec.structs.replace(_ROTATED, source=b"n" * 16, start=0, end=250, rows=1, joint=False)


def _batch(chunks: tuple[Chunk, ...], rows: list[tuple[int, int, int, bytes]], cluster: str = "prod") -> Batch:
    """A batch of (time, position, flags, body) rows."""
    return Batch(
        cluster,
        "node-1",
        "agent-1",
        chunks,
        np.array([time for time, _, _, _ in rows], np.int64),
        np.array([position for _, position, _, _ in rows], np.uint64),
        np.array([flags for _, _, flags, _ in rows], np.uint8),
        np.array([len(body) for _, _, _, body in rows], np.uint32),
        b"".join(body for _, _, _, body in rows),
    )


BATCHES = {
    "v2-empty": _batch((), [], cluster=""),
    "v2-typical": _batch(
        (_WEB, _QUIET, _WEB_ON),
        [
            (1_700_000_000_000_000_001, 4150, 0, b"GET / 200"),
            (1_700_000_000_000_000_002, 4151, int(Flag.STDERR | Flag.JOINED), "Zürich\n\tat Main".encode()),
            (1_700_000_000_500_000_000, 4260, 0, b"\xff\xfe\x00 not UTF-8"),
            (1_700_000_001_000_000_000, 4400, int(Flag.GAP), b'{"bytes":140,"reason":"rotated away"}'),
        ],
    ),
    "v2-joint": _batch(
        (_ROTATED, _NEXT), [(1_700_000_000_000_000_001, 250, int(Flag.JOINED), b"boom\n\tat a\n\tat b")]
    ),
    "v2-extreme": _batch((_EXTREME,), [(0, 1, FLAGS_ALL, b""), (TIME_NS_MAX, POSITION_MAX, 0, b"x")]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_todays_encoder_makes_the_golden_bytes(name: str) -> None:
    assert encode(BATCHES[name]) == (GOLDEN / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", BATCHES)
def test_todays_decoder_reads_the_golden_bytes(name: str) -> None:
    found, expected = decode((GOLDEN / f"{name}.bin").read_bytes()), BATCHES[name]
    assert (found.cluster, found.node, found.agent) == (expected.cluster, expected.node, expected.agent)
    assert found.chunks == expected.chunks
    assert found.times.tolist() == expected.times.tolist()
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.flags.tolist() == expected.flags.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert bytes(found.body) == bytes(expected.body)


# Version 1 has no joint chunks. Its agents wait for an aggregator of theirs.
FORMER = sorted(path.stem for path in GOLDEN.glob("v1-*"))


@pytest.mark.parametrize("name", FORMER)
def test_batches_of_former_versions_are_refused_by_their_version(name: str) -> None:
    with pytest.raises(BatchError) as caught:
        decode((GOLDEN / f"{name}.bin").read_bytes())
    assert (caught.value.rule, caught.value.detail) == ("version", f"expected {VERSION}, found 1")


def test_every_golden_file_is_tested() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*BATCHES, *FORMER}
    assert {name.partition("-")[0] for name in BATCHES} == {f"v{VERSION}"}
