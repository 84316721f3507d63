"""The JSON of the answers, byte for byte: agents of other versions and other languages read it."""

from __future__ import annotations

import msgspec
import pytest

from wire.answers import SOURCES_PER_REQUEST_MAX, Committed, Refusal

SOURCE = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Committed({}), b'{"committed":{}}'),
        (Committed({SOURCE: 2**63 - 1}), b'{"committed":{"' + SOURCE.encode() + b'":9223372036854775807}}'),
        (Refusal("no"), b'{"error":"no"}'),
        (Refusal("no", "flags", "send less"), b'{"error":"no","parameter":"flags","hint":"send less"}'),
    ],
)
def test_an_answer_is_this_json_and_comes_back(answer: Committed | Refusal, text: bytes) -> None:
    assert msgspec.json.encode(answer) == text
    assert msgspec.json.decode(text, type=type(answer)) == answer


@pytest.mark.parametrize("text", [b'{"committed":[]}', b'{"committed":{"a":"1"}}', b'{"committed":{"a":1.5}}', b"{}"])
def test_a_wrong_shape_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Committed)


def test_a_newer_aggregator_may_say_more() -> None:
    assert msgspec.json.decode(b'{"error":"no","retry":true}', type=Refusal) == Refusal("no")


def test_a_request_for_positions_fits_a_request_line() -> None:
    assert len("&source=" + SOURCE) * SOURCES_PER_REQUEST_MAX + 2 * 3 * 253 < 8000
