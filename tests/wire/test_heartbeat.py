from __future__ import annotations

import msgspec
import pytest

from wire.codec import NAME_BYTES_MAX, POSITION_MAX
from wire.heartbeat import CONTAINERS_MAX, TEXT_MAX, ContainerState, Heartbeat, decode, encode

HEARTBEAT = Heartbeat(
    "east",
    "node-1",
    "node-1-0a0b",
    "0.1.0",
    12.5,
    files=3,
    lag_bytes=7,
    lag_seconds=0.5,
    trouble="503",
    containers=(ContainerState("shop", "cart-0", "u", "app", 3, 900, 7, 0.5, 11),),
)
GOLDEN = (
    b'{"cluster":"east","node":"node-1","agent":"node-1-0a0b","version":"0.1.0","up_seconds":12.5,"files":3,'
    b'"lag_bytes":7,"lag_seconds":0.5,"trouble":"503","containers":[{"namespace":"shop","pod":"cart-0","uid":"u",'
    b'"container":"app","files":3,"node_bytes":900,"lag_bytes":7,"lag_seconds":0.5,"lost_bytes":11}]}'
)


def test_its_bytes_stay_what_they_are() -> None:
    assert encode(HEARTBEAT) == GOLDEN
    assert decode(GOLDEN) == HEARTBEAT


def test_fields_of_later_versions_are_ignored() -> None:
    assert decode(GOLDEN[:-1] + b',"later":[1]}') == HEARTBEAT


def with_container(**values: object) -> bytes:
    return encode(
        msgspec.structs.replace(HEARTBEAT, containers=(msgspec.structs.replace(HEARTBEAT.containers[0], **values),))
    )


def test_the_longest_of_everything_is_taken() -> None:
    name = "x" * NAME_BYTES_MAX
    most = POSITION_MAX
    state = ContainerState(name, name, name, name, most, most, most, 1e300, most, most, most)
    longest = Heartbeat(
        name,
        name,
        name,
        name,
        1e300,
        POSITION_MAX,
        POSITION_MAX,
        1e300,
        "x" * TEXT_MAX,
        (state,) * 2,
        POSITION_MAX,
        most,
        starting=True,
        store="x" * TEXT_MAX,
    )
    assert decode(encode(longest)) == longest


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "cluster"),
        (encode(msgspec.structs.replace(HEARTBEAT, node="")), "$.node"),
        (encode(msgspec.structs.replace(HEARTBEAT, trouble="x" * (TEXT_MAX + 1))), "$.trouble"),
        (encode(msgspec.structs.replace(HEARTBEAT, agent="x" * (NAME_BYTES_MAX + 1))), "$.agent"),
        (encode(msgspec.structs.replace(HEARTBEAT, up_seconds=-1.0)), "$.up_seconds"),
        (encode(msgspec.structs.replace(HEARTBEAT, lag_bytes=POSITION_MAX + 1)), "$.lag_bytes"),
        (GOLDEN.replace(b"12.5", b"1e400"), "$.up_seconds"),
        (GOLDEN.replace(b'"files":3', b'"files":' + b"9" * 30, 1), "$.files"),
        (with_container(pod="x" * (NAME_BYTES_MAX + 1)), "$.containers[0].pod"),
        (with_container(lost_bytes=-1), "$.containers[0].lost_bytes"),
        (encode(msgspec.structs.replace(HEARTBEAT, containers=HEARTBEAT.containers * (CONTAINERS_MAX + 1))), "$.cont"),
        (b"\xff\xfe", ""),
        (b'{"later":' + b"[" * 100_000, "nested"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, named: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is looked at
        decode(body)
    assert named in str(raised.value)
