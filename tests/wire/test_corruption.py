"""Whatever bytes arrive, the answer is a batch or a `BatchError` that names a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.codec import RULES, VERSION, decode, encode
from wire.errors import BatchError

GOLDEN = [path.read_bytes() for path in sorted((Path(__file__).parent / "golden").glob(f"v{VERSION}-*"))]
TYPICAL = max(GOLDEN, key=len)

_MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


def _check(data: bytes) -> None:
    """Decode ``data``; a batch that is accepted must be one that encodes and decodes again."""
    try:
        batch = decode(data)
    except BatchError as error:
        assert error.rule in RULES  # noqa: PT017 - most mutations raise, some are valid: both are looked at
    else:
        again = decode(encode(batch))
        assert again.chunks == batch.chunks
        assert bytes(again.body) == bytes(batch.body)


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    _check(data)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(GOLDEN), st.data())
def test_flipped_bits(golden: bytes, data: st.DataObject) -> None:
    flipped = bytearray(golden)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(golden) - 1), min_size=1, max_size=4)):
        flipped[bit // 8] ^= 1 << bit % 8
    _check(bytes(flipped))


@pytest.mark.parametrize("golden", GOLDEN)
def test_every_truncation_is_refused(golden: bytes) -> None:
    for size in range(len(golden)):
        with pytest.raises(BatchError) as caught:
            decode(golden[:size])
        assert caught.value.rule in RULES


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(GOLDEN), st.sampled_from(GOLDEN), st.data())
def test_splices(one: bytes, other: bytes, data: st.DataObject) -> None:
    head, tail = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(other)))
    _check(one[:head] + data.draw(st.binary(max_size=20)) + other[tail:])


@settings(deadline=None, max_examples=300)
@given(_MSGPACK)
def test_msgpack_of_any_shape(value: Any) -> None:
    _check(msgspec.msgpack.encode(value))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_value_in_any_place(data: st.DataObject) -> None:
    array = msgspec.msgpack.decode(TYPICAL)
    place = data.draw(st.integers(0, len(array) - 1))
    if isinstance(array[place], list) and data.draw(st.booleans()):
        chunk = data.draw(st.sampled_from(array[place]))
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(_MSGPACK)
    else:
        array[place] = data.draw(_MSGPACK)
    _check(msgspec.msgpack.encode(array))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 2^32 - 1"),
        pytest.param(b"\xdd\xff\xff\xff\xff" * 1000, id="arrays of 2^32 - 1 in each other"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of 2^32 - 1"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="4 GiB of bytes"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="4 GiB of text"),
        pytest.param(b"\x9a\x02\xa0\xa1n\xa0\xdd\xff\xff\xff\xff", id="2^32 - 1 chunks"),
        pytest.param(b"\x9a\x02\xa0\xa1n\xa0\x90\xc6\xff\xff\xff\xff", id="a column of 4 GiB"),
        pytest.param(b"\x91" * 1_000_000, id="a million arrays in each other"),
        pytest.param(b"\x9a\x02" + b"\x91" * 1_000_000, id="a million arrays as cluster"),
        pytest.param(b"\x9a\x03" + b"\x91" * 1_000_000, id="a million arrays in the next version"),
        pytest.param(b"\x9a\x02\xa1\xff", id="text that is not UTF-8"),
        pytest.param(b"\xc1", id="the byte msgpack never uses"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_lies_about_size_and_depth_are_refused(data: bytes) -> None:
    with pytest.raises(BatchError) as caught:
        decode(data)
    assert caught.value.rule in {"encoding", "version"}


@pytest.mark.parametrize("golden", GOLDEN)
def test_trailing_bytes_are_refused(golden: bytes) -> None:
    with pytest.raises(BatchError) as caught:
        decode(golden + b"\0")
    assert caught.value.rule == "encoding"
