"""Generations of a container's log, compressed ones among them: each line once, the oldest first."""

from __future__ import annotations

import gzip
import os
import random
import zlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.errors import UnpackError
from agent.follow.gzipped import SKIP_BYTES_MAX, GzippedFile, Unpacker
from agent.follow.unpacking import UNPACKING_MAX
from simulator.docker import DockerLog
from simulator.kubelet import CriLog, Rotation
from simulator.lines import Container as Written
from tests.agent.tailing import cri, pack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.tailing import Clock, TailedNode

DIRECTORY = "a_b_c/web"
STAMP = "0.log.20230405-0229"


def noise(number: int, size: int = 120) -> bytes:
    """A line that does not compress away."""
    return cri(number, random.Random(number).randbytes(size // 2).hex())


def texts(lines: list[bytes]) -> list[bytes]:
    return [line.split(b" ", 3)[3].rstrip(b"\n") for line in lines]


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every piece that is unpacked."""
    sizes: list[int] = []
    piece = Unpacker.piece

    def counted(self: Unpacker) -> bytes:
        data = piece(self)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(Unpacker, "piece", counted)
    return sizes


def test_every_generation_is_read_oldest_first(tailed: TailedNode) -> None:
    lines = [noise(number) for number in range(500)]
    for index, name in enumerate((f"{STAMP}01", f"{STAMP}02", f"{STAMP}03", "0.log", "1.log")):
        path = tailed.write(f"{DIRECTORY}/{name}", *lines[100 * index : 100 * index + 100])
        if index < 2:
            pack(path)
    tailed.settle()
    assert tailed.bodies == texts(lines)


@pytest.mark.parametrize("rows", [0, 1, 50, 999])
def test_a_compressed_file_is_read_on_from_the_byte_where_the_store_left_off(tailed: TailedNode, rows: int) -> None:
    lines = [noise(number) for number in range(1000)]
    path = tailed.write(f"{DIRECTORY}/{STAMP}01", *lines)
    tailed.scan()
    (source,) = tailed.tail.unplaced()
    pack(path)
    tailed.restart()
    tailed.committed[source] = sum(map(len, lines[:rows]))
    tailed.settle()
    assert tailed.bodies == texts(lines[rows:])
    assert tailed.committed == {source: sum(map(len, lines))}


def test_a_position_inside_a_line_is_found_in_a_compressed_file(tailed: TailedNode) -> None:
    begun = b"2023-04-05T02:29:34.5Z stdout P begun,\n"
    path = tailed.write(
        f"{DIRECTORY}/{STAMP}01",
        *(noise(number) for number in range(3000)),
        begun,
        b"2023-04-05T02:29:34.5Z stderr F whole\n",
        b"2023-04-05T02:29:34.6Z stdout F ended\n",
        cri(1),
    )
    inside = path.read_bytes().index(begun) + 1 + 1
    pack(path)
    tailed.scan()
    (source,) = tailed.tail.unplaced()
    tailed.committed[source] = inside
    tailed.settle()
    assert tailed.bodies == [b"begun,ended", b"line 1"]


def test_what_is_committed_of_a_compressed_file_is_thrown_away_in_small_steps(
    tailed: TailedNode, unpacked: list[int]
) -> None:
    lines = [noise(number, 1000) for number in range(8 * SKIP_BYTES_MAX // 1000)]
    path = tailed.write(f"{DIRECTORY}/{STAMP}01", *lines)
    other = tailed.write("a_b_d/web/0.log", cri(0))
    size = path.stat().st_size
    pack(path)
    tailed.scan()
    (source,) = (each for each in tailed.tail.unplaced() if each != tailed.file("d/web/0.log").source)
    tailed.committed[source] = size - len(lines[-1])
    tailed.place()
    for number in range(1, 4):
        tailed.write(str(other.relative_to(tailed.root)), cri(number))
        tailed.look()
        unpacked.clear()
        tailed.ship()
        assert sum(unpacked) <= SKIP_BYTES_MAX + (64 << 10)
        # The other container does not wait for it.
        assert tailed.bodies[-1] == b"line %d" % number
    tailed.settle()
    assert tailed.bodies[-1] == texts(lines)[-1]


def test_a_compressed_file_that_is_committed_is_not_unpacked_to_find_out(
    tailed: TailedNode, unpacked: list[int]
) -> None:
    lines = [noise(number) for number in range(5000)]
    pack(tailed.write(f"{DIRECTORY}/{STAMP}01", *lines))
    tailed.settle()
    for _ in range(2):
        unpacked.clear()
        tailed.restart()
        tailed.settle()
        assert sum(unpacked) <= 4 << 10  # its first line
        assert tailed.file(".gz").finished
    unpacked.clear()
    tailed.tail.displace()
    tailed.settle()
    assert unpacked == []
    assert tailed.bodies == texts(lines)


def test_a_compressed_file_ending_in_half_a_line_is_unpacked_once(tailed: TailedNode, unpacked: list[int]) -> None:
    pack(tailed.write(f"{DIRECTORY}/{STAMP}01", cri(1), b"2023-04-05T02"))
    tailed.settle()
    unpacked.clear()
    tailed.settle()
    assert unpacked == []
    assert (tailed.bodies, tailed.file(".gz").unfinished_bytes) == ([b"line 1"], 13)


@pytest.mark.parametrize("size", [3 << 20, 600_000, 100_000])
def test_long_lines_are_read_from_compressed_files_as_from_plain_ones(tailed: TailedNode, size: int) -> None:
    lines = [cri(0), cri(1, "x" * size), cri(2), cri(3, "y" * size), cri(4)]
    plain = tailed.write("a_b_d/web/0.log", *lines)
    packed = tailed.write(f"{DIRECTORY}/{STAMP}01", *lines)
    assert plain.read_bytes() == packed.read_bytes()
    pack(packed)
    tailed.settle()
    assert len(tailed.bodies) == 2 * len(lines)
    assert set(Counter(tailed.bodies).values()) == {2}
    assert len(set(tailed.committed.values())) == 1
    # And read on from behind the long line, where its beginning is not held.
    tailed.restart()
    tailed.bodies.clear()
    for source in tailed.committed:
        tailed.committed[source] = len(lines[0]) + len(lines[1])
    tailed.settle()
    assert len(tailed.bodies) == 6


def test_two_rotations_between_two_looks_lose_nothing(tailed: TailedNode) -> None:
    log = CriLog(tailed.root / DIRECTORY, Rotation(), lambda: 1_700_000_000.0)
    lines = [noise(number) for number in range(60)]
    log.write(b"".join(lines[:10]))
    tailed.settle()
    for index in range(1, 5):
        log.write(b"".join(lines[10 * index : 10 * index + 8]))
        log.rotate(partial(b"".join, lines[10 * index + 8 : 10 * index + 10]))
    log.write(b"".join(lines[50:]))
    tailed.settle()
    assert sorted(tailed.bodies) == sorted(texts(lines))
    assert [path.suffix for path in sorted((tailed.root / DIRECTORY).iterdir())].count(".gz") == 3
    log.close()
    tailed.restart()
    tailed.settle()
    assert len(tailed.bodies) == len(lines)


@pytest.mark.parametrize("rotations", [1, 2, 4])
def test_dockers_files_are_read_on_while_their_numbers_shift(
    tailed: TailedNode, tmp_path: Path, rotations: int
) -> None:
    container = Written("a", "b", "c", "web")
    log = DockerLog(tailed.root / DIRECTORY, tmp_path / "docker", container, Rotation())
    number = 0

    def some() -> bytes:
        nonlocal number
        number += 1
        return b'{"log":"line %d\\n","stream":"stdout","time":"2023-04-05T02:29:34.%09dZ"}\n' % (number, number)

    for _ in range(rotations):
        log.write(some() + some())
        log.rotate(some)
    tailed.settle()
    for _ in range(rotations):
        log.write(some())
        log.rotate(some)
        tailed.settle()
    log.write(some())
    tailed.settle()
    log.close()
    assert tailed.bodies == [b"line %d" % each for each in range(1, number + 1)]


def test_a_rotation_while_a_file_is_being_read_loses_nothing(tailed: TailedNode) -> None:
    lines = [noise(number, 500) for number in range(6000)]
    path = tailed.write(f"{DIRECTORY}/0.log", *lines)
    tailed.scan()
    tailed.place()
    tailed.ship()
    assert 0 < len(tailed.bodies) < len(lines)
    renamed = path.rename(path.with_name(f"{STAMP}01"))
    tailed.ship()
    tailed.write(f"{DIRECTORY}/0.log", cri(1))
    tailed.scan()
    tailed.ship()
    pack(renamed)
    tailed.settle()
    assert tailed.bodies == [*texts(lines), b"line 1"]


def test_the_moment_without_a_live_file_and_a_rename_undone_lose_and_repeat_nothing(tailed: TailedNode) -> None:
    path = tailed.write(f"{DIRECTORY}/0.log", cri(1))
    tailed.settle()
    renamed = path.rename(path.with_name(f"{STAMP}01"))
    tailed.scan()
    tailed.write(f"{DIRECTORY}/{renamed.name}", cri(2))
    tailed.settle()
    renamed.rename(path)
    tailed.scan()
    tailed.write(f"{DIRECTORY}/0.log", cri(3))
    tailed.settle()
    assert tailed.bodies == [b"line 1", b"line 2", b"line 3"]
    assert len(tailed.committed) == 1


@pytest.mark.parametrize("known", [False, True], ids=["new agent", "agent that reads it"])
def test_tmp_plain_and_gz_of_one_generation_are_read_once(tailed: TailedNode, clock: Clock, *, known: bool) -> None:
    lines = [noise(number) for number in range(100)]
    path = tailed.write(f"{DIRECTORY}/{STAMP}01", *lines)
    if known:
        tailed.scan()
        tailed.place()
        tailed.ship()
    pack(path, keep=True)
    path.with_name(f"{path.name}.tmp").write_bytes(b"\x1f\x8b")
    tailed.settle()
    assert tailed.file(".gz").is_copy
    path.unlink()
    tailed.settle()
    assert not tailed.file(".gz").is_copy
    clock.forward(100)
    tailed.settle()
    assert (tailed.bodies, tailed.gaps) == (texts(lines), [])


def test_reading_goes_on_in_the_gz_where_the_plain_file_is_closed(tailed: TailedNode, clock: Clock) -> None:
    lines = [noise(number) for number in range(100)]
    path = tailed.write(f"{DIRECTORY}/{STAMP}01", *lines)
    tailed.scan()
    (source,) = tailed.tail.unplaced()
    tailed.committed[source] = sum(map(len, lines[:30]))
    tailed.place()
    pack(path, keep=True)
    tailed.scan()
    tailed.file(f"{STAMP}01").close()
    path.unlink()
    tailed.settle()
    clock.forward(100)
    tailed.settle()
    assert (tailed.bodies, tailed.gaps) == (texts(lines[30:]), [])


def test_a_gz_found_by_the_next_scan_takes_back_that_its_file_was_lost(tailed: TailedNode, clock: Clock) -> None:
    # Its directory was listed just between the two.
    path = tailed.write(f"{DIRECTORY}/{STAMP}01", cri(1))
    tailed.scan()
    tailed.file(f"{STAMP}01").close()
    packed = pack(path)
    hidden = packed.rename(tailed.root / "hidden")
    tailed.scan()
    hidden.rename(packed)
    tailed.settle()
    clock.forward(100)
    tailed.settle()
    assert (tailed.bodies, tailed.gaps) == ([b"line 1"], [])


def test_only_so_many_compressed_files_are_unpacked_at_once(tailed: TailedNode) -> None:
    lines = [noise(number, 1000) for number in range(2000)]
    for pod in range(3 * UNPACKING_MAX):
        pack(tailed.write(f"a_b_{pod}/web/{STAMP}01", cri(pod, "first"), *lines))
    tailed.scan()
    tailed.place()
    most = 0
    while tailed.tail.look():
        tailed.ship()
        most = max(most, sum(isinstance(file, GzippedFile) and file.is_unpacking for file in tailed.tail.files()))
    assert most == UNPACKING_MAX
    assert len(tailed.bodies) == 3 * UNPACKING_MAX * (len(lines) + 1)


def unpack(path: Path, piece_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        unpacker = Unpacker(descriptor, piece_bytes)
        pieces = []
        while piece := unpacker.piece():
            assert len(piece) <= piece_bytes
            pieces.append(piece)
        assert unpacker.offset == sum(map(len, pieces))
        return b"".join(pieces)
    finally:
        os.close(descriptor)


DATA = b"".join(noise(number) for number in range(2000)) + bytes(300_000)


@pytest.mark.parametrize("piece_bytes", [100, 4096, 1 << 20])
@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(DATA),
        gzip.compress(DATA[:1000]) + gzip.compress(b"") + gzip.compress(DATA[1000:]),
        gzip.compress(DATA) + bytes(512),
    ],
    ids=["one member", "three members", "padded"],
)
def test_a_gzip_file_is_unpacked_a_piece_at_a_time(tmp_path: Path, packed: bytes, piece_bytes: int) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(packed)
    assert unpack(path, piece_bytes) == DATA


@pytest.mark.parametrize(
    ("packed", "is_cut"),
    [
        (b"", True),
        (gzip.compress(DATA)[:5], True),
        (gzip.compress(DATA)[:-1], True),
        (gzip.compress(DATA)[:-9], True),
        (gzip.compress(DATA)[:-8] + bytes(8), False),
        (b"plain", False),
        (bytes(100), False),
        (gzip.compress(DATA) + b"garbage", False),
        (gzip.compress(DATA)[:3000] + bytes(100) + gzip.compress(DATA)[3100:], False),
    ],
    ids=["empty", "header", "last byte", "trailer", "checksum", "plain", "zeros", "garbage", "middle"],
)
def test_a_gzip_file_that_is_cut_or_corrupt_is_said_to_be(tmp_path: Path, packed: bytes, *, is_cut: bool) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(packed)
    with pytest.raises(UnpackError) as caught:
        unpack(path, 4096)
    assert caught.value.is_cut is is_cut
    with pytest.raises((zlib.error, EOFError, OSError)):
        gzip.decompress(packed or b"\x1f")
