"""Any batch comes back as it was, and every rule is enforced under its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.batch import DAY_NS, FLAGS_ALL, SOURCE_BYTES, Batch, Chunk
from wire.codec import (
    BATCH_BYTES_MAX,
    CHUNKS_MAX,
    NAME_BYTES_MAX,
    POSITION_MAX,
    RECORD_BYTES_MAX,
    ROWS_MAX,
    RULES,
    TIME_NS_MAX,
    VERSION,
    decode,
    encode,
)
from wire.errors import BatchError, BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable

# The places of the msgpack array, and of a chunk in it.
V, CLUSTER, NODE, AGENT, CHUNKS, TIMES, POSITIONS, FLAGS, LENGTHS, BODY = range(10)
SOURCE, START, END, NAMESPACE, POD, UID, CONTAINER, RESTART, ROWS, JOINT = range(10)

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@st.composite
def _batches(draw: st.DrawFn) -> Batch:
    """Any valid batch: some sources in several chunks, some chunks without rows."""
    ends: dict[bytes, int] = {}
    chunks, positions = [], []
    sources = draw(st.lists(st.binary(min_size=SOURCE_BYTES, max_size=SOURCE_BYTES), min_size=1, max_size=3))
    for source in draw(st.lists(st.sampled_from(sources), max_size=5)):
        start = ends.get(source, draw(st.integers(0, POSITION_MAX - 10_000)))
        steps = draw(st.lists(st.integers(1, 1000), max_size=6))
        own = [start + sum(steps[: count + 1]) for count in range(len(steps))]
        end = min(POSITION_MAX, start + sum(steps) + draw(st.sampled_from([0, 0, 7])))
        ends[source] = end
        if own and own[-1] > end:
            continue
        positions += own
        names = draw(st.tuples(_NAMES, _NAMES, _NAMES, _NAMES))
        chunks.append(Chunk(source, start, end, *names, draw(st.integers(0, 2**31)), len(own), joint=False))
    rows = len(positions)
    bodies = draw(st.lists(st.binary(max_size=12), min_size=rows, max_size=rows))
    return Batch(
        draw(st.just("") | _NAMES),
        draw(_NAMES),
        draw(st.just("") | _NAMES),
        tuple(chunks),
        np.array(draw(st.lists(st.integers(0, TIME_NS_MAX), min_size=rows, max_size=rows)), np.int64),
        np.array(positions, np.uint64),
        np.array(draw(st.lists(st.integers(0, FLAGS_ALL), min_size=rows, max_size=rows)), np.uint8),
        np.array([len(body) for body in bodies], np.uint32),
        b"".join(bodies),
    )


@settings(deadline=None, max_examples=200)
@given(_batches())
def test_any_batch_round_trips(batch: Batch) -> None:
    found = decode(encode(batch))
    assert (found.cluster, found.node, found.agent, found.chunks) == (
        batch.cluster,
        batch.node,
        batch.agent,
        batch.chunks,
    )
    for name in ("times", "positions", "flags", "lengths"):
        column, expected = getattr(found, name), getattr(batch, name)
        assert column.dtype == expected.dtype
        assert column.tolist() == expected.tolist()
    assert bytes(found.body) == bytes(batch.body)


def test_columns_of_any_layout_are_encoded_alike() -> None:
    batch = _decoded(_valid())
    strided = np.zeros(4, ">i8")
    strided[::2] = batch.times
    assert encode(msgspec.structs.replace(batch, times=strided[::2], body=memoryview(batch.body))) == encode(batch)


def test_decoded_columns_are_read_only_views() -> None:
    batch = _decoded(_valid())
    for column in (batch.times, batch.positions, batch.flags, batch.lengths):
        assert not column.flags.writeable
        assert not column.flags.owndata


def _chunk(number: int = 0, start: int = 100, end: int = 200, rows: int = 1) -> list[Any]:
    return [bytes([number]) * SOURCE_BYTES, start, end, "shop", "web-0", "uid", "nginx", 0, rows, False]


def _valid() -> list[Any]:
    """The array of a small valid batch: two sources, a row of two bytes each."""
    chunks = [_chunk(0), _chunk(1)]
    return [VERSION, "", "node-1", "", chunks, _i8(1, 2), _u8(150, 200), b"\0\1", _u4(2, 2), b"abcd"]


def _sized(rows: int, chunks: list[Any] | None = None) -> list[Any]:
    """A valid array of ``rows`` empty records, or of ``chunks`` and none."""
    own = [_chunk(0, start=0, end=rows, rows=rows)] if chunks is None else chunks
    positions = np.arange(1, rows + 1, dtype="<u8").tobytes()
    return [VERSION, "", "node-1", "", own, bytes(8 * rows), positions, bytes(rows), bytes(4 * rows), b""]


def _i8(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


def _u8(*values: int) -> bytes:
    return np.array(values, "<u8").tobytes()


def _u4(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def _decoded(array: list[Any]) -> Batch:
    return decode(msgspec.msgpack.encode(array))


def _with(place: int, value: Any) -> list[Any]:
    array = _valid()
    array[place] = value
    return array


def _chunk_with(place: int, value: Any) -> list[Any]:
    array = _valid()
    array[CHUNKS][0][place] = value
    return array


def _joint(second: dict[int, Any] | None = None, first: dict[int, Any] | None = None, **times: int) -> list[Any]:
    """A valid array whose chunks are joint, but for what is given."""
    array = _valid()
    array[CHUNKS] = [_chunk(0), _chunk(1, start=0)]
    for chunk, changes in zip(array[CHUNKS], ({JOINT: True} | (first or {}), second or {}), strict=True):
        for place, value in changes.items():
            chunk[place] = value
    array[TIMES] = _i8(times.get("first_ns", 1), times.get("second_ns", 2))
    return array


def test_the_valid_example_is_valid() -> None:
    assert _decoded(_valid()).lengths.tolist() == [2, 2]
    assert [chunk.joint for chunk in _decoded(_joint()).chunks] == [True, False]


# (rule, what is broken, the array)
BROKEN: list[tuple[str, str, Callable[[], list[Any]]]] = [
    ("encoding", "an empty array", list),
    ("encoding", "a field too few", lambda: _valid()[:-1]),
    ("encoding", "a field too many", lambda: [*_valid(), 0]),
    ("encoding", "a column as text", lambda: _with(TIMES, "0" * 16)),
    ("encoding", "a column of numbers", lambda: _with(TIMES, [1, 2])),
    ("encoding", "a number as name", lambda: _with(NODE, 7)),
    ("encoding", "nil as chunks", lambda: _with(CHUNKS, None)),
    ("encoding", "a chunk's field too few", lambda: _with(CHUNKS, [_chunk()[:-1]])),
    ("encoding", "a chunk's field too many", lambda: _with(CHUNKS, [[*_chunk(), 0]])),
    ("encoding", "a float as position", lambda: _chunk_with(START, 1.5)),
    ("encoding", "NaN as rows", lambda: _chunk_with(ROWS, float("nan"))),
    ("encoding", "a version that is text", lambda: _with(V, "1")),
    ("version", "the version before the first", lambda: _with(V, 0)),
    ("version", "the next version", lambda: _with(V, VERSION + 1)),
    ("version", "the next version in another shape", lambda: [VERSION + 1, {"all": "new"}]),
    ("version", "the largest number", lambda: _with(V, 2**64 - 1)),
    ("chunks", "one chunk too many", lambda: _sized(0, [_chunk(rows=0, end=100)] * (CHUNKS_MAX + 1))),
    ("rows", "one row too many", lambda: _sized(ROWS_MAX + 1)),
    ("rows", "chunks with more rows than columns", lambda: _chunk_with(ROWS, 2)),
    ("rows", "chunks with fewer rows than columns", lambda: _chunk_with(ROWS, 0)),
    ("rows", "rows below 0 that add up", lambda: _with(CHUNKS, [_chunk(0, rows=-1), _chunk(1, rows=3)])),
    ("rows", "rows beyond 64 bits in sum", lambda: _with(CHUNKS, [_chunk(0, rows=2**64 - 1), _chunk(1, rows=3)])),
    ("rows", "rows and no chunk", lambda: _with(CHUNKS, [])),
    ("columns", "times of a row too many", lambda: _with(TIMES, _i8(1, 2, 3))),
    ("columns", "positions cut in an item", lambda: _with(POSITIONS, _u8(150, 200)[:-1])),
    ("columns", "no lengths", lambda: _with(LENGTHS, b"")),
    ("columns", "flags of a row too few", lambda: _with(FLAGS, b"\0")),
    ("names", "no node", lambda: _with(NODE, "")),
    ("names", "a cluster too long", lambda: _with(CLUSTER, "c" * (NAME_BYTES_MAX + 1))),
    ("names", "a name too long in bytes, not in characters", lambda: _with(AGENT, "é" * NAME_BYTES_MAX)),
    ("names", "no namespace", lambda: _chunk_with(NAMESPACE, "")),
    ("names", "no pod", lambda: _chunk_with(POD, "")),
    ("names", "no uid", lambda: _chunk_with(UID, "")),
    ("names", "no container", lambda: _chunk_with(CONTAINER, "")),
    ("names", "a pod too long", lambda: _chunk_with(POD, "p" * (NAME_BYTES_MAX + 1))),
    ("names", "a namespace of a NUL", lambda: _chunk_with(NAMESPACE, "\0")),
    ("names", "a cluster with a NUL", lambda: _with(CLUSTER, "a\0b")),
    ("joint", "nothing behind a joint chunk", lambda: _joint(second={JOINT: True})),
    ("joint", "one joint chunk alone", lambda: _with(CHUNKS, [_chunk(0), [*_chunk(1)[:JOINT], True]])),
    ("joint", "the next chunk does not begin at 0", lambda: _joint({START: 100})),
    ("joint", "the next chunk has no bytes", lambda: _joint({END: 0, ROWS: 0}, {ROWS: 2, END: 300})),
    ("joint", "a joint chunk without bytes", lambda: _joint({ROWS: 2, END: 300}, {START: 200, ROWS: 0})),
    ("joint", "the next chunk is of another pod", lambda: _joint({UID: "other"})),
    ("joint", "the next chunk is of another container", lambda: _joint({CONTAINER: "other"})),
    ("joint", "the next chunk is of another run", lambda: _joint({RESTART: 1})),
    ("joint", "rows of two days", lambda: _joint(first_ns=DAY_NS - 1, second_ns=DAY_NS)),
    ("source", "a source too short", lambda: _chunk_with(SOURCE, bytes(SOURCE_BYTES - 1))),
    ("source", "a source too long", lambda: _chunk_with(SOURCE, bytes(SOURCE_BYTES + 1))),
    ("source", "a hole between a source's chunks", lambda: _with(CHUNKS, [_chunk(0), _chunk(0, start=201, end=300)])),
    ("source", "a source's chunks overlap", lambda: _with(CHUNKS, [_chunk(0), _chunk(0, start=199, end=300)])),
    ("range", "start below 0", lambda: _chunk_with(START, -1)),
    ("range", "start above end", lambda: _chunk_with(START, 201)),
    ("range", "end beyond the last position", lambda: _chunk_with(END, POSITION_MAX + 1)),
    ("range", "restart below 0", lambda: _chunk_with(RESTART, -1)),
    ("positions", "a position at its start", lambda: _with(POSITIONS, _u8(100, 200))),
    ("positions", "a position beyond its end", lambda: _with(POSITIONS, _u8(201, 200))),
    ("positions", "the largest number as position", lambda: _with(POSITIONS, _u8(2**64 - 1, 200))),
    ("positions", "a position twice", lambda: [*_with(CHUNKS, [_chunk(rows=2)])[:6], _u8(150, 150), *_valid()[7:]]),
    ("positions", "falling positions", lambda: [*_with(CHUNKS, [_chunk(rows=2)])[:6], _u8(150, 149), *_valid()[7:]]),
    ("times", "a time before the epoch", lambda: _with(TIMES, _i8(1, -1))),
    ("times", "a time too late", lambda: _with(TIMES, _i8(TIME_NS_MAX + 1, 1))),
    ("times", "the bits of NaN", lambda: _with(TIMES, np.array([np.nan, -np.inf], "<f8").tobytes())),
    ("flags", "an unknown bit", lambda: _with(FLAGS, bytes([0, FLAGS_ALL + 1]))),
    ("lengths", "lengths below the body", lambda: _with(LENGTHS, _u4(2, 1))),
    ("lengths", "lengths above the body", lambda: _with(LENGTHS, _u4(2, 3))),
    ("lengths", "lengths that would wrap around", lambda: _with(LENGTHS, _u4(2**32 - 1, 5))),
    (
        "lengths",
        "a record too long",
        lambda: [*_valid()[:LENGTHS], _u4(RECORD_BYTES_MAX + 1, 0), bytes(RECORD_BYTES_MAX + 1)],
    ),
]


@pytest.mark.parametrize(("rule", "broken"), [pytest.param(r, b, id=f"{r}: {name}") for r, name, b in BROKEN])
def test_a_broken_rule_is_named(rule: str, broken: Callable[[], list[Any]]) -> None:
    with pytest.raises(BatchError) as caught:
        _decoded(broken())
    assert caught.value.rule == rule
    assert caught.value.detail
    assert str(caught.value) == f"{rule}: {caught.value.detail}"


def test_a_batch_over_the_size_is_refused_unread() -> None:
    with pytest.raises(BatchTooLargeError) as caught:
        decode(bytes(BATCH_BYTES_MAX + 1))
    assert caught.value.rule == "size"


def test_a_batch_over_a_limit_can_be_read_to_be_split() -> None:
    data = msgspec.msgpack.encode(_sized(ROWS_MAX + 1))
    with pytest.raises(BatchTooLargeError):
        decode(data)
    assert len(decode(data, limited=False).flags) == ROWS_MAX + 1


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, _, _ in BROKEN} | {"size"} == set(RULES)


@pytest.mark.parametrize(("rule", "broken"), [pytest.param(r, b, id=n) for r, n, b in BROKEN if "too many" in n])
def test_only_sizes_that_halving_cures_are_too_large(rule: str, broken: Callable[[], list[Any]]) -> None:
    with pytest.raises(BatchError) as caught:
        _decoded(broken())
    assert isinstance(caught.value, BatchTooLargeError) == (rule in {"chunks", "rows"})


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(lambda: _sized(ROWS_MAX), id="rows"),
        pytest.param(lambda: _sized(0, [_chunk(rows=0, start=9, end=9)] * CHUNKS_MAX), id="chunks"),
        pytest.param(lambda: [*_valid()[:LENGTHS], _u4(RECORD_BYTES_MAX, 0), bytes(RECORD_BYTES_MAX)], id="record"),
        pytest.param(lambda: _chunk_with(POD, "p" * NAME_BYTES_MAX), id="name"),
        pytest.param(lambda: _with(TIMES, _i8(0, TIME_NS_MAX)), id="time"),
        pytest.param(lambda: _with(FLAGS, bytes([0, FLAGS_ALL])), id="flags"),
        pytest.param(lambda: _chunk_with(END, POSITION_MAX), id="position"),
    ],
)
def test_what_is_just_at_a_limit_is_allowed(array: Callable[[], list[Any]]) -> None:
    assert isinstance(_decoded(array()), Batch)
